"""Runs, studies and annotators made by hand: every prediction, concept and word is given."""

from __future__ import annotations

import html
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
from collect.made_runs import DEMO_CELL, block, write_run

from clvq_exp.artifacts import read_json, write_manifest
from clvq_exp.comparing.subjects import open_runs
from clvq_exp.study import answers
from clvq_exp.study.design import Drawn
from clvq_exp.study.folder import OpenedStudy, make_study, open_study
from clvq_exp.study.making import Wishes, draw_study

WORDS = ("dull", "fine", "slow", "warm", "plot", "cast", "score", "scene", "awful", "charming")
BESIDE = "kmeans_codes"


class Row(NamedTuple):
    """A dev sentence: gold class, prediction, and the concept under each method."""

    label: int
    prediction: int
    concepts: tuple[int, int]


def rows(n: int = 48, n_classes: int = 2) -> list[Row]:
    """Every class is right and wrong equally often; concepts go around, those beside the other way."""
    found: list[Row] = []
    for place in range(n):
        label = place % n_classes
        wrong = (place // n_classes) % 2
        found.append(Row(label, (label + wrong) % n_classes, (place % 8, 7 - place % 8)))
    return found


def concept_words(concept: int, method: str) -> dict[str, int]:
    """The words of a concept; concept 7 of the method beside holds sentence tokens only."""
    if method == BESIDE and concept == 7:
        return {}
    return {f"{WORDS[(concept + step) % len(WORDS)]}{method[0]}{concept}": 60 - 7 * step for step in range(6)}


def make_run(
    folder: Path,
    sentences: Sequence[Row] | None = None,
    *overrides: str,
    beside: bool = True,
    texts: Mapping[int, str] | None = None,
    words: Mapping[int, Mapping[str, int]] | None = None,
    settings: Mapping[str, Any] | None = None,
    **metrics: Any,
) -> Path:
    """A finished run with what a study is drawn from.

    Args:
        folder: made with its parents.
        sentences: of dev; those of `rows` where None.
        overrides: of the configuration.
        beside: write the concepts of the method beside as well.
        texts: of some sentences, by their places.
        words: of some concepts of the run's own method.
        settings: key -> value of the configuration.
        metrics: top-level entries of `metrics.json`.
    """
    given = rows() if sentences is None else sentences
    write_run(
        folder, *(overrides or DEMO_CELL), beside={BESIDE: block()} if beside else {}, settings=settings, **metrics
    )
    method = read_json(folder / "metrics.json")["cell"]["method"]
    salient = [
        {
            "sentence": 500 + place,
            "id": f"dev-{place}",
            "group": f"document-{place // 2}",
            "split": "dev",
            "text": (texts or {}).get(place, f"the text of sentence {place}"),
            "label": row.label,
            "prediction": row.prediction,
            "position": 0,
            "code": row.concepts[0],
        }
        for place, row in enumerate(given)
    ]
    write(folder, "salient_words", [*salient, {**salient[0], "split": "train", "id": "train-0", "sentence": 0}])
    of_methods = [
        {"method": name, "seed": 0, "sentence": 500 + place, "position": 0, "concept": row.concepts[at]}
        for at, name in enumerate((method, BESIDE))
        for place, row in enumerate(given)
    ]
    if beside:
        write(folder, "salient_concepts", of_methods)
    write(
        folder,
        "concept_words",
        [
            {"method": name, "seed": seed, "concept": concept, "rank": rank, "word": word, "count": count}
            for name in (method, BESIDE)
            for seed in (0, 1)
            for concept in range(8)
            for rank, (word, count) in enumerate(_words(concept, name, seed, words if name == method else None))
        ],
    )
    seal(folder)
    return folder


def _words(
    concept: int, method: str, seed: int, given: Mapping[int, Mapping[str, int]] | None
) -> list[tuple[str, int]]:
    words = (given or {}).get(concept, concept_words(concept, method))
    return [(word if seed == 0 else f"seed1{word}", count) for word, count in words.items()]


def write(folder: Path, name: str, content: Sequence[Mapping[str, Any]]) -> None:
    """A table of a run folder."""
    pq.write_table(pa.Table.from_pylist([dict(row) for row in content]), folder / f"{name}.parquet")


def seal(folder: Path) -> None:
    """A new manifest for changed files."""
    (folder / "manifest.json").unlink(missing_ok=True)
    write_manifest(folder, {"cell": read_json(folder / "metrics.json")["cell"]["fingerprint"]})


def drawn(*folders: Path, **wishes: Any) -> Drawn:
    """A study of some runs."""
    opened = open_runs(folders)
    assert opened.problems == []
    return draw_study(opened.subjects, Wishes(**wishes))


class Made(NamedTuple):
    """A study with the secrets of its annotators."""

    study: OpenedStudy
    links: dict[str, str]
    """Annotator -> path of the link, `/s/SECRET/`."""


def make(folder: Path, annotators: int = 3, **wishes: Any) -> Made:
    """A study of one run, with `annotators` let in."""
    folder.mkdir(exist_ok=True)
    links = make_study(folder / "study", _drawn(**wishes), annotators, "http://127.0.0.1:1")
    return Made(open_study(folder / "study"), read_links(links))


@lru_cache
def _drawn(**wishes: Any) -> Drawn:
    """Drawing clouds takes seconds: once for all tests."""
    with TemporaryDirectory() as folder:
        return drawn(make_run(Path(folder) / "run"), **wishes)


def read_links(path: Path) -> dict[str, str]:
    """Annotator -> path of the link."""
    lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    return {name: "/" + address.split("/", 3)[3] for name, address in lines}


def kept(study: OpenedStudy) -> list[answers.Rating]:
    """The answers on the disk."""
    with answers.connected(study.answers) as connection:
        return answers.ratings(connection)


def order_of(study: OpenedStudy, annotator: str) -> list[int]:
    """The items in the order of an annotator."""
    with answers.connected(study.answers) as connection:
        (number,) = [each.annotator for each in answers.annotators(connection) if each.name == annotator]
        found = [answers.item_at(connection, number, place) for place in range(len(study.design.items))]
    assert None not in found
    return [item for item in found if item is not None]


def fields(page: str) -> dict[str, str]:
    """The hidden fields of a page."""
    return {
        name: html.unescape(value)
        for name, value in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page)
    }


def answer(client: httpx.Client, link: str, label: int, confidence: int) -> httpx.Response:
    """Read the next item and answer it; what came back is not followed."""
    page = client.get(link + "item")
    assert page.status_code == 200, page.text
    given = {**fields(page.text), "label": str(label), "confidence": str(confidence)}
    return client.post(link + "item", data=given)


class Served(NamedTuple):
    """`clvq study serve`, as a process."""

    process: subprocess.Popen[str]
    address: str

    def kill(self) -> None:
        """As the operating system kills: nothing is cleaned up."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def served(folder: Path, *arguments: str) -> Generator[Served]:
    """Serve a study by the command itself."""
    command = [sys.executable, "-m", "clvq_exp.commands", "study", "serve", str(folder), "--port", "0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.search(r"http://\S+:\d+", line)
        assert found is not None, line + process.stdout.read()
        yield Served(process, found[0])
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stdout.close()

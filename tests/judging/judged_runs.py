"""Finished run folders with all that judges are shown, every value given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from collect.made_runs import DEMO_CELL, write_run

from clvq_exp.artifacts import MANIFEST, read_json, write_json, write_manifest

POSITIVE_WORDS = ("charming", "moving", "fresh")
NEGATIVE_WORDS = ("dull", "lifeless", "stale")


class Held(NamedTuple):
    """What a concept holds."""

    words: Mapping[str, int]
    sentence_tokens: int = 0
    sentences: Sequence[str] = ()


CONCEPTS = (
    Held({word: 9 - place for place, word in enumerate(POSITIVE_WORDS)}),
    Held({word: 9 - place for place, word in enumerate(NEGATIVE_WORDS)}),
    Held({"the": 3}, 10, ("a film that one can only praise", "it is as good as it gets")),
    Held({}),
)
"""Good words, bad words, sentences, nothing."""


def sentences(n: int, **changed: Sequence[Any]) -> list[dict[str, Any]]:
    """Rows of `salient_words`: `n` of each of true and false positives and negatives, in turn."""
    outcomes = [(1, 1), (0, 1), (0, 0), (1, 0)]
    rows = [
        {
            "sentence": 100 + place,
            "id": f"dev-{place}",
            "group": f"film-{place // 2}",
            "split": "dev",
            "text": f"review number {place} says so",
            "label": outcomes[place % 4][0],
            "prediction": outcomes[place % 4][1],
            "position": 0,
            "word": "review",
            "code": outcomes[place % 4][1],
        }
        for place in range(4 * n)
    ]
    for name, values in changed.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    return rows


def make_run(
    folder: Path,
    *overrides: str,
    rows: Sequence[Mapping[str, Any]] | None = None,
    beside: Mapping[str, Sequence[int]] | None = None,
    codes: Sequence[int] | None = None,
    held: Sequence[Held] = CONCEPTS,
    weights: str = "weights",
    old: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """A finished run.

    Args:
        folder: made with its parents.
        overrides: of the configuration; those of the demo cell where none is given.
        rows: of `salient_words`; twelve where None.
        beside: method -> its concept for each sentence.
        codes: the main method's concepts; those of `rows` where None.
        held: the concepts of every method.
        weights: fingerprint of the language model.
        old: without the tables of methods beside, as earlier versions left a run.
        settings: key -> value of the configuration.
    """
    rows = [dict(row) for row in (sentences(3) if rows is None else rows)]
    beside = beside or {}
    write_run(folder, *(overrides or DEMO_CELL), beside={name: {} for name in beside}, settings=settings)
    method = read_json(folder / "metrics.json")["cell"]["method"]
    write_json(folder / "provenance.json", {"departures_from_protocol": {}, "fingerprints": {"model": weights}})
    of_methods = {method: [row["code"] for row in rows] if codes is None else list(codes), **beside}
    for row, code in zip(rows, of_methods[method], strict=True):
        row["code"] = code
    write(folder, "salient_words", rows)
    concepts, words, drawn, salient = [], [], [], []
    for name, chosen in of_methods.items():
        which = {"method": name, "seed": 0}
        salient += [
            {**which, "sentence": row["sentence"], "position": row["position"], "concept": code}
            for row, code in zip(rows, chosen, strict=True)
        ]
        for number, each in enumerate(held):
            of = {**which, "concept": number}
            total = sum(each.words.values()) + each.sentence_tokens
            concepts.append({**of, "train_words": total, "sentence_tokens": each.sentence_tokens})
            words += [{**of, "rank": rank, "word": word} for rank, word in enumerate(each.words)]
            drawn += [{**of, "text": text} for text in each.sentences]
    write(folder, "concepts", concepts)
    write(folder, "concept_words", words)
    if not old:
        write(folder, "salient_concepts", salient)
        write(folder, "concept_sentences", drawn or [{"method": "-", "seed": 0, "concept": 0, "text": ""}])
    else:
        examples = [
            {**{key: each[key] for key in ("method", "seed", "concept")}, "split": "train", "special": True}
            | {"after": each["text"]}
            for each in drawn
            if each["method"] == method
        ]
        write(folder, "concept_examples", examples)
    seal(folder)
    return folder


def write(folder: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), folder / f"{name}.parquet")


def seal(folder: Path) -> None:
    (folder / MANIFEST).unlink(missing_ok=True)
    write_manifest(folder, {"cell": read_json(folder / "metrics.json")["cell"]["fingerprint"]})

"""Run folders with the tables that runs are compared by, every value given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from collect.made_runs import DEMO_CELL, block, write_run

from clvq_exp.artifacts import read_json, write_json, write_manifest
from clvq_exp.comparing.compare import Compared, compare
from clvq_exp.comparing.subjects import open_runs

TEXTS = ("a dull film", "a fine film", "so dull", "so fine")
CONTROLS = ("random_direction", "random_active_code", "mean_direction", "own_code", "other_word")
CONCEPTS = pa.schema(
    [
        ("method", pa.string()),
        ("seed", pa.int64()),
        ("concept", pa.int64()),
        ("train_words", pa.int64()),
        ("vector", pa.list_(pa.float32())),
    ]
)
WORDS = pa.schema(
    [
        ("method", pa.string()),
        ("seed", pa.int64()),
        ("concept", pa.int64()),
        ("rank", pa.int64()),
        ("word", pa.string()),
        ("count", pa.int64()),
    ]
)


class Code(NamedTuple):
    """A concept: its vector, and its words with how often it holds them."""

    vector: Sequence[float] | None
    words: Mapping[str, int]


CODES = (Code((1.0, 0.0), {"dull": 3, "a": 1}), Code((0.0, 2.0), {"fine": 2}), Code((-1.0, -1.0), {"film": 4}))


def correct(n: int = len(TEXTS), **changed: Sequence[int]) -> dict[str, list[int]]:
    """Condition -> correct or not, for each sentence; all are where nothing else is said."""
    return {name: [1] * n for name in ("original", "perturbed", *CONTROLS)} | {
        name: list(values) for name, values in changed.items()
    }


def salient_rows(texts: Sequence[str], **columns: Sequence[Any]) -> list[dict[str, Any]]:
    """One row for each sentence, with further columns in their order; the store's rows begin at 100."""
    rows = [
        {
            "sentence": 100 + place,
            "id": f"dev-{text}",
            "split": "dev",
            "text": text,
            "position": 0,
            "prediction": 0,
        }
        for place, text in enumerate(texts)
    ]
    more = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return [{**row, **own} for row, own in zip(rows, more or [{} for _ in rows], strict=True)]


def make_run(
    folder: Path,
    *overrides: str,
    seeds: Sequence[int] = (0,),
    salient: Sequence[Mapping[str, Any]] | None = None,
    outcomes: Sequence[Mapping[str, Sequence[int]]] | None = None,
    codes: Sequence[Sequence[Code]] = (CODES,),
    assigned: Sequence[Sequence[Sequence[int]]] | None = None,
    weights: str = "weights",
    settings: Mapping[str, Any] | None = None,
    **metrics: Any,
) -> Path:
    """A finished run.

    Args:
        folder: made with its parents.
        overrides: of the configuration; those of the demo cell where none is given.
        seeds: of the run.
        salient: rows of `salient_words`; of `TEXTS` where None.
        outcomes: of each seed, condition -> correct; all are correct where None.
        codes: of each seed; the last stands for the seeds behind it.
        assigned: of each seed, the codes of the words of each sentence, the sentence token's first; made up where
            None.
        weights: fingerprint of the language model.
        settings: key -> value of the configuration.
        metrics: top-level entries of `metrics.json`.
    """
    chosen = {"seeds": list(seeds), **(settings or {})}
    write_run(folder, *(overrides or DEMO_CELL), settings=chosen, **metrics)
    method = read_json(folder / "metrics.json")["cell"]["method"]
    rows = list(salient_rows(TEXTS) if salient is None else salient)
    write_json(folder / "provenance.json", {"departures_from_protocol": {}, "fingerprints": {"model": weights}})
    write(folder, "salient_words", rows)
    write(folder, "sentences", _outcome_rows(method, seeds, rows, outcomes))
    write(folder, "assignments", _assigned_rows(seeds, rows, assigned))
    whole = [codes[min(place, len(codes) - 1)] for place in range(len(seeds))]
    concepts, words = _concept_rows(method, seeds, whole)
    pq.write_table(pa.Table.from_pylist(concepts, CONCEPTS), folder / "concepts.parquet")
    pq.write_table(pa.Table.from_pylist(words, WORDS), folder / "concept_words.parquet")
    seal(folder)
    return folder


def write(folder: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """A table of a run folder."""
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), folder / f"{name}.parquet")


def seal(folder: Path) -> None:
    """A new manifest for changed files."""
    (folder / "manifest.json").unlink(missing_ok=True)
    write_manifest(folder, {"cell": read_json(folder / "metrics.json")["cell"]["fingerprint"]})


def compared(*folders: Path) -> list[Compared]:
    """Each run beside the first."""
    opened = open_runs(folders)
    assert opened.problems == []
    return list(compare(opened.subjects).others)


def side_by_side(base: Path, other: Path) -> Compared:
    """One run beside another."""
    (found,) = compared(base, other)
    return found


def method_figures(
    perturbed: float = 0.5, perplexities: Sequence[float] = (3.0,), size: int = 3
) -> dict[str, Any]:
    """What the metrics hold of a method."""
    return block(perturbed, perplexities, size)


def _outcome_rows(
    method: str,
    seeds: Sequence[int],
    rows: Sequence[Mapping[str, Any]],
    outcomes: Sequence[Mapping[str, Sequence[int]]] | None,
) -> list[dict[str, Any]]:
    given = [correct(len(rows)) for _ in seeds] if outcomes is None else outcomes
    return [
        {
            "method": method,
            "removal": "concept",
            "seed": seed,
            "condition": condition,
            "sentence": row["sentence"],
            "correct": bool(value),
        }
        for seed, of_seed in zip(seeds, given, strict=True)
        for condition, values in of_seed.items()
        for row, value in zip(rows, values, strict=True)
    ]


def _assigned_rows(
    seeds: Sequence[int],
    rows: Sequence[Mapping[str, Any]],
    assigned: Sequence[Sequence[Sequence[int]]] | None,
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for place, seed in enumerate(seeds):
        for number, row in enumerate(rows):
            words = ["[CLS]", *row["text"].split()]
            codes = [len(word) % 3 for word in words] if assigned is None else assigned[place][number]
            found += [
                {
                    "seed": seed,
                    "sentence": row["sentence"],
                    "split": row["split"],
                    "position": position - 1,
                    "word": word,
                    "code": code,
                }
                for position, (word, code) in enumerate(zip(words, codes, strict=True))
            ]
        # a word of a training sentence, which no measure of dev words may count
        found.append({"seed": seed, "sentence": 0, "split": "train", "position": 0, "word": "x", "code": seed})
    return found


def _concept_rows(
    method: str, seeds: Sequence[int], codes: Sequence[Sequence[Code]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    concepts: list[dict[str, Any]] = []
    words: list[dict[str, Any]] = []
    for seed, of_seed in zip(seeds, codes, strict=True):
        for number, code in enumerate(of_seed):
            name = {"method": method, "seed": seed, "concept": number}
            vector = None if code.vector is None else list(code.vector)
            concepts.append({**name, "train_words": sum(code.words.values()), "vector": vector})
            words += [
                {**name, "rank": rank, "word": word, "count": count}
                for rank, (word, count) in enumerate(code.words.items())
            ]
    other = {"method": "kmeans_codes", "seed": seeds[0], "concept": 0, "train_words": 9, "vector": None}
    return [other, *concepts], words

"""What the concepts of a run hold, read from its inventory, or from the three tables of earlier versions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq

from clvq_exp.collect.runs import Run
from clvq_exp.sharing.records import Held, LabelCount, WordCount

_INVENTORY, _WORDS = "concepts.parquet", "concept_words.parquet"
_USE, _PURITY = "code_use.parquet", "code_purity.parquet"


def concept_tables(files: Iterable[str]) -> tuple[str, ...]:
    """The tables of a run that tell what its concepts hold.

    Args:
        files: of the run's manifest.
    """
    return (_INVENTORY, _WORDS) if _WORDS in files else (_INVENTORY, _USE, _PURITY)


def held_of_run(run: Run, method: str, seed: int, n_concepts: int) -> list[Held]:
    """Words and labels of each concept of a model.

    Args:
        run: whose tables are read.
        method: name of its rows.
        seed: of the model.
        n_concepts: K.
    """
    names = [str(each) for each in run.cell.get("label_names") or []]
    has_inventory = _WORDS in run.files
    words: dict[int, list[WordCount]] = {}
    for row in _rows(run, _WORDS if has_inventory else _INVENTORY, method, seed):
        words.setdefault(row["concept"], []).append(WordCount(row["word"], row["count"]))
    found = _inventory(run, method, seed, names) if has_inventory else _earlier(run, method, seed, names)
    return [
        Held(size, tuple(words.get(concept, ())), labels)
        for concept, (size, labels) in ((each, found.get(each, (0, ()))) for each in range(n_concepts))
    ]


_Counts = dict[int, tuple[int, tuple[LabelCount, ...]]]
"""Concept -> training words, and those under each label."""


def _inventory(run: Run, method: str, seed: int, names: Sequence[str]) -> _Counts:
    """Of a table that counts every label."""
    found: _Counts = {}
    for row in _rows(run, _INVENTORY, method, seed):
        counts = sorted(zip(names, row["label_words"], strict=True), key=lambda each: -each[1])
        labels = tuple(LabelCount(name, count) for name, count in counts if count)
        found[row["concept"]] = (int(row["train_words"]), labels)
    return found


def _earlier(run: Run, method: str, seed: int, names: Sequence[str]) -> _Counts:
    """Of tables that know the commonest label only."""
    purity = {row["code"]: row for row in _rows(run, _PURITY, method, seed)}
    return {
        row["code"]: (int(row["train_words"]), tuple(_labels(purity.get(row["code"], {}), names)))
        for row in _rows(run, _USE, method, seed)
    }


def _labels(row: Mapping[str, Any], names: Sequence[str]) -> Iterator[LabelCount]:
    """The commonest label and the rest, which has a name where there are two labels."""
    label = row.get("label")
    if label is None:
        return
    yield LabelCount(label, row["label_words"])
    others = [each for each in names if each != label]
    if row["words"] > row["label_words"]:
        yield LabelCount(others[0] if len(others) == 1 else None, row["words"] - row["label_words"])


def _rows(run: Run, table: str, method: str, seed: int) -> list[dict[str, Any]]:
    """The rows of one method and seed, in their order."""
    of_model = [("method", "=", method), ("seed", "=", seed)]
    return pq.read_table(run.folder / table, filters=of_model).to_pylist()

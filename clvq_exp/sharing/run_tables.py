"""What the concepts of a run hold, read from its inventory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow.parquet as pq

from clvq_exp.collect.runs import Run
from clvq_exp.sharing.records import Held, LabelCount, WordCount

CONCEPT_TABLES = ("concepts.parquet", "concept_words.parquet")
"""The tables of a run that tell what its concepts hold: of each, and its words."""


def held_of_run(run: Run, method: str, seed: int, n_concepts: int) -> list[Held]:
    """Words and labels of each concept of a model.

    Args:
        run: whose tables are read.
        method: name of its rows.
        seed: of the model.
        n_concepts: K.
    """
    names = [str(each) for each in run.cell.get("label_names") or []]
    inventory, of_words = CONCEPT_TABLES
    words: dict[int, list[WordCount]] = {}
    for row in _rows(run, of_words, ("concept", "word", "count"), method, seed):
        words.setdefault(row["concept"], []).append(WordCount(row["word"], row["count"]))
    found = {
        row["concept"]: (int(row["train_words"]), _labels(names, row["label_words"]))
        for row in _rows(run, inventory, ("concept", "train_words", "label_words"), method, seed)
    }
    return [
        Held(size, tuple(words.get(concept, ())), labels)
        for concept, (size, labels) in ((each, found.get(each, (0, ()))) for each in range(n_concepts))
    ]


def _labels(names: Sequence[str], counts: Sequence[int]) -> tuple[LabelCount, ...]:
    """The commonest first."""
    pairs = sorted(zip(names, counts, strict=True), key=lambda each: -each[1])
    return tuple(LabelCount(name, count) for name, count in pairs if count)


def _rows(run: Run, table: str, columns: Sequence[str], method: str, seed: int) -> list[dict[str, Any]]:
    """The rows of one method and seed, in their order."""
    of_model = [("method", "=", method), ("seed", "=", seed)]
    return pq.read_table(run.folder / table, columns=list(columns), filters=of_model).to_pylist()

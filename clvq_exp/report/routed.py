"""Words whose code hangs on the label of their sentence, as examples. Words and labels are neutralised."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from clvq_exp.report.access import Metrics, methods, number, seeds
from clvq_exp.report.names import method_title
from clvq_exp.report.representation import shown
from clvq_exp.report.run_files import Row, read_rows

SHOWN = 12
"""Examples of a method."""


class RoutedSide(NamedTuple):
    """Where a word goes under one label."""

    label: str
    code: int
    purity: float | None
    """Share of the words of the code that stand under the label."""
    n_words: int
    """The word's occurrences under the label that the code holds."""
    occurrences: int
    """The word's occurrences under the label."""


class RoutedExample(NamedTuple):
    """A word under two labels."""

    word: str
    sides: tuple[RoutedSide, RoutedSide]
    divergence: float | None
    """Jensen-Shannon, in bits."""


class RoutedExamples(NamedTuple):
    """The examples of one method, of its first seed."""

    method: str
    seed: int
    examples: tuple[RoutedExample, ...]

    @property
    def title(self) -> str:
        """The method's name for readers."""
        return method_title(self.method)


def read_routed(folder: Path, metrics: Metrics, wanted: int = SHOWN) -> list[RoutedExamples]:
    """The examples of the main method, then of every other that has some.

    Args:
        folder: the run folder, with `routed_words`.
        metrics: the content of `metrics.json`.
        wanted: how many examples of a method at most.

    Returns:
        Of the main method also where it has no example; nothing at all where no method has one.
    """
    first = seeds(metrics)[:1]
    found: list[RoutedExamples] = []
    for method in methods(metrics):
        rows = read_rows(folder, "routed_words", method=method)
        seed = first[0] if first else min((int(row["seed"]) for row in rows), default=0)
        examples = _pairs([row for row in rows if int(row["seed"]) == seed])
        if examples or not found:
            found.append(RoutedExamples(method, seed, tuple(examples[:wanted])))
    return found if any(each.examples for each in found) else []


def _pairs(rows: Sequence[Row]) -> list[RoutedExample]:
    """The two rows of an example follow each other."""
    return [
        RoutedExample(shown(str(one["word"])), (_side(one), _side(other)), number(one["divergence"]))
        for index, (one, other) in enumerate(pairwise(rows))
        if index % 2 == 0
    ]


def _side(row: Row) -> RoutedSide:
    return RoutedSide(
        shown(str(row["label"])),
        int(row["code"]),
        number(row["purity"]),
        int(row["n_words"]),
        int(row["occurrences"]),
    )

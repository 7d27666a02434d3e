"""What stands in the tables of a comparison: figures of both runs, their difference, and a test of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple

from clvq_exp.comparing.randomisation import Chance
from clvq_exp.comparing.sentences import DevSentences, SharedSentences
from clvq_exp.comparing.subjects import Subject
from clvq_exp.evaluation.statistics import holm
from clvq_exp.report.access import interval, number


class Unit(Enum):
    """How a figure is read."""

    accuracy = "accuracy"
    share = "share"
    number = "number"
    count = "count"


class Test(Enum):
    """What a p-value is of."""

    __test__ = False

    none = ""
    paired = "paired over sentences"
    unpaired = "unpaired, over sentences"
    intervals = "unpaired, from the two intervals"
    seeds = "Welch's, over seeds"


class Value(NamedTuple):
    """A figure of one run."""

    mean: float
    low: float | None = None
    high: float | None = None
    mark: str = ""
    """A word of warning."""


class Row(NamedTuple):
    """A figure of both runs."""

    key: str
    title: str
    unit: Unit
    base: Value | None
    other: Value | None
    difference: Value | None
    """The other's less the base's; its ends where there is an interval."""
    cohens_h: float | None = None
    p_value: float | None = None
    p_holm: float | None = None
    """Over the tests of one part, and over all runs beside the base."""
    test: Test = Test.none


class Part(NamedTuple):
    """Figures that belong together."""

    key: str
    title: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def row_of(key: str, title: str, unit: Unit, base: Value | None, other: Value | None) -> Row:
    """A row that is not tested."""
    difference = None if base is None or other is None else Value(other.mean - base.mean)
    return Row(key, title, unit, base, other, difference)


def value_of(figure: object) -> Value | None:
    """A number or an interval of the metrics; None where it is neither."""
    whole = interval(figure)
    if whole is not None:
        return Value(*whole)
    mean = number(figure)
    return None if mean is None else Value(mean)


class Pair(NamedTuple):
    """Two runs, and the dev sentences that are known of both."""

    base: Subject
    other: Subject
    base_sentences: DevSentences | None
    other_sentences: DevSentences | None
    shared: SharedSentences | None

    @property
    def paired(self) -> bool:
        """Both evaluated the same dev sentences."""
        return self.shared is not None and self.shared.are_all


def chance_of(base: Subject) -> Chance:
    """How much is drawn: as the base's configuration says."""
    return Chance(
        int(base.setting("evaluation.bootstrap_samples", 2000)),
        int(base.setting("evaluation.permutations", 10_000)),
        base.setting("evaluation.confidence", 0.95),
        int(base.setting("evaluation.seed", 1234)),
    )


def adjusted(comparisons: Sequence[Sequence[Part]]) -> list[list[Part]]:
    """The parts of several comparisons with Holm's correction over all tests of parts with one key."""
    p_values: dict[str, list[float]] = {}
    for part, row in _tested_rows(comparisons):
        p_values.setdefault(part, []).append(row)
    corrected = {key: iter(holm(values)) for key, values in p_values.items()}
    return [
        [
            part._replace(
                rows=tuple(
                    row if row.p_value is None else row._replace(p_holm=next(corrected[part.key]))
                    for row in part.rows
                )
            )
            for part in parts
        ]
        for parts in comparisons
    ]


def _tested_rows(comparisons: Sequence[Sequence[Part]]) -> Iterable[tuple[str, float]]:
    for parts in comparisons:
        for part in parts:
            yield from ((part.key, row.p_value) for row in part.rows if row.p_value is not None)

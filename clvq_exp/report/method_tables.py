"""Methods beside each other: what the removal of each one's concepts does, and whether two of them differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from clvq_exp.report.access import (
    Interval,
    Metrics,
    block,
    compared,
    entry,
    interval,
    main_method,
    number,
    own_removal,
    strongest_control,
)
from clvq_exp.report.formatting import (
    NOTHING,
    bounds,
    decimal,
    p_value,
    percent,
    percent_bounds,
)
from clvq_exp.report.grid import Grid, GridCell, GridRow, plain_columns
from clvq_exp.report.names import Name, condition_name, method_title, removal_name
from clvq_exp.report.tables import Column, own_columns


class OverviewRow(NamedTuple):
    """One method by its own removal."""

    column: Column
    original: Interval | None
    perturbed: Interval | None
    drop: Interval | None
    specific_drop: Interval | None
    control: Name | None
    """The control whose removal lowers the accuracy most."""
    control_drop: float | None
    readable: bool
    """The original accuracy is above the majority class's."""
    inverted: bool
    detectable: float | None
    """The smallest fall of the accuracy that could be detected."""
    empty: float | None
    """Share of the sentences whose concept has no direction to remove."""
    without_token: Interval | None
    """The specific drop without the sentences whose salient word is the sentence token."""


class ComparisonRow(NamedTuple):
    """Two methods on the same sentences."""

    removals: tuple[str, str]
    """Titles of what was removed of the first and of the second."""
    first: str
    second: str
    difference: Interval | None
    """Perturbed accuracy of the first minus that of the second."""
    cohens_h: float | None
    p_value: float | None
    p_holm: float | None
    with_main: bool
    """One of them is the main method."""
    own: bool
    """Each by its own removal."""

    @property
    def removal(self) -> str:
        """What was removed, for readers."""
        return " / ".join(dict.fromkeys(self.removals))


def overview_rows(metrics: Metrics) -> tuple[OverviewRow, ...]:
    """Every method by its own removal, the main one first.

    Args:
        metrics: the content of `metrics.json`.
    """
    return tuple(
        _overview(column, entry(block(metrics, column.method, "faithfulness"), column.removal))
        for column in own_columns(metrics)
    )


def _overview(column: Column, values: Mapping[str, Any]) -> OverviewRow:
    strongest = strongest_control(values)
    return OverviewRow(
        column=column,
        original=interval(values.get("original")),
        perturbed=interval(values.get("perturbed")),
        drop=interval(values.get("drop")),
        specific_drop=interval(values.get("specific_drop")),
        control=condition_name(strongest[0]) if strongest else None,
        control_drop=strongest[1] if strongest else None,
        readable=values.get("readable") is not False,
        inverted="perturbed" in (values.get("inverted") or []),
        detectable=number(values.get("minimum_detectable_drop")),
        empty=number(values.get("empty_concepts")),
        without_token=interval(entry(values, "without_sentence_token").get("specific_drop")),
    )


def overview_grid(metrics: Metrics) -> Grid | None:
    """The methods as rows, each by its own removal; None with fewer than two methods.

    Args:
        metrics: the content of `metrics.json`.
    """
    rows = overview_rows(metrics)
    if len(rows) < 2:
        return None
    titles = (
        "Original",
        "Concept removed",
        "Drop",
        "Strongest control",
        "Specific drop",
        "… without sentence tokens",
        "Detectable fall",
        "No direction",
    )
    return Grid(
        "Each method by its own removal",
        "Accuracy of the probe, relative drops, 95% intervals. Specific drop: what the concept does beyond the "
        "strongest control. Without sentence tokens: without the sentences whose salient word is the sentence "
        "token. Detectable fall: a smaller fall of the accuracy could not be detected. No direction: sentences "
        "whose concept has none to remove.",
        "Method",
        plain_columns(titles),
        tuple(
            GridRow(
                row.column.title,
                _overview_cells(row),
                row.column.removal_title,
                row.column.method == main_method(metrics),
            )
            for row in rows
        ),
    )


def _overview_cells(row: OverviewRow) -> tuple[GridCell, ...]:
    return (
        _accuracy(row.original, "" if row.readable else "not readable"),
        _accuracy(row.perturbed, "inverted" if row.inverted else ""),
        _share(row.drop),
        GridCell(percent(row.control_drop), row.control.title if row.control else ""),
        _share(row.specific_drop),
        _share(row.without_token),
        GridCell(decimal(row.detectable)),
        GridCell(percent(row.empty)),
    )


def _accuracy(value: Interval | None, mark: str) -> GridCell:
    return GridCell(NOTHING) if value is None else GridCell(decimal(value.mean), bounds(value), mark)


def _share(value: Interval | None) -> GridCell:
    return GridCell(NOTHING) if value is None else GridCell(percent(value.mean), percent_bounds(value))


def comparison_rows(metrics: Metrics) -> tuple[ComparisonRow, ...]:
    """The paired tests between methods, names ready for readers.

    Args:
        metrics: the content of `metrics.json`.
    """
    return tuple(_comparison(metrics, each) for each in compared(metrics))


def _comparison(metrics: Metrics, values: Mapping[str, Any]) -> ComparisonRow:
    first, second = (str(name) for name in values["methods"])
    removals = tuple(str(name) for name in values["removals"])
    return ComparisonRow(
        (removal_name(removals[0]).title, removal_name(removals[1]).title),
        method_title(first),
        method_title(second),
        interval(values.get("difference")),
        number(values.get("cohens_h")),
        number(values.get("p_value")),
        number(values.get("p_holm")),
        with_main=main_method(metrics) in (first, second),
        own=removals == (own_removal(metrics, first), own_removal(metrics, second)),
    )


def comparison_grid(rows: Sequence[ComparisonRow], caption: str) -> Grid:
    """Differences with interval, effect size and p-values.

    Args:
        rows: as `comparison_rows` gives them.
        caption: of the table.
    """
    return Grid(
        caption,
        "",
        "Methods",
        plain_columns(("Difference", "Cohen’s h", "p", "p (Holm)")),
        tuple(
            GridRow(
                f"{row.first} − {row.second}",
                (
                    _accuracy(row.difference, ""),
                    GridCell(decimal(row.cohens_h, 2)),
                    GridCell(p_value(row.p_value)),
                    GridCell(p_value(row.p_holm)),
                ),
                f"by {row.removal}",
            )
            for row in rows
        ),
    )

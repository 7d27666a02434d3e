"""The metrics of a run as rows, for the terminal and for the page alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from clvq_exp.report import reading
from clvq_exp.report.access import (
    Interval,
    Metrics,
    block,
    entry,
    interval,
    mapping,
    methods,
    number,
    own_removal,
    relative_drop,
)
from clvq_exp.report.names import (
    CONDITIONS,
    DROPS,
    PLACES,
    Name,
    condition_name,
    in_order,
    method_title,
    place_name,
    removal_name,
    removals_in_order,
)


class Column(NamedTuple):
    """What one column of a faithfulness or intervention table is about."""

    method: str
    removal: str

    @property
    def title(self) -> str:
        """The method's name for readers."""
        return method_title(self.method)

    @property
    def removal_title(self) -> str:
        """What is removed, for readers."""
        return removal_name(self.removal).title


class FaithfulnessCell(NamedTuple):
    """The probe's accuracy under one condition."""

    accuracy: Interval
    drop: float | None
    """(original - accuracy) / original, a share; None for an original."""
    inverted: bool
    """Below chance: the labels were flipped, not erased."""
    standard_deviation: float | None
    """Over seeds."""
    removed_norm: float | None
    """Mean share of the norm of h that was removed."""


class FaithfulnessRow(NamedTuple):
    """One condition in every column; None where a column does not have it."""

    condition: str
    name: Name
    cells: tuple[FaithfulnessCell | None, ...]


class DropRow(NamedTuple):
    """The drop, or the specific drop, in every column, as shares of the original accuracy."""

    name: Name
    values: tuple[Interval | None, ...]


class FaithfulnessTable(NamedTuple):
    """Accuracies of the probe: conditions down, methods and removals across."""

    columns: tuple[Column, ...]
    rows: tuple[FaithfulnessRow, ...]
    drops: tuple[DropRow, ...]
    notes: tuple[str, ...]
    """What has to be known before a drop is read."""

    def has(self, figure: str) -> bool:
        """Whether any cell has a figure beside its accuracy: `removed_norm`, say."""
        return any(
            cell is not None and getattr(cell, figure) is not None for row in self.rows for cell in row.cells
        )


class InterventionCell(NamedTuple):
    """What the live model does under one condition."""

    accuracy: Interval | None
    flips: Interval | None
    """Share of sentences whose predicted class changed; None for the original."""
    probability_change: Interval | None
    """Of the class predicted before; None for the original."""


class InterventionRow(NamedTuple):
    """One place and condition in every column."""

    place: str
    place_name: Name
    condition: str
    name: Name
    cells: tuple[InterventionCell | None, ...]


class InterventionTable(NamedTuple):
    """Removal inside the live model: places and conditions down, methods and removals across."""

    columns: tuple[Column, ...]
    rows: tuple[InterventionRow, ...]

    @property
    def places(self) -> tuple[tuple[str, Name], ...]:
        """Where something was removed, in order."""
        return tuple({row.place: row.place_name for row in self.rows}.items())

    @property
    def conditions(self) -> tuple[tuple[str, Name], ...]:
        """What was removed, in order."""
        names = {row.condition: row.name for row in self.rows}
        return tuple((name, names[name]) for name in in_order(CONDITIONS, set(names)))

    def cell(self, place: str, condition: str, column: Column) -> InterventionCell | None:
        """What happened in one column at a place under a condition; None where it was not measured."""
        index = self.columns.index(column)
        found = (row.cells[index] for row in self.rows if (row.place, row.condition) == (place, condition))
        return next(found, None)


def removals(metrics: Metrics, kind: str = "faithfulness") -> list[str]:
    """The removals that any method has, `concept` first.

    Args:
        metrics: the content of `metrics.json`.
        kind: `faithfulness` or `intervention`.
    """
    present = {removal for method in methods(metrics) for removal in block(metrics, method, kind)}
    return removals_in_order(present)


def own_columns(
    metrics: Metrics, kind: str = "faithfulness", only: Sequence[str] | None = None
) -> tuple[Column, ...]:
    """Each method by its own removal: the one by which it is held against the others.

    Args:
        metrics: the content of `metrics.json`.
        kind: `faithfulness` or `intervention`.
        only: methods to show; None for all.
    """
    own = {name: own_removal(metrics, name, kind) for name in methods(metrics) if only is None or name in only}
    return tuple(Column(method, removal) for method, removal in own.items() if removal is not None)


def _columns(
    metrics: Metrics, kind: str, wanted: Sequence[str] | None, only: Sequence[str] | None
) -> tuple[Column, ...]:
    shown = removals(metrics, kind) if wanted is None else wanted
    return tuple(
        Column(method, removal)
        for removal in shown
        for method in methods(metrics)
        if (only is None or method in only) and block(metrics, method, kind).get(removal)
    )


def faithfulness_table(
    metrics: Metrics,
    wanted: Sequence[str] | Literal["own"] | None = None,
    only: Sequence[str] | None = None,
    without_sentence_token: bool = False,
) -> FaithfulnessTable:
    """The accuracies of the probe, with the drops of Table 1.

    Args:
        metrics: the content of `metrics.json`.
        wanted: removals to show; `own` for each method's own; None for all.
        only: methods to show; None for all.
        without_sentence_token: leave out the sentences whose salient word is the sentence token.

    Returns:
        The table. It has no columns where nothing was measured.
    """
    kind = "faithfulness"
    columns = own_columns(metrics, kind, only) if wanted == "own" else _columns(metrics, kind, wanted, only)
    blocks = [entry(block(metrics, c.method, kind), c.removal) for c in columns]
    if without_sentence_token:
        kept = [(c, entry(b, "without_sentence_token")) for c, b in zip(columns, blocks, strict=True)]
        kept = [(c, b) for c, b in kept if b]
        columns, blocks = tuple(c for c, _ in kept), [b for _, b in kept]
    present = {name for each in blocks for name in each if name not in DROPS and interval(each[name])}
    return FaithfulnessTable(
        columns=columns,
        rows=tuple(
            FaithfulnessRow(name, condition_name(name), tuple(_cell(each, name) for each in blocks))
            for name in in_order(CONDITIONS, present)
        ),
        drops=tuple(
            DropRow(name, tuple(interval(each.get(key)) for each in blocks)) for key, name in DROPS.items()
        ),
        notes=() if without_sentence_token else tuple(reading.notes(metrics, [tuple(c) for c in columns])),
    )


def _cell(values: Mapping[str, Any], condition: str) -> FaithfulnessCell | None:
    accuracy = interval(values.get(condition))
    if accuracy is None:
        return None
    base = {"original": None, "refit_original": None, "refit": "refit_original"}.get(condition, "original")
    return FaithfulnessCell(
        accuracy=accuracy,
        drop=relative_drop(number(values.get(base)), accuracy.mean) if base else None,
        inverted=condition in (values.get("inverted") or []),
        standard_deviation=number(mapping(values.get("standard_deviation")).get(condition)),
        removed_norm=number(mapping(values.get("removed_norm")).get(condition)),
    )


def intervention_table(
    metrics: Metrics,
    wanted: Sequence[str] | Literal["own"] | None = None,
    only: Sequence[str] | None = None,
) -> InterventionTable:
    """What the live model does when the same directions are removed inside it.

    Args:
        metrics: the content of `metrics.json`.
        wanted: removals to show; `own` for each method's own; None for all.
        only: methods to show; None for all.

    Returns:
        The table. It has no columns where nothing was measured.
    """
    kind = "intervention"
    columns = own_columns(metrics, kind, only) if wanted == "own" else _columns(metrics, kind, wanted, only)
    blocks = [entry(block(metrics, c.method, kind), c.removal) for c in columns]
    rows: list[InterventionRow] = []
    for place in in_order(PLACES, {name for each in blocks for name in each}):
        present = {condition for each in blocks for condition in entry(each, place)}
        for condition in in_order(CONDITIONS, present):
            cells = tuple(_intervention_cell(entry(each, place, condition)) for each in blocks)
            rows.append(InterventionRow(place, place_name(place), condition, condition_name(condition), cells))
    return InterventionTable(columns, tuple(rows))


def _intervention_cell(values: Mapping[str, Any]) -> InterventionCell | None:
    cell = InterventionCell(
        interval(values.get("accuracy")),
        interval(values.get("flips")),
        interval(values.get("probability_change")),
    )
    return cell if any(cell) else None

"""Figures of the specificity beside the same under shuffled labels, and tables of them with a row per method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from clvq_exp.report.access import Interval, Metrics, block, entry, interval, main_method, methods, number
from clvq_exp.report.formatting import NOTHING, percent, percent_bounds
from clvq_exp.report.grid import Grid, GridCell, GridColumn, GridRow
from clvq_exp.report.names import SHUFFLES, method_title


class Measured(NamedTuple):
    """A figure under the labels as they are, and under shuffled ones."""

    value: float | None
    shuffled: Mapping[str, Interval | None]
    """Mean and interval over the draws, by the name of the shuffle; without those that were not drawn."""

    def above(self, shuffle: str) -> bool | None:
        """Whether the figure is above the upper end of a shuffle's interval; None where either is missing."""
        beside = self.shuffled.get(shuffle)
        return None if self.value is None or beside is None else self.value > beside.high


class Group(NamedTuple):
    """The columns of one measure."""

    title: str
    measure: Callable[[str], Measured]
    """Method -> figure."""
    as_text: Callable[[float | None], str]
    as_bounds: Callable[[Interval | None], str]
    below: Callable[[str], str] | None = None
    """What stands under a method's own figure."""


def measured(metrics: Metrics, method: str, path: Sequence[str], measure: str) -> Measured:
    """A figure of the specificity.

    Args:
        metrics: the content of `metrics.json`.
        method: as in `metrics.json`.
        path: keys below `specificity` at which the measure and its shuffles stand: `("purity",)`.
        measure: `weighted_mean`, say.
    """
    values = entry(block(metrics, method, "specificity"), *path)
    drawn = {name: entry(values, name) for name in SHUFFLES if values.get(name)}
    return Measured(
        number(values.get(measure)), {name: interval(each.get(measure)) for name, each in drawn.items()}
    )


def described(metrics: Metrics) -> list[str]:
    """The methods whose specificity was measured, the main one first."""
    return [name for name in methods(metrics) if block(metrics, name, "specificity")]


def group(
    metrics: Metrics,
    title: str,
    path: Sequence[str],
    measure: str,
    as_text: Callable[[float | None], str] = percent,
    as_bounds: Callable[[Interval | None], str] = percent_bounds,
    below: Callable[[str], str] | None = None,
) -> Group:
    """The columns of a measure.

    Args:
        metrics: the content of `metrics.json`.
        title: stands over the columns.
        path: keys below `specificity` at which the measure stands.
        measure: its name.
        as_text: how the figure is shown.
        as_bounds: how an interval of it is shown.
        below: method -> what stands under its own figure.
    """
    return Group(title, lambda name: measured(metrics, name, path, measure), as_text, as_bounds, below)


def shuffled_grid(
    metrics: Metrics,
    caption: str,
    note: str,
    groups: Sequence[Group],
    first: Mapping[str, Callable[[str], str]],
) -> Grid | None:
    """Methods down; for each measure its figure and one column for every shuffle that any method has.

    Args:
        metrics: the content of `metrics.json`.
        caption: of the table.
        note: what the figures are.
        groups: the measures.
        first: title -> method -> text, of columns before the measures.

    Returns:
        The table; None where no method has any of the figures.
    """
    names = described(metrics)
    figures = {name: [group.measure(name) for group in groups] for name in names}
    if all(each.value is None for of_method in figures.values() for each in of_method):
        return None
    drawn = [
        [key for key in SHUFFLES if any(figures[name][index].shuffled.get(key) for name in names)]
        for index in range(len(groups))
    ]
    columns = [GridColumn(title) for title in first]
    for group, shuffles in zip(groups, drawn, strict=True):
        columns.append(GridColumn("as it is", group.title))
        columns += [GridColumn(SHUFFLES[key].title, group.title) for key in shuffles]
    rows: list[GridRow] = []
    for name in names:
        cells = [GridCell(as_text(name)) for as_text in first.values()]
        for group, found, shuffles in zip(groups, figures[name], drawn, strict=True):
            cells.append(GridCell(group.as_text(found.value), group.below(name) if group.below else ""))
            cells += [_shuffled(group, found, key) for key in shuffles]
        rows.append(method_row(metrics, name, tuple(cells)))
    return Grid(caption, note, "Method", tuple(columns), tuple(rows))


def _shuffled(group: Group, found: Measured, key: str) -> GridCell:
    beside = found.shuffled.get(key)
    if beside is None:
        return GridCell(NOTHING)
    mark = "not above" if found.above(key) is False else ""
    return GridCell(group.as_text(beside.mean), group.as_bounds(beside), mark)


def method_row(metrics: Metrics, method: str, cells: tuple[GridCell, ...], below: str = "") -> GridRow:
    """The row of a method; that of the main one is marked."""
    return GridRow(method_title(method), cells, below, key=method == main_method(metrics))

"""The paper's tables filled from runs: rows of ours and of the paper side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from clvq_exp.collect.catalogue import RowsOf, TableSpec
from clvq_exp.collect.measures import MEASURES, Ours
from clvq_exp.collect.paper import PaperFigure, PaperRow, as_number, cells_of, paper
from clvq_exp.collect.reference import shown
from clvq_exp.collect.selection import Selection, matches
from clvq_exp.collect.units import SWEPT, Unit, said_by_protocol

Setting = tuple[tuple[str, str], ...]
"""Swept keys with their values."""


class Figure(NamedTuple):
    """A figure of ours beside the paper's."""

    ours: Ours | None
    paper: PaperFigure | None

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's."""
        if self.ours is None or self.paper is None or self.ours.mean is None or self.paper.value is None:
            return None
        return self.ours.mean - self.paper.value

    @property
    def paper_in_interval(self) -> bool | None:
        """Whether the paper's figure lies in our interval; None where either is missing."""
        if self.ours is None or self.paper is None or self.paper.value is None:
            return None
        if self.ours.low is None or self.ours.high is None or self.ours.over == "shuffles":
            return None
        return self.ours.low <= self.paper.value <= self.ours.high

    @property
    def ours_in_range(self) -> bool | None:
        """Whether ours lies in the range that the paper prints; None where it prints none."""
        if self.ours is None or self.ours.mean is None or self.paper is None:
            return None
        if self.paper.low is None or self.paper.high is None:
            return None
        return self.paper.low <= self.ours.mean <= self.paper.high


@dataclass(frozen=True, eq=False)
class Row:
    """A row of a table; what is empty does not tell rows apart."""

    model: str
    dataset: str
    layers: str
    method: str
    removal: str
    setting: Setting
    figures: Mapping[str, Figure]
    apart: tuple[str, ...] = ()
    """Further settings that tell it from rows that are the same else."""
    departures: tuple[str, ...] = ()
    """Where ours is not what the paper did."""
    runs: tuple[str, ...] = ()
    """Folders of the runs that it is from; none where only the paper has it."""
    unit: Unit | None = None
    """What ours is read from."""

    @property
    def cell(self) -> tuple[str, str, str]:
        """Model, data set and layers."""
        return self.model, self.dataset, self.layers

    @property
    def is_ours(self) -> bool:
        """Whether a run has it."""
        return bool(self.runs)


class Filled(NamedTuple):
    """The rows of a table, and what of the paper has none of ours."""

    rows: list[Row]
    missing: list[Row]
    """Rows of the paper, or cells of its grid, that no run fills."""
    expected: int
    """How many of those there are in all."""


def fill(spec: TableSpec, selection: Selection) -> Filled:
    """Fill a table whose rows are methods, cells or data sets.

    Args:
        spec: the table.
        selection: of the runs.
    """
    rows = paper_rows(spec)
    if spec.rows is RowsOf.elsewhere:
        return Filled([_of_paper(row) for row in rows], [], 0)
    units = _units(spec, selection)
    found = _our_rows(spec, units, [row for row in rows if row.method or not spec.reference], spec.figures)
    if spec.reference:
        cells = selection.cells(spec, units)
        found += _our_rows(spec, cells, [row for row in rows if not row.method], spec.reference)
    unfilled = [_of_paper(row) for row in rows if not any(_is_beside(each, row) for each in found)]
    missing, expected = unfilled, len(rows)
    if spec.on_grid:
        cells = cells_of(paper()["v1_table10"])
        filled = {each.cell for each in found}
        missing, expected = [_of_cell(cell) for cell in cells if cell not in filled], len(cells)
    return Filled(_in_order(spec, [*found, *unfilled], rows), missing, expected)


def _units(spec: TableSpec, selection: Selection) -> Sequence[Unit]:
    if spec.rows is RowsOf.pairs:
        return selection.pairs()
    return selection.methods(spec) if spec.rows is RowsOf.methods else selection.cells(spec)


def paper_rows(spec: TableSpec) -> list[PaperRow]:
    """The paper's rows of a table; figures of a cell are put to the methods of it, where they have no row."""
    rows = paper().get(spec.key, [])
    if spec.reference or not any(row.method for row in rows):
        return rows
    of_cells = {row.cell: row.figures for row in rows if not row.method}
    return [
        row._replace(figures={**row.figures, **of_cells.get(row.cell, {})}) if of_cells else row
        for row in rows
        if row.method
    ]


def _our_rows(
    spec: TableSpec, units: Iterable[Unit], rows: Sequence[PaperRow], figures: Sequence[str]
) -> list[Row]:
    """Rows of ours: units that are the same in all but what hangs on nothing are one row."""
    identical: dict[Any, dict[Any, list[Unit]]] = {}
    for unit in units:
        others = unit.swept(key for key in SWEPT if key not in spec.swept)
        identical.setdefault(_identity(spec, unit), {}).setdefault((unit.rest, others), []).append(unit)
    found: list[Row] = []
    for groups in identical.values():
        firsts = [members[0] for members in groups.values()]
        told = told_apart(spec, firsts)
        for members, apart in zip(groups.values(), told, strict=True):
            found += _rows_of(spec, members, apart, rows, figures, ambiguous=told.count(apart) > 1)
    return found


def _rows_of(
    spec: TableSpec,
    members: Sequence[Unit],
    apart: tuple[str, ...],
    rows: Sequence[PaperRow],
    figures: Sequence[str],
    ambiguous: bool,
) -> list[Row]:
    """One row for units with the same settings, or one for each where their figures differ all the same."""
    distinct: list[tuple[dict[str, Ours | None], list[Unit]]] = []
    for unit in members:
        values = {name: MEASURES[name].read(unit) for name in figures}
        if all(value is None for value in values.values()):
            continue
        same = next((units for known, units in distinct if known == values), None)
        if same is None:
            distinct.append((values, [unit]))
        else:
            same.append(unit)
    return [
        _row(spec, units, values, apart, rows, by_folder=ambiguous or len(distinct) > 1)
        for values, units in distinct
    ]


def _row(
    spec: TableSpec,
    units: Sequence[Unit],
    values: Mapping[str, Ours | None],
    apart: tuple[str, ...],
    rows: Sequence[PaperRow],
    by_folder: bool,
) -> Row:
    unit = units[0]
    model, dataset, layers, method, removal, setting = _identity(spec, unit)
    printed: dict[str, PaperFigure] = {}
    for row in rows:
        if _is_of(spec, unit, row):
            printed = {**printed, **row.figures}
    figures = {name: Figure(value, printed.get(name)) for name, value in values.items()}
    said = (*apart, f"run={unit.run.folder.name}") if by_folder else apart
    departures = tuple(str(each) for each in unit.departures if each.key not in spec.swept)
    folders = tuple(str(each.run.folder) for each in units)
    return Row(model, dataset, layers, method, removal, setting, figures, said, departures, folders, unit)


def _is_of(spec: TableSpec, unit: Unit, row: PaperRow) -> bool:
    if spec.rows is RowsOf.datasets:
        return unit.cell[1] == row.dataset
    return matches(unit, row)


def _is_beside(found: Row, row: PaperRow) -> bool:
    """Whether a row of ours has the paper's figures of a row beside it."""
    theirs = [figure.paper for figure in found.figures.values()]
    return any(printed is each for printed in row.figures.values() for each in theirs)


def _identity(spec: TableSpec, unit: Unit) -> tuple[str, str, str, str, str, Setting]:
    if spec.rows is RowsOf.datasets:
        return "", unit.cell[1], "", "", "", ()
    removal = unit.removal if len(spec.removals) > 1 else ""
    keys = [key for key in spec.swept_settings if key in unit.settings]
    return (*unit.cell, unit.method, removal, tuple(zip(keys, unit.swept(keys), strict=True)))


def told_apart(spec: TableSpec, units: Sequence[Unit]) -> list[tuple[str, ...]]:
    """For each of some units with one identity: the settings that tell it from the others."""
    if len(units) == 1:
        return [()]
    shared = set.intersection(*(set(unit.settings) for unit in units)) - set(spec.swept)
    said = [said_by_protocol(unit) for unit in units]
    differing = [
        key
        for key in sorted(shared, key=lambda key: (key != "protocol.name", key))
        if len({unit.settings[key] for unit in units}) > 1
        # what follows from the protocol is said by its name
        and not (
            key != "protocol.name"
            and all(
                key in each and each[key] == unit.settings[key] for unit, each in zip(units, said, strict=True)
            )
        )
    ]
    return [
        tuple(f"{key.removesuffix('.name')}={shown(unit.settings[key])}" for key in differing) for unit in units
    ]


def _of_paper(row: PaperRow) -> Row:
    figures = {name: Figure(None, printed) for name, printed in row.figures.items()}
    return Row(*row.cell, row.method, "", row.setting, figures)


def _of_cell(cell: tuple[str, str, str]) -> Row:
    return Row(*cell, "", "", (), {})


def _in_order(spec: TableSpec, found: Sequence[Row], rows: Sequence[PaperRow]) -> list[Row]:
    """The paper's cells in its order and its rows in each, then ours by name and value."""
    cells = {cell: place for place, cell in enumerate(cells_of(paper()["v1_table10"] if spec.on_grid else rows))}
    places = {id(row): place for place, row in enumerate(rows)}

    def key(each: Row) -> Any:
        own = min((places[id(row)] for row in rows if _is_beside(each, row)), default=len(rows))
        numbers = [(as_number(value), value) for _, value in each.setting]
        values = tuple((number is None, number or 0.0, value) for number, value in numbers)
        return (
            cells.get(each.cell, len(cells)),
            0 if each.cell in cells else own,
            each.cell,
            not each.method,
            own,
            each.method,
            spec.removals.index(each.removal) if each.removal in spec.removals else len(spec.removals),
            values,
            len(each.departures),
            each.apart,
        )

    return sorted(found, key=key)

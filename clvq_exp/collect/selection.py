"""Which units belong to a table, and which row of the paper each stands beside (`docs/reports.md`)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import groupby

from clvq_exp.collect.catalogue import LAYER_PAIR, METHOD, TABLES, RowsOf, TableSpec
from clvq_exp.collect.paper import PaperRow, as_number, cells_of, paper
from clvq_exp.collect.runs import Run
from clvq_exp.collect.units import (
    SWEPT,
    Pair,
    Unit,
    cell_unit,
    dataset_unit,
    has_removal,
    pairs_of,
    reading,
    units_of,
)
from clvq_exp.report.access import entry

_METHOD_TABLES = {table.key: table.methods for table in TABLES if METHOD in table.swept}


class Selection:
    """The given runs, and what of them belongs to which table.

    Args:
        runs: finished runs.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        self._units = [unit for run in runs for unit in units_of(run)]
        self._cells = {id(run): cell_unit(run) for run in runs}
        self._in_sweeps: set[int] = set()
        """Runs that the table of a sweep holds."""
        for spec in TABLES:
            if spec.swept and METHOD not in spec.swept:
                self._in_sweeps |= {id(unit.run) for unit in self._of_sweep(spec)}

    def methods(self, spec: TableSpec) -> list[Unit]:
        """The units of a table whose rows are methods."""
        if METHOD in spec.swept:
            found = self._of_methods(spec)
        elif spec.swept:
            found = self._of_sweep(spec)
        else:
            found = [unit for unit in self._candidates(spec) if not self._is_elsewhere(unit)]
        return [reading(unit, spec.reads) for unit in found]

    def pairs(self) -> list[Pair]:
        """The pairs of methods that the runs compared."""
        of_runs = (list(units) for _, units in groupby(self._units, key=lambda unit: id(unit.run)))
        return [pair for units in of_runs for pair in pairs_of(units) if not self._is_elsewhere(pair)]

    def cells(self, spec: TableSpec, members: Iterable[Unit] = ()) -> list[Unit]:
        """The units of a table whose rows are cells or data sets.

        Args:
            spec: the table.
            members: units of methods whose runs alone are meant; of all runs where the table has no methods.
        """
        if spec.rows is RowsOf.methods:
            runs = {id(unit.run) for unit in members}
            return [unit for key, unit in self._cells.items() if key in runs]
        if spec.rows is RowsOf.datasets:
            return [dataset_unit(run) for run in self.runs]
        return [unit for unit in self._cells.values() if not self._is_elsewhere(unit)]

    def _candidates(self, spec: TableSpec) -> list[Unit]:
        """Units whose method and removal the table is about."""
        of_kind = [unit for unit in self._units if not spec.kinds or unit.kind in spec.kinds]
        if len(spec.removals) == 1:
            return [replace_removal(unit, spec.removals[0]) for unit in of_kind]
        return [
            replace_removal(unit, removal)
            for unit in of_kind
            for removal in spec.removals
            if has_removal(unit, removal)
        ]

    def _of_sweep(self, spec: TableSpec) -> list[Unit]:
        """Units that a row of the paper matches, or that differ from another one in what is swept alone."""
        rows = paper().get(spec.key, [])
        candidates = self._candidates(spec)
        values: dict[Hashable, set[Hashable]] = {}
        reading_it = [unit for unit in candidates if _reads(unit, spec)]
        shared = {id(unit): fixed(unit, spec) for unit in reading_it}
        for unit in reading_it:
            values.setdefault(shared[id(unit)], set()).add(_varied(unit, spec))
        found = {
            id(unit)
            for unit in reading_it
            if len(values[shared[id(unit)]]) > 1 or any(matches(unit, row) for row in rows if row.method)
        }
        runs = {id(unit.run) for unit in reading_it if id(unit) in found}
        return [
            unit for unit in candidates if id(unit) in found or (id(unit) not in shared and id(unit.run) in runs)
        ]

    def _of_methods(self, spec: TableSpec) -> list[Unit]:
        """Methods that are compared on one cell: two of the table's, or one that a row of the paper matches."""
        rows = paper().get(spec.key, [])
        others = {name for key, names in _METHOD_TABLES.items() if key != spec.key for name in names}
        candidates = [
            unit
            for unit in self._candidates(spec)
            if (unit.method in spec.methods or unit.method not in others) and not self._is_elsewhere(unit)
        ]
        compared: dict[Hashable, set[str]] = {}
        for unit in candidates:
            if unit.method in spec.methods:
                compared.setdefault(self._place(unit), set()).add(unit.method)
        matched = {id(unit.run) for unit in candidates if any(matches(unit, row) for row in rows)}
        return [
            unit for unit in candidates if len(compared.get(self._place(unit), ())) > 1 or id(unit.run) in matched
        ]

    def _place(self, unit: Unit) -> Hashable:
        """What methods must share to be compared."""
        return unit.cell, self._cells[id(unit.run)].rest

    def _is_elsewhere(self, unit: Unit) -> bool:
        """Whether it is off the paper's values of what a sweep's table varies, and that table holds it."""
        return id(unit.run) in self._in_sweeps and _is_off_centre(unit)


def replace_removal(unit: Unit, removal: str) -> Unit:
    """The unit with a removal; the same object where it has it already."""
    return unit if unit.removal == removal else replace(unit, removal=removal)


def matches(unit: Unit, row: PaperRow) -> bool:
    """Whether a row of the paper is of this model, data set, layers, method and swept settings.

    What the row does not say of the swept settings is Table 11's. Every other setting may differ: that is flagged.
    """
    if row.method and row.method != unit.method:
        return False
    if "" not in row.cell:
        if row.cell != unit.cell:
            return False
    elif unit.cell not in _grid() or any(
        said not in ("", own) for said, own in zip(row.cell, unit.cell, strict=True)
    ):
        return False  # a figure over several cells is over the paper's
    setting = dict(row.setting)
    if row.method and any(key not in unit.settings for key in setting):
        return False
    centre = {**table11(), **setting}
    return all(
        key in centre and is_equal(unit.settings[key], centre[key]) for key in SWEPT if key in unit.settings
    )


@lru_cache
def _grid() -> frozenset[tuple[str, str, str]]:
    """Models, data sets and layers of the paper's main tables."""
    return frozenset(cells_of(paper()["v1_table10"]))


@lru_cache
def table11() -> dict[str, str]:
    """The paper's hyper-parameters: key -> value as it prints it."""
    return {row.setting[0][0]: row.figures["value"].printed for row in paper()["v1_table11"]}


def is_equal(used: object, printed: str) -> bool:
    """Whether a setting is what the paper prints."""
    number = as_number(printed)
    if number is not None and isinstance(used, int | float) and not isinstance(used, bool):
        return float(used) == number
    return str(used) == printed


def _reads(unit: Unit, spec: TableSpec) -> bool:
    """Whether the method reads anything that the table sweeps."""
    return LAYER_PAIR in spec.swept or any(key in unit.settings for key in spec.swept_settings)


def fixed(unit: Unit, spec: TableSpec) -> Hashable:
    """What siblings of a sweep share."""
    cell = unit.cell[:2] if LAYER_PAIR in spec.swept else unit.cell
    others = tuple(key for key in SWEPT if key not in spec.swept)
    return cell, unit.method, unit.removal, unit.rest, unit.swept(others)


def _varied(unit: Unit, spec: TableSpec) -> Hashable:
    return unit.cell[2] if LAYER_PAIR in spec.swept else unit.swept(spec.swept_settings)


def _is_off_centre(unit: Unit) -> bool:
    said = table11()
    if any(
        key in unit.settings and not is_equal(unit.settings[key], value)
        for key, value in said.items()
        if key in SWEPT
    ):
        return True
    model = entry(unit.run.config, "model")
    lower, upper = model.get("default_lower"), model.get("default_upper")
    return None not in (lower, upper) and unit.cell[2] != f"{lower}-{upper}"

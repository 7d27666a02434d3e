"""From run folders to filled tables, their texts and their plots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from clvq_exp.collect.catalogue import TABLES, RowsOf, TableSpec
from clvq_exp.collect.hyperparameters import fill_hyperparameters
from clvq_exp.collect.missing import missing_of
from clvq_exp.collect.plots import Plot, plot_of
from clvq_exp.collect.runs import Run
from clvq_exp.collect.selection import Selection
from clvq_exp.collect.sheets import Sheet, sheet
from clvq_exp.collect.tables import Filled, fill


class Collected(NamedTuple):
    """A table, filled."""

    spec: TableSpec
    filled: Filled
    sheet: Sheet
    plot: Plot | None


def gather(runs: Sequence[Run], keys: Sequence[str] = ()) -> list[Collected]:
    """Fill the paper's tables.

    Args:
        runs: finished runs.
        keys: of the tables that are wanted, in the paper's order whatever theirs; all where empty.
    """
    selection = Selection(runs)
    found: list[Collected] = []
    for spec in TABLES:
        if keys and spec.key not in keys:
            continue
        if spec.rows is RowsOf.hyperparameters:
            filled = fill_hyperparameters(spec.key, runs)
        else:
            filled = fill(spec, selection)
        found.append(Collected(spec, filled, sheet(spec, filled, missing_of(spec, filled)), plot_of(spec, filled)))
    return found

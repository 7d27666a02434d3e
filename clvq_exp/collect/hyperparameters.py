"""Table 11: the settings of the given runs beside the paper's."""

from __future__ import annotations

from collections.abc import Sequence

from clvq_exp.collect.measures import Ours
from clvq_exp.collect.paper import PaperRow, as_number, paper
from clvq_exp.collect.reference import shown
from clvq_exp.collect.runs import Run
from clvq_exp.collect.selection import is_equal
from clvq_exp.collect.tables import Figure, Filled, Row
from clvq_exp.collect.units import classes_of

_METHOD = "ClvqVae"


def fill_hyperparameters(key: str, runs: Sequence[Run]) -> Filled:
    """A row for each hyper-parameter of the paper and each value that the runs gave it.

    Args:
        key: of the table.
        runs: finished runs; those without CLVQ-VAE do not count.
    """
    meant = [run for run in runs if _METHOD in classes_of(run)]
    rows: list[Row] = []
    for row in paper().get(key, []):
        name = row.setting[0][0]
        found: dict[object, list[Run]] = {}
        for run in meant:
            if name in run.settings:
                found.setdefault(run.settings[name], []).append(run)
        rows += [_row(row, name, value, users, len(meant)) for value, users in _sorted(found)]
        if not found:
            rows.append(Row("", "", "", "", "", ((name, ""),), {"value": Figure(None, row.figures["value"])}))
    return Filled(rows, [], 0)


def _sorted(found: dict[object, list[Run]]) -> list[tuple[object, list[Run]]]:
    """The commonest value first."""
    return sorted(found.items(), key=lambda each: (-len(each[1]), shown(each[0])))


def _row(row: PaperRow, name: str, value: object, users: Sequence[Run], n_runs: int) -> Row:
    printed = row.figures["value"]
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    ours = Ours(number if as_number(printed.printed) is not None else None, text=shown(value))
    apart = (f"{len(users)} of {n_runs} runs",)
    departures = () if is_equal(value, printed.printed) else (f"{name}={shown(value)}, not {printed.printed}",)
    folders = tuple(str(run.folder) for run in users)
    return Row("", "", "", "", "", ((name, ""),), {"value": Figure(ours, printed)}, apart, departures, folders)

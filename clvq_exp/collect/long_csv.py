"""Tables as CSV in long form: one row for each figure, numbers in full (`docs/reports.md` has the columns)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from clvq_exp.collect.catalogue import TableSpec
from clvq_exp.collect.missing import cell_command
from clvq_exp.collect.tables import Figure, Filled, Row
from clvq_exp.report.csv_text import as_csv

COLUMNS = (
    "table",
    "model",
    "dataset",
    "layers",
    "method",
    "removal",
    "setting",
    "apart",
    "figure",
    "ours",
    "low",
    "high",
    "interval_over",
    "deviation",
    "seeds",
    "paper",
    "paper_low",
    "paper_high",
    "paper_deviation",
    "difference",
    "paper_in_interval",
    "ours_in_range",
    "departures",
    "paper_note",
    "runs",
    "command",
)


def long_csv(filled: Iterable[tuple[TableSpec, Filled]]) -> str:
    """All figures of some tables under one head; a missing row stands there with the command that runs it.

    Args:
        filled: each table with its rows.
    """
    return as_csv(COLUMNS, chain.from_iterable(_table(spec, each) for spec, each in filled))


def _table(spec: TableSpec, filled: Filled) -> Iterator[list[object]]:
    shown, missing = {id(row) for row in filled.rows}, {id(row) for row in filled.missing}
    for row in (*filled.rows, *(row for row in filled.missing if id(row) not in shown)):
        command = cell_command(spec, row) if id(row) in missing and spec.sweep else ""
        yield from _lines(spec, row, command)


def _lines(spec: TableSpec, row: Row, command: str) -> Iterator[list[object]]:
    common = {
        "table": spec.key,
        "model": row.model,
        "dataset": row.dataset,
        "layers": row.layers,
        "method": row.method,
        "removal": row.removal,
        "setting": " ".join(f"{key}={value}" if value else key for key, value in row.setting),
        "apart": " ".join(row.apart),
        "departures": "; ".join(row.departures),
        "runs": "; ".join(row.runs),
        "command": command,
    }
    own = {name: figure for name, figure in row.figures.items() if figure.ours or figure.paper}
    for name, figure in own.items() or [("", Figure(None, None))]:
        values = {**common, "figure": name, **_ours(figure), **_paper(figure)}
        yield [values.get(column) for column in COLUMNS]


def _ours(figure: Figure) -> dict[str, object]:
    ours = figure.ours
    if ours is None:
        return {}
    return {
        "ours": ours.text or ours.mean,
        "low": ours.low,
        "high": ours.high,
        "interval_over": ours.over,
        "deviation": ours.deviation,
        "seeds": ours.seeds,
    }


def _paper(figure: Figure) -> dict[str, object]:
    printed = figure.paper
    if printed is None:
        return {}
    return {
        "paper": None if printed.low is not None else printed.printed,
        "paper_low": printed.low,
        "paper_high": printed.high,
        "paper_deviation": printed.deviation,
        "difference": figure.difference,
        "paper_in_interval": figure.paper_in_interval,
        "ours_in_range": figure.ours_in_range,
        "paper_note": printed.note,
    }

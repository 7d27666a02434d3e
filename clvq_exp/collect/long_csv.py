"""Tables as CSV in long form: one row for each figure, numbers in full (`docs/reports.md` has the columns)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from clvq_exp.collect.catalogue import TableSpec
from clvq_exp.collect.missing import cell_command
from clvq_exp.collect.tables import Figure, Filled, Row
from clvq_exp.report.text_safety import visible

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
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for spec, each in filled:
        shown, missing = {id(row) for row in each.rows}, {id(row) for row in each.missing}
        for row in (*each.rows, *(row for row in each.missing if id(row) not in shown)):
            command = cell_command(spec, row) if id(row) in missing and spec.sweep else ""
            writer.writerows(_lines(spec, row, command))
    return stream.getvalue()


def _lines(spec: TableSpec, row: Row, command: str) -> Iterator[list[str]]:
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
        yield [visible(values.get(column, "")) for column in COLUMNS]


def _ours(figure: Figure) -> dict[str, str]:
    ours = figure.ours
    if ours is None:
        return {}
    return {
        "ours": ours.text or _number(ours.mean),
        "low": _number(ours.low),
        "high": _number(ours.high),
        "interval_over": ours.over,
        "deviation": _number(ours.deviation),
        "seeds": "" if ours.seeds is None else str(ours.seeds),
    }


def _paper(figure: Figure) -> dict[str, str]:
    printed = figure.paper
    if printed is None:
        return {}
    return {
        "paper": "" if printed.low is not None else printed.printed,
        "paper_low": _number(printed.low),
        "paper_high": _number(printed.high),
        "paper_deviation": _number(printed.deviation),
        "difference": _number(figure.difference),
        "paper_in_interval": _truth(figure.paper_in_interval),
        "ours_in_range": _truth(figure.ours_in_range),
        "paper_note": printed.note,
    }


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)


def _truth(value: bool | None) -> str:
    return "" if value is None else str(value).lower()

"""Plots of the page as plain plotly figures: numbers and names of methods, never a text of a data set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from clvq_exp.report.access import Interval, Metrics, entry, main_method, number
from clvq_exp.report.formatting import count, decimal
from clvq_exp.report.names import CONTROLS
from clvq_exp.report.plots import COLOURS, DASHES, INK, MARKERS, Figure, axis, label, layout
from clvq_exp.report.run_files import Row
from clvq_exp.report.tables import FaithfulnessTable

FEW_METHODS = 3
"""Up to as many methods the conditions are the rows of the plot, beyond it the methods are."""


def faithfulness_figure(table: FaithfulnessTable, name: str, majority: float | None) -> Figure | None:
    """Accuracy with interval: a row per condition, or per method where there are many.

    Args:
        table: the table of one removal, or of each method's own.
        name: id on the page.
        majority: share of the commonest class, drawn as a line.

    Returns:
        The plot, or None where the table is empty.
    """
    if not table.columns:
        return None
    few = len(table.columns) <= FEW_METHODS
    caption = "Accuracy of the probe under each condition, with 95% intervals."
    if not few:
        caption = (
            "Accuracy of the probe for each method, with 95% intervals of the original and of the concept "
            "removed. A click in the legend shows or hides a condition."
        )
    shapes: list[dict[str, Any]] = []
    if majority is not None:
        line = {"color": "#52606d", "width": 1, "dash": "dot"}
        shapes = [
            {"type": "line", "x0": majority, "x1": majority, "y0": 0, "y1": 1, "yref": "paper", "line": line}
        ]
        caption += f" Dotted: the majority class ({decimal(majority)})."
    data, rows, height = _by_condition(table) if few else _by_method(table)
    shapes += [] if few else _stripes(len(rows))
    shown = layout(
        height,
        xaxis=axis("accuracy"),
        yaxis=axis(
            autorange="reversed",
            tickvals=[place for _, place in rows],
            ticktext=[title for title, _ in rows],
            showgrid=False,
        ),
        shapes=shapes,
        showlegend=len(data) > 1,
    )
    return Figure(name, caption, f"{caption} The same figures stand in the table.", height, data, shown)


Drawn = tuple[list[dict[str, Any]], list[tuple[str, float]], int]
"""Traces, titles of the rows with their places, and the height in pixels."""


def _by_condition(table: FaithfulnessTable) -> Drawn:
    span = len(table.columns)
    titles = [label(row.name.title) for row in table.rows]
    data: list[dict[str, Any]] = []
    for index, column in enumerate(table.columns):
        cells = [row.cells[index] for row in table.rows]
        points = [
            (cell.accuracy, row * span + index, titles[row]) for row, cell in enumerate(cells) if cell is not None
        ]
        data.append(_markers(label(column.title), points, index) | {"error_x": _error(each[0] for each in points)})
    rows = [(title, index * span + (span - 1) / 2) for index, title in enumerate(titles)]
    return data, rows, 120 + 30 * len(titles) + 6 * len(titles) * (span - 1)


def _by_method(table: FaithfulnessTable) -> Drawn:
    """The markers of a method stand a little below each other, so that equal accuracies can be told apart."""
    titles = [label(column.title) for column in table.columns]
    shown = ("original", "perturbed", *CONTROLS)
    data: list[dict[str, Any]] = []
    for index, row in enumerate(table.rows):
        place = shown.index(row.condition) if row.condition in shown else len(shown) / 2
        shift = 0.7 * (place / (len(shown) - 1) - 0.5)
        points = [
            (cell.accuracy, method + shift, titles[method])
            for method, cell in enumerate(row.cells)
            if cell is not None
        ]
        trace = _markers(label(row.name.title), points, index)
        if row.condition in ("original", "perturbed"):
            trace |= {"error_x": _error(each[0] for each in points)}
            trace["marker"] |= {"size": 11, "line": {"color": INK, "width": 1}}
        if row.condition not in shown:
            trace["visible"] = "legendonly"
        data.append(trace)
    return data, [(title, index) for index, title in enumerate(titles)], 190 + 58 * len(titles)


def _stripes(rows: int) -> list[dict[str, Any]]:
    """A wash behind every second row, since the markers of a row do not stand on one line."""
    return [
        {
            "type": "rect",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": row - 0.5,
            "y1": row + 0.5,
            "fillcolor": "#f1f4f7",
            "line": {"width": 0},
            "layer": "below",
        }
        for row in range(0, rows, 2)
    ]


def _markers(name: str, points: Sequence[tuple[Interval, float, str]], index: int) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [value.mean for value, _, _ in points],
        "y": [place for _, place, _ in points],
        "text": [title for _, _, title in points],
        "hovertemplate": "%{text}: %{x:.3f}",
        "marker": {
            "size": 9,
            "color": COLOURS[index % len(COLOURS)],
            "symbol": MARKERS[index % len(MARKERS)],
        },
    }


def _error(values: Iterable[Interval]) -> dict[str, Any]:
    known = list(values)
    return {
        "type": "data",
        "symmetric": False,
        "array": [value.high - value.mean for value in known],
        "arrayminus": [value.mean - value.low for value in known],
        "thickness": 1.5,
        "width": 4,
    }


def code_use_figure(rows: Sequence[Row], metrics: Metrics) -> Figure | None:
    """Training words per code, sorted, on a log scale: bars for the first seed, lines for the others.

    Args:
        rows: rows of `concepts`.
        metrics: the content of `metrics.json`.

    Returns:
        The plot, or None where the main method has no codes.
    """
    own = [row for row in rows if row["method"] == main_method(metrics)]
    seeds = sorted({int(row["seed"]) for row in own})
    if not seeds:
        return None
    data: list[dict[str, Any]] = []
    for index, seed in enumerate(seeds):
        used = sorted((int(row["train_words"]) for row in own if int(row["seed"]) == seed), reverse=True)
        used = [words for words in used if words > 0]
        trace: dict[str, Any] = {"x": list(range(1, len(used) + 1)), "y": used, "name": f"seed {seed}"}
        trace["hovertemplate"] = f"seed {seed}, rank %{{x}}: %{{y}} words<extra></extra>"
        if index == 0:
            trace |= {"type": "bar", "marker": {"color": "#8fbbdc", "line": {"width": 0}}}
        else:
            line = {"color": COLOURS[index % len(COLOURS)], "dash": DASHES[index % len(DASHES)], "width": 2}
            trace |= {"type": "scatter", "mode": "lines", "line": line}
        data.append(trace)
    size = len({int(row["concept"]) for row in own})
    unused = [size - len(trace["y"]) for trace in data]
    parts = ", ".join(f"{count(value)} (seed {seed})" for value, seed in zip(unused, seeds, strict=True))
    caption = (
        f"Training words per code, sorted. Of {count(size)} codes these hold none and are not drawn: {parts}."
    )
    shown = layout(
        320,
        xaxis=axis("codes, from the most to the least used", showgrid=False),
        yaxis=axis("words (log scale)", type="log", dtick=1),
        bargap=0.15 if size < 100 else 0,
        showlegend=len(seeds) > 1,
    )
    spread = f"The most used code holds {count(max((t['y'][0] for t in data if t['y']), default=0))} words."
    return Figure("code-use", caption, f"{caption} {spread}", 320, data, shown)


def majority(metrics: Metrics) -> float | None:
    """Share of the commonest class."""
    return number(entry(metrics, "model").get("majority"))

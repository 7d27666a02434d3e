"""Plots of the page as plain plotly figures: numbers and names of methods, never a text of a data set."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, NamedTuple

from clvq_exp.report.access import Metrics, entry, main_method, number
from clvq_exp.report.formatting import count, decimal
from clvq_exp.report.names import method_title
from clvq_exp.report.run_files import Row
from clvq_exp.report.tables import FaithfulnessTable
from clvq_exp.report.text_safety import visible

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Told apart by the colour-blind (Okabe and Ito); each comes with its own dash and marker besides."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MARKERS = ("circle", "diamond", "square", "triangle-up", "x", "star")
CURVES = (
    ("validation_loss", "Loss"),
    ("validation_reconstruction", "Reconstruction"),
    ("validation_commitment", "Commitment"),
    ("perplexity", "Perplexity"),
    ("alpha", "Alpha"),
    ("learning_rate", "Learning rate"),
)
_INK = "#1f2933"
_LINE = "#d9dfe5"


class Figure(NamedTuple):
    """One plot and what it shows in words."""

    name: str
    """Id on the page."""
    caption: str
    description: str
    """The text for those who do not see the plot."""
    height: int
    data: list[dict[str, Any]]
    layout: dict[str, Any]


def _label(text: str) -> str:
    return html.escape(visible(text))  # plotly reads a little HTML in labels


def _axis(title: str = "", **more: Any) -> dict[str, Any]:
    axis = {"gridcolor": _LINE, "linecolor": _LINE, "zeroline": False, "automargin": True, **more}
    return {**axis, "title": {"text": title}} if title else axis


def _layout(height: int, **more: Any) -> dict[str, Any]:
    return {
        "height": height,
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": _INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 56, "r": 16, "t": 36, "b": 48},
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "xanchor": "left"},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#7b8794", "activecolor": _INK},
        "hoverlabel": {"font": {"family": "system-ui, sans-serif"}},
        **more,
    }


def faithfulness_figure(table: FaithfulnessTable, name: str, majority: float | None) -> Figure | None:
    """Accuracy with interval per condition, one row of markers per method.

    Args:
        table: the table of one removal.
        name: id on the page.
        majority: share of the commonest class, drawn as a line.

    Returns:
        The plot, or None where the table is empty.
    """
    if not table.columns:
        return None
    titles = [_label(row.name.title) for row in table.rows]
    data = [_accuracies(table, index, titles) for index in range(len(table.columns))]
    height = 120 + 30 * len(titles) + 6 * len(titles) * (len(table.columns) - 1)
    shapes: list[dict[str, Any]] = []
    caption = "Accuracy of the probe under each condition, with 95% intervals."
    if majority is not None:
        line = {"color": "#52606d", "width": 1, "dash": "dot"}
        shapes = [
            {"type": "line", "x0": majority, "x1": majority, "y0": 0, "y1": 1, "yref": "paper", "line": line}
        ]
        caption += f" Dotted: the majority class ({decimal(majority)})."
    span = max(1, len(table.columns))
    layout = _layout(
        height,
        xaxis=_axis("accuracy"),
        yaxis=_axis(
            autorange="reversed",
            tickvals=[index * span + (span - 1) / 2 for index in range(len(titles))],
            ticktext=titles,
            showgrid=False,
        ),
        shapes=shapes,
        showlegend=len(table.columns) > 1,
    )
    return Figure(name, caption, f"{caption} The same figures stand in the table.", height, data, layout)


def _accuracies(table: FaithfulnessTable, index: int, titles: Sequence[str]) -> dict[str, Any]:
    span = max(1, len(table.columns))
    shown = [
        (row * span + index, each.cells[index], titles[row])
        for row, each in enumerate(table.rows)
        if each.cells[index]
    ]
    accuracies = [(place, cell.accuracy, title) for place, cell, title in shown if cell is not None]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": _label(table.columns[index].title),
        "x": [value.mean for _, value, _ in accuracies],
        "y": [place for place, _, _ in accuracies],
        "text": [title for _, _, title in accuracies],
        "hovertemplate": "%{text}: %{x:.3f}",
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [value.high - value.mean for _, value, _ in accuracies],
            "arrayminus": [value.mean - value.low for _, value, _ in accuracies],
            "thickness": 1.5,
            "width": 4,
        },
        "marker": {
            "size": 9,
            "color": COLOURS[index % len(COLOURS)],
            "symbol": MARKERS[index % len(MARKERS)],
        },
    }


def training_figures(rows: Sequence[Row], metrics: Metrics) -> list[Figure]:
    """The training curves of every trained method, the main one first.

    Args:
        rows: rows of `history`.
        metrics: the content of `metrics.json`.

    Returns:
        One figure per method that has a history.
    """
    present = {str(row["method"]) for row in rows}
    main = main_method(metrics)
    order = [main] * (main in present) + sorted(present - {main})
    return [_training(method, [row for row in rows if row["method"] == method]) for method in order]


def _training(method: str, rows: Sequence[Row]) -> Figure:
    curves = [(key, title) for key, title in CURVES if any(number(row.get(key)) is not None for row in rows)]
    lines, columns = (len(curves) + 2) // 3, 3
    data: list[dict[str, Any]] = []
    seeds = sorted({int(row["seed"]) for row in rows})
    layout = _layout(110 + 210 * lines, annotations=[], showlegend=True)
    layout["legend"] = {**layout["legend"], "y": -0.12, "yanchor": "top"}
    for place, (key, title) in enumerate(curves):
        axis = "" if place == 0 else str(place + 1)
        x, y = _domain(place % columns, columns, 0.07), _domain(lines - 1 - place // columns, lines, 0.16)
        layout[f"xaxis{axis}"] = _axis(domain=x, anchor=f"y{axis}", tickformat="d", nticks=6)
        layout[f"yaxis{axis}"] = _axis(domain=y, anchor=f"x{axis}", nticks=5)
        if key == "learning_rate":  # often constant: without a zero the axis would have no scale
            layout[f"yaxis{axis}"]["rangemode"] = "tozero"
        layout["annotations"].append(_heading(title, x[0], y[1]))
        for index, seed in enumerate(seeds):
            own = [row for row in rows if int(row["seed"]) == seed]
            data += _curves(own, key, f"seed {seed}", index, axis, first=place == 0)
    last = max(int(row["epoch"]) for row in rows)
    caption = (
        f"Training of {method_title(method)} by epoch, on the validation split; epoch 0 is before any "
        "update. Thin grey: the same on the training split."
    )
    return Figure(
        f"training-{method}", caption, _describe(method, rows, seeds, last), layout["height"], data, layout
    )


def _domain(place: int, places: int, gap: float) -> list[float]:
    size = (1 - gap * (places - 1)) / places
    return [place * (size + gap), min(1.0, place * (size + gap) + size)]


def _heading(title: str, x: float, y: float) -> dict[str, Any]:
    return {
        "text": f"<b>{title}</b>",
        "x": x,
        "y": y,
        "xref": "paper",
        "yref": "paper",
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
    }


def _curves(rows: Sequence[Row], key: str, name: str, index: int, axis: str, first: bool) -> list[dict[str, Any]]:
    rows = sorted(rows, key=lambda row: row["epoch"])
    common = {
        "type": "scatter",
        "mode": "lines",
        "x": [int(row["epoch"]) for row in rows],
        "xaxis": f"x{axis}",
        "yaxis": f"y{axis}",
    }
    own = {
        **common,
        "y": [number(row.get(key)) for row in rows],
        "name": name,
        "legendgroup": name,
        "showlegend": first,
        "line": {"color": COLOURS[index % len(COLOURS)], "dash": DASHES[index % len(DASHES)], "width": 2},
        "hovertemplate": f"{name}, epoch %{{x}}: %{{y:.4g}}<extra></extra>",
    }
    train = [number(row.get(key.replace("validation_", "train_"))) for row in rows]
    if not key.startswith("validation_") or all(value is None for value in train):
        return [own]
    grey = {"color": "#9aa5b1", "width": 1, "dash": DASHES[index % len(DASHES)]}
    hover = f"{name}, training split, epoch %{{x}}: %{{y:.4g}}<extra></extra>"
    beside = {
        **common,
        "y": train,
        "showlegend": False,
        "legendgroup": name,
        "line": grey,
        "hovertemplate": hover,
    }
    return [beside, own]


def _describe(method: str, rows: Sequence[Row], seeds: Sequence[int], last: int) -> str:
    losses = [number(row.get("validation_loss")) for row in rows]
    known = [loss for loss in losses if loss is not None]
    best = f", lowest validation loss {decimal(min(known), 4)}" if known else ""
    return f"Training curves of {method_title(method)}: {len(seeds)} seeds, up to epoch {last}{best}."


def code_use_figure(rows: Sequence[Row], metrics: Metrics) -> Figure | None:
    """Training words per code, sorted, on a log scale: bars for the first seed, lines for the others.

    Args:
        rows: rows of `code_use`.
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
    size = len({int(row["code"]) for row in own})
    unused = [size - len(trace["y"]) for trace in data]
    parts = ", ".join(f"{count(value)} (seed {seed})" for value, seed in zip(unused, seeds, strict=True))
    caption = (
        f"Training words per code, sorted. Of {count(size)} codes these hold none and are not drawn: {parts}."
    )
    layout = _layout(
        320,
        xaxis=_axis("codes, from the most to the least used", showgrid=False),
        yaxis=_axis("words (log scale)", type="log", dtick=1),
        bargap=0.15 if size < 100 else 0,
        showlegend=len(seeds) > 1,
    )
    spread = f"The most used code holds {count(max((t['y'][0] for t in data if t['y']), default=0))} words."
    return Figure("code-use", caption, f"{caption} {spread}", 320, data, layout)


def majority(metrics: Metrics) -> float | None:
    """Share of the commonest class."""
    return number(entry(metrics, "model").get("majority"))

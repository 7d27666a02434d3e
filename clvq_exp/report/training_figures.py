"""Training curves by epoch; where several methods share a figure, its legend chooses among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from clvq_exp.report.access import Metrics, methods, number
from clvq_exp.report.formatting import decimal
from clvq_exp.report.names import method_title
from clvq_exp.report.plots import COLOURS, DASHES, Figure, Panels, axis, axis_name, heading, label, layout, panels
from clvq_exp.report.run_files import Row

CURVES = (
    ("validation_loss", "Loss"),
    ("validation_reconstruction", "Reconstruction"),
    ("validation_commitment", "Commitment"),
    ("validation_sparsity", "Sparsity"),
    ("variance_explained", "Variance explained"),
    ("perplexity", "Perplexity"),
    ("l0", "L0"),
    ("dead_neurons", "Dead neurons"),
    ("alpha", "Alpha"),
    ("learning_rate", "Learning rate"),
)
_HEIGHT = 210
"""Of a panel, pixels."""


class _Line(NamedTuple):
    """One fit."""

    method: str
    seed: int
    colour: str
    dash: str
    group: str
    """Its name in the legend."""
    first: bool
    """It stands for its group in the legend."""
    shown: bool
    """Before anything is chosen."""


def training_figures(rows: Sequence[Row], metrics: Metrics) -> list[Figure]:
    """The training curves, a figure for the methods that have the same ones; the first method of each is shown.

    Args:
        rows: rows of `history`.
        metrics: the content of `metrics.json`.

    Returns:
        The figures, that of the main method first; none where nothing was trained.
    """
    present = {str(row["method"]) for row in rows}
    order = [name for name in methods(metrics) if name in present]
    order += sorted(present.difference(order))
    return [
        _figure(f"training-{index}", [row for row in rows if row["method"] in names], names, curves)
        for index, (names, curves) in enumerate(_families(rows, order))
    ]


def _families(rows: Sequence[Row], order: Sequence[str]) -> list[tuple[list[str], frozenset[str]]]:
    """Methods whose curves are the same, or some of another's: in one figure none of them has an empty panel."""
    found: list[tuple[list[str], frozenset[str]]] = []
    for name in order:
        own = [row for row in rows if row["method"] == name]
        curves = frozenset(key for key, _ in CURVES if any(number(row.get(key)) is not None for row in own))
        for index, (names, known) in enumerate(found):
            if curves <= known or known <= curves:
                found[index] = ([*names, name], known | curves)
                break
        else:
            found.append(([name], curves))
    return found


def _figure(name: str, rows: Sequence[Row], order: Sequence[str], keys: frozenset[str]) -> Figure:
    curves = [(key, title) for key, title in CURVES if key in keys]
    data = [
        trace
        for place, (key, _) in enumerate(curves)
        for line in _lines(rows, order)
        for trace in _traces(rows, line, key, place)
    ]
    epochs = max(int(row["epoch"]) for row in rows)
    wide, narrow = (_layout(curves, epochs, columns) for columns in (3, 1))
    seeds = sorted({int(row["seed"]) for row in rows})
    parts = [f"{method_title(method)}{_lowest_loss(rows, method)}" for method in order]
    description = f"Training curves, {len(seeds)} seeds, up to epoch {epochs}: {'; '.join(parts)}."
    return Figure(name, _caption(order), description, wide["height"], data, wide, narrow)


def _lines(rows: Sequence[Row], order: Sequence[str]) -> list[_Line]:
    """With several methods a colour each and a dash per seed; with one a colour and a dash per seed."""
    lines: list[_Line] = []
    for index, method in enumerate(order):
        seeds = sorted({int(row["seed"]) for row in rows if row["method"] == method})
        for place, seed in enumerate(seeds):
            several = len(order) > 1
            lines.append(
                _Line(
                    method,
                    seed,
                    COLOURS[(index if several else place) % len(COLOURS)],
                    DASHES[place % len(DASHES)],
                    label(method_title(method)) if several else f"seed {seed}",
                    first=place == 0 or not several,
                    shown=index == 0,
                )
            )
    return lines


def _caption(order: Sequence[str]) -> str:
    what = f"Training of {method_title(order[0])}" if len(order) == 1 else "Training"
    text = (
        f"{what} by epoch, on the validation split; epoch 0 is before any update. Thin: the same on the training "
        "split."
    )
    if len(order) > 1:
        text += (
            " A click in the legend shows or hides a method, a double click shows it alone; each seed has its "
            "dash. A method that rebuilds another layer has another loss."
        )
    return text


def _lowest_loss(rows: Sequence[Row], method: str) -> str:
    losses = [number(row.get("validation_loss")) for row in rows if row["method"] == method]
    known = [loss for loss in losses if loss is not None]
    return f", lowest validation loss {decimal(min(known), 4)}" if known else ""


def _layout(curves: Sequence[tuple[str, str]], epochs: int, columns: int) -> dict[str, Any]:
    places: Panels = panels(len(curves), columns, (0.07, 0.42 / -(-len(curves) // columns)))
    made = layout(130 + _HEIGHT * places.lines, annotations=[], showlegend=True)
    made["margin"] = {**made["margin"], "t": 56, "b": 30}
    made["legend"] = {**made["legend"], "y": -0.1 / places.lines - 0.03, "yanchor": "top"}
    for place, (key, title) in enumerate(curves):
        name, x, y = axis_name(place), places.x(place), places.y(place)
        made[f"xaxis{name}"] = axis(domain=x, anchor=f"y{name}", tickformat="d", dtick=-(-epochs // 6) or 1)
        made[f"yaxis{name}"] = axis(domain=y, anchor=f"x{name}", nticks=5)
        if key == "learning_rate":  # often constant: without a zero the axis would have no scale
            made[f"yaxis{name}"]["rangemode"] = "tozero"
        made["annotations"].append(heading(title, x[0], y[1]))
    return made


def _traces(rows: Sequence[Row], line: _Line, key: str, place: int) -> list[dict[str, Any]]:
    own = [row for row in rows if row["method"] == line.method and int(row["seed"]) == line.seed]
    own.sort(key=lambda row: row["epoch"])
    values = [number(row.get(key)) for row in own]
    if all(value is None for value in values):
        values = []
    name = axis_name(place)
    who = f"{label(method_title(line.method))}, seed {line.seed}"
    common: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines",
        "x": [int(row["epoch"]) for row in own] if values else [],
        "xaxis": f"x{name}",
        "yaxis": f"y{name}",
        "name": line.group,
        "legendgroup": line.group,
        "showlegend": False,
    }
    if not line.shown:
        common["visible"] = "legendonly"
    style = {"color": line.colour, "dash": line.dash}
    main = {
        **common,
        "y": values,
        "showlegend": place == 0 and line.first,
        "line": {**style, "width": 2},
        "hovertemplate": f"{who}, epoch %{{x}}: %{{y:.4g}}<extra></extra>",
    }
    train = [number(row.get(key.replace("validation_", "train_"))) for row in own]
    if not values:
        return [main] if main["showlegend"] else []
    if not key.startswith("validation_") or all(value is None for value in train):
        return [main]
    beside = {
        **common,
        "y": train,
        "line": {**style, "width": 1},
        "opacity": 0.45,
        "hovertemplate": f"{who}, training split, epoch %{{x}}: %{{y:.4g}}<extra></extra>",
    }
    return [beside, main]

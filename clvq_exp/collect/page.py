"""All tables and figures as one page that opens from the disk, without a network."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clvq_exp.collect.drawing import COLOURS
from clvq_exp.collect.plots import Panel, Plot, Point, Series
from clvq_exp.collect.sheets import NO_REPRODUCTION, Sheet
from clvq_exp.report.embedding import embedded_json, escaping_templates, plotly_script, script_hash, trusted
from clvq_exp.report.plots import heading
from clvq_exp.report.text_safety import shorten, visible

_TEMPLATES = Path(__file__).parent / "templates"
_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "triangle-down", "cross", "x")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "10px,4px")
_INK, _LINE, _GREY = "#1f2933", "#d9dfe5", "#6b7785"
_HEIGHT = 380
"""Pixels of a panel with its axes."""
_LONGEST_NAME = 60


def page(sheets: Sequence[Sheet], plots: Sequence[Plot], facts: Sequence[str]) -> str:
    """The page: no script runs on it but plotly and the few lines that call it, and no text of a run is code.

    Args:
        sheets: the tables.
        plots: the figures; each stands below the table of its key.
        facts: sentences at the top.
    """
    figures = {plot.key: _figure(plot) for plot in plots}
    scripts = [plotly_script(), (_TEMPLATES / "draw.js").read_text(encoding="utf-8")] if plots else []
    return (
        escaping_templates(_TEMPLATES)
        .get_template("tables.html.j2")
        .render(
            sheets=sheets,
            plots={plot.key: plot for plot in plots},
            data=trusted(embedded_json(figures)),
            scripts=[trusted(script) for script in scripts],
            hashes=[script_hash(script) for script in scripts],
            facts=facts,
            no_reproduction=NO_REPRODUCTION,
        )
    )


def _label(text: str) -> str:
    return html.escape(visible(shorten(text, _LONGEST_NAME)))  # plotly reads a little HTML in labels


def _figure(plot: Plot) -> dict[str, Any]:
    """A plot as plotly takes it: one panel above the other."""
    n = len(plot.panels)
    height = _HEIGHT * n
    layout: dict[str, Any] = {
        "height": height,
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": _INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 64, "r": 16, "t": 36, "b": 48},
        "hovermode": "closest",
        "annotations": [],
        "showlegend": True,
    }
    gap = 110 / height
    size = (1 - gap * (n - 1)) / n
    data: list[dict[str, Any]] = []
    ours, printed = (
        list(
            dict.fromkeys(each.name for panel in plot.panels for each in panel.series if each.is_paper is of_paper)
        )
        for of_paper in (False, True)
    )
    numbers = {name: number for names in (ours, printed) for number, name in enumerate(names)}
    for place, panel in enumerate(plot.panels):
        top = 1 - place * (size + gap)
        where = "" if place == 0 else str(place + 1)
        data += _panel(panel, where, (max(0.0, top - size), top), layout, numbers)
    return {"data": data, "layout": layout}


def _panel(
    panel: Panel, axis: str, domain: tuple[float, float], layout: dict[str, Any], numbers: Mapping[str, int]
) -> list[dict[str, Any]]:
    """The lines of a panel; its axes are put into the layout. A line has one number in all panels."""
    common = {"gridcolor": _LINE, "linecolor": _LINE, "zeroline": False, "automargin": True}
    layout[f"xaxis{axis}"] = {**common, "title": {"text": _label(panel.x_title)}, "anchor": f"y{axis}"}
    layout[f"yaxis{axis}"] = {
        **common,
        "title": {"text": _label(panel.y_title)},
        "anchor": f"x{axis}",
        "domain": list(domain),
    }
    if panel.log_x:
        values = sorted({float(point.x) for each in panel.series for point in each.points})
        ticks = {"type": "log", "tickvals": values, "ticktext": [f"{value:g}" for value in values]}
        layout[f"xaxis{axis}"] |= ticks
    elif any(isinstance(point.x, str) for each in panel.series for point in each.points):
        names = dict.fromkeys(str(point.x) for each in panel.series for point in each.points)
        ordered = sorted(names, key=lambda name: [int(part) if part.isdigit() else 0 for part in name.split("-")])
        layout[f"xaxis{axis}"] |= {"type": "category", "categoryorder": "array", "categoryarray": ordered}
    legend = "legend" + axis
    layout[legend] = {"y": domain[1], "yanchor": "top", "x": 1.02, "xanchor": "left", "font": {"size": 11}}
    if panel.title:
        layout["annotations"].append(heading(_label(panel.title), 0, domain[1]))
    found: list[dict[str, Any]] = []
    where = {"xaxis": f"x{axis}", "yaxis": f"y{axis}", "legend": legend}
    for each in panel.series:
        found += _traces(each, numbers[each.name], panel.band, where)
    return found


def _traces(series: Series, index: int, band: bool, where: dict[str, str]) -> list[dict[str, Any]]:
    colour = _GREY if series.is_paper else COLOURS[index % len(COLOURS)]
    name = _label(series.name)
    dash = _DASHES[1 + index % (len(_DASHES) - 1)] if series.is_paper else _DASHES[index % len(_DASHES)]
    line: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines" if band else "lines+markers",
        "name": name,
        "x": [point.x for point in series.points],
        "y": [point.y for point in series.points],
        "line": {"color": colour, "dash": dash, "width": 1 if series.is_paper else 2},
        "marker": {"color": colour, "symbol": _SYMBOLS[index % len(_SYMBOLS)], "size": 8},
        "hovertemplate": f"{name}, %{{x}}: %{{y:.5g}}<extra></extra>",
        **where,
    }
    known = [point for point in series.points if point.low is not None and point.high is not None]
    if not known:
        return [line]
    if not band:
        line["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [None if point.high is None else max(0.0, point.high - point.y) for point in series.points],
            "arrayminus": [
                None if point.low is None else max(0.0, point.y - point.low) for point in series.points
            ],
            "thickness": 1.5,
            "width": 4,
        }
        return [line]
    return [_outline(known, colour, where), line]


def _outline(points: Sequence[Point], colour: str, where: dict[str, str]) -> dict[str, Any]:
    """The band between the ends of the intervals."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [point.x for point in (*points, *reversed(points))],
        "y": [*(point.high for point in points), *(point.low for point in reversed(points))],
        "fill": "toself",
        "fillcolor": _transparent(colour),
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
        **where,
    }


def _transparent(colour: str) -> str:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.15)"

"""The label purity of the codes as histograms, a panel per method, beside the same under shuffled labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from clvq_exp.report.access import Metrics, block, entry, number
from clvq_exp.report.formatting import count, percent
from clvq_exp.report.names import SHUFFLES, method_title
from clvq_exp.report.plots import (
    COLOURS,
    DASH_WORDS,
    DASHES,
    INK,
    MARKERS,
    Figure,
    Panels,
    axis,
    axis_name,
    heading,
    label,
    layout,
    panels,
)
from clvq_exp.report.shuffles import described

_HEIGHT = 220
"""Of a panel, pixels."""
_BARS = "#a9cbe6"


def purity_figure(metrics: Metrics) -> Figure | None:
    """Shares of the codes by their label purity: bars, with a line for each shuffle.

    Args:
        metrics: the content of `metrics.json`.

    Returns:
        The plot; None where no purity was measured.
    """
    found = {name: _histograms(metrics, name) for name in described(metrics)}
    found = {name: histograms for name, histograms in found.items() if "" in histograms}
    if not found:
        return None
    drawn = [key for key in SHUFFLES if any(key in histograms for histograms in found.values())]
    first = _first_bin(found.values())
    data = [
        trace
        for place, histograms in enumerate(found.values())
        for trace in _panel(histograms, drawn, place, first)
    ]
    in_legend: set[str] = set()
    for trace in data:
        trace["showlegend"] = trace["name"] not in in_legend
        in_legend.add(trace["name"])
    titles = [label(method_title(name)) for name in found]
    wide, narrow = (_layout(titles, columns, first) for columns in (min(3, len(titles)), 1))
    lines = "".join(f"; {DASH_WORDS[index + 1]}: {SHUFFLES[key].title}" for index, key in enumerate(drawn))
    caption = (
        "Label purity of the codes that hold training words: share of the codes in each twentieth, mean over "
        f"seeds. Bars: as it is{lines}."
    )
    parts = [f"{method_title(name)} {_pure(metrics, name)}" for name in found]
    description = f"{caption} Share of codes with words of one label only: {'; '.join(parts)}."
    return Figure("purity", caption, description, wide["height"], data, wide, narrow)


def _histograms(metrics: Metrics, method: str) -> dict[str, list[float]]:
    """Shares of the codes by bin, under the name of each shuffle; the measured one under the empty name."""
    purity = entry(block(metrics, method, "specificity"), "purity")
    sources: dict[str, Mapping[str, Any]] = {"": purity, **{key: entry(purity, key) for key in SHUFFLES}}
    found: dict[str, list[float]] = {}
    for key, values in sources.items():
        bins = values.get("histogram")
        counts = [number(each) or 0.0 for each in cast("list[object]", bins)] if isinstance(bins, list) else []
        if sum(counts) > 0:
            found[key] = [each / sum(counts) for each in counts]
    return found


def _first_bin(found: Any) -> int:
    """The first bin that anything falls into, less one for air."""
    used = [
        index
        for histograms in found
        for bins in histograms.values()
        for index, share in enumerate(bins)
        if share > 0
    ]
    return max(0, min(used) - 1)


def _panel(
    histograms: Mapping[str, Sequence[float]], drawn: Sequence[str], place: int, first: int
) -> list[dict[str, Any]]:
    bins = len(histograms[""])
    edges = [index / bins for index in range(first, bins)]
    centres = [edge + 0.5 / bins for edge in edges]
    common = {"x": centres, "xaxis": f"x{axis_name(place)}", "yaxis": f"y{axis_name(place)}"}
    ranges = [f"{percent(edge, 0)} to {percent(edge + 1 / bins, 0)}" for edge in edges]
    traces: list[dict[str, Any]] = [
        {
            **common,
            "type": "bar",
            "name": "as it is",
            "legendgroup": "as it is",
            "y": list(histograms[""][first:]),
            "text": ranges,
            "textposition": "none",
            "marker": {"color": _BARS, "line": {"color": INK, "width": 0.5}},
            "hovertemplate": "purity %{text}: %{y:.1%} of the codes<extra></extra>",
        }
    ]
    for index, key in enumerate(drawn):
        if key not in histograms:
            continue
        title = SHUFFLES[key].title
        traces.append(
            {
                **common,
                "type": "scatter",
                "mode": "lines+markers",
                "name": title,
                "legendgroup": title,
                "y": list(histograms[key][first:]),
                "text": ranges,
                "line": {"color": COLOURS[index + 1], "dash": DASHES[index + 1], "width": 2},
                "marker": {"symbol": MARKERS[index + 1], "size": 6},
                "hovertemplate": f"{title}, purity %{{text}}: %{{y:.1%}} of the codes<extra></extra>",
            }
        )
    return traces


def _layout(titles: Sequence[str], columns: int, first: int) -> dict[str, Any]:
    places: Panels = panels(len(titles), columns, (0.08, 0.36 / -(-len(titles) // columns)))
    made = layout(130 + _HEIGHT * places.lines, annotations=[], bargap=0, showlegend=True)
    made["margin"] = {**made["margin"], "t": 56, "b": 30}
    made["legend"] = {**made["legend"], "y": -0.1 / places.lines - 0.03, "yanchor": "top"}
    for place, title in enumerate(titles):
        name, x, y = axis_name(place), places.x(place), places.y(place)
        made[f"xaxis{name}"] = axis(
            domain=x, anchor=f"y{name}", range=[first / 20, 1.0], tickformat=".0%", nticks=6, showgrid=False
        )
        made[f"yaxis{name}"] = axis(domain=y, anchor=f"x{name}", tickformat=".0%", nticks=5, rangemode="tozero")
        made["annotations"].append(heading(title, x[0], y[1]))
    return made


def _pure(metrics: Metrics, method: str) -> str:
    purity = entry(block(metrics, method, "specificity"), "purity")
    return f"{percent(number(purity.get('pure_share')))} of {count(number(purity.get('codes')))}"

"""The curves as SVG and PNG, by matplotlib."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from clvq_exp.artifacts import write_bytes
from clvq_exp.collect.plots import Panel, Plot, Series
from clvq_exp.report.text_safety import shorten, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7b3294")
"""Told apart by the colour-blind (Okabe and Ito); each comes with a marker of its own besides."""
MARKERS = ("o", "D", "s", "^", "v", "P", "X")
FORMATS = ("svg", "png")
_GREY = "#6b7785"
_COLUMNS = 3
_LONGEST_NAME = 60


def draw(plot: Plot, folder: Path) -> list[Path]:
    """Write a plot as SVG and PNG, each at once or not at all.

    Args:
        plot: what is drawn.
        folder: where to; the files carry the plot's key.

    Returns:
        The files.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(plot.panels))
    lines = -(-len(plot.panels) // columns)
    paths: list[Path] = []
    # text stays text, and the same figures give the same file
    style: Any = {"svg.fonttype": "none", "svg.hashsalt": plot.key, "font.size": 9}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(1.2 + 4.3 * columns, 0.9 + 3.6 * lines), layout="constrained")
        FigureCanvasAgg(figure)
        title = [visible(line) for line in (plot.title, *wrap(plot.caption, 62 * columns))]
        figure.suptitle(_plain("\n".join(title)), fontsize=9, x=0.01, ha="left")
        styles = _styles(plot)
        for place, panel in enumerate(plot.panels):
            _draw_panel(figure.add_subplot(lines, columns, place + 1), panel, styles)
        _legend(figure, columns)
        for ending in FORMATS:
            stream = io.BytesIO()
            metadata: Any = {"Date": None} if ending == "svg" else None
            figure.savefig(stream, format=ending, dpi=150, metadata=metadata)
            path = folder / f"{plot.key}.{ending}"
            write_bytes(path, stream.getvalue())
            paths.append(path)
    return paths


def _plain(text: str) -> str:
    return text.replace("$", r"\$")  # between dollars it would read formulas


def _label(text: str) -> str:
    return _plain(shorten(visible(text), _LONGEST_NAME))


def _styles(plot: Plot) -> dict[str, dict[str, Any]]:
    """Colour, marker and dashes of each line by its name, the same in all panels."""
    ours = list(dict.fromkeys(each.name for panel in plot.panels for each in panel.series if not each.is_paper))
    printed = list(dict.fromkeys(each.name for panel in plot.panels for each in panel.series if each.is_paper))
    styles: dict[str, dict[str, Any]] = {
        name: {
            "color": COLOURS[index % len(COLOURS)],
            "marker": MARKERS[index % len(MARKERS)],
            "linestyle": ("-", "--", ":", "-.")[index // len(COLOURS) % 4],
            "linewidth": 1.5,
            "markersize": 5,
            "zorder": 2,
        }
        for index, name in enumerate(ours)
    }
    for index, name in enumerate(printed):
        dashes = ("--", ":", "-.")[index % 3]
        styles[name] = {"color": _GREY, "marker": ".", "linestyle": dashes, "linewidth": 1, "zorder": 1}
    return styles


def _legend(figure: Figure, columns: int) -> None:
    """One legend for all panels, below them."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    if len(found) > 1:
        place: Any = "outside lower left"
        beside = max(1, 90 * columns // (max(map(len, found)) + 8))  # as many as fit: some 90 letters to a panel
        figure.legend(list(found.values()), list(found), loc=place, fontsize=8, frameon=False, ncols=beside)


def _draw_panel(axes: Axes, panel: Panel, styles: Mapping[str, Mapping[str, Any]]) -> None:
    places = _categories(panel.series)
    for each in panel.series:
        _draw_series(axes, each, styles[each.name], places, panel.band)
    if places:
        axes.set_xticks(list(places.values()), [_label(name) for name in places])
    elif panel.log_x:
        _log_axis(axes, panel)
    axes.set_title(_label(panel.title), fontsize=9, loc="left")
    axes.set_xlabel(_label(panel.x_title))
    axes.set_ylabel(_label(panel.y_title))
    axes.grid(color="#e3e7eb", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_series(
    axes: Axes, series: Series, style: Mapping[str, Any], places: Mapping[str, int], band: bool
) -> None:
    x, y = _coordinates(series, places)
    known = [(at, point) for at, point in zip(x, series.points, strict=True) if point.low is not None]
    lows, highs = [point.low or 0.0 for _, point in known], [point.high or 0.0 for _, point in known]
    at, heights, colour = [at for at, _ in known], [point.y for _, point in known], style["color"]
    shown: dict[str, Any] = {**style, "marker": ""} if band else {**style}
    axes.plot(x, y, label=_label(series.name), **shown)
    if not known:
        return
    if band:
        axes.fill_between(at, lows, highs, color=colour, alpha=0.15, linewidth=0)
        return
    ends = [  # an interval need not hold its mean
        [max(0.0, height - low) for height, low in zip(heights, lows, strict=True)],
        [max(0.0, high - height) for height, high in zip(heights, highs, strict=True)],
    ]
    axes.errorbar(at, heights, ends, fmt="none", ecolor=colour, capsize=3, zorder=2)


def _log_axis(axes: Axes, panel: Panel) -> None:
    """A log scale with a tick at each value, and no others."""
    from matplotlib.ticker import NullFormatter, NullLocator

    values = sorted({float(point.x) for each in panel.series for point in each.points})
    axes.set_xscale("log")
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _categories(series: Sequence[Series]) -> dict[str, int]:
    """Names on the x axis and their places; none where it is of numbers."""
    names = {point.x for each in series for point in each.points if isinstance(point.x, str)}
    ordered = sorted(names, key=lambda name: [int(part) if part.isdigit() else 0 for part in name.split("-")])
    return {name: place for place, name in enumerate(ordered)}


def _coordinates(series: Series, places: Mapping[str, int]) -> tuple[list[float], list[float]]:
    x = [float(places[point.x]) if isinstance(point.x, str) else point.x for point in series.points]
    return x, [point.y for point in series.points]

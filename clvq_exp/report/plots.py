"""What all plots of the page have in common: colours, dashes, markers, axes."""

from __future__ import annotations

import html
from typing import Any, NamedTuple

from clvq_exp.report.text_safety import visible

COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#4d4d4d",
    "#7a5195",
    "#8c6d1f",
    "#a3195b",
)
"""The first six are told apart by the colour-blind (Okabe and Ito); each comes with a dash and marker besides."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
DASH_WORDS = ("solid", "dashed", "dotted", "dash and dot", "long dashes", "long dashes and dots")
MARKERS = (
    "circle",
    "diamond",
    "square",
    "triangle-up",
    "x",
    "star",
    "triangle-down",
    "cross",
    "pentagon",
    "hexagram",
    "bowtie",
    "hourglass",
    "star-diamond",
)
INK = "#1f2933"
LINE = "#d9dfe5"


class Figure(NamedTuple):
    """One plot and what it shows in words."""

    name: str
    """Id on the page."""
    caption: str
    description: str
    """The text for those who do not see the plot."""
    height: int
    """Pixels."""
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    narrow: dict[str, Any] | None = None
    """Replaces entries of the layout where there is little room."""


class Panels(NamedTuple):
    """Places of small plots in a figure, row by row."""

    columns: int
    lines: int
    gap: tuple[float, float]
    """Share of the width and of the height that is left free between two."""

    def x(self, place: int) -> list[float]:
        """Where a panel begins and ends from left to right, as shares of the width."""
        return _domain(place % self.columns, self.columns, self.gap[0])

    def y(self, place: int) -> list[float]:
        """Where a panel begins and ends from the bottom up, as shares of the height."""
        return _domain(self.lines - 1 - place // self.columns, self.lines, self.gap[1])


def panels(number: int, columns: int, gap: tuple[float, float]) -> Panels:
    """Places for a number of panels."""
    return Panels(columns, -(-number // columns), gap)


def _domain(place: int, places: int, gap: float) -> list[float]:
    size = (1 - gap * (places - 1)) / places
    return [place * (size + gap), min(1.0, place * (size + gap) + size)]


def axis_name(place: int) -> str:
    """What plotly appends to the names of a panel's axes."""
    return "" if place == 0 else str(place + 1)


def label(text: str) -> str:
    """Any text as plotly shows it: it reads a little HTML in labels."""
    return html.escape(visible(text))


def axis(title: str = "", **more: Any) -> dict[str, Any]:
    """An axis; `more` is plotly's."""
    made = {"gridcolor": LINE, "linecolor": LINE, "zeroline": False, "automargin": True, **more}
    return {**made, "title": {"text": title}} if title else made


def layout(height: int, **more: Any) -> dict[str, Any]:
    """The layout of a figure; `more` is plotly's."""
    return {
        "height": height,
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 56, "r": 16, "t": 36, "b": 48},
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "xanchor": "left"},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#7b8794", "activecolor": INK},
        "hoverlabel": {"font": {"family": "system-ui, sans-serif"}},
        **more,
    }


def heading(title: str, x: float, y: float) -> dict[str, Any]:
    """A title over a panel, whose text is escaped already."""
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

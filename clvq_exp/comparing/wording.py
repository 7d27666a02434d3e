"""Figures of a comparison as a reader sees them."""

from __future__ import annotations

from clvq_exp.comparing.figures import Unit, Value
from clvq_exp.report.formatting import NOTHING, count, decimal, percent

_LARGE = 100
"""From here on a number has one digit behind the point."""


def number(value: float, unit: Unit) -> str:
    """A number in its unit."""
    if unit is Unit.share:
        return percent(value)
    if unit is Unit.count:
        return count(value)
    return decimal(value, 1 if unit is Unit.number and abs(value) >= _LARGE else 3)


def figure(value: Value | None, unit: Unit) -> str:
    """The mean of a figure."""
    return NOTHING if value is None else number(value.mean, unit)


def signed(value: Value | None, unit: Unit) -> str:
    """A difference, with its sign whichever it is."""
    text = figure(value, unit)
    return (
        f"+{text}" if value is not None and value.mean > 0 and any(each in "123456789" for each in text) else text
    )


def ends(value: Value | None, unit: Unit) -> str:
    """The ends of its interval; empty where it has none."""
    if value is None or value.low is None or value.high is None:
        return ""
    return f"[{number(value.low, unit)}, {number(value.high, unit)}]"

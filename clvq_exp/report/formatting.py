"""Numbers as a reader sees them: fixed digits, a true minus sign, a dash where there is none."""

from __future__ import annotations

from clvq_exp.report.access import Interval

NOTHING = "–"
"""Stands where there is no value."""


def decimal(value: float | None, digits: int = 3) -> str:
    """A number with fixed digits: `0.750`, `−0.012`."""
    if value is None:
        return NOTHING
    text = f"{value:,.{digits}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage: 0.125 is `12.5%`."""
    return NOTHING if value is None else f"{decimal(value * 100, digits)}%"


def bounds(value: Interval | None, digits: int = 3) -> str:
    """The two ends of an interval: `[0.701, 0.799]`."""
    return NOTHING if value is None else f"[{decimal(value.low, digits)}, {decimal(value.high, digits)}]"


def with_bounds(value: Interval | None) -> str:
    """A mean with its interval: `0.750 [0.701, 0.799]`."""
    return NOTHING if value is None else f"{decimal(value.mean)} {bounds(value)}"


def percent_bounds(value: Interval | None) -> str:
    """The ends of an interval of shares: `[10.0%, 15.1%]`."""
    return NOTHING if value is None else f"[{percent(value.low)}, {percent(value.high)}]"


def percent_with_bounds(value: Interval | None) -> str:
    """A share with its interval: `12.5% [10.0%, 15.1%]`."""
    return NOTHING if value is None else f"{percent(value.mean)} {percent_bounds(value)}"


def p_value(value: float | None) -> str:
    """A p-value to three digits; smaller ones as `< 0.001`."""
    if value is None:
        return NOTHING
    return "< 0.001" if value < 0.001 else decimal(value)


def count(value: float | None) -> str:
    """A whole number with separators, or one decimal where it is not whole."""
    if value is None:
        return NOTHING
    return f"{int(value):,}" if value == int(value) else decimal(value, 1)


def seconds(value: float | None) -> str:
    """A duration: `0.4 s`, `12.3 s`, `2 min 05 s`, `1 h 02 min`."""
    if value is None:
        return NOTHING
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def memory(value: float | None) -> str:
    """A number of bytes in GiB, in MiB below one, or in KiB."""
    if value is None:
        return NOTHING
    gib = value / 2**30
    if gib >= 1:
        return f"{gib:.2f} GiB"
    return f"{value / 2**20:.0f} MiB" if value >= 2**20 else f"{value / 2**10:.0f} KiB"

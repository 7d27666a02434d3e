"""Reading the metrics of a run: intervals, methods, blocks. Absent and null entries are the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

Metrics = Mapping[str, Any]
"""The content of `metrics.json`."""


class Interval(NamedTuple):
    """A mean and its 95% bootstrap interval."""

    mean: float
    low: float
    high: float


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty one."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def entry(metrics: Metrics, *path: str) -> Mapping[str, Any]:
    """The mapping at a path of keys; empty where anything on the way is absent or null."""
    found: Mapping[str, Any] = metrics
    for key in path:
        found = mapping(found.get(key))
    return found


def number(value: object) -> float | None:
    """A finite number, or None. The mean, where the value is an interval."""
    if isinstance(value, Mapping):
        value = mapping(cast("object", value)).get("mean")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def interval(value: object) -> Interval | None:
    """An interval, or None where the value is none."""
    parts = mapping(value)
    mean, low, high = (number(parts.get(key)) for key in ("mean", "low", "high"))
    return None if mean is None or low is None or high is None else Interval(mean, low, high)


def main_method(metrics: Metrics) -> str:
    """The method that the run is about."""
    return str(entry(metrics, "cell").get("method", "method"))


def methods(metrics: Metrics) -> list[str]:
    """The main method, then those beside it."""
    return [main_method(metrics), *entry(metrics, "beside")]


def block(metrics: Metrics, method: str, kind: str) -> Mapping[str, Any]:
    """The `faithfulness`, `intervention` or `codebook` of a method; empty where there is none."""
    source = metrics if method == main_method(metrics) else entry(metrics, "beside", method)
    return entry(source, kind)


def seeds(metrics: Metrics) -> list[int]:
    """The seeds of the run."""
    return [int(seed) for seed in entry(metrics, "cell").get("seeds") or []]


def relative_drop(original: float | None, accuracy: float | None) -> float | None:
    """`(original - accuracy) / original`, Table 1; None where it cannot be formed."""
    if original is None or accuracy is None or original == 0:
        return None
    return (original - accuracy) / original

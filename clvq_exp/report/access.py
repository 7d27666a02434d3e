"""Reading the metrics of a run: intervals, methods, blocks. Absent and null entries are the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from clvq_exp.report.names import CONTROLS, REMOVALS, removals_in_order

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


def compared(metrics: Metrics) -> list[Mapping[str, Any]]:
    """The pairs of methods that were held against each other, each with its `methods` and `removals`."""
    pairs = metrics.get("comparisons")
    return [mapping(pair) for pair in cast("list[object]", pairs)] if isinstance(pairs, list) else []


def methods(metrics: Metrics) -> list[str]:
    """The main method, then those beside it in the order in which they were asked for.

    `metrics.json` sorts its keys, so the order stands in the comparisons alone.
    """
    present = [main_method(metrics), *entry(metrics, "beside")]
    asked = [str(name) for pair in compared(metrics) for name in pair.get("methods") or []]
    return [name for name in dict.fromkeys([present[0], *asked, *present]) if name in present]


def own_removal(metrics: Metrics, method: str, kind: str = "faithfulness") -> str | None:
    """The removal by which a method is held against the others; None where it has none.

    The first comparison that names the method tells it. A method that stands alone is read by a removal that
    it alone could have, where there is one.

    Args:
        metrics: the content of `metrics.json`.
        method: as in `metrics.json`.
        kind: `faithfulness` or `intervention`.
    """
    present = [name for name, values in block(metrics, method, kind).items() if values]
    for pair in compared(metrics):
        for name, removal in zip(pair.get("methods") or [], pair.get("removals") or [], strict=False):
            if name == method and removal in present:
                return str(removal)
    order = removals_in_order(present)
    return next((name for name in order if name not in REMOVALS), order[0] if order else None)


def block(metrics: Metrics, method: str, kind: str) -> Mapping[str, Any]:
    """The `faithfulness`, `intervention`, `codebook` or `specificity` of a method; empty where there is none."""
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


def strongest_control(values: Mapping[str, Any]) -> tuple[str, float] | None:
    """The control with the largest drop, and that drop as a share of the original accuracy.

    Args:
        values: of one removal.
    """
    original = number(values.get("original"))
    drops = {name: relative_drop(original, number(values.get(name))) for name in CONTROLS}
    known = [(drop, name) for name, drop in drops.items() if drop is not None]
    if not known:
        return None
    drop, name = max(known, key=lambda each: each[0])
    return name, drop

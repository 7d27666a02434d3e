"""How cost grows: exponents of power laws, fitted to logarithms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class PowerLaw(NamedTuple):
    """cost = c x^exponent, by least squares of the logarithms."""

    exponent: float
    constant: float
    """c, in the unit of the costs."""
    residual: float
    """The largest factor, at least 1, by which a measured cost and the law differ."""


def power_law(x: Sequence[float], cost: Sequence[float]) -> PowerLaw:
    """Fit a power law.

    Args:
        x: at least two different sizes, all above 0.
        cost: of each, above 0.

    Raises:
        ValueError: too few sizes, or one that has no logarithm.
    """
    sizes, costs = np.asarray(x, dtype=np.float64), np.asarray(cost, dtype=np.float64)
    if len(set(sizes.tolist())) < 2 or (sizes <= 0).any() or (costs <= 0).any():
        raise ValueError("a power law needs two different sizes, and sizes and costs above 0")
    logs = np.log(sizes)
    exponent, intercept = np.polyfit(logs, np.log(costs), 1)
    off = np.abs(np.log(costs) - (exponent * logs + intercept)).max()
    return PowerLaw(float(exponent), float(np.exp(intercept)), float(np.exp(off)))

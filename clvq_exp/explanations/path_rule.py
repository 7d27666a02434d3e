"""Rules for the integral along the path of Integrated Gradients whose points come again in the next rule.

Fejér's second rule has its points at the cosines of equal angles, so that of 2n + 1 points every other one is a
point of the rule of n: a sentence that needs more of them pays for the new ones only. From pad ids the gradient
lives in the middle of the path, where the text takes over from the padding; a hyperbolic sine brings the points
together there. From zero embeddings it lives at the beginning, where the rule's own points are dense.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NESTED = "Fejér 2, centred 2.5"
"""Names the rules: another name, other attributions."""
CENTRED = 2.5
"""How far points are drawn to the middle."""
ADDED = slice(0, None, 2)
"""Places in a rule of the points that the one before it did not have."""


class PathRule(NamedTuple):
    """Where the gradient is taken, and what each counts."""

    points: NDArray[np.float64]
    """Shares of the way from the baseline (0) to the text (1), descending, `[n]`."""
    weights: NDArray[np.float64]
    """`[n]`; they sum to 1, so that a gradient that stays the same is summed exactly by any rule."""


def path_rule(n: int, centred: float = 0.0) -> PathRule:
    """Fejér's second rule on the path, its points drawn to the middle.

    Args:
        n: points, at least 1; the ends of the path are not among them.
        centred: b of the map (1 + sinh(b x) / sinh(b)) / 2 from [-1, 1] to the path; 0 for none.

    Source: L. Fejér, Mechanische Quadraturen mit positiven Cotesschen Zahlen (1933).
    """
    angles = np.arange(1, n + 1) * np.pi / (n + 1)
    odd = np.arange(1, n + 1, 2)
    sums = (np.sin(odd[:, None] * angles) / odd[:, None]).sum(0)
    x, weights = np.cos(angles), 4 / (n + 1) * np.sin(angles) * sums
    if centred == 0:
        return PathRule((1 + x) / 2, weights / 2)
    points = (1 + np.sinh(centred * x) / np.sinh(centred)) / 2
    weights *= np.cosh(centred * x)
    return PathRule(points, weights / weights.sum())


def following(n: int) -> int:
    """Points of the rule after that of n, which has its points among them."""
    return 2 * n + 1


def added(n: int) -> int:
    """How many points of the rule of n that before it did not have."""
    return (n + 1) // 2


def merged(old: NDArray[np.float32], new: NDArray[np.float32]) -> NDArray[np.float32]:
    """What was found at the points of a rule and at those that the next one adds, in the order of the next rule.

    Args:
        old: `[n, ...]`.
        new: `[n + 1, ...]`.
    """
    both = np.empty((len(old) + len(new), *old.shape[1:]), dtype=np.float32)
    both[1::2], both[ADDED] = old, new
    return both

"""Length-sorted batches under a budget of padded units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def length_sorted_batches(lengths: Sequence[int] | NDArray[np.int64], budget: int) -> list[NDArray[np.int64]]:
    """Cut items into batches of like length whose padded size stays within a budget.

    Args:
        lengths: length of each item, in words or sub-words.
        budget: largest padded size of a batch (its items times its longest length). An item that is longer
            than the budget makes a batch of its own.

    Returns:
        Positions in `lengths`, longest batch first so that a shortage of memory shows at once. Items of equal
        length keep their order.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    batches: list[NDArray[np.int64]] = []
    start = 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        size = max(1, budget // longest)
        batches.append(order[start : start + size])
        start += size
    return batches


def tight_batches(lengths: Sequence[int] | NDArray[np.int64], budget: int, cost: int) -> list[NDArray[np.int64]]:
    """Cut items into batches of like length with as little padding as is worth a batch of its own.

    Of all ways to cut the length-sorted items, the one whose padded sizes, with `cost` for every batch, sum to the
    least: a dynamic programme over the cuts.

    Args:
        lengths: length of each item, in words or sub-words.
        budget: largest padded size of a batch (its items times its longest length). An item that is longer
            than the budget makes a batch of its own.
        cost: what a batch costs beside its padded size, in the same unit.

    Returns:
        Positions in `lengths`, longest batch first. Items of equal length keep their order.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    longest = np.maximum(1, np.asarray(lengths, dtype=np.int64)[order])
    n = len(order)
    least = np.zeros(n + 1, dtype=np.int64)  # cost of the items from here on
    end = np.zeros(n, dtype=np.int64)  # where the batch that begins here ends
    for start in range(n - 1, -1, -1):
        sizes = np.arange(1, min(n - start, max(1, budget // int(longest[start]))) + 1)
        totals = sizes * longest[start] + least[start + sizes]
        chosen = int(totals.argmin())
        least[start] = totals[chosen] + cost
        end[start] = start + sizes[chosen]
    batches: list[NDArray[np.int64]] = []
    start = 0
    while start < n:
        batches.append(order[start : int(end[start])])
        start = int(end[start])
    return batches

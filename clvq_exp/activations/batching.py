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

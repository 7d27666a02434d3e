"""Label purity: how far the words of a code come from sentences of one label (revision 4.2.1, Figure 2)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 20
"""Bins of the histogram, each 0.05 wide; the last one holds purity 1."""


def label_counts(
    codes: NDArray[np.int32], labels: NDArray[np.int64], n_codes: int, n_labels: int
) -> NDArray[np.int64]:
    """Words that each code holds under each label, `[codes, labels]`.

    Args:
        codes: code of each word.
        labels: class of each word.
        n_codes: K.
        n_labels: number of classes.
    """
    cells = codes.astype(np.int64) * n_labels + labels
    return np.bincount(cells, minlength=n_codes * n_labels).reshape(n_codes, n_labels)


def purity_measures(counts: NDArray[np.int64]) -> dict[str, Any]:
    """Purity of the codes that hold words.

    Args:
        counts: words of each code under each label, `[codes, labels]`.

    Returns:
        `weighted_mean` over codes by their words, `mean` over codes, `pure_share` (share of codes whose words
        all have one label), and `histogram` (codes in each of `BINS` bins); NaN where no code holds a word.
    """
    largest, total = counts.max(1), counts.sum(1)
    largest, total = largest[total > 0], total[total > 0]
    # in whole numbers: 3/5 divided by 0.05 is less than 12
    histogram = np.bincount(np.minimum(largest * BINS // total, BINS - 1), minlength=BINS)
    if not len(total):
        return {"weighted_mean": np.nan, "mean": np.nan, "pure_share": np.nan, "histogram": histogram}
    return {
        "weighted_mean": largest.sum() / total.sum(),
        "mean": (largest / total).mean(),
        "pure_share": (largest == total).mean(),
        "histogram": histogram,
    }

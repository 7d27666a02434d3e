"""Fleiss' kappa (Fleiss 1971; A.4.2): agreement of annotators beyond chance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_READINGS = ((0.0, "poor"), (0.2, "slight"), (0.4, "fair"), (0.6, "moderate"), (0.8, "substantial"))


class Agreement(NamedTuple):
    """What kappa is made of, for each of N subjects: its means over subjects give kappa."""

    pairs: NDArray[np.float64]
    """Share of the pairs of annotators who chose the same label, `[N]`: Fleiss' P_i."""
    shares: NDArray[np.float64]
    """Share of annotators who chose each label, `[N, k]`; its means are Fleiss' p_j."""


def counts_of(labels: NDArray[np.int64], n_labels: int) -> NDArray[np.int64]:
    """How many annotators chose each label.

    Args:
        labels: chosen by n annotators for N subjects, `[n, N]`.
        n_labels: k.

    Returns:
        `[N, k]`.
    """
    return (labels[:, :, None] == np.arange(n_labels)).sum(0)


def agreement(counts: NDArray[np.int64]) -> Agreement:
    """Agreement on each subject.

    Args:
        counts: how many annotators chose each label, `[N, k]`; the same number of annotators for each subject.

    Raises:
        ValueError: subjects with different numbers of annotators, or with fewer than two.
    """
    n = counts.sum(1)
    if len(n) == 0 or (n != n[0]).any() or n[0] < 2:
        raise ValueError("Fleiss' kappa needs two annotators or more, the same number for each subject")
    pairs = (counts * (counts - 1)).sum(1) / (n * (n - 1))
    return Agreement(pairs, counts / n[:, None])


def kappa(pairs: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fleiss' kappa of means over subjects, of one sample or of many at once.

    Args:
        pairs: mean share of agreeing pairs, `[...]`: Fleiss' P.
        shares: mean share of each label, `[k, ...]`: Fleiss' p_j.

    Returns:
        `[...]`; NaN where everybody chose one label everywhere: there is no chance to go beyond.
    """
    by_chance = (shares**2).sum(0)
    possible = 1 - by_chance
    defined = possible > 1e-12
    return np.where(defined, (pairs - by_chance) / np.where(defined, possible, 1.0), np.nan)


def fleiss_kappa(counts: NDArray[np.int64]) -> float | None:
    """Fleiss' kappa of a table.

    Args:
        counts: as in `agreement`.

    Returns:
        -1 to 1; None where everybody chose one label everywhere.
    """
    found = agreement(counts)
    value = kappa_of(found)
    return None if np.isnan(value) else value


def kappa_of(found: Agreement) -> float:
    """Fleiss' kappa of agreements; NaN where everybody chose one label everywhere."""
    return float(kappa(found.pairs.mean(keepdims=True), found.shares.mean(0)[:, None])[0])


def reading(value: float) -> str:
    """What Landis and Koch (1977) call a kappa, as the paper does."""
    return next((word for limit, word in _READINGS if value <= limit), "almost perfect")

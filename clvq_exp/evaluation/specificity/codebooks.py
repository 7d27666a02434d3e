"""Codebooks by themselves and against those of other seeds: cosines, matching, agreement (Table 18)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from clvq_exp.concepts.base import unit_rows

PERCENTS = (0, 5, 25, 50, 75, 95, 100)
"""Quantiles of the pairwise cosines, percent."""
COSINES_AT_ONCE = 2**22
"""Cosines that are in memory at once."""
_STEPS = 10_000
"""Steps of a cosine between 0 and 1: cosines are rounded to them and counted."""


class Matching(NamedTuple):
    """Two codebooks, matched one to one so that the sum of cosines is largest."""

    matched_cosine: float
    """Mean cosine of the matched codes."""
    random_cosine: float
    """Mean cosine over all pairs of codes: what matching at random gives on average."""


def cosine_quantiles(vectors: Float[Tensor, "k d"], at_once: int = COSINES_AT_ONCE) -> dict[str, float | None]:
    """Quantiles of the cosines of all pairs of distinct codes, a block of codes at a time.

    Args:
        vectors: one for each code; the cosines of a zero vector are 0.
        at_once: cosines in memory at once, as far as one code with all others allows.

    Returns:
        Share of the pairs ("0.05") -> the smallest cosine, rounded to four decimals, that at least this share of
        the pairs does not exceed; None where there is no pair.
    """
    unit = unit_rows(vectors.detach().cpu().double())
    k = len(unit)
    counts = torch.zeros(2 * _STEPS + 1, dtype=torch.int64)
    size = max(1, at_once // max(1, k))
    for start in range(0, k, size):
        cosines = unit[start : start + size] @ unit[start:].T
        later = torch.ones(cosines.shape, dtype=torch.bool).triu(1)
        steps = (cosines[later] * _STEPS).round().long().clamp(-_STEPS, _STEPS)
        counts += torch.bincount(steps + _STEPS, minlength=len(counts))
    cumulative = counts.cumsum(0).numpy()
    n = int(cumulative[-1])
    if not n:
        return {f"{percent / 100:g}": None for percent in PERCENTS}
    ranks = [max(1, -(-percent * n // 100)) for percent in PERCENTS]
    return {
        f"{percent / 100:g}": (int(np.searchsorted(cumulative, rank)) - _STEPS) / _STEPS
        for percent, rank in zip(PERCENTS, ranks, strict=True)
    }


class MatchedCodes(NamedTuple):
    """Two sets of codes, matched one to one so that the sum of similarities is largest."""

    a: NDArray[np.int64]
    """Of each pair: the code of the first, ascending."""
    b: NDArray[np.int64]
    """Of each pair: the code of the second."""
    similarity: NDArray[np.float64]
    """Of each pair."""
    random: float
    """Mean over all pairs of codes: what matching at random gives on average."""


def code_cosines(a: Float[Tensor, "k d"], b: Float[Tensor, "m d"]) -> NDArray[np.float64]:
    """Cosine of each code of one codebook with each of another, `[k, m]`; those of zero vectors are 0."""
    return (unit_rows(a.detach().cpu().double()) @ unit_rows(b.detach().cpu().double()).T).numpy()


def match_codes(similarities: NDArray[np.float64]) -> MatchedCodes:
    """Match codes one to one.

    Args:
        similarities: `[k, m]`, neither of them 0; of the larger side some codes stay without a match.
    """
    a, b = linear_sum_assignment(similarities, maximize=True)
    return MatchedCodes(a, b, similarities[a, b], float(similarities.mean()))


def match_codebooks(a: Float[Tensor, "k d"], b: Float[Tensor, "m d"]) -> Matching | None:
    """Match two codebooks one to one by cosine; None where either is empty.

    Args:
        a: codes of one codebook.
        b: codes of the other; of the larger codebook some codes stay without a match.
    """
    if not len(a) or not len(b):
        return None
    matched = match_codes(code_cosines(a, b))
    return Matching(float(matched.similarity.mean()), matched.random)


def agreement(a: NDArray[np.int32], b: NDArray[np.int32]) -> float | None:
    """Adjusted mutual information of two assignments of the same words: 1 for the same partition, 0 by chance.

    Args:
        a: code of each word; -1 for none, and the word is left out.
        b: the same by the other model.

    Returns:
        The figure, normalised by the mean of the two entropies; None where no word is left.
    """
    from sklearn.metrics import adjusted_mutual_info_score

    both = (a >= 0) & (b >= 0)
    return float(adjusted_mutual_info_score(a[both], b[both])) if both.any() else None

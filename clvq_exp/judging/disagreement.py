"""Which judge is left out: the one that disagrees most with the others (section 4.2.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FEWEST = 3
"""Judges from which on one is left out."""


class Disagreement(NamedTuple):
    """How far the judges are apart."""

    values: tuple[float | None, ...]
    """1 - mean Pearson correlation with each other judge, in the order of the judges; None where not defined."""
    correlations: NDArray[np.float64]
    """Pearson's, `[judges, judges]`; NaN where not defined."""
    left_out: int | None
    """Place of the judge that disagrees most; None where nobody is left out."""
    why: str
    """Why it, or why nobody."""


def disagreement(ratings: NDArray[np.float64], names: Sequence[str]) -> Disagreement:
    """Pearson correlations between judges over all ratings that both gave.

    Args:
        ratings: of all configurations, instances and methods, `[ratings, judges]`; NaN where there is none.
            Ratings that no judge gave (of empty concepts) and those of the floor are not among them.
        names: of the judges.

    Returns:
        Nobody is left out where there are fewer than three judges, or where a correlation is not defined.
    """
    n = len(names)
    correlations = np.full((n, n), np.nan)
    for a in range(n):
        for b in range(n):
            correlations[a, b] = _pearson(ratings[:, a], ratings[:, b])
    others = ~np.eye(n, dtype=bool)
    values = [
        float(1 - correlations[place, others[place]].mean()) if n > 1 else float("nan") for place in range(n)
    ]
    shown = tuple(None if np.isnan(each) else each for each in values)
    left_out, why = _choice(ratings, names, values)
    return Disagreement(shown, correlations, left_out, why)


def _choice(ratings: NDArray[np.float64], names: Sequence[str], values: Sequence[float]) -> tuple[int | None, str]:
    if len(names) < FEWEST:
        return None, f"nobody is left out: there are {len(names)} judges, and {FEWEST} are needed"
    constant = [name for place, name in enumerate(names) if _is_constant(ratings[:, place])]
    if constant:
        who = " and ".join(constant)
        return None, f"nobody is left out: all ratings of {who} are the same, so it correlates with nothing"
    if any(np.isnan(values)):
        return None, "nobody is left out: two judges have too few different ratings in common to be correlated"
    highest = max(values)
    places = [place for place, value in enumerate(values) if np.isclose(value, highest, rtol=0, atol=1e-12)]
    if len(places) > 1:
        who = " and ".join(names[place] for place in places)
        return None, f"nobody is left out: {who} disagree equally with the others"
    return places[0], f"{names[places[0]]} is left out: its mean correlation with the others is the lowest"


def _is_constant(ratings: NDArray[np.float64]) -> bool:
    given = ratings[~np.isnan(ratings)]
    return len(given) == 0 or bool((given == given[0]).all())


def _pearson(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    both = ~np.isnan(a) & ~np.isnan(b)
    a, b = a[both], b[both]
    if _is_constant(a) or _is_constant(b):
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])

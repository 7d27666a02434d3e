"""Methods ranked by their ratings: Kendall's W, reciprocal ranks, wins (appendix A.4.1). Ties are ties.

Means of ratings are compared after rounding to `DIGITS` digits: two methods whose ratings have the same sum are
tied, however the sum was formed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

DIGITS = 9
"""Digits behind the point up to which two means are held to be equal."""
Values = NDArray[np.float64]


def ranks(means: Values) -> Values:
    """Ranks over the last axis, 1 for the highest mean; tied methods share the mean of their ranks."""
    return np.asarray(rankdata(-np.round(means, DIGITS), axis=-1), dtype=np.float64)


def kendall_w(means: Values, corrected: bool = True) -> Values:
    """Kendall's coefficient of concordance of judges that rank methods.

    W = 12 S / (n² (m³ - m) - n T), where S sums the squared deviations of the methods' rank sums from their mean,
    and T sums t³ - t over the groups of t tied methods of every judge. A.4.1 prints it without T; without ties
    that is the same.

    Args:
        means: what each judge gives each method, `[..., judges, methods]`; the higher, the better. A judge with
            NaN among its means takes no part.
        corrected: whether ties are corrected for.

    Returns:
        W, 0 to 1, `[...]`. NaN where fewer than two judges or two methods are left, or where every judge ties all
        methods.
    """
    n_methods = means.shape[-1]
    takes_part: NDArray[np.bool_] = ~np.asarray(np.isnan(means).any(-1))
    n = takes_part.sum(-1).astype(np.float64)
    ranked = np.where(takes_part[..., None], ranks(np.where(takes_part[..., None], means, 0.0)), 0.0)
    sums = ranked.sum(-2)
    s = ((sums - (n * (n_methods + 1) / 2)[..., None]) ** 2).sum(-1)
    whole = n**2 * (n_methods**3 - n_methods)
    if corrected:
        whole = whole - n * np.where(takes_part, _ties(means), 0.0).sum(-1)
    defined = (n >= 2) & (n_methods >= 2) & (whole > 1e-9)
    return np.where(defined, 12 * s / np.where(defined, whole, 1.0), np.nan)


def _ties(means: Values) -> Values:
    """The sum of t³ - t over the groups of tied methods, over the last axis."""
    rounded = np.round(means, DIGITS)
    same = (rounded[..., :, None] == rounded[..., None, :]).sum(-1).astype(np.float64)
    return (same**2 - 1).sum(-1)  # each group of t counts t times (t² - 1)


def reciprocal_ranks(means: Values) -> Values:
    """1 / rank of each method, over the last axis.

    Methods that are tied for some places each get the mean of 1 / place over these places: what they would get on
    average if the tie were broken by lot. So the values of m methods always add up to 1 + 1/2 + ... + 1/m.

    Args:
        means: mean rating of each method, `[..., methods]`; NaN makes all NaN.
    """
    rounded = np.round(means, DIGITS)
    above = (rounded[..., None, :] > rounded[..., :, None]).sum(-1)
    same = (rounded[..., None, :] == rounded[..., :, None]).sum(-1)
    n_methods = means.shape[-1]
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, n_methods + 1))])
    return _where_known(means, (harmonic[above + same] - harmonic[above]) / np.maximum(same, 1))


def pairs_won(means: Values) -> Values:
    """Share of the other methods that a method is rated above, over the last axis; ties count for neither.

    This is the win rate of A.4.1 in one configuration. NaN for a method that stands alone.
    """
    rounded = np.round(means, DIGITS)
    won = (rounded[..., :, None] > rounded[..., None, :]).sum(-1)
    n_others = means.shape[-1] - 1
    return _where_known(means, won / n_others) if n_others else np.full(means.shape, np.nan)


def ranked_first(means: Values) -> Values:
    """1 for the one method that is rated above all others, over the last axis; a shared first place is nobody's.

    Its mean over configurations is the win rate of section 4.2.1.
    """
    rounded = np.round(means, DIGITS)
    best = rounded == rounded.max(-1, keepdims=True)
    return _where_known(means, (best & (best.sum(-1, keepdims=True) == 1)).astype(np.float64))


def _where_known(means: Values, values: Values) -> Values:
    """NaN where a mean is missing: nothing can be ranked there."""
    return np.where(np.isnan(means).any(-1, keepdims=True), np.nan, values)

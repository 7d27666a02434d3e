"""Intervals and tests: bootstrap over seeds and groups, paired sign flips, what can be detected at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from clvq_exp.records import Interval
from clvq_exp.seeding import numpy_generator

Outcomes = NDArray[np.bool_] | NDArray[np.float64]
"""One value per seed and sentence, `[seeds, sentences]`: correct or not, or any other measure."""
DRAWN_AT_ONCE = 2**18
"""Random numbers that are in memory at once: resamples and sign flips are drawn a few at a time."""


class Bootstrap:
    """One set of resamples, shared by all figures so that differences are paired.

    Seeds and groups of sentences (documents) are drawn with replacement. Each call draws the same resamples again,
    a few at a time, so that memory does not grow with resamples times groups: ask for many means at once.

    Args:
        groups: group of each sentence.
        n_seeds: number of seeds.
        samples: resamples.
        confidence: coverage, 0 to 1.
        seed: of the resampling.
    """

    def __init__(self, groups: Sequence[str], n_seeds: int, samples: int, confidence: float, seed: int) -> None:
        self._group_of = number_groups(groups)
        self._n_groups = int(self._group_of.max()) + 1
        self._n_seeds = n_seeds
        self._samples = samples
        self._seed = seed
        self._tail = (1 - confidence) / 2

    def means(self, outcomes: Sequence[Outcomes]) -> NDArray[np.float64]:
        """The mean of each measure in each resample, `[measures, resamples]`.

        Args:
            outcomes: measures of the same sentences.
        """
        generator = numpy_generator(self._seed, "bootstrap")
        n, sizes = self._n_groups, np.bincount(self._group_of, minlength=self._n_groups).astype(np.float64)
        sums = [np.bincount(self._group_of, weights=row, minlength=n) for each in outcomes for row in each]
        columns = np.stack([sizes, *sums], axis=1)
        totals = np.empty((self._samples, columns.shape[1]))
        for rows in _blocks(self._samples, n):
            weights = generator.multinomial(n, np.full(n, 1 / n), size=rows.stop - rows.start).astype(np.float64)
            weights[weights @ sizes == 0] = 1.0  # drew none of these sentences: counts them all once
            totals[rows] = weights @ columns
        drawn = generator.multinomial(
            self._n_seeds, np.full(self._n_seeds, 1 / self._n_seeds), size=self._samples
        ) / float(self._n_seeds)
        of_seeds = totals[:, 1:].reshape(self._samples, len(outcomes), self._n_seeds)
        return np.einsum("bs,bks->kb", drawn, of_seeds) / totals[:, 0]

    def restrict(self, keep: NDArray[np.bool_]) -> Bootstrap:
        """The same resamples over some of the sentences.

        A resample that drew none of these sentences counts them all once.
        """
        part = copy(self)
        part._group_of = self._group_of[keep]
        return part

    def interval(self, value: float, resampled: NDArray[np.float64]) -> Interval:
        """A figure with the percentiles of its resamples."""
        low, high = np.quantile(resampled, [self._tail, 1 - self._tail])
        return Interval(value, float(low), float(high))

    def of(self, outcomes: Sequence[Outcomes]) -> list[Interval]:
        """Mean over seeds and sentences of each measure, with its interval."""
        means = self.means(outcomes)
        return [self.interval(float(each.mean()), row) for each, row in zip(outcomes, means, strict=True)]


def number_groups(groups: Sequence[str]) -> NDArray[np.int64]:
    """A number from 0 for each group, in the order of their names."""
    numbers = {name: number for number, name in enumerate(sorted(set(groups)))}
    return np.fromiter((numbers[name] for name in groups), dtype=np.int64, count=len(groups))


def _blocks(n: int, width: int) -> Iterator[slice]:
    """Rows 0 to n in blocks of `DRAWN_AT_ONCE` numbers at most, where a row is no wider than that."""
    size = max(1, DRAWN_AT_ONCE // max(1, width))
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def relative_drop(original: float | NDArray[np.float64], perturbed: float | NDArray[np.float64]):
    """(original - perturbed) / original, as in Table 1; 0 where the original accuracy is 0."""
    safe = np.where(np.asarray(original) == 0, 1.0, original)
    return np.where(np.asarray(original) == 0, 0.0, (original - perturbed) / safe)


def above_majority(correct: NDArray[np.bool_] | NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """p of the one-sided binomial test that accuracy exceeds the majority class's share."""
    majority = np.bincount(labels).max() / len(labels)
    hits = round(float(correct.sum()))
    return float(stats.binomtest(hits, len(correct), majority, alternative="greater").pvalue)


def minimum_detectable_drop(noise: float, n: int, level: float = 0.05, power: float = 0.8) -> float | None:
    """The smallest drop in accuracy that a paired two-sided test finds with this power.

    Args:
        noise: share of sentences whose outcome a random direction changes, in either direction.
        n: sentences.
        level: of the test.
        power: chance of finding the drop.

    Returns:
        Accuracy points between 0 and 1; None where no drop is large enough (very few sentences).
    """
    z = stats.norm.ppf(1 - level / 2) + stats.norm.ppf(power)

    def shortfall(drop: float) -> float:
        variance = min(1.0, noise + drop) - drop**2
        return drop - z * np.sqrt(max(variance, 0.0) / n)

    if shortfall(1.0 - noise) <= 0:
        return None
    root: Any = optimize.brentq(shortfall, 1e-9, 1.0 - noise)
    return float(root)


class SignFlips:
    """Two-sided sign-flip permutation test of the difference of two means, by groups of sentences.

    Args:
        groups: group of each sentence; a group's sign flips as one.
        permutations: random sign flips.
        seed: of the flips.
    """

    def __init__(self, groups: Sequence[str], permutations: int, seed: int) -> None:
        self._group_of = number_groups(groups)
        self._permutations = permutations
        self._seed = seed

    def p_value(self, a: Outcomes, b: Outcomes) -> float:
        """p of the difference between two methods.

        Args:
            a: outcomes of one method, `[seeds, sentences]`.
            b: outcomes of the other, the same sentences.
        """
        difference = a.mean(0, dtype=np.float64) - b.mean(0, dtype=np.float64)
        sums = np.bincount(self._group_of, weights=difference)
        observed = abs(sums.sum()) - 1e-12 * len(difference)
        generator = numpy_generator(self._seed, "sign flips")
        hits = 0
        for rows in _blocks(self._permutations, len(sums)):
            signs = generator.choice([-1.0, 1.0], size=(rows.stop - rows.start, len(sums)))
            hits += int((np.abs(signs @ sums) >= observed).sum())
        return (hits + 1) / (self._permutations + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment."""
    from statsmodels.stats.multitest import multipletests

    adjusted: Any = multipletests(list(p_values), method="holm")[1]
    return adjusted.tolist()


def cohens_h(a: float, b: float) -> float:
    """Effect size of the difference of two shares: 0.2 is called small, 0.5 medium, 0.8 large (Cohen 1988)."""
    from statsmodels.stats.proportion import proportion_effectsize

    return float(proportion_effectsize(a, b))

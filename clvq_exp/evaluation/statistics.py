"""Intervals and tests: bootstrap over seeds and groups, paired sign flips, what can be detected at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from clvq_exp.records import Interval
from clvq_exp.seeding import numpy_generator

Outcomes = NDArray[np.float64]
"""One value per seed and sentence, `[seeds, sentences]`: correct (1) or not (0), or any other measure."""


class Bootstrap:
    """One set of resamples, shared by all figures so that differences are paired.

    Seeds and groups of sentences (documents) are drawn with replacement.

    Args:
        groups: group of each sentence.
        n_seeds: number of seeds.
        samples: resamples.
        confidence: coverage, 0 to 1.
        seed: of the resampling.
    """

    def __init__(self, groups: Sequence[str], n_seeds: int, samples: int, confidence: float, seed: int) -> None:
        generator = numpy_generator(seed, "bootstrap")
        _, group_of = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
        n_groups = int(group_of.max()) + 1
        drawn = generator.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=samples)
        self._sentence_weights = drawn[:, group_of].astype(np.float64)
        self._seed_weights = generator.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=samples) / float(
            n_seeds
        )
        self._tail = (1 - confidence) / 2

    def means(self, outcomes: Outcomes) -> NDArray[np.float64]:
        """The mean of each resample."""
        sums = np.einsum("bs,sn,bn->b", self._seed_weights, outcomes, self._sentence_weights, optimize=True)
        return sums / self._sentence_weights.sum(1)

    def restrict(self, keep: NDArray[np.bool_]) -> Bootstrap:
        """The same resamples over some of the sentences."""
        part = object.__new__(Bootstrap)
        part._seed_weights = self._seed_weights
        part._tail = self._tail
        weights = self._sentence_weights[:, keep]
        # A resample that drew none of these sentences counts them all once.
        part._sentence_weights = np.where(weights.sum(1, keepdims=True) > 0, weights, 1.0)
        return part

    def interval(self, value: float, resampled: NDArray[np.float64]) -> Interval:
        """A figure with the percentiles of its resamples."""
        low, high = np.quantile(resampled, [self._tail, 1 - self._tail])
        return Interval(value, float(low), float(high))

    def of(self, outcomes: Outcomes) -> Interval:
        """Mean over seeds and sentences, with its interval."""
        return self.interval(float(outcomes.mean()), self.means(outcomes))


def relative_drop(original: float | NDArray[np.float64], perturbed: float | NDArray[np.float64]):
    """(original - perturbed) / original, as in Table 1; 0 where the original accuracy is 0."""
    safe = np.where(np.asarray(original) == 0, 1.0, original)
    return np.where(np.asarray(original) == 0, 0.0, (original - perturbed) / safe)


def above_majority(correct: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
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


class PairedTest(NamedTuple):
    """Two methods on the same units."""

    difference: float
    p_value: float


def sign_flip_test(a: Outcomes, b: Outcomes, groups: Sequence[str], permutations: int, seed: int) -> PairedTest:
    """Two-sided sign-flip permutation test of the difference of two means, by groups of sentences.

    Args:
        a: outcomes of one method, `[seeds, sentences]`.
        b: outcomes of the other, the same sentences.
        groups: group of each sentence; a group's sign flips as one.
        permutations: random sign flips.
        seed: of the flips.
    """
    difference = (a.mean(0) - b.mean(0)).astype(np.float64)
    _, group_of = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    sums = np.bincount(group_of, weights=difference)
    observed = float(sums.sum()) / len(difference)
    generator = numpy_generator(seed, "sign flips")
    hits = 0
    for start in range(0, permutations, 1000):
        signs = generator.choice([-1.0, 1.0], size=(min(1000, permutations - start), len(sums)))
        flipped = signs @ sums / len(difference)
        hits += int((np.abs(flipped) >= abs(observed) - 1e-12).sum())
    return PairedTest(observed, (hits + 1) / (permutations + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return [float(value) for value in adjusted]

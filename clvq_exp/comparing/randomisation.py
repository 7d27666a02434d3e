"""Tests and intervals of what differs between two runs, over sentences that they share or that each has alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clvq_exp.comparing.sentences import Outcomes
from clvq_exp.evaluation.statistics import DRAWN_AT_ONCE, Bootstrap, SignFlips, cohens_h, relative_drop
from clvq_exp.records import Interval
from clvq_exp.report.names import CONTROLS
from clvq_exp.seeding import numpy_generator

ORIGINAL, PERTURBED = "original", "perturbed"
SPECIFIC = "specific_drop"
_NEEDED = (ORIGINAL, PERTURBED, *CONTROLS)
"""What a specific drop is made of; these are tested, and of other conditions only the difference is given."""
_TIE = 1e-12
"""Statistics that are nearer to each other are the same."""

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From means `[conditions, draws]` to what is tested, `[measures, draws]`."""


class Sides(NamedTuple):
    """The outcomes of two runs."""

    base: Outcomes
    other: Outcomes
    base_groups: Sequence[str]
    other_groups: Sequence[str]
    paired: bool
    """Columns of both are the same sentences in the same order."""


class Chance(NamedTuple):
    """How much is drawn, and from which seed."""

    samples: int
    """Resamples of the bootstrap."""
    permutations: int
    confidence: float
    """Coverage of the intervals, 0 to 1."""
    seed: int


class Contrast(NamedTuple):
    """What differs between two runs: the other less the base."""

    difference: Interval
    p_value: float
    cohens_h: float | None
    """None for what is no share of sentences."""


def contrasts(sides: Sides, chance: Chance) -> dict[str, Contrast]:
    """Difference, interval and p-value of each measure that both runs have outcomes for.

    Args:
        sides: the outcomes. Where they are paired, the p-value is that of a sign-flip test over groups of
            sentences (for the specific drop the two runs are swapped within groups); else groups are put to the
            runs anew.
        chance: of the draws.
    """
    names = [name for name in _NEEDED if name in sides.base and name in sides.other]
    if not names or not sides.base_groups or not sides.other_groups:
        return {}
    measure = _measures(names)
    # paired: the same sentences are drawn for both
    seeds = (chance.seed, chance.seed if sides.paired else chance.seed + 1)
    base = _bootstrap(sides.base, sides.base_groups, chance, seeds[0])
    other = _bootstrap(sides.other, sides.other_groups, chance, seeds[1])
    resampled = measure(other.means([sides.other[name] for name in names])) - measure(
        base.means([sides.base[name] for name in names])
    )
    means = [np.array([[each[name].mean()] for name in names]) for each in (sides.base, sides.other)]
    differences = (measure(means[1]) - measure(means[0]))[:, 0]
    p_values = (_paired if sides.paired else _unpaired)(sides, names, chance)
    return {
        name: Contrast(
            base.interval(float(differences[row]), resampled[row]),
            p_values[name],
            None if name == SPECIFIC else cohens_h(float(means[1][row, 0]), float(means[0][row, 0])),
        )
        for row, name in enumerate(_measured(names))
    }


def _measured(names: Sequence[str]) -> list[str]:
    return [*names, SPECIFIC] if set(_NEEDED) <= set(names) else list(names)


def _measures(names: Sequence[str]) -> Statistic:
    """The accuracies themselves, and behind them the specific drop where all that it is made of is there."""

    def measure(means: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.vstack([means, specific_drop(means)]) if SPECIFIC in _measured(names) else means

    return measure


def specific_drop(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """The perturbed drop less the largest among the controls.

    Args:
        means: accuracies `[conditions, draws]`: original, perturbed, then the controls.

    Returns:
        Shares of the original accuracy, `[draws]`.
    """
    drops = relative_drop(means[0], means[1:])
    return drops[0] - drops[1:].max(axis=0)


def _bootstrap(outcomes: Outcomes, groups: Sequence[str], chance: Chance, seed: int) -> Bootstrap:
    n_seeds = len(next(iter(outcomes.values())))
    return Bootstrap(groups, n_seeds, chance.samples, chance.confidence, seed)


def _paired(sides: Sides, names: Sequence[str], chance: Chance) -> dict[str, float]:
    flips = SignFlips(sides.base_groups, chance.permutations, chance.seed)
    found = {name: flips.p_value(sides.base[name], sides.other[name]) for name in names}
    if SPECIFIC in _measured(names):
        found[SPECIFIC] = _swapped(sides, chance)
    return found


def _swapped(sides: Sides, chance: Chance) -> float:
    """p of the difference of the specific drops: in each draw some groups have their two runs swapped."""
    base, sizes = _sums(sides.base, sides.base_groups, _NEEDED)
    other, _ = _sums(sides.other, sides.base_groups, _NEEDED)
    n = sizes.sum()
    observed = _gap(base.sum(0)[None] / n, other.sum(0)[None] / n)[0]
    generator = numpy_generator(chance.seed, "swaps")
    hits = 0
    for rows in _blocks(chance.permutations, len(sizes)):
        swapped = generator.integers(0, 2, size=(rows, len(sizes))).astype(np.float64) @ (other - base)
        gaps = _gap((base.sum(0) + swapped) / n, (other.sum(0) - swapped) / n)
        hits += int((np.abs(gaps) >= abs(observed) - _TIE).sum())
    return (hits + 1) / (chance.permutations + 1)


def _gap(base: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Specific drop of the other less that of the base, from means `[draws, conditions]`."""
    return specific_drop(other.T) - specific_drop(base.T)


def _unpaired(sides: Sides, names: Sequence[str], chance: Chance) -> dict[str, float]:
    """p of each measure: in each draw all groups are put to the two runs anew, as many to each as it has."""
    measure = _measures(names)
    parts = [_sums(sides.base, sides.base_groups, names), _sums(sides.other, sides.other_groups, names)]
    columns = np.vstack([np.column_stack(part) for part in parts])  # of each group: its sums, then its size
    n_base, n = len(parts[0][1]), len(columns)
    total = columns.sum(0)

    def gaps(base: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.stack([base, total - base])
        of_base, of_other = (measure((each[:, :-1] / each[:, -1:]).T) for each in sums)
        return np.abs(of_other - of_base)

    observed = gaps(columns[:n_base].sum(0)[None]) - _TIE
    generator = numpy_generator(chance.seed, "relabelled")
    hits = np.zeros(len(observed), np.int64)
    for rows in _blocks(chance.permutations, n):
        order = generator.random((rows, n)).argpartition(n_base - 1, axis=1)[:, :n_base]
        drawn = np.zeros((rows, n))
        np.put_along_axis(drawn, order, 1.0, axis=1)
        hits += (gaps(drawn @ columns) >= observed).sum(1)
    p_values = (hits + 1) / (chance.permutations + 1)
    return dict(zip(_measured(names), p_values.tolist(), strict=True))


def _sums(
    outcomes: Outcomes, groups: Sequence[str], names: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each group: its outcomes summed over sentences, as means over seeds, and how many sentences it has."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    of_sentence = np.array([numbers[name] for name in groups])
    means = [outcomes[name].mean(0, dtype=np.float64) for name in names]
    sums = [np.bincount(of_sentence, weights=each, minlength=len(numbers)) for each in means]
    sizes = np.bincount(of_sentence, minlength=len(numbers)).astype(np.float64)
    return np.stack(sums, axis=1).astype(np.float64), sizes


def _blocks(n: int, width: int) -> Iterator[int]:
    """Sizes of blocks of draws, of `DRAWN_AT_ONCE` numbers at most where one draw is no wider than that."""
    size = max(1, DRAWN_AT_ONCE // max(1, width))
    for start in range(0, n, size):
        yield min(size, n - start)

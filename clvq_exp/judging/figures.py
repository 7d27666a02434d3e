"""The figures of the paper's Tables 2, 3, 6 and 7, each with its bootstrap interval."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clvq_exp.judging.ranking import kendall_w, pairs_won, ranked_first, reciprocal_ranks
from clvq_exp.judging.ratings import Ratings
from clvq_exp.records import Interval
from clvq_exp.seeding import numpy_generator

Values = NDArray[np.float64]


class MethodFigures(NamedTuple):
    """A row of Table 2 or 6; None where not defined."""

    rating: Interval | None
    """Mean over configurations of the mean over instances and judges."""
    deviation: float | None
    """Standard deviation over configurations (n - 1); None with one configuration."""
    reciprocal_rank: Interval | None
    pairs_won: Interval | None
    """Win rate of A.4.1: share of pairs of methods and configurations; ties count for neither."""
    ranked_first: Interval | None
    """Win rate of section 4.2.1: share of configurations ranked first, alone."""
    above_floor: Interval | None
    """Rating minus that of another sentence's concept, over the answers that have both."""


class ConfigurationFigures(NamedTuple):
    """What the judges say in one configuration."""

    ratings: tuple[Interval | None, ...]
    """Of each method."""
    floor: Interval | None
    kendall_w: Interval | None
    kendall_w_uncorrected: float | None
    """As A.4.1 prints it, without the correction for ties."""
    answers: int
    """Pairs of an instance and a judge with an answer."""
    missing: int
    """And without one."""


class Figures(NamedTuple):
    """All figures of an evaluation."""

    methods: tuple[MethodFigures, ...]
    configurations: tuple[ConfigurationFigures, ...]
    of_datasets: tuple[tuple[str, Interval | None], ...]
    """Kendall's W averaged over the configurations of each data set."""
    overall: Interval | None
    """Averaged over all configurations."""
    floor: Interval | None
    """Mean rating of the floor."""


class _Means(NamedTuple):
    """One configuration under some weights of its instances."""

    of_judges: Values
    """`[resamples, judges, methods]`."""
    rating: Values
    """`[resamples, methods]`."""
    floor: Values
    """`[resamples]`."""
    above_floor: Values
    """`[resamples, methods]`."""


def figures(
    ratings: Sequence[Ratings], datasets: Sequence[str], samples: int, confidence: float, seed: int
) -> Figures:
    """Compute all figures.

    Intervals are percentiles over resamples of the instances within each configuration, by documents:
    configurations, judges and methods stay. Every figure is formed anew in each resample, ranks and W too.

    Args:
        ratings: of the judges that are kept, one for each configuration.
        datasets: name of the data set of each configuration.
        samples: resamples.
        confidence: coverage, 0 to 1.
        seed: of the resamples.
    """
    whole = [_means(each, np.ones((1, len(each.groups)))) for each in ratings]
    drawn = [_means(each, _weights(each.groups, samples, seed, place)) for place, each in enumerate(ratings)]

    def of(measure: Callable[[Sequence[_Means]], Values]) -> list[Interval | None]:
        return _intervals(measure(whole)[0], measure(drawn), confidence)

    spread = np.stack([each.rating[0] for each in whole])
    deviations = spread.std(0, ddof=1).tolist() if len(ratings) > 1 else [None] * spread.shape[1]
    agreement = of(lambda all_: np.stack([kendall_w(each.of_judges) for each in all_], -1))
    return Figures(
        tuple(
            MethodFigures(*each)
            for each in zip(
                of(lambda all_: _over(all_, lambda one: one.rating)),
                [None if each is None or np.isnan(each) else float(each) for each in deviations],
                of(lambda all_: _over(all_, lambda one: reciprocal_ranks(one.rating))),
                of(lambda all_: _over(all_, lambda one: pairs_won(one.rating))),
                of(lambda all_: _over(all_, lambda one: ranked_first(one.rating))),
                of(lambda all_: _over(all_, lambda one: one.above_floor)),
                strict=True,
            )
        ),
        tuple(
            ConfigurationFigures(
                tuple(of(lambda all_, place=place: all_[place].rating)),
                of(lambda all_, place=place: all_[place].floor[:, None])[0],
                agreement[place],
                _number(kendall_w(whole[place].of_judges, corrected=False)[0]),
                int((~np.isnan(each.values[..., 0])).sum()),
                int(np.isnan(each.values[..., 0]).sum()),
            )
            for place, each in enumerate(ratings)
        ),
        tuple(
            (name, of(lambda all_, name=name: _w_of(all_, datasets, name))[0]) for name in dict.fromkeys(datasets)
        ),
        of(lambda all_: _w_of(all_, datasets, None))[0],
        of(lambda all_: _over(all_, lambda one: one.floor[:, None]))[0],
    )


def _w_of(all_: Sequence[_Means], datasets: Sequence[str], name: str | None) -> Values:
    chosen = [each for each, dataset in zip(all_, datasets, strict=True) if name is None or dataset == name]
    return _over(chosen, lambda one: kendall_w(one.of_judges)[:, None])


def _over(all_: Sequence[_Means], measure: Callable[[_Means], Values]) -> Values:
    """The mean over the configurations in which a measure is defined, `[resamples, values]`."""
    return _nanmean(np.stack([measure(each) for each in all_]), 0)


def _means(ratings: Ratings, weights: Values) -> _Means:
    """Means under weights of the instances, `[resamples, instances]`."""
    there = ~np.isnan(ratings.values[..., 0])
    sums = np.einsum("bi,ijm->bjm", weights, np.where(there[..., None], ratings.values, 0.0))
    counts = weights @ there.astype(np.float64)
    both = ~np.isnan(ratings.floor)
    n_both = (weights @ both.astype(np.float64)).sum(-1)
    of_floor = np.einsum("bi,ij->b", weights, np.where(both, ratings.floor, 0.0))
    beside = np.einsum("bi,ijm->bm", weights, np.where(both[..., None], ratings.values, 0.0))
    return _Means(
        _divided(sums, counts[..., None]),
        _divided(sums.sum(1), counts.sum(1)[:, None]),
        _divided(of_floor, n_both),
        _divided(beside - of_floor[:, None], n_both[:, None]),
    )


def _divided(sums: Values, counts: Values) -> Values:
    counts = np.broadcast_to(counts, sums.shape)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _weights(groups: NDArray[np.int64], samples: int, seed: int, place: int) -> Values:
    """How often each instance is drawn: documents are drawn with replacement, `[samples, instances]`."""
    n = int(groups.max()) + 1
    drawn = numpy_generator(seed, "judges' bootstrap", place).multinomial(n, np.full(n, 1 / n), size=samples)
    return drawn[:, groups].astype(np.float64)


def _intervals(values: Values, resampled: Values, confidence: float) -> list[Interval | None]:
    """Each value with the percentiles of its resamples; None where it is not defined."""
    tail = (1 - confidence) / 2
    found: list[Interval | None] = []
    for place, value in enumerate(values.tolist()):
        column = resampled[:, place][~np.isnan(resampled[:, place])]
        if np.isnan(value) or not len(column):
            found.append(None)
            continue
        low, high = np.quantile(column, [tail, 1 - tail])
        found.append(Interval(value, float(low), float(high)))
    return found


def _nanmean(values: Values, axis: int) -> Values:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of nothing, the mean is nothing
        return np.asarray(np.nanmean(values, axis=axis))


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)

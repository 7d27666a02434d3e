"""The figures of a unit: where each stands in a run's files, with interval and deviation over seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clvq_exp.collect.units import COMPARISON, Unit
from clvq_exp.report.access import entry, interval, number

LIVE_CONDITIONS = {
    "perturbed": "concept",
    "other_word": "another word's code",
    "mean_direction": "mean direction",
    "random_direction": "random direction",
}
"""What is taken from the live model's hidden states -> what a reader calls it."""
CONFIDENCE = 0.95
"""Coverage of the intervals over seeds."""
_ENUMERATED = 6
"""Seeds up to which every resample is counted; of more seeds that many are drawn as the constant below says."""
_DRAWN = 10_000


class Ours(NamedTuple):
    """A figure of ours."""

    mean: float | None
    """None for a text."""
    low: float | None = None
    high: float | None = None
    deviation: float | None = None
    """Standard deviation over seeds, where there are several."""
    seeds: int | None = None
    """How many seeds it is of; None where seeds play no part."""
    over: str = ""
    """What the interval is over."""
    text: str = ""
    """In place of a number."""

    def times(self, factor: float) -> Ours:
        """The same in another unit."""
        scaled = [None if value is None else value * factor for value in self[:4]]
        return self._replace(mean=scaled[0], low=scaled[1], high=scaled[2], deviation=scaled[3])


class Measure(NamedTuple):
    """A kind of figure."""

    title: str
    digits: int
    """Behind the point, where the paper prints none."""
    read: Callable[[Unit], Ours | None]


class CurvePoint(NamedTuple):
    """A training curve at one epoch."""

    epoch: int
    value: Ours


def over_seeds(values: Sequence[float]) -> Ours | None:
    """Mean, deviation and the 95% bootstrap interval over seeds of values that have no sentences of their own.

    Args:
        values: one for each seed. A single one has neither deviation nor interval.

    Returns:
        None where there are no values.
    """
    if not values:
        return None
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return Ours(mean, seeds=1)
    found = np.asarray(values, dtype=np.float64)
    resampled = np.sort(found[_resamples(len(values))].mean(1))
    low, high = (_quantile(resampled, share) for share in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return Ours(mean, low, high, float(found.std(ddof=1)), len(values), "seeds")


@lru_cache
def _resamples(n: int) -> NDArray[np.int64]:
    """Which seeds each resample draws, `[resamples, n]`: all resamples for a few seeds."""
    if n <= _ENUMERATED:
        return np.array(list(product(range(n), repeat=n)))
    return np.random.default_rng(0).integers(0, n, size=(_DRAWN, n))


def _quantile(ordered: NDArray[np.float64], share: float) -> float:
    """Linear between the two values around it, as `numpy.quantile` does by default."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below] + (place - below) * (ordered[above] - ordered[below]))


def _condition(name: str) -> Callable[[Unit], Ours | None]:
    """Accuracy under a condition, over seeds and groups of sentences."""

    def read(unit: Unit) -> Ours | None:
        figures = entry(unit.block("faithfulness"), unit.removal)
        return _interval(unit, figures, name)

    return read


def _live(place: str, condition: str, figure: str) -> Callable[[Unit], Ours | None]:
    """What the live model does, over seeds and groups of sentences.

    Args:
        place: where the hidden states are changed.
        condition: what is taken from them.
        figure: `accuracy` or `flips`.
    """

    def read(unit: Unit) -> Ours | None:
        figures = entry(unit.block("intervention"), unit.removal, place, condition)
        return _interval(unit, figures, figure)

    return read


def _interval(unit: Unit, figures: Mapping[str, Any], name: str) -> Ours | None:
    found = interval(figures.get(name))
    if found is None:
        return None
    n = _n_seeds(unit)
    deviation = number(entry(figures, "standard_deviation").get(name))
    over = "seeds and sentences" if n is not None and n > 1 else "sentences"
    return Ours(found.mean, found.low, found.high, deviation, n, over)


def _n_seeds(unit: Unit) -> int | None:
    seeds = unit.run.cell.get("seeds")
    return len(seeds) if isinstance(seeds, list) else None


def _percent(read: Callable[[Unit], Ours | None]) -> Callable[[Unit], Ours | None]:
    def scaled(unit: Unit) -> Ours | None:
        found = read(unit)
        return None if found is None else found.times(100)

    return scaled


def _of_seeds(kind: str, *path: str) -> Callable[[Unit], Ours | None]:
    """A figure that the metrics hold for each seed."""

    def read(unit: Unit) -> Ours | None:
        whole = unit.block(kind)
        found = [_at(entry(whole, "seeds", seed), path) for seed in entry(whole, "seeds")]
        values = [value for value in found if value is not None]
        if values:
            return over_seeds(values)
        mean = _at(whole, path)
        return None if mean is None else Ours(mean)

    return read


def _at(figures: Mapping[str, Any], path: Sequence[str]) -> float | None:
    *way, last = path
    return number(entry(figures, *way).get(last))


def _shuffled(kind: str, *path: str) -> Callable[[Unit], Ours | None]:
    """What shuffled labels give; its interval is over the shuffles."""

    def read(unit: Unit) -> Ours | None:
        *way, last = path
        figures = entry(unit.block(kind), *way)
        found = interval(figures.get(last))
        return None if found is None else Ours(found.mean, found.low, found.high, over="shuffles")

    return read


def curve(unit: Unit, column: str = "perplexity") -> list[CurvePoint]:
    """A training curve: mean and interval over the seeds that came that far.

    Args:
        unit: of a method that is trained in epochs.
        column: of `history`.
    """
    found: dict[int, list[float]] = {}
    for epochs in _histories(unit, column).values():
        for epoch, value in epochs.items():
            found.setdefault(epoch, []).append(value)
    points = ((epoch, over_seeds(values)) for epoch, values in sorted(found.items()))
    return [CurvePoint(epoch, value) for epoch, value in points if value is not None]


def _histories(unit: Unit, column: str) -> dict[int, dict[int, float]]:
    """Seed -> epoch -> value."""
    found: dict[int, dict[int, float]] = {}
    for row in unit.run.history:
        value, seed, epoch = (number(row.get(name)) for name in (column, "seed", "epoch"))
        if row.get("method") == unit.key and value is not None and seed is not None and epoch is not None:
            found.setdefault(int(seed), {})[int(epoch)] = value
    return found


def _at_epoch(epoch: int) -> Callable[[Unit], Ours | None]:
    def read(unit: Unit) -> Ours | None:
        histories = _histories(unit, "perplexity").values()
        return over_seeds([each[epoch] for each in histories if epoch in each])

    return read


def _last_epoch(unit: Unit) -> Ours | None:
    return over_seeds([each[max(each)] for each in _histories(unit, "perplexity").values()])


def _best_loss(unit: Unit) -> Ours | None:
    return over_seeds([min(each.values()) for each in _histories(unit, "validation_loss").values()])


def _change_when_permuted(unit: Unit) -> Ours | None:
    """How much the decoder's validation loss grows when it is given the codes of other words, in percent."""
    found: list[float] = []
    for seed in entry(unit.block("codebook"), "seeds"):
        losses = entry(unit.block("codebook"), "seeds", seed, "bypass")
        as_is, permuted = number(losses.get("as_is")), number(losses.get("permuted"))
        if as_is and permuted is not None:
            found.append(100 * (permuted / as_is - 1))
    return over_seeds(found)


def _compared(name: str) -> Callable[[Unit], Ours | None]:
    """What a test between two methods gives."""

    def read(unit: Unit) -> Ours | None:
        figures = unit.block(COMPARISON)
        found = _interval(unit, figures, name)
        if found is not None:
            return found
        value = number(figures.get(name))
        return None if value is None else Ours(value)

    return read


def _plain(read: Callable[[Unit], int | None]) -> Callable[[Unit], Ours | None]:
    """A count: no seeds, no interval."""

    def counted(unit: Unit) -> Ours | None:
        found = read(unit)
        return None if found is None else Ours(found)

    return counted


def _labels(unit: Unit) -> int | None:
    names = unit.run.cell.get("label_names")
    return len(names) if isinstance(names, list) else None


MEASURES: dict[str, Measure] = {
    "perturbed": Measure("Accuracy after removal", 4, _condition("perturbed")),
    "drop_percent": Measure("Drop, %", 1, _percent(_condition("drop"))),
    "specific_drop_percent": Measure("Specific drop, %", 1, _percent(_condition("specific_drop"))),
    "original": Measure("Original accuracy", 4, _condition("original")),
    "random_direction": Measure("Accuracy, random direction", 4, _condition("random_direction")),
    "random_direction_norm_matched": Measure(
        "Accuracy, random direction, matched in norm", 4, _condition("random_direction_norm_matched")
    ),
    **{
        name: Measure(f"Accuracy, {title}", 4, _condition(name))
        for name, title in (
            ("mean_direction", "mean direction"),
            ("centred_concept", "centred concept"),
            ("own_code", "sentence's own code"),
            ("other_word", "another word's code"),
            ("class_means", "class means"),
            ("refit", "refit probe"),
            ("refit_original", "refit probe, nothing removed"),
        )
    },
    "random_active_code": Measure("Accuracy, random active code", 4, _condition("random_active_code")),
    "random_active_code_norm_matched": Measure(
        "The same, matched in norm", 4, _condition("random_active_code_norm_matched")
    ),
    "live_original": Measure("Live model, accuracy", 4, _live("all_words", "original", "accuracy")),
    "live_perturbed": Measure("Live model, accuracy, all words", 4, _live("all_words", "perturbed", "accuracy")),
    **{
        f"flips_{place}{'' if condition == 'perturbed' else f'_{condition}'}": Measure(
            f"Live model, flips, {place.replace('_', ' ')}, {title}, %",
            1,
            _percent(_live(place, condition, "flips")),
        )
        for place in ("all_words", "salient_word", "sentence_token")
        for condition, title in LIVE_CONDITIONS.items()
    },
    "perplexity": Measure("Perplexity", 2, _of_seeds("codebook", "perplexity")),
    "concepts_in_use": Measure("Concepts in use", 0, _of_seeds("codebook", "codes_in_use")),
    "mean_cosine": Measure("Cosine, mean of pairs", 3, _of_seeds("codebook", "mean_cosine")),
    "variance_percent": Measure(
        "Variance of its target, %", 1, _percent(_of_seeds("codebook", "variance_explained"))
    ),
    "variance_alone_percent": Measure(
        "By the concept alone, linear map, %", 1, _percent(_of_seeds("codebook", "codes_alone", "linear_map"))
    ),
    "variance_of_means_percent": Measure(
        "By the concept alone, means, %", 1, _percent(_of_seeds("codebook", "codes_alone", "code_mean"))
    ),
    "permuted_percent": Measure("Loss with permuted codes, %", 1, _change_when_permuted),
    "difference": Measure("Difference of accuracy", 4, _compared("difference")),
    "p_value": Measure("p-value", 4, _compared("p_value")),
    "p_holm": Measure("p-value, Holm", 4, _compared("p_holm")),
    "cohens_h": Measure("Effect size h", 2, _compared("cohens_h")),
    "utilisation_percent": Measure("Utilisation, %", 1, _percent(_of_seeds("codebook", "utilisation"))),
    "perplexity_before": Measure("Perplexity before any update", 2, _at_epoch(0)),
    "perplexity_epoch_10": Measure("Perplexity at epoch 10", 2, _at_epoch(10)),
    "perplexity_epoch_30": Measure("Perplexity at epoch 30", 2, _at_epoch(30)),
    "perplexity_final": Measure("Perplexity at the last epoch", 2, _last_epoch),
    "best_validation_loss": Measure("Best validation loss", 4, _best_loss),
    "train_sentences": Measure("Training sentences", 0, _plain(lambda unit: unit.run.train_sentences)),
    "dev_sentences": Measure("Dev sentences", 0, _plain(lambda unit: unit.run.dev_sentences)),
    "labels": Measure("Labels", 0, _plain(_labels)),
    "purity": Measure("Label purity, mean", 3, _of_seeds("specificity", "purity", "weighted_mean")),
    "purity_shuffled": Measure(
        "Label purity, shuffled labels",
        3,
        _shuffled("specificity", "purity", "shuffled", "weighted_mean"),
    ),
    "purity_within_words": Measure(
        "Label purity, labels shuffled within each word",
        3,
        _shuffled("specificity", "purity", "shuffled_within_words", "weighted_mean"),
    ),
    "pure_share_percent": Measure(
        "Codes of one label, %", 1, _percent(_of_seeds("specificity", "purity", "pure_share"))
    ),
    "differing_percent": Measure(
        "Words routed by label, %", 1, _percent(_of_seeds("specificity", "routing", "differing_share"))
    ),
    "differing_within_words_percent": Measure(
        "Words routed by label, labels shuffled within each word, %",
        1,
        _percent(_shuffled("specificity", "routing", "shuffled_within_words", "differing_share")),
    ),
    "divergence_within_words": Measure(
        "Divergence, labels shuffled within each word",
        3,
        _shuffled("specificity", "routing", "shuffled_within_words", "divergence"),
    ),
    "agreement": Measure("Stability, agreement", 3, _of_seeds("specificity", "stability", "agreement")),
    "matched_cosine": Measure(
        "Stability, matched cosine", 3, _of_seeds("specificity", "stability", "matched_cosine_in_use")
    ),
    "matched_noise": Measure(
        "Matched cosine of noise", 3, _of_seeds("specificity", "stability", "random_cosine_in_use")
    ),
    "divergence": Measure("Jensen-Shannon divergence", 3, _of_seeds("specificity", "routing", "divergence")),
    **{
        f"overlap_ratio_{reading}_{edge}": Measure(
            f"Shared codes, same / different label, TF-IDF {reading.replace('_', ' ')} {edge}",
            2,
            _of_seeds("specificity", "overlap", reading, edge, "ratio"),
        )
        for reading, edge in (("below", "0.1"), ("below", "0.3"), ("at_least", "0.1"), ("at_least", "0.3"))
    },
}
"""The figures that runs have, by the names that `paper_figures.csv` gives them."""

ELSEWHERE = {
    "rating": "Mean rating",
    "reciprocal_rank": "Mean reciprocal rank",
    "win_percent": "Win rate, %",
    "kendall_w": "Kendall's W",
    "fleiss_kappa": "Fleiss' kappa",
    "confidence": "Mean confidence",
    "alignment_percent": "Agreement with the model, %",
    "value": "Value",
}
"""Figures of judges and people, and of Table 11."""


def title_of(figure: str) -> str:
    """What a figure is called in front of a reader."""
    if figure in MEASURES:
        return MEASURES[figure].title
    return ELSEWHERE.get(figure, figure.replace("_", " "))

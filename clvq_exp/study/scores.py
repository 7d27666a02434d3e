"""What annotators found: agreement, confidence and model alignment of each method (A.4.2), with intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clvq_exp.evaluation.statistics import Bootstrap
from clvq_exp.records import Interval
from clvq_exp.study.agreement import agreement, counts_of, kappa, kappa_of
from clvq_exp.study.answers import Rating
from clvq_exp.study.design import Design

SAMPLES = 10_000
"""Resamples of the bootstrap."""
COVERAGE = 0.95


class Figures(NamedTuple):
    """The three figures of a method, or differences of two methods."""

    kappa: Interval | None
    """Fleiss'; None with one annotator, and where everybody chose one label everywhere."""
    confidence: Interval
    """Mean, 1 to 10."""
    alignment: Interval
    """Share of the answers that are the model's own prediction."""


class MethodScore(NamedTuple):
    """What annotators made of one method's clouds."""

    method: str
    """Its name in the study."""
    figures: Figures
    by_stratum: Mapping[str, Interval]
    """Stratum -> model alignment of its sentences."""
    different_clouds: int
    """Concepts that were shown: sentences can share one."""


class Difference(NamedTuple):
    """One method less another."""

    methods: tuple[str, str]
    figures: Figures


class AnnotatorScore(NamedTuple):
    """One annotator, for a look at who clicked through."""

    annotator: str
    answered: int
    median_seconds: float | None
    confidence: float | None
    alignment: float | None


@dataclass(frozen=True)
class Scores:
    """A scored study."""

    complete: tuple[str, ...]
    """Annotators who answered everything: all figures of methods are over these."""
    methods: tuple[MethodScore, ...]
    """Empty where nobody is complete."""
    differences: tuple[Difference, ...]
    annotators: tuple[AnnotatorScore, ...]


class _Answers(NamedTuple):
    """Answers of those who answered everything, `[methods, annotators, sentences]`."""

    labels: NDArray[np.int64]
    confidences: NDArray[np.float64]


def score(design: Design, annotators: Sequence[str], ratings: Sequence[Rating], seed: int = 0) -> Scores:
    """Score a study as far as it is.

    Sentences (documents, where they are named) and annotators are drawn anew for the intervals of confidence and
    alignment; for those of kappa sentences alone, since an annotator who is drawn twice would agree with himself.

    Args:
        design: of the study.
        annotators: all of them.
        ratings: their answers.
        seed: of the bootstrap.
    """
    n_answers = Counter(each.annotator for each in ratings)
    complete = [name for name in annotators if n_answers[name] == len(design.items)]
    methods: tuple[MethodScore, ...] = ()
    differences: tuple[Difference, ...] = ()
    if complete:
        methods, differences = _compare(design, _answers(design, complete, ratings), seed)
    who = tuple(
        _annotator(design, name, [each for each in ratings if each.annotator == name]) for name in annotators
    )
    return Scores(tuple(complete), methods, differences, who)


def _answers(design: Design, complete: Sequence[str], ratings: Sequence[Rating]) -> _Answers:
    shape = (len(design.methods), len(complete), len(design.sentences))
    labels, confidences = np.full(shape, -1, np.int64), np.zeros(shape)
    places = {name: place for place, name in enumerate(complete)}
    for each in ratings:
        if each.annotator in places:
            item = design.items[each.item]
            at = item.method, places[each.annotator], item.sentence
            labels[at], confidences[at] = each.label, each.confidence
    assert (labels >= 0).all(), "every item is in every order once"
    return _Answers(labels, confidences)


class _Resampled(NamedTuple):
    """A figure of every method, `[methods]`, and its resamples, `[methods, samples]`."""

    values: NDArray[np.float64]
    samples: NDArray[np.float64]

    def interval(self, place: int) -> Interval | None:
        return _interval(self.values[place], self.samples[place])

    def difference(self, a: int, b: int) -> Interval | None:
        return _interval(self.values[a] - self.values[b], self.samples[a] - self.samples[b])


def _interval(value: float, samples: NDArray[np.float64]) -> Interval | None:
    """A figure with the percentiles of the resamples in which it is defined."""
    defined = samples[np.isfinite(samples)]
    if not np.isfinite(value) or not len(defined):
        return None
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(float(value), float(low), float(high))


def _compare(
    design: Design, answers: _Answers, seed: int
) -> tuple[tuple[MethodScore, ...], tuple[Difference, ...]]:
    predictions = np.array([each.prediction for each in design.sentences])
    groups = [each.group for each in design.sentences]
    n_methods, n_annotators, _ = answers.labels.shape
    aligned = (answers.labels == predictions).astype(np.float64)
    bootstrap = Bootstrap(groups, n_annotators, SAMPLES, COVERAGE, seed)
    means = bootstrap.means([*answers.confidences, *aligned])
    confidence = _Resampled(answers.confidences.mean((1, 2)), means[:n_methods])
    alignment = _Resampled(aligned.mean((1, 2)), means[n_methods:])
    kappas = _kappas(answers.labels, len(design.labels), Bootstrap(groups, 1, SAMPLES, COVERAGE, seed))

    def figures(place: int) -> Figures:
        return _figures(*(each.interval(place) for each in (kappas, confidence, alignment)))

    methods = tuple(
        MethodScore(
            each.name,
            figures(place),
            _by_stratum(design, aligned[place], bootstrap),
            len({item.concept for item in design.items if item.method == place}),
        )
        for place, each in enumerate(design.methods)
    )
    differences = tuple(
        Difference(
            (design.methods[a].name, design.methods[b].name),
            _figures(*(each.difference(a, b) for each in (kappas, confidence, alignment))),
        )
        for a, b in combinations(range(n_methods), 2)
    )
    return methods, differences


def _figures(kappa: Interval | None, confidence: Interval | None, alignment: Interval | None) -> Figures:
    assert confidence is not None, "confidences are numbers"
    assert alignment is not None, "so is a share"
    return Figures(kappa, confidence, alignment)


def _kappas(labels: NDArray[np.int64], n_labels: int, bootstrap: Bootstrap) -> _Resampled:
    n_methods, n_annotators, _ = labels.shape
    if n_annotators < 2:
        return _Resampled(np.full(n_methods, np.nan), np.full((n_methods, 1), np.nan))
    found = [agreement(counts_of(each, n_labels)) for each in labels]
    measures = [row[None, :] for each in found for row in (each.pairs, *each.shares.T)]
    means = bootstrap.means(measures).reshape(n_methods, 1 + n_labels, -1)
    values = np.array([kappa_of(each) for each in found])
    return _Resampled(values, np.stack([kappa(each[0], each[1:]) for each in means]))


def _by_stratum(design: Design, aligned: NDArray[np.float64], bootstrap: Bootstrap) -> dict[str, Interval]:
    found: dict[str, Interval] = {}
    for name in design.pool:
        keep = np.array([each.stratum == name for each in design.sentences])
        if keep.any():
            (found[name],) = bootstrap.restrict(keep).of([aligned[:, keep]])
    return found


def _annotator(design: Design, name: str, ratings: Sequence[Rating]) -> AnnotatorScore:
    if not ratings:
        return AnnotatorScore(name, 0, None, None, None)
    aligned = [each.label == design.sentences[design.items[each.item].sentence].prediction for each in ratings]
    return AnnotatorScore(
        name,
        len(ratings),
        float(np.median([each.seconds for each in ratings])),
        float(np.mean([each.confidence for each in ratings])),
        float(np.mean(aligned)),
    )

"""Every measure under the gold labels and under shuffled ones: what chance alone gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clvq_exp.records import Interval
from clvq_exp.seeding import numpy_generator

SHUFFLED = "shuffled"
"""Baseline: labels permuted over the sentences."""
SHUFFLED_GROUPS = "shuffled_groups"
"""Baseline: labels permuted over the documents, each kept whole."""
SHUFFLED_WITHIN_WORDS = "shuffled_within_words"
"""Baseline: labels permuted over the occurrences of each word form."""
OF_SENTENCES = (SHUFFLED, SHUFFLED_GROUPS)
OF_WORDS = (*OF_SENTENCES, SHUFFLED_WITHIN_WORDS)

Values = Mapping[str, NDArray[np.float64]]
"""Measure -> its value under each labelling, `[labellings]` or `[labellings, parts]`; NaN where not defined."""


class Labellings:
    """The gold labels first, then draws of shuffled ones, made when they are asked for.

    The draws hang on the seed alone, so that every concept model meets the same ones. What a baseline leaves as it
    is cannot be what lifts a figure above it:

    - Over sentences: only the sizes of the classes. Where sentences of one label are longer, or words have a
      label of their own, figures leave this baseline although the codes know nothing but the words.
    - Over documents, where they hold several sentences of one label each: also what a code knows of a document.
    - Over the occurrences of each word form: how often each word stands under each label, so also the words that
      are compared. Above it is what the code knows beyond the word.

    Args:
        gold: class of each sentence, `[sentences]`.
        groups: number of each sentence's document, from 0.
        sentence: sentence of each word, `[words]`.
        form: number of each word's form, `[words]`.
        shuffles: draws of each kind.
        seed: of the draws.
    """

    def __init__(
        self,
        gold: NDArray[np.int64],
        groups: NDArray[np.int64],
        sentence: NDArray[np.int32],
        form: NDArray[np.int32],
        shuffles: int,
        seed: int,
    ) -> None:
        self.gold = gold
        self.rows: dict[str, slice] = {}
        """Baseline -> its rows among the labellings."""
        self._groups = groups
        self._of_groups = _labels_of_groups(gold, groups)
        self._sentence = sentence
        self._form = form
        self._shuffles = shuffles
        self._seed = seed
        drawn = [name for name in OF_WORDS if name != SHUFFLED_GROUPS or self._of_groups is not None]
        for index, name in enumerate(drawn if shuffles else ()):
            self.rows[name] = slice(1 + index * shuffles, 1 + (index + 1) * shuffles)

    def of_sentences(self) -> Iterator[NDArray[np.int64]]:
        """The labels of all sentences, labelling by labelling."""
        yield self.gold
        if SHUFFLED in self.rows:
            for generator in self._generators(SHUFFLED):
                yield generator.permutation(self.gold)
        if SHUFFLED_GROUPS in self.rows and self._of_groups is not None:
            for generator in self._generators(SHUFFLED_GROUPS):
                yield generator.permutation(self._of_groups)[self._groups]

    def of_words(self) -> Iterator[NDArray[np.int64]]:
        """The labels of all words, labelling by labelling: those of the sentences, then the draws within words."""
        for labels in self.of_sentences():
            yield labels[self._sentence]
        if SHUFFLED_WITHIN_WORDS not in self.rows:
            return
        order = np.argsort(self._form, kind="stable")
        form, labels = self._form[order].astype(np.float64), self.gold[self._sentence][order]
        for generator in self._generators(SHUFFLED_WITHIN_WORDS):
            # a float32 below 1 added to a whole number stays below the next one, so that forms do not mix
            place = np.argsort(form + generator.random(len(form), dtype=np.float32))
            drawn = np.empty_like(labels)
            drawn[order] = labels[place]
            yield drawn

    def _generators(self, baseline: str) -> Iterator[np.random.Generator]:
        return (numpy_generator(self._seed, baseline, draw) for draw in range(self._shuffles))


def as_values(found: Sequence[Mapping[str, Any]]) -> Values:
    """Figures (or rows of figures) by name, labelling by labelling, as one array for each name."""
    return {name: np.array([each[name] for each in found], dtype=np.float64) for name in found[0]}


def _labels_of_groups(gold: NDArray[np.int64], groups: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """The label of each document; None where one has several, or where each sentence is its own document."""
    n_groups = int(groups.max(initial=-1)) + 1
    of_groups = np.zeros(n_groups, dtype=np.int64)
    of_groups[groups] = gold
    if n_groups == len(gold) or (of_groups[groups] != gold).any():
        return None
    return of_groups


def with_baselines(
    values: Values, rows: Mapping[str, slice], baselines: Sequence[str], confidence: float
) -> dict[str, Any]:
    """The gold figures, and mean and interval of each baseline, in the form of `metrics.json`.

    Args:
        values: measure -> its value under each labelling, the gold one first.
        rows: baseline -> its rows among the labellings; one that was not drawn becomes None.
        baselines: those wanted.
        confidence: coverage of the intervals, 0 to 1.
    """
    figures: dict[str, Any] = {name: number(each[0]) for name, each in values.items()}
    for baseline in baselines:
        drawn = rows.get(baseline)
        figures[baseline] = (
            {name: _over_draws(each[drawn], confidence) for name, each in values.items()} if drawn else None
        )
    return figures


def _over_draws(draws: NDArray[np.float64], confidence: float) -> Any:
    if draws.ndim == 2:
        return number(_mean(draws))
    known = draws[~np.isnan(draws)]
    if not len(known):
        return None
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(known.mean()), float(low), float(high)).as_dict()


def mean_values(of_seeds: Sequence[Values]) -> Values:
    """The mean over seeds of each measure, labelling by labelling; NaN where no seed defines it."""
    return {name: _mean(np.stack([each[name] for each in of_seeds])) for name in of_seeds[0]}


def mean_figures(of_seeds: Sequence[Mapping[str, int | float | None]]) -> dict[str, int | float | None]:
    """The mean over seeds of each figure; None where no seed has it. A whole mean of whole numbers stays whole."""
    means: dict[str, int | float | None] = {}
    for name in of_seeds[0]:
        known = [value for each in of_seeds if (value := each[name]) is not None]
        if not known:
            means[name] = None
            continue
        mean = float(np.mean(known))
        means[name] = int(mean) if mean.is_integer() and all(isinstance(value, int) for value in known) else mean
    return means


def number(value: NDArray[np.float64] | np.float64 | float) -> Any:
    """A figure for `metrics.json`: a float, None for NaN, or a list of either."""
    if np.ndim(value):
        return [number(each) for each in np.asarray(value)]
    return None if np.isnan(value) else float(value)


def _mean(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of the first axis over what is defined; NaN where nothing is."""
    known = ~np.isnan(rows)
    n = known.sum(0)
    sums = np.where(known, rows, 0.0).sum(0)
    return np.where(n > 0, sums / np.maximum(n, 1), np.nan)

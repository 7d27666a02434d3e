"""The steps that measure fitted concept models: ablation, live intervention, specificity, report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from clvq_exp.estimate import work
from clvq_exp.estimate.names import Names
from clvq_exp.estimate.records import ABLATION, INTERVENTION, REPORT, SPECIFICITY, MethodNeeds, Part
from clvq_exp.estimate.subject import Subject
from clvq_exp.settings import ProbeTrainedOn

PROBE_EPOCHS = 30
"""Until the held-out loss has not improved for five epochs."""
PROBE_STEP_SECONDS = 9e-4
"""Probes are small: their steps take the time of their calls, 0.8 to 1.0 ms, not of their products."""
REFIT_NUMBER_SECONDS = 2.6e-8
"""Of a number in the bases that a refit probe's batch loses, made anew for every step: 1.3, 2.8 and 4.3 ms a step
for 1, 5 and 10 directions of 32 sentences at d = 384."""
BASIS_NUMBER_SECONDS = 1.5e-7
"""The same for all eight conditions of a dev sentence: 0.06 to 0.15, 0.23 and 0.57 ms."""
OF_CONCEPTS, OF_NO_CONCEPT = 2, 2
"""Conditions of the live intervention that hang on the concept model, and those that do not."""

LABELLING_WORD_SECONDS = 1.2e-8
"""Of a training word under one labelling, for the draw and for each concept model: 0.8 s for two seeds and 106,377
words of ERASER-Movie under 301 labellings."""
PAIR_SECONDS = 4e-8
PAIR_OPERATIONS = 6
"""Of a pair of sentences for each concept model and once more: finding its band, and in each of three bands one
product for each label and labelling, in float64; 2.0 s for two seeds on ERASER-Movie, 0.4 s for one on AG News."""
FLOAT64_SHARE = 0.45
"""Rate of a product in float64, of that in float32."""
COSINE_SECONDS = 2e-8
"""Of a cosine of two concepts that is counted."""
MATCHED_SECONDS = 2.5e-11
"""Of the cube of the concepts, for matching two codebooks: 0.3 s for 2,048 neurons, 1.7 s for 4,096."""
AGREEMENT_SECONDS = 8e-6
"""Of a dev word and a pair of seeds."""
TEXT_WORD_SECONDS = 5e-6
"""Of a training word that is read as text and vectorised."""
SUMMED_SECONDS = 5e-9
"""Of a number of the upper layer that is added, in float64, to its concept's sum: 2e-9 to 1.4e-8."""
SQUARED_SECONDS, CUBED_SECONDS = 2e-10, 4.7e-9
"""Of least squares by singular values, for n vectors of d numbers: times n d min(n, d), and times the cube of
min(n, d); 0.28 s for 400 x 384, 0.39 s for 4,096 x 384, 2.2 s for 4,096 x 768."""

REPORT_SECONDS = 0.4
ROW_SECONDS = 3e-6
"""Of a word in the run folder's tables."""
CONCEPT_SECONDS = 5e-5
"""Of a concept in them: its use, its purity, and its ten words."""
RESAMPLED_SECONDS = 1e-9
"""Of one sentence in one resample of one figure: 0.1 s for 26 figures of 856 sentences and three seeds, resampled
2,000 times."""
FIGURES = 62
"""Of a removal: its conditions, with the sentence token and without, and what the live model does."""
FLIPPED_SECONDS = 6e-9
"""Of one sentence in one sign flip of one comparison of methods: 0.05 s for 856 sentences and 10,000 flips."""


def evaluation_parts(subject: Subject, names: Names, methods: Sequence[MethodNeeds]) -> Iterator[Part]:
    """All that is done with the fitted concept models of a cell.

    Args:
        subject: the cell.
        names: of its artifacts.
        methods: its concept methods.
    """
    yield Part(ABLATION, None, _probe_seconds(subject))
    for each in methods:
        yield Part(ABLATION, None, _ablation_seconds(subject, each), method=each.name)
    if subject.config.evaluation.intervention:
        for each in methods:
            yield from _intervention(subject, names, each)
    for each in methods:
        yield Part(SPECIFICITY, None, _specificity_seconds(subject, each), method=each.name)
    yield Part(REPORT, None, _report_seconds(subject, methods))
    for each in methods:
        yield Part(REPORT, None, _table_seconds(subject, each), method=each.name)


def _probe_seconds(subject: Subject) -> float:
    """Probes on what is untouched: of training or in the folds of dev, and of the refit sentences."""
    config, corpus = subject.config, subject.corpus
    probe = config.probe
    n, times = len(corpus.train), 1
    if probe.trained_on is ProbeTrainedOn.dev_folds:
        times = min(probe.folds, len(corpus.dev))
        n = len(corpus.dev) - len(corpus.dev) // max(1, times)
    steps = times * math.ceil(n / probe.batch_size) + _refit_steps(subject)
    return len(config.seeds) * min(probe.max_epochs, PROBE_EPOCHS) * steps * PROBE_STEP_SECONDS


def _refit_steps(subject: Subject) -> int:
    n = len(subject.corpus.refit)
    return math.ceil(n / subject.config.probe.batch_size) if n >= 2 else 0


def _ablation_seconds(subject: Subject, method: MethodNeeds) -> float:
    """Of each removal the bases of all conditions and a refit probe; the words of the training split once."""
    config, corpus = subject.config, subject.corpus
    probe, dev = config.probe, len(corpus.dev)
    steps = min(probe.max_epochs, PROBE_EPOCHS) * _refit_steps(subject)
    given = corpus.training_words * method.word_seconds
    for directions in method.removals.values():
        of_step = directions * probe.batch_size * subject.network.width * REFIT_NUMBER_SECONDS
        given += steps * (PROBE_STEP_SECONDS + of_step)
        given += (3 * dev + len(corpus.refit)) * method.word_seconds + _bases_seconds(subject, directions)
    return len(config.seeds) * given


def _bases_seconds(subject: Subject, directions: int) -> float:
    return len(subject.corpus.dev) * directions * subject.network.width * BASIS_NUMBER_SECONDS


def _intervention(subject: Subject, names: Names, method: MethodNeeds) -> Iterator[Part]:
    """Two artifacts of each removal: what the concepts take away, and random and mean directions."""
    config, network, corpus, rates = subject.config, subject.network, subject.corpus, subject.rates
    of_concepts = work.intervention_seconds(config, network, corpus, rates, OF_CONCEPTS)
    controls = work.intervention_seconds(config, network, corpus, rates, OF_NO_CONCEPT)
    kept = 20 * len(corpus.dev) * len(config.seeds) * 3
    for removal, directions in method.removals.items():
        bases = len(config.seeds) * _bases_seconds(subject, directions)
        name = names.live(removal, method.models)
        yield Part(INTERVENTION, name, of_concepts + bases, kept, 0, method.name)
        # Of a word with fewer concepts fewer random directions are removed: such controls are nobody else's.
        own = method.models if directions > method.sure_concepts else None
        name = names.live("controls", directions, own)
        yield Part(INTERVENTION, name, controls, kept, 0, method.name)


def _specificity_seconds(subject: Subject, method: MethodNeeds) -> float:
    """Words under all labellings, pairs of sentences, cosines, and codebooks matched over seeds."""
    config, corpus = subject.config, subject.corpus
    settings, seeds, words = config.specificity, len(config.seeds), corpus.training_words
    dev_words = corpus.dev_words
    labellings = 1 + 3 * settings.shuffles  # at most: some baselines are not defined for all texts
    pairs_of_seeds = seeds * (seeds - 1) // 2
    matched = method.concepts if method.concepts <= settings.largest_matching else 0
    rate = subject.rates.processor * FLOAT64_SHARE
    of_cosines = float(method.concepts) ** 2 * (COSINE_SECONDS + subject.network.width / rate)
    of_matching = matched**3 * MATCHED_SECONDS + 2.0 * matched**2 * subject.network.width / rate
    return (
        words * TEXT_WORD_SECONDS
        + labellings * words * (1 + seeds) * LABELLING_WORD_SECONDS
        + seeds * ((words + dev_words) * method.word_seconds + of_cosines)
        + (1 + seeds) * _pair_seconds(subject)
        + pairs_of_seeds * (of_matching + dev_words * AGREEMENT_SECONDS)
        + seeds * _alone_seconds(subject, method)
    )


def _alone_seconds(subject: Subject, method: MethodNeeds) -> float:
    """What the concepts alone say of the upper layer: words given to them once more, sums, one affine map."""
    corpus, width = subject.corpus, subject.network.width
    words = corpus.training_words + corpus.validation_words
    vectors = float(method.concepts)
    least = min(vectors, width)
    solving = SQUARED_SECONDS * vectors * width * least + CUBED_SECONDS * least**3
    return words * (method.word_seconds + width * SUMMED_SECONDS) + solving


def _pair_seconds(subject: Subject) -> float:
    """All pairs of the sentences that are compared, for one concept model."""
    settings, labels = subject.config.specificity, len(subject.config.dataset.label_names)
    sentences = len(subject.corpus.train)
    compared = min(sentences, settings.sentences) if settings.sentences else sentences
    products = PAIR_OPERATIONS * labels * (1 + 2 * settings.shuffles)
    rate = subject.rates.processor * FLOAT64_SHARE
    return float(compared) ** 2 / 2 * (PAIR_SECONDS + products / rate)


def _table_seconds(subject: Subject, method: MethodNeeds) -> float:
    """The words and the use of each concept."""
    corpus = subject.corpus
    train, dev = corpus.training_words, corpus.dev_words
    of_seed = (2 * train + dev) * method.word_seconds + train * ROW_SECONDS + method.concepts * CONCEPT_SECONDS
    return len(subject.config.seeds) * of_seed


def _report_seconds(subject: Subject, methods: Sequence[MethodNeeds]) -> float:
    """Assignments of the cell's own method, intervals, tests between methods, and page."""
    config, dev = subject.config, len(subject.corpus.dev)
    words = int(np.sum(subject.corpus.stored)) * len(config.seeds)
    removals = sum(len(each.removals) for each in methods)
    resampled = dev * config.evaluation.bootstrap_samples * removals * FIGURES * len(config.seeds)
    flipped = dev * config.evaluation.permutations * comparisons(methods)
    return (
        REPORT_SECONDS
        + words * (methods[0].word_seconds + ROW_SECONDS)
        + resampled * RESAMPLED_SECONDS
        + flipped * FLIPPED_SECONDS
    )


def comparisons(methods: Sequence[MethodNeeds]) -> int:
    """Tests between methods: of each pair the first removal of either, and every other that both have."""
    found = 0
    for a, b in combinations(methods, 2):
        first = (next(iter(a.removals)), next(iter(b.removals)))
        found += 1 + sum((name, name) != first for name in a.removals if name in b.removals)
    return found

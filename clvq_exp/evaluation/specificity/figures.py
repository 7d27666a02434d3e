"""Specificity and stability of one method's concepts: the figures of `metrics.json`, and rows of tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor
from tqdm import tqdm

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import ConceptModel, mean_pairwise_cosine
from clvq_exp.evaluation.specificity.baselines import (
    OF_SENTENCES,
    OF_WORDS,
    Labellings,
    Values,
    as_values,
    mean_figures,
    mean_values,
    with_baselines,
)
from clvq_exp.evaluation.specificity.codebooks import agreement, cosine_quantiles, match_codebooks
from clvq_exp.evaluation.specificity.overlap import (
    READINGS,
    PairSums,
    overlap_measures,
    pair_counts,
    pair_sums,
    sentence_codes,
    tfidf_rows,
)
from clvq_exp.evaluation.specificity.purity import label_counts, purity_measures
from clvq_exp.evaluation.specificity.routing import (
    RoutingTable,
    cell_counts,
    label_pair_figures,
    routing_measures,
    routing_table,
)
from clvq_exp.evaluation.specificity.routing_examples import Names, RoutedWord, routed_words
from clvq_exp.evaluation.specificity.words import (
    TrainingWords,
    counted_words,
    first_concepts,
    training_texts,
    training_words,
)
from clvq_exp.seeding import numpy_generator
from clvq_exp.settings import SpecificitySettings, Split


class Specificity(NamedTuple):
    """What the codes of one method hold, and how far they are the same over seeds."""

    figures: dict[str, Any]
    """For `metrics.json`; None where something is not defined."""
    routed_words: list[RoutedWord]
    """Two rows for each example, seed by seed."""


@dataclass(frozen=True, eq=False)
class _Subject:
    """What all models of a method are measured on."""

    store: ActivationStore
    layer: int
    label_names: Sequence[str]
    settings: SpecificitySettings
    confidence: float
    words: TrainingWords
    labellings: Labellings
    groups: NDArray[np.int64]
    """Document of each training sentence."""
    compared: NDArray[np.int64]
    """Positions of the training sentences whose pairs are compared, ascending."""
    dev_words: NDArray[np.bool_]
    """Which stored dev words are no sentence tokens."""


class _Holding(NamedTuple):
    """What the concepts of one fitted model hold."""

    rows: NDArray[np.int64]
    """Which of the counted training words have a concept, ascending."""
    codes: NDArray[np.int32]
    """The first concept of each of them."""
    table: RoutingTable
    vectors: Tensor
    held: NDArray[np.bool_]
    """Of each concept: it holds training words."""
    cosine: dict[str, float | None]
    dev_codes: NDArray[np.int32]


class _Found(NamedTuple):
    """The measures of one fitted model that hang on the labels of words, and its cosines."""

    use: dict[str, int]
    """Words that have a concept, and concepts that hold words."""
    purity: Values
    routing: Values
    label_pairs: list[dict[str, Any]]
    cosine: dict[str, float | None]


def specificity_figures(
    models: Mapping[int, ConceptModel],
    store: ActivationStore,
    layer: int,
    label_names: Sequence[str],
    settings: SpecificitySettings,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """The figures alone, without the rows of tables; see `measure_specificity`."""
    return measure_specificity(models, store, layer, label_names, settings, confidence).figures


def measure_specificity(
    models: Mapping[int, ConceptModel],
    store: ActivationStore,
    layer: int,
    label_names: Sequence[str],
    settings: SpecificitySettings,
    confidence: float = 0.95,
) -> Specificity:
    """Label purity, routing, overlap, cosines and stability of a method's concepts (revision 4.2.1).

    Args:
        models: seed -> fitted model, at least one.
        store: of the activations.
        layer: layer l.
        label_names: names of the classes.
        settings: shuffles, sentences, least counts.
        confidence: coverage of the intervals of the baselines, 0 to 1.

    Raises:
        ValueError: the store holds a class without a name.
    """
    subject = _subject(store, layer, label_names, settings, confidence)
    pairs = list(combinations(models, 2))
    name = next(iter(models.values())).name
    with tqdm(total=len(models) + 2 + len(pairs), desc=f"specificity, {name}", unit="step") as progress:
        holdings: dict[int, _Holding] = {}
        for seed, model in models.items():
            holdings[seed] = _holding(subject, model)
            progress.update()
        found = _over_labellings(subject, list(holdings.values()))
        progress.update()
        overlap = _overlap_sums(subject, list(holdings.values()))
        progress.update()
        stability: list[dict[str, Any]] = []
        for a, b in pairs:
            stability.append({"seeds": [a, b], **_stability(holdings[a], holdings[b], settings.largest_matching)})
            progress.update()
    return Specificity(
        {
            **_facts(subject),
            **_figures(subject, found, overlap, range(len(found))),
            "stability": _mean_stability(stability),
            "seeds": {
                str(seed): _figures(subject, [each], overlap, [index])
                for index, (seed, each) in enumerate(zip(models, found, strict=True))
            },
        },
        [row for seed, holding in holdings.items() for row in _routed(subject, holding, seed)],
    )


def _subject(
    store: ActivationStore,
    layer: int,
    label_names: Sequence[str],
    settings: SpecificitySettings,
    confidence: float,
) -> _Subject:
    sentences = store.sentence_ids(Split.train)
    gold = store.sentences.label[sentences]
    if gold.max(initial=-1) >= len(label_names):
        raise ValueError(
            f"the store in {store.tables} holds class {gold.max()}, but only {len(label_names)} names are given: "
            f"{list(label_names)}; give a name for each class"
        )
    documents = store.sentence_column("group", sentences).dictionary_encode()
    groups = documents.indices.to_numpy().astype(np.int64)
    n, size = len(sentences), settings.sentences
    compared = np.arange(n)
    if 0 < size < n:
        compared = np.sort(numpy_generator(settings.seed, "compared sentences").choice(n, size, replace=False))
    words = training_words(store)
    return _Subject(
        store,
        layer,
        label_names,
        settings,
        confidence,
        words,
        Labellings(gold, groups, words.sentence, words.form, settings.shuffles, settings.seed),
        groups,
        compared,
        counted_words(store, Split.dev),
    )


def _holding(subject: _Subject, model: ConceptModel) -> _Holding:
    words = subject.words
    codes = first_concepts(model, subject.store, subject.layer, Split.train, words.counted)
    rows = np.flatnonzero(codes >= 0)
    codes = codes[rows]
    content = np.where(words.content[words.form], words.form, np.int32(-1))[rows]
    vectors = model.vectors().detach().cpu()
    return _Holding(
        rows,
        codes,
        routing_table(content, codes, model.n_concepts, subject.settings.min_count),
        vectors,
        np.bincount(codes, minlength=model.n_concepts) > 0,
        {"mean": mean_pairwise_cosine(vectors), **cosine_quantiles(vectors)},
        first_concepts(model, subject.store, subject.layer, Split.dev, subject.dev_words),
    )


def _over_labellings(subject: _Subject, holdings: Sequence[_Holding]) -> list[_Found]:
    """Purity and routing of all models under each labelling, in one pass over the labellings."""
    n_labels, least = len(subject.label_names), subject.settings.min_count
    purity: list[list[dict[str, Any]]] = [[] for _ in holdings]
    routing: list[list[dict[str, Any]]] = [[] for _ in holdings]
    label_pairs: list[list[dict[str, Any]]] = []
    for index, of_words in enumerate(subject.labellings.of_words()):
        for model, each in enumerate(holdings):
            labels = of_words[each.rows]
            purity[model].append(purity_measures(label_counts(each.codes, labels, len(each.held), n_labels)))
            counts = cell_counts(each.table, labels, n_labels)
            routing[model].append(routing_measures(each.table, counts, least))
            if index == 0:
                label_pairs.append(label_pair_figures(each.table, counts, subject.label_names, least))
    return [
        _Found(
            {"words": len(each.codes), "codes": int(each.held.sum())},
            as_values(purity[model]),
            as_values(routing[model]),
            label_pairs[model],
            each.cosine,
        )
        for model, each in enumerate(holdings)
    ]


def _routed(subject: _Subject, each: _Holding, seed: int) -> list[RoutedWord]:
    """Examples of words whose code hangs on the gold label."""
    names = Names(subject.words.forms, tuple(subject.label_names))
    labels = subject.labellings.gold[subject.words.sentence[each.rows]]
    by_code = label_counts(each.codes, labels, len(each.held), len(names.labels))
    by_cell = cell_counts(each.table, labels, len(names.labels))
    settings = subject.settings
    return routed_words(each.table, by_cell, by_code, names, seed, settings.min_count, settings.examples)


def _overlap_sums(subject: _Subject, holdings: Sequence[_Holding]) -> PairSums:
    """Sums over the pairs of the sentences that are compared, for all models together."""
    n, compared = len(subject.groups), subject.compared
    tfidf = tfidf_rows(
        lambda: training_texts(subject.store, np.arange(n)), training_texts(subject.store, compared)
    )
    position = np.full(n, -1)
    position[compared] = np.arange(len(compared))
    codes: list[sparse.csr_matrix] = []
    for each in holdings:
        where = position[subject.words.sentence[each.rows]]
        codes.append(sentence_codes(each.codes[where >= 0], where[where >= 0], len(compared), len(each.held)))
    labels = np.stack([drawn[compared] for drawn in subject.labellings.of_sentences()])
    return pair_sums(tfidf, codes, labels, subject.groups[compared])


def _facts(subject: _Subject) -> dict[str, Any]:
    gold = subject.labellings.gold
    of_words = np.bincount(gold[subject.words.sentence], minlength=len(subject.label_names))
    return {
        "sentences": len(gold),
        "documents": int(subject.groups.max(initial=-1)) + 1,
        "compared_sentences": len(subject.compared),
        "words": len(subject.words.sentence),
        "content_forms": int(subject.words.content.sum()),
        "majority": float(of_words.max() / of_words.sum()) if of_words.any() else None,
        "shuffles": subject.settings.shuffles,
        "min_count": subject.settings.min_count,
    }


def _figures(
    subject: _Subject, found: Sequence[_Found], overlap: PairSums, models: Sequence[int]
) -> dict[str, Any]:
    """The figures of one model, or the means over several."""

    def baselined(values: Sequence[Values], baselines: Sequence[str] = OF_WORDS) -> dict[str, Any]:
        return with_baselines(mean_values(values), subject.labellings.rows, baselines, subject.confidence)

    label_pairs = [
        {"labels": of_pair[0]["labels"], **mean_figures([_without_labels(each) for each in of_pair])}
        for of_pair in zip(*(each.label_pairs for each in found), strict=True)
    ]
    return {
        "purity": {
            **mean_figures([each.use for each in found]),
            **baselined([each.purity for each in found]),
        },
        "routing": {**baselined([each.routing for each in found]), "label_pairs": label_pairs},
        "overlap": {
            reading: {
                cosines: {
                    **pair_counts(overlap, bands),
                    **baselined([overlap_measures(overlap, model, bands) for model in models], OF_SENTENCES),
                }
                for cosines, bands in parts.items()
            }
            for reading, parts in READINGS.items()
        },
        "cosine": mean_figures([each.cosine for each in found]),
    }


def _without_labels(pair: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in pair.items() if name != "labels"}


def _stability(a: _Holding, b: _Holding, largest: int) -> dict[str, float | None]:
    """Two seeds: how well their codebooks match, and how far they put words together alike."""
    whole = in_use = None
    if max(len(a.held), len(b.held)) <= largest:
        in_use = match_codebooks(*(each.vectors[torch.from_numpy(each.held)] for each in (a, b)))
        whole = in_use if a.held.all() and b.held.all() else match_codebooks(a.vectors, b.vectors)
    return {
        "matched_cosine": whole.matched_cosine if whole else None,
        "random_cosine": whole.random_cosine if whole else None,
        "matched_cosine_in_use": in_use.matched_cosine if in_use else None,
        "random_cosine_in_use": in_use.random_cosine if in_use else None,
        "agreement": agreement(a.dev_codes, b.dev_codes),
    }


def _mean_stability(pairs: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Means over the pairs of seeds, and each pair; None with one seed."""
    if not pairs:
        return None
    measures = [{name: value for name, value in pair.items() if name != "seeds"} for pair in pairs]
    return {**mean_figures(measures), "pairs": [dict(pair) for pair in pairs]}

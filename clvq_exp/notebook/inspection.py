"""What each concept holds among the training words of a store, and how near concepts lie to each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import ConceptModel, concept_counts, unit_rows
from clvq_exp.evaluation.specificity.purity import label_counts
from clvq_exp.explanations.meanings import concept_words
from clvq_exp.settings import Split
from clvq_exp.sharing.records import Held, LabelCount, WordCount

WORDS_KEPT = 50
"""Words of a concept that are kept."""
_AT_ONCE = 512
"""Concepts whose cosines with all others are in memory at once."""


class Neighbour(NamedTuple):
    """A concept near another."""

    concept: int
    cosine: float


def held_words(
    model: ConceptModel, store: ActivationStore, layer: int, label_names: Sequence[str], with_words: bool
) -> list[Held]:
    """What each concept holds, in passes over the training words.

    Args:
        model: a fitted concept model.
        store: whose training words are counted.
        layer: layer l.
        label_names: of the classes; none where there are no labels.
        with_words: whether the store knows the words.
    """
    sizes = concept_counts(model, store, layer, Split.train).tolist()
    words: list[list[WordCount]] = [[] for _ in range(model.n_concepts)]
    if with_words:
        for each in concept_words(model, store, layer, WORDS_KEPT):
            words[each.concept].append(WordCount(each.word, each.n_words))
    labels: list[tuple[LabelCount, ...]] = [()] * model.n_concepts
    if label_names:
        counts = _labels(model, store, layer, len(label_names))
        labels = [_label_counts(row, label_names) for row in counts]
    return [Held(size, tuple(own), of) for size, own, of in zip(sizes, words, labels, strict=True)]


def _labels(model: ConceptModel, store: ActivationStore, layer: int, n_labels: int) -> NDArray[np.int64]:
    """Training words of each concept under each label, `[K, labels]`, sentence tokens left out."""
    counts = np.zeros((model.n_concepts, n_labels), np.int64)
    for start, block in store.iterate_words(layer):
        rows = np.arange(start, start + len(block))
        codes = model.assign(block)[:, 0].cpu().numpy()
        special = store.word_column("special", rows).to_numpy(zero_copy_only=False)
        kept = (codes >= 0) & ~special
        labels = store.sentences.label[store.word_column("sentence", rows).to_numpy()]
        counts += label_counts(codes[kept].astype(np.int32), labels[kept], model.n_concepts, n_labels)
    return counts


def _label_counts(counts: NDArray[np.int64], names: Sequence[str]) -> tuple[LabelCount, ...]:
    """Of one concept, the commonest label first."""
    order = np.argsort(-counts, kind="stable")
    return tuple(LabelCount(str(names[label]), int(counts[label])) for label in order.tolist() if counts[label])


def nearest(vectors: Float[Tensor, "K d"], concepts: Sequence[int], n: int) -> list[list[Neighbour]]:
    """The other concepts of highest cosine, for some concepts.

    Args:
        vectors: one for each concept; a zero vector has the cosine 0 with all.
        concepts: those asked for.
        n: neighbours of each, as far as there are others.
    """
    unit = unit_rows(vectors.detach().float())
    n = min(n, len(unit) - 1)
    found: list[list[Neighbour]] = []
    for start in range(0, len(concepts), _AT_ONCE):
        own = torch.tensor(concepts[start : start + _AT_ONCE], device=unit.device)
        cosines = unit[own] @ unit.T
        cosines[torch.arange(len(own)), own] = -torch.inf
        values, ids = cosines.topk(n, dim=1)
        for row_ids, row in zip(ids.tolist(), values.tolist(), strict=True):
            found.append([Neighbour(*each) for each in zip(row_ids, row, strict=True)])
    return found


def purity(held: Held) -> float | None:
    """The largest share of one label among a concept's words; None where no label is known of it."""
    total = sum(each.n_words for each in held.labels)
    named = [each.n_words for each in held.labels if each.label is not None]
    return max(named) / total if total and named else None


def concept_table(held: Sequence[Held], vectors: Float[Tensor, "K d"], shown: int) -> pa.Table:
    """One row for each concept.

    Args:
        held: what each holds.
        vectors: of the concepts.
        shown: words of each.

    Returns:
        `concept`, `n_words`, `words` (the most frequent), `label` (the commonest), `purity` (its share), `nearest`
        (the concept of highest cosine), `cosine`.
    """
    near = nearest(vectors, range(len(held)), 1)
    commonest = [next((each.label for each in one.labels if each.label is not None), None) for one in held]
    columns = {
        "concept": pa.array(range(len(held)), pa.int64()),
        "n_words": pa.array([one.n_words for one in held], pa.int64()),
        "words": pa.array([[each.word for each in one.words[:shown]] for one in held], pa.list_(pa.string())),
        "label": pa.array(commonest, pa.string()),
        "purity": pa.array([purity(one) for one in held], pa.float64()),
        "nearest": pa.array([each[0].concept if each else None for each in near], pa.int64()),
        "cosine": pa.array([each[0].cosine if each else None for each in near], pa.float64()),
    }
    return pa.table(columns)

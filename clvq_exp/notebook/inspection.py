"""What each concept holds among the training words of a store, and how near concepts lie to each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import ConceptModel
from clvq_exp.explanations.concept_inventory import nearest_concepts, take_inventory
from clvq_exp.sharing.records import Held, LabelCount, WordCount

WORDS_KEPT = 50
"""Words of a concept that are kept."""


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
    held = take_inventory(model, store, layer, max(1, len(label_names)), seed=0, kept=WORDS_KEPT)
    words: list[list[WordCount]] = [[] for _ in range(model.n_concepts)]
    if with_words:
        for each in held.words:
            words[each.concept].append(WordCount(each.word, each.n_words))
    labels: list[tuple[LabelCount, ...]] = [()] * model.n_concepts
    if label_names:
        labels = [_label_counts(row, label_names) for row in held.label_words]
    sizes = held.train_words.tolist()
    return [Held(size, tuple(own), of) for size, own, of in zip(sizes, words, labels, strict=True)]


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
    near = nearest_concepts(vectors.detach(), np.ones(len(vectors), dtype=np.bool_), n)
    return [
        [Neighbour(*each) for each in zip(near.concepts[row].tolist(), near.cosines[row].tolist(), strict=True)]
        for row in concepts
    ]


def purity(held: Held) -> float | None:
    """The largest share of one label among a concept's words; None where no label is known of it."""
    total = sum(each.n_words for each in held.labels)
    return max(each.n_words for each in held.labels) / total if total else None


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
    commonest = [next((each.label for each in one.labels), None) for one in held]
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

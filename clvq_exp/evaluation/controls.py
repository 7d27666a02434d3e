"""What is removed: the concept, and every control that a drop has to be held against."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import ConceptModel, unit_rows
from clvq_exp.evaluation.projection import component, orthonormal, remove, remove_matched, without_direction
from clvq_exp.seeding import derived_seed, numpy_generator, torch_generator
from clvq_exp.settings import Split

ORIGINAL = "original"
PERTURBED = "perturbed"
RANDOM_DIRECTION = "random_direction"
RANDOM_ACTIVE_CODE = "random_active_code"
MEAN_DIRECTION = "mean_direction"
CENTRED_CONCEPT = "centred_concept"
OWN_CODE = "own_code"
OTHER_WORD = "other_word"
CLASS_MEANS = "class_means"
REFIT = "refit"
REFIT_ORIGINAL = "refit_original"
MATCHED = "_norm_matched"

SPECIFIC_AGAINST = (RANDOM_DIRECTION, RANDOM_ACTIVE_CODE, MEAN_DIRECTION, OWN_CODE, OTHER_WORD)
"""Controls whose largest drop is taken off the concept's drop."""


class Subjects(NamedTuple):
    """The sentences that are ablated, at layer l."""

    h: Float[Tensor, "n d"]
    """Sentence representations."""
    labels: Int64[Tensor, " n"]
    salient: Float[Tensor, "n d"]
    """Raw activation of each sentence's salient word."""
    salient_rows: NDArray[np.int64]
    """Its row in the store."""
    sentences: NDArray[np.int64]
    """Rows of the sentences in the store."""


class Directions(NamedTuple):
    """Directions of the layer that hang on no concept."""

    mean: Float[Tensor, " d"]
    """Unit mean of the training words."""
    class_means: Float[Tensor, "c d"]
    """Orthonormal basis of the differences of class means of h, the widest first."""


class Perturbation(NamedTuple):
    """One condition."""

    h: Float[Tensor, "n d"]
    """Representations after the removal."""
    basis: Float[Tensor, "n r d"]
    """What was removed; zero rows remove nothing."""


def subjects(
    store: ActivationStore,
    layer: int,
    split: Split,
    sentences: NDArray[np.int64],
    salient_rows: NDArray[np.int64],
) -> Subjects:
    """Collect some sentences of a split with their salient words.

    Args:
        store: the activations.
        layer: layer l.
        split: where the sentences are.
        sentences: their rows in the store, ascending.
        salient_rows: row of each one's salient word in the store.
    """
    of_split = store.sentence_ids(split)
    chosen = torch.from_numpy(np.searchsorted(of_split, sentences))
    return Subjects(
        h=store.sentence_representations(layer, split)[chosen],
        labels=store.labels(split)[chosen],
        salient=store.gather_words(layer, torch.from_numpy(salient_rows)),
        salient_rows=salient_rows,
        sentences=sentences,
    )


def layer_directions(store: ActivationStore, layer: int) -> Directions:
    """The mean direction of the training words and the span of the class means of the training sentences."""
    total = torch.zeros(store.width, dtype=torch.float64)
    for _, block in store.iterate_words(layer, (Split.train,)):
        total += block.double().sum(0)
    h = store.sentence_representations(layer, Split.train).double()
    labels = store.labels(Split.train)
    means = torch.stack([h[labels == label].mean(0) for label in labels.unique()])
    spread = means - means.mean(0)
    _, _, directions = torch.linalg.svd(spread, full_matrices=False)
    return Directions(unit_rows(total.float()), directions[: len(means) - 1].float())


def perturbations(
    model: ConceptModel,
    store: ActivationStore,
    layer: int,
    who: Subjects,
    fixed: Directions,
    active: NDArray[np.int64],
    removal: str,
    seed: int,
) -> dict[str, Perturbation]:
    """The concept's removal and all controls, as representations and as bases.

    Args:
        model: a fitted concept model.
        store: for the other words of each sentence.
        layer: layer l.
        who: the sentences.
        fixed: mean direction and class means of the layer.
        active: concepts that hold training words.
        removal: one of the model's removals.
        seed: of random directions, codes and words.
    """
    ids = model.assign(who.salient).cpu()
    basis = model.directions(ids, removal).cpu()
    n, rank, width = basis.shape
    noise = torch.randn((n, rank, width), generator=torch_generator(seed, RANDOM_DIRECTION))
    other_ids = _random_active(ids.numpy(), active, derived_seed(seed, RANDOM_ACTIVE_CODE))
    other_rows = _other_words(store, who, derived_seed(seed, OTHER_WORD))
    other_basis = model.directions(
        model.assign(store.gather_words(layer, torch.from_numpy(np.maximum(other_rows, 0)))), removal
    ).cpu()
    bases = {
        PERTURBED: basis,
        RANDOM_DIRECTION: orthonormal(noise),
        RANDOM_ACTIVE_CODE: _known(
            model.directions(torch.from_numpy(np.maximum(other_ids, 0)), removal), other_ids[:, 0]
        ),
        MEAN_DIRECTION: fixed.mean.expand(n, 1, width),
        CENTRED_CONCEPT: without_direction(basis, fixed.mean),
        OWN_CODE: model.directions(model.assign(who.h), removal).cpu(),
        OTHER_WORD: _known(other_basis, other_rows),
        CLASS_MEANS: fixed.class_means[:rank].expand(n, -1, width),
    }
    made = {name: Perturbation(remove(who.h, each), each) for name, each in bases.items()}
    norms = component(who.h, basis).norm(dim=1)
    for name in (RANDOM_DIRECTION, RANDOM_ACTIVE_CODE):
        made[name + MATCHED] = Perturbation(remove_matched(who.h, bases[name], norms), bases[name])
    return made


def _known(basis: Tensor, ids: NDArray[np.int64]) -> Float[Tensor, "n r d"]:
    """Zero rows where there was nothing to choose (-1)."""
    return basis.cpu() * torch.from_numpy(ids >= 0)[:, None, None]


def _random_active(own: NDArray[np.int64], active: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """For each row, active concepts that are none of the row's own; -1 where there are too few."""
    generator = numpy_generator(seed)
    n, rank = own.shape
    chosen = np.full((n, rank), -1, dtype=np.int64)
    for row in range(n):
        candidates = active[~np.isin(active, own[row])]
        if len(candidates) >= rank:
            chosen[row] = generator.choice(candidates, rank, replace=False)
    return chosen


def _other_words(store: ActivationStore, who: Subjects, seed: int) -> NDArray[np.int64]:
    """For each sentence, the row of a random word that is not the salient one; -1 where there is none."""
    generator = numpy_generator(seed)
    table = store.sentences
    rows = np.full(len(who.sentences), -1, dtype=np.int64)
    for index, (sentence, salient) in enumerate(zip(who.sentences, who.salient_rows, strict=True)):
        first, n_words = int(table.first_word[sentence]), int(table.n_words[sentence])
        if n_words > 1:
            drawn = first + int(generator.integers(n_words - 1))
            rows[index] = drawn + (drawn >= salient)
    return rows

"""How much of the upper layer's variance a word's concept alone explains: no neighbours, no decoder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import ConceptModel
from clvq_exp.settings import LayerPair, Split

BLOCK = 1024
"""Words at once: each takes several numbers of eight bytes a dimension."""


class CodesAlone(NamedTuple):
    """Shares of the validation words' variance about the mean of the training words; below 0 is worse than it."""

    linear_map: float
    """Predicted from the concept's vector by the affine map that fits the training words best."""
    code_mean: float
    """Predicted as the mean of the concept's training words at the upper layer: all that a concept can tell."""


class _Members(NamedTuple):
    """Training words of each concept at the upper layer."""

    counts: Float64[Tensor, " K"]
    sums: Float64[Tensor, "K d"]
    total: Float64[Tensor, " d"]
    """Sum over all training words, those without a concept too."""
    n_words: int


@torch.no_grad()
def codes_alone(model: ConceptModel, store: ActivationStore, pair: LayerPair) -> CodesAlone:
    """Fit on the training words, measure on the validation words; one pass over each.

    A word without a concept, or whose concept no training word has, is predicted as the mean of all.

    Args:
        model: its first concept of a word and its vectors are asked for.
        store: both layers of the pair.
        pair: concepts are of the lower layer, what is predicted is the upper one.
    """
    members = _collect(model, store, pair)
    mean = members.total / members.n_words
    known = members.counts > 0
    code_means = torch.where(known[:, None], members.sums / members.counts.clamp(min=1)[:, None], mean)
    vectors = model.vectors().detach().double().cpu()
    mapped = torch.where(known[:, None], _fitted(vectors, code_means, members.counts), mean)
    errors, spread = torch.zeros(2, dtype=torch.float64), 0.0
    for codes, targets in _words(model, store, pair, Split.validation):
        for index, table in enumerate((mapped, code_means)):
            predicted = torch.where(codes[:, None] >= 0, table[codes.clamp(min=0)], mean)
            errors[index] += (targets - predicted).square().sum()
        spread += float((targets - mean).square().sum())
    shares = 1 - errors / spread if spread > 0 else torch.zeros(2)
    return CodesAlone(*(float(share) for share in shares))


def _words(
    model: ConceptModel, store: ActivationStore, pair: LayerPair, split: Split
) -> Iterator[tuple[Int64[Tensor, " n"], Float64[Tensor, "n d"]]]:
    """First concept and upper-layer activation of the words of a split, in blocks."""
    lower, upper = (store.iterate_words(layer, (split,), BLOCK) for layer in (pair.lower, pair.upper))
    for (_, source), (_, target) in zip(lower, upper, strict=True):
        yield model.assign(source)[:, 0].cpu(), target.double()


def _collect(model: ConceptModel, store: ActivationStore, pair: LayerPair) -> _Members:
    counts = torch.zeros(model.n_concepts, dtype=torch.float64)
    sums = torch.zeros((model.n_concepts, store.width), dtype=torch.float64)
    total, n_words = torch.zeros(store.width, dtype=torch.float64), 0
    for codes, targets in _words(model, store, pair, Split.train):
        held = codes >= 0
        counts += torch.bincount(codes[held], minlength=model.n_concepts)
        sums.index_add_(0, codes[held], targets[held])
        total += targets.sum(0)
        n_words += len(targets)
    return _Members(counts, sums, total, n_words)


def _fitted(
    vectors: Float64[Tensor, "K d"], targets: Float64[Tensor, "K e"], counts: Float64[Tensor, " K"]
) -> Float64[Tensor, "K e"]:
    """What the best affine map makes of each vector; every concept weighs as many words as it has.

    All words of a concept have one vector, so fitting their mean, weighted, is fitting the words.
    """
    inputs = torch.cat([vectors, torch.ones((len(vectors), 1), dtype=torch.float64)], 1)
    weights = counts.sqrt()[:, None]
    return inputs @ torch.linalg.lstsq(weights * inputs, weights * targets, driver="gelsd").solution

"""The network: one hidden layer that is wider than the activations and mostly zero."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import unit_rows
from clvq_exp.seeding import scoped_seed

ENCODER_START = 0.1
"""Norm of the encoder's rows before training, which point where the decoder's do.

Rows as long as the decoder's rebuild a word several times too large at first, since half of all neurons are
active: the first steps then push many of them below zero for good.
"""


class Moments(NamedTuple):
    """Where the training words of a layer lie, and how far they spread."""

    mean: Float[Tensor, " d"]
    scale: float
    """Root mean square of the words' distance from their mean; 1 where they are all the same."""


class LossSums(NamedTuple):
    """Sums over words, in units in which the targets have variance 1: that of a word, not of a dimension."""

    reconstruction: Float[Tensor, ""]
    """Squared errors, summed over dimensions."""
    sparsity: Float[Tensor, ""]
    """Activations, summed over neurons."""


class SparseNetwork(nn.Module):
    """z = ReLU(W_enc (x - b_in) + b_enc), y = W_dec^T z + b_dec, where each row of W_dec has norm 1.

    Both layers are divided by their scale first, since Adam's steps do not grow with what they have to reach. A
    penalty then means the same for every language model, and the directions of all weights stay what they are.

    Args:
        width: d, of both layers.
        neurons: rows of W_enc and W_dec.
        k: how many neurons stay active (TopK); None leaves all that the ReLU lets through.
        seed: of the first weights.
    """

    def __init__(self, width: int, neurons: int, k: int | None, seed: int) -> None:
        super().__init__()
        self.k = k
        with scoped_seed(seed, "weights"):
            directions = unit_rows(torch.randn(neurons, width))
            # Neurons that start alike share a feature between them: as much activation, but a larger L0. TopK,
            # though, would let those of the largest biases through for every word, and no other would learn.
            bias = torch.zeros(neurons) if k else torch.empty(neurons).uniform_(-(width**-0.5), width**-0.5)
        self.encoder_weight = nn.Parameter(ENCODER_START * directions)
        self.encoder_bias = nn.Parameter(bias)
        self.decoder_weight = nn.Parameter(directions)
        self.input_bias = nn.Parameter(torch.zeros(width))
        self.decoder_bias = nn.Parameter(torch.zeros(width))
        self.source_scale: Tensor
        self.target_scale: Tensor
        self.target_mean: Tensor
        self.register_buffer("source_scale", torch.ones(()))
        self.register_buffer("target_scale", torch.ones(()))
        self.register_buffer("target_mean", torch.zeros(width))

    @torch.no_grad()
    def start_at(self, source: Moments, target: Moments) -> None:
        """Centre the input at the mean of the sources; the decoder's bias starts at the mean of the targets."""
        self.source_scale.fill_(source.scale)
        self.target_scale.fill_(target.scale)
        self.target_mean.copy_(target.mean)
        self.input_bias.copy_(source.mean / source.scale)
        self.decoder_bias.copy_(target.mean / target.scale)

    @property
    def neurons(self) -> int:
        """Hidden neurons."""
        return len(self.encoder_weight)

    @property
    def width(self) -> int:
        """D of both layers."""
        return self.encoder_weight.shape[1]

    def encode(self, source: Float[Tensor, "n d"]) -> Float[Tensor, "n neurons"]:
        """Activations of the neurons: none is negative, most are zero."""
        centred = source / self.source_scale - self.input_bias
        active = nn.functional.linear(centred, self.encoder_weight, self.encoder_bias).float().relu()
        if self.k is None:
            return active
        kept = active.topk(self.k, dim=1)
        return torch.zeros_like(active).scatter(1, kept.indices, kept.values)

    def decode(self, active: Float[Tensor, "n neurons"]) -> Float[Tensor, "n d"]:
        """The rebuilt targets."""
        return (active @ self.decoder_weight + self.decoder_bias) * self.target_scale

    def loss_sums(self, active: Float[Tensor, "n neurons"], target: Float[Tensor, "n d"]) -> LossSums:
        """What the words of a batch add to the losses."""
        error = (self.decode(active) - target) / self.target_scale
        return LossSums(error.square().sum(), active.sum())

    @property
    def loss_unit(self) -> Float[Tensor, ""]:
        """What one unit of `loss_sums` is as a mean over dimensions of raw activations."""
        return self.target_scale.square() / self.width

    @torch.no_grad()
    def keep_gradient_on_the_sphere(self) -> None:
        """Take from the gradient of each row of W_dec what lies along the row: it would only change its norm."""
        gradient = self.decoder_weight.grad
        if gradient is not None:
            gradient -= (gradient * self.decoder_weight).sum(1, keepdim=True) * self.decoder_weight

    @torch.no_grad()
    def scale_rows_to_one(self) -> None:
        """Give each row of W_dec norm 1 again, after a step."""
        self.decoder_weight.copy_(unit_rows(self.decoder_weight))


def layer_moments(store: ActivationStore, layer: int) -> Moments:
    """Mean and scale of the training words of a layer, in two passes over them."""
    total, n = torch.zeros(store.width, dtype=torch.float64), 0
    for _, block in store.iterate_words(layer):
        total += block.double().sum(0)
        n += len(block)
    mean = total / max(n, 1)
    squares = sum(float((block.double() - mean).square().sum()) for _, block in store.iterate_words(layer))
    return Moments(mean.float(), (squares / max(n, 1)) ** 0.5 or 1.0)

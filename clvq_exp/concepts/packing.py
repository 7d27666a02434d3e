"""Words side by side, without their sentences' padding: what is multiplied word by word multiplies no padding."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional


def picks_real_words(device: torch.device) -> bool:
    """Whether the real words of a padded batch are picked out, or padding is computed along and left out behind.

    On a GPU, picking makes the host wait for their number, and the GPU then for the host.
    """
    return device.type == "cpu"


class Packing(NamedTuple):
    """Where real words lie among those of padded sentences."""

    shape: torch.Size
    """Sentences, words."""
    rows: Int64[Tensor, " n"]
    """Of real words, sentence by sentence."""

    def picked(self, padded: Float[Tensor, "sentences words m"]) -> Float[Tensor, "n m"]:
        """Real words alone."""
        flat = padded.flatten(0, 1)
        return flat if len(self.rows) == len(flat) else flat.index_select(0, self.rows)

    def spread(self, words: Float[Tensor, "n m"]) -> Float[Tensor, "sentences words m"]:
        """Words in their sentences, zeros for padding."""
        if len(self.rows) < self.shape.numel():
            words = words.new_zeros(self.shape.numel(), words.shape[1]).index_copy_(0, self.rows, words)
        return words.view(*self.shape, -1)


def attention(
    weights: nn.MultiheadAttention,
    words: Float[Tensor, "n d"],
    looked_at: Float[Tensor, "n d"],
    packing: Packing,
    seen: Bool[Tensor, "sentences #1 #words words"],
) -> Float[Tensor, "n d"]:
    """What `nn.MultiheadAttention` makes of the real words of padded sentences.

    Args:
        weights: its projections.
        words: what asks.
        looked_at: what is looked at, `words` itself in self-attention.
        packing: where both lie in their sentences.
        seen: True where a word may look.
    """
    d, heads = weights.embed_dim, weights.num_heads
    weight, bias = weights.in_proj_weight, weights.in_proj_bias
    if words is looked_at:
        projected = [functional.linear(words, weight, bias)]
    else:
        projected = [
            functional.linear(words, weight[:d], bias[:d]),
            functional.linear(looked_at, weight[d:], bias[d:]),
        ]
    parts = [part for each in projected for part in packing.spread(each).split(d, dim=-1)]
    by_head = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in parts)
    dropout = weights.dropout if weights.training else 0.0
    found = functional.scaled_dot_product_attention(*by_head, attn_mask=seen, dropout_p=dropout)
    return weights.out_proj(packing.picked(found.transpose(1, 2).flatten(2)))

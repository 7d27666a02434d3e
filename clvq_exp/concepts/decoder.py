"""The transformer decoder that rebuilds the target layer (section 2.4)."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from clvq_exp.activations.datamodule import FEWEST
from clvq_exp.concepts import packing
from clvq_exp.settings import DecoderMemory, DecoderSettings, SelfAttention

_ATTENDED = 0.2
"""What a padded word costs a CPU beside a real one where only the attention runs it along: 0.15 to 0.27 at d = 768
and 384, behind sentences of 20 words."""
_GRADIENTS = 24
"""Words that take a CPU as long as adding up the gradients of all weights; both grow with the weights."""
_LAUNCH = 1.33e8
"""Products of a weight and a word that take a CPU as long as launching a pass.

It was measured together with the gradients, at d = 384 with six layers: 16 to 64 words do equally well."""


class ConceptDecoder(nn.Module):
    """Transformer decoder: the sequence is the quantized words; its memory and its self-attention are switches.

    Post-norm, no positional encoding, linear output. Nothing attends to padding.

    Args:
        width: d.
        settings: layers, heads, feed-forward width, dropout, memory, self-attention.
        packed: multiply no padding where that is faster.
    """

    def __init__(self, width: int, settings: DecoderSettings, packed: bool = True) -> None:
        super().__init__()
        self.memory = settings.memory
        self._wants_packed = packed
        self.self_attention = settings.self_attention
        self._heads = settings.heads
        # Built one by one: nn.TransformerDecoder would start all layers as copies of the first.
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(
                width, settings.heads, settings.feed_forward, settings.dropout, batch_first=True
            )
            for _ in range(settings.layers)
        )
        self.output = nn.Linear(width, width)

    def forward(
        self,
        quantized: Float[Tensor, "sentences words d"],
        z_e: Float[Tensor, "sentences words d"],
        real: Bool[Tensor, "sentences words"],
        zero_memory: bool = False,
    ) -> Float[Tensor, "sentences words d"]:
        """Rebuild the target layer.

        Args:
            quantized: z_q.
            z_e: unquantized encoder outputs.
            real: False marks padding.
            zero_memory: look at zeros instead of the memory (the bypass measurement).
        """
        if zero_memory or self.memory is DecoderMemory.none:
            memory = torch.zeros_like(z_e)
        else:
            memory = z_e if self.memory is DecoderMemory.encoder else quantized
        if self._wants_packed and packing.picks_real_words(quantized.device):
            return self._packed(quantized, memory, real)
        padding = ~real
        if self.self_attention is SelfAttention.bidirectional:
            own = {"tgt_key_padding_mask": padding}
        else:
            own = {"tgt_mask": earlier_or_padding(real).repeat_interleave(self._heads, dim=0)}
        hidden = quantized
        for layer in self.layers:
            hidden = layer(hidden, memory, memory_key_padding_mask=padding, **own)
        return self.output(hidden)

    def _packed(
        self,
        quantized: Float[Tensor, "sentences words d"],
        memory: Float[Tensor, "sentences words d"],
        real: Bool[Tensor, "sentences words"],
    ) -> Float[Tensor, "sentences words d"]:
        """The same without a product for padding: words lie side by side, in sentences for the attention only."""
        words = packing.Packing(real.shape, torch.nonzero(real.flatten()).squeeze(1))
        seen = real[:, None, None, :]
        own = seen if self.self_attention is SelfAttention.bidirectional else ~earlier_or_padding(real)[:, None]
        hidden, looked_at = words.picked(quantized), words.picked(memory)
        for each in self.layers:
            layer = cast(nn.TransformerDecoderLayer, each)
            attended = packing.attention(layer.self_attn, hidden, hidden, words, own)
            hidden = layer.norm1(hidden + layer.dropout1(attended))
            attended = packing.attention(layer.multihead_attn, hidden, looked_at, words, seen)
            hidden = layer.norm2(hidden + layer.dropout2(attended))
            inner = layer.dropout(layer.activation(layer.linear1(hidden)))
            hidden = layer.norm3(hidden + layer.dropout3(layer.linear2(inner)))
        return words.spread(self.output(hidden))


def earlier_or_padding(real: Bool[Tensor, "sentences words"]) -> Bool[Tensor, "sentences words words"]:
    """What a word must not see where it sees itself and later words only: True at (word, what it must not see).

    Padding sees itself, since a softmax over nothing would be no number.

    Args:
        real: False marks padding.
    """
    n = real.shape[1]
    position = torch.arange(n, device=real.device)
    earlier = position[None, :] < position[:, None]
    itself = torch.eye(n, dtype=torch.bool, device=real.device)
    return (earlier | ~real[:, None, :]) & ~itself


def padding_of_a_pass(width: int, settings: DecoderSettings, device: torch.device, packed: bool = True) -> int:
    """Padded words that take as long as one more forward and backward pass does beside its words.

    Args:
        width: d.
        settings: layers and feed-forward width.
        device: where training runs.
        packed: padding is not multiplied.
    """
    if device.type != "cpu":
        return FEWEST  # launching takes longer than any padding
    weights = settings.layers * (8 * width**2 + 2 * width * settings.feed_forward)
    words = _GRADIENTS + int(_LAUNCH / weights)
    return int(words / _ATTENDED) if packed else words

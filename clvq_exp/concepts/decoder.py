"""The transformer decoder that rebuilds the target layer (section 2.4)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from clvq_exp.settings import DecoderMemory, DecoderSettings


class ConceptDecoder(nn.Module):
    """Bidirectional transformer decoder: the sequence is the quantized words, the memory is a switch.

    Post-norm, no positional encoding, linear output. Padding is neither attended to nor attends.

    Args:
        width: d.
        settings: layers, heads, feed-forward width, dropout, memory.
    """

    def __init__(self, width: int, settings: DecoderSettings) -> None:
        super().__init__()
        self.memory = settings.memory
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
        padding = ~real
        if zero_memory or self.memory is DecoderMemory.none:
            memory = torch.zeros_like(z_e)
        else:
            memory = z_e if self.memory is DecoderMemory.encoder else quantized
        hidden = quantized
        for layer in self.layers:
            hidden = layer(hidden, memory, tgt_key_padding_mask=padding, memory_key_padding_mask=padding)
        return self.output(hidden)

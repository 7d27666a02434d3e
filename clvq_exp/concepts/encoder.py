"""The adaptive residual encoder (section 2.2)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clvq_exp.concepts.precision import exact_products
from clvq_exp.settings import AlphaMode, EncoderSettings, LinearStart


class AdaptiveResidualEncoder(nn.Module):
    """z_e = (1 - alpha) x + alpha LN(W x + b), eq. 1.

    Args:
        width: d.
        settings: how alpha is set (learned with a maximum of 0.5 or 1, or fixed), and what W and b start as.
    """

    def __init__(self, width: int, settings: EncoderSettings) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        if settings.linear_start is LinearStart.identity:
            nn.init.eye_(self.linear.weight)
            nn.init.zeros_(self.linear.bias)
        self.norm = nn.LayerNorm(width)
        self._limit = {AlphaMode.adaptive: 0.5, AlphaMode.adaptive_full: 1.0}.get(settings.alpha_mode)
        if self._limit is None:
            self.register_buffer("fixed_alpha", torch.tensor(float(settings.alpha)))
        else:
            self.a = nn.Parameter(torch.tensor(float(settings.alpha_start)))

    @property
    def alpha(self) -> Float[Tensor, ""]:
        """The mixing weight alpha."""
        if self._limit is None:
            fixed: Tensor = self.get_buffer("fixed_alpha")
            return fixed
        return torch.sigmoid(self.a) * self._limit

    def forward(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """Encoder outputs z_e of layer-l activations x."""
        alpha = self.alpha
        with exact_products(x.device):
            return (1 - alpha) * x + alpha * self.norm(self.linear(x))

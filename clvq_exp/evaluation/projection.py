"""Removing directions by orthogonal projection (section 4.1.1)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from clvq_exp.concepts.base import orthonormal


def remove(h: Float[Tensor, "n d"], basis: Float[Tensor, "n r d"]) -> Float[Tensor, "n d"]:
    """h' = h minus its projection on the span of an orthonormal basis; zero rows remove nothing."""
    return h - component(h, basis)


def component(h: Float[Tensor, "n d"], basis: Float[Tensor, "n r d"]) -> Float[Tensor, "n d"]:
    """The part of h within the span of an orthonormal basis."""
    coefficients = torch.einsum("nd,nrd->nr", h, basis)
    return torch.einsum("nr,nrd->nd", coefficients, basis)


def remove_matched(
    h: Float[Tensor, "n d"], basis: Float[Tensor, "n r d"], norms: Float[Tensor, " n"]
) -> Float[Tensor, "n d"]:
    """Move h against its component in a span, as far as another removal moved it.

    Args:
        h: representations.
        basis: orthonormal.
        norms: length of the step, one per row.
    """
    part = component(h, basis)
    length = part.norm(dim=1, keepdim=True)
    unit = torch.where(length > 0, part / length.clamp(min=torch.finfo(h.dtype).tiny), 0.0)
    return h - norms[:, None] * unit


def without_direction(basis: Float[Tensor, "n r d"], direction: Float[Tensor, " d"]) -> Float[Tensor, "n r d"]:
    """A basis minus its projection on one unit direction, orthonormal again (the centred concept)."""
    along = torch.einsum("nrd,d->nr", basis, direction)
    return orthonormal(basis - along[..., None] * direction)

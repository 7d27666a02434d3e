"""Removing directions by orthogonal projection (section 4.1.1)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


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


def orthonormal(vectors: Float[Tensor, "n r d"], tolerance: float = 1e-6) -> Float[Tensor, "n r d"]:
    """Gram-Schmidt in float64, twice; rows that add nothing new become zero rows.

    Args:
        vectors: any rows.
        tolerance: a row whose rest is shorter than this share of its length adds nothing.
    """
    rows: list[Tensor] = []
    for vector in vectors.double().unbind(1):
        rest = vector
        for _ in range(2):
            for row in rows:
                rest = rest - (rest * row).sum(1, keepdim=True) * row
        length = rest.norm(dim=1, keepdim=True)
        keeps: Bool[Tensor, "n 1"] = length > tolerance * vector.norm(dim=1, keepdim=True)
        rows.append(torch.where(keeps, rest / length.clamp(min=1e-300), 0.0))
    return torch.stack(rows, 1).to(vectors.dtype)


def without_direction(basis: Float[Tensor, "n r d"], direction: Float[Tensor, " d"]) -> Float[Tensor, "n r d"]:
    """A basis minus its projection on one unit direction, orthonormal again (the centred concept)."""
    along = torch.einsum("nrd,d->nr", basis, direction)
    return orthonormal(basis - along[..., None] * direction)

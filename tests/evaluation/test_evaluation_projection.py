from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clvq_exp.concepts.base import orthonormal
from clvq_exp.evaluation.projection import component, remove, remove_matched, without_direction
from clvq_exp.evaluation.statistics import relative_drop


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 6), rank=st.integers(1, 4), width=st.integers(4, 20), seed=st.integers(0, 10_000))
def test_removal__is_an_orthogonal_projection(n: int, rank: int, width: int, seed: int) -> None:
    h, basis = random(n, width, seed=seed), orthonormal(random(n, rank, width, seed=seed + 1))
    rest = remove(h, basis)
    assert torch.einsum("nd,nrd->nr", rest, basis).abs().max() < 1e-9, "<h', e> = 0"
    assert torch.allclose(remove(rest, basis), rest, atol=1e-9), "idempotent"
    pythagoras = rest.square().sum(1) + component(h, basis).square().sum(1)
    assert torch.allclose(pythagoras, h.square().sum(1))


def test_removal__by_hand() -> None:
    h = torch.tensor([[3.0, 4.0, 5.0], [1.0, 2.0, 3.0]])
    basis = torch.tensor([[[0.6, 0.8, 0.0]], [[0.0, 0.0, 1.0]]])
    assert torch.allclose(remove(h, basis), torch.tensor([[0.0, 0.0, 5.0], [1.0, 2.0, 0.0]]), atol=1e-6)


def test_zero_rows__remove_nothing() -> None:
    h = random(3, 5)
    assert torch.equal(remove(h, torch.zeros(3, 2, 5, dtype=torch.float64)), h)
    basis = torch.zeros(3, 1, 5, dtype=torch.float64)
    assert torch.equal(remove_matched(h, basis, torch.ones(3, dtype=torch.float64)), h), "nowhere to go"


def test_matched_removal__moves_exactly_the_given_length() -> None:
    h, basis = random(5, 8), orthonormal(random(5, 2, 8, seed=1))
    norms = torch.tensor([0.0, 0.1, 1.0, 5.0, 100.0], dtype=torch.float64)
    moved = remove_matched(h, basis, norms)
    assert torch.allclose((h - moved).norm(dim=1), norms)
    outside = (h - moved) - component(h - moved, basis)
    assert outside.abs().max() < 1e-9, "the step stays within the span"
    own = component(h, basis).norm(dim=1)
    assert torch.allclose(remove_matched(h, basis, own), remove(h, basis)), "its own length: the removal itself"


def test_without_direction__by_hand() -> None:
    half = math.sqrt(0.5)
    basis = torch.tensor([[[half, half, 0.0]], [[1.0, 0.0, 0.0]], [[0.0, 0.0, 1.0]]])
    centred = without_direction(basis, torch.tensor([1.0, 0.0, 0.0]))
    expected = torch.tensor([[[0.0, 1.0, 0.0]], [[0.0, 0.0, 0.0]], [[0.0, 0.0, 1.0]]])
    assert torch.allclose(centred, expected, atol=1e-6)


def test_without_direction__is_orthogonal_to_it_at_every_rank() -> None:
    direction = torch.nn.functional.normalize(random(9), dim=0)
    centred = without_direction(orthonormal(random(4, 3, 9, seed=2)), direction)
    assert torch.einsum("nrd,d->nr", centred, direction).abs().max() < 1e-9
    assert torch.allclose(centred.norm(dim=2), torch.ones(4, 3, dtype=torch.float64))


@pytest.mark.parametrize(
    ("original", "perturbed", "percent"),
    [(0.8777, 0.0594, 93.2), (0.5, 0.5, 0.0), (0.5, 0.75, -50.0), (0.0, 0.0, 0.0)],
)
def test_drop__as_in_table_1(original: float, perturbed: float, percent: float) -> None:
    assert round(100 * float(relative_drop(original, perturbed)), 1) == percent

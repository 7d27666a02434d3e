from __future__ import annotations

import torch

from clvq_exp.concepts.base import orthonormal


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_orthonormal__rows_are_unit_and_orthogonal() -> None:
    basis = orthonormal(random(4, 3, 7))
    gram = torch.einsum("nrd,nsd->nrs", basis, basis)
    assert torch.allclose(gram, torch.eye(3, dtype=torch.float64).expand(4, 3, 3))


def test_orthonormal__dependent_rows_become_zero() -> None:
    a, b = torch.tensor([3.0, 0.0, 0.0]), torch.tensor([0.0, 2.0, 0.0])
    basis = orthonormal(torch.stack([torch.stack([a, 2 * a, a + b, 0 * a]), torch.stack([0 * a, b, a, a - b])]))
    expected = torch.zeros(2, 4, 3)
    expected[0, 0, 0] = expected[0, 2, 1] = 1
    expected[1, 1, 1] = expected[1, 2, 0] = 1
    assert torch.allclose(basis, expected, atol=1e-6)
    assert basis.dtype == torch.float32


def test_orthonormal__nearly_parallel_rows() -> None:
    a = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    near = torch.tensor([1.0, 1e-4, 0.0], dtype=torch.float64)
    basis = orthonormal(torch.stack([a, near])[None])
    assert torch.allclose(basis[0, 1], torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64), atol=1e-9)
    assert torch.equal(orthonormal(torch.stack([a, near])[None], tolerance=1e-3)[0, 1], torch.zeros(3).double())

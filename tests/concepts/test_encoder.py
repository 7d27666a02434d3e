"""Eq. 1 in each alpha mode."""

from __future__ import annotations

import math

import pytest
import torch

from clvq_exp.concepts.encoder import AdaptiveResidualEncoder
from clvq_exp.settings import AlphaMode, EncoderSettings, LinearStart


def by_hand(encoder: AdaptiveResidualEncoder, x: torch.Tensor, alpha: float) -> torch.Tensor:
    """Eq. 1 written out, the layer norm too."""
    y = x @ encoder.linear.weight.T + encoder.linear.bias
    mean = y.mean(-1, keepdim=True)
    variance = ((y - mean) ** 2).mean(-1, keepdim=True)
    normed = (y - mean) / (variance + 1e-5).sqrt() * encoder.norm.weight + encoder.norm.bias
    return (1 - alpha) * x + alpha * normed


@pytest.mark.parametrize(
    ("mode", "alpha"),
    [
        (AlphaMode.adaptive, 0.5 / (1 + math.exp(-0.2))),
        (AlphaMode.adaptive_full, 1 / (1 + math.exp(-0.2))),
        (AlphaMode.fixed, 0.4),
    ],
)
def test_encoder__eq1_by_hand(mode: AlphaMode, alpha: float) -> None:
    torch.manual_seed(0)
    encoder = AdaptiveResidualEncoder(5, EncoderSettings(mode, alpha=0.4, alpha_start=0.2))
    x = torch.randn(3, 4, 5)
    assert float(encoder.alpha.detach()) == pytest.approx(alpha, abs=1e-7)
    torch.testing.assert_close(encoder(x), by_hand(encoder, x, alpha))


def test_encoder__adaptive_starts_at_the_papers_alpha() -> None:
    assert float(AdaptiveResidualEncoder(5, EncoderSettings()).alpha.detach()) == pytest.approx(0.275, abs=1e-3)


def test_encoder__alpha_zero_is_the_identity() -> None:
    encoder = AdaptiveResidualEncoder(5, EncoderSettings(AlphaMode.fixed, alpha=0.0))
    x = torch.randn(7, 5)
    torch.testing.assert_close(encoder(x), x, rtol=0, atol=0)


@pytest.mark.parametrize(("mode", "limit"), [(AlphaMode.adaptive, 0.5), (AlphaMode.adaptive_full, 1.0)])
def test_encoder__alpha_never_passes_its_limit(mode: AlphaMode, limit: float) -> None:
    encoder = AdaptiveResidualEncoder(5, EncoderSettings(mode, alpha_start=50.0))
    assert float(encoder.alpha.detach()) <= limit


def test_encoder__alpha_is_learned_only_where_it_is_adaptive() -> None:
    learned = AdaptiveResidualEncoder(5, EncoderSettings())
    learned(torch.randn(3, 5)).sum().backward()
    assert learned.a.grad is not None
    fixed = AdaptiveResidualEncoder(5, EncoderSettings(AlphaMode.fixed))
    assert {name for name, _ in fixed.named_parameters()} == {
        "linear.weight",
        "linear.bias",
        "norm.weight",
        "norm.bias",
    }


def test_encoder__identity_start_is_the_layer_norm_of_the_word_by_hand() -> None:
    settings = EncoderSettings(AlphaMode.fixed, alpha=0.5, linear_start=LinearStart.identity)
    encoder = AdaptiveResidualEncoder(2, settings)
    found = encoder(torch.tensor([[1.0, 3.0], [4.0, -4.0]])).detach()
    # LN of (1, 3) is (-1, 1), of (4, -4) it is (1, -1); half the word, half its norm.
    torch.testing.assert_close(found, torch.tensor([[0.0, 2.0], [2.5, -2.5]]), rtol=1e-5, atol=1e-5)


def test_encoder__identity_start_draws_as_many_numbers_as_the_default() -> None:
    drawn = []
    for start in LinearStart:
        with torch.random.fork_rng():
            torch.manual_seed(5)
            AdaptiveResidualEncoder(4, EncoderSettings(linear_start=start))
            drawn.append(torch.rand(3))  # what the decoder behind it would draw
    assert torch.equal(*drawn)

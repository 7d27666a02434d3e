"""The decoder that multiplies no padding, beside the same one with padding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor

from clvq_exp.activations.batching import tight_batches
from clvq_exp.concepts.decoder import ConceptDecoder, padding_of_a_pass
from clvq_exp.settings import DecoderMemory, DecoderSettings, SelfAttention

SMALL = DecoderSettings(layers=2, heads=2, feed_forward=12, dropout=0.0)
KINDS = [
    replace(SMALL, memory=memory, self_attention=own) for memory, own in product(DecoderMemory, SelfAttention)
]


def both(settings: DecoderSettings) -> Iterator[ConceptDecoder]:
    """Packed and padded, with the same weights."""
    for packed in (True, False):
        torch.manual_seed(0)
        yield ConceptDecoder(8, settings, packed).double()


def sentences(lengths: list[int], padding: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Two random tensors that want gradients, and what of them is real."""
    torch.manual_seed(1)
    real = torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]
    filled = (torch.randn(*real.shape, 8).double().masked_fill(~real[..., None], padding) for _ in range(2))
    quantized, z_e = (each.requires_grad_() for each in filled)
    return quantized, z_e, real


@pytest.mark.parametrize("settings", KINDS, ids=lambda each: f"{each.memory.value}, {each.self_attention.value}")
@pytest.mark.parametrize("zero_memory", [False, True])
@pytest.mark.parametrize("lengths", [[4, 2, 1], [3, 3], [1]], ids=str)
def test_packed__rebuilds_and_teaches_what_padding_does(
    settings: DecoderSettings, zero_memory: bool, lengths: list[int]
) -> None:
    found: list[list[Tensor | None]] = []
    for decoder in both(settings):
        quantized, z_e, real = sentences(lengths)
        rebuilt = decoder(quantized, z_e, real, zero_memory)
        (rebuilt[real] * torch.linspace(-1, 1, 8).double()).square().sum().backward()
        weights = [each.grad for each in decoder.parameters()]
        found.append([rebuilt[real].detach(), quantized.grad, z_e.grad, *weights])
    for packed, padded in zip(*found, strict=True):
        assert (packed is None) == (padded is None)
        if packed is not None and padded is not None:
            torch.testing.assert_close(packed, padded, rtol=1e-9, atol=1e-11)


@hypothesis_settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=5))
def test_packed__a_sentence_is_rebuilt_as_it_is_alone(lengths: list[int]) -> None:
    decoder, _ = both(SMALL)
    quantized, z_e, real = sentences(lengths)
    together = decoder(quantized, z_e, real)
    for row, length in enumerate(lengths):
        alone = decoder(
            quantized[row : row + 1, :length], z_e[row : row + 1, :length], real[row : row + 1, :length]
        )
        torch.testing.assert_close(together[row, :length], alone[0], rtol=1e-9, atol=1e-11)


def test_packed__what_lies_in_padding_is_not_looked_at() -> None:
    decoder, _ = both(SMALL)
    quantized, z_e, real = sentences([3, 1])
    strange = sentences([3, 1], padding=1e9)
    rebuilt = decoder(quantized, z_e, real)
    assert torch.equal(decoder(*strange)[real], rebuilt[real])
    assert not rebuilt[~real].any()


def test_packed__drops_out_at_the_rate_that_is_asked_for_and_only_in_training() -> None:
    decoder = ConceptDecoder(8, replace(SMALL, dropout=0.5))
    quantized, z_e, real = (each.float() if each.is_floating_point() else each for each in sentences([400, 200]))
    dropped: list[float] = []
    for layer in decoder.layers:  # what the feed-forward part drops is seen in what its second layer is given
        layer.linear2.register_forward_pre_hook(
            lambda _, seen: dropped.append(float((seen[0] == 0).float().mean()))
        )
    decoder(quantized, z_e, real)
    decoder.eval()
    assert torch.equal(decoder(quantized, z_e, real), decoder(quantized, z_e, real))
    training, still = dropped[:2], dropped[2:4]
    for a, b in zip(training, still, strict=True):  # of what relu leaves, half
        assert 1 - a == pytest.approx((1 - b) / 2, abs=0.05)


def test_packed__attention_drops_out_too() -> None:
    decoder = ConceptDecoder(8, replace(SMALL, dropout=0.5, layers=1))
    for name, module in decoder.named_modules():
        if name.split(".")[-1].startswith("dropout"):
            module.eval()
    quantized, z_e, real = (each.float() if each.is_floating_point() else each for each in sentences([5, 3]))
    assert not torch.equal(decoder(quantized, z_e, real), decoder(quantized, z_e, real))


def test_padding_of_a_pass__is_cheap_where_only_the_attention_runs_it_along() -> None:
    lengths = torch.arange(5, 45).repeat(3).numpy()
    cpu, settings = torch.device("cpu"), DecoderSettings()
    packed, padded = (padding_of_a_pass(384, settings, cpu, each) for each in (True, False))
    assert len(tight_batches(lengths, 1024, packed)) < len(tight_batches(lengths, 1024, padded))

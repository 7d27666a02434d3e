"""What one more pass of the decoder costs, in words of padding."""

from __future__ import annotations

import pytest
import torch

from clvq_exp.concepts.decoder import padding_of_a_pass
from clvq_exp.settings import DecoderSettings

CPU = torch.device("cpu")


def test_padding_of_a_pass__by_hand():
    # Six layers of 8 * 384^2 + 2 * 384 * 2048 weights: 16,515,072, and 1.33e8 of them and a word are 8 words.
    assert padding_of_a_pass(384, DecoderSettings(layers=6, feed_forward=2048), CPU, False) == 24 + 8


@pytest.mark.parametrize("width", [32, 384, 4096])
def test_padding_of_a_pass__never_below_what_the_gradients_take_and_less_for_more_weights(width: int):
    few, many = (padding_of_a_pass(width, DecoderSettings(layers=layers), CPU) for layers in (1, 6))
    assert few >= many >= 24


def test_padding_of_a_pass__a_tiny_network_and_a_gpu_take_the_largest_passes():
    assert padding_of_a_pass(32, DecoderSettings(layers=1, feed_forward=64), CPU) > 1024
    assert padding_of_a_pass(4096, DecoderSettings(), torch.device("cuda")) > 1024

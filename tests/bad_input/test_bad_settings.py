"""Settings that contradict each other, the method or the model: the whole message that the user sees."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from clvq_exp.config import ConfigError
from clvq_exp.preflight import Preflight


def problems(before_a_cell: Callable[..., Preflight], *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        before_a_cell(*overrides)
    found = caught.value.problems
    lines = "".join(f"\n  - {problem}" for problem in found)
    assert str(caught.value) == f"the configuration has {len(found)} error(s):{lines}"
    return found


def test_good_settings__pass(before_a_cell: Callable[..., Preflight]) -> None:
    assert before_a_cell().needs_fine_tuning is False


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("layer_pair.lower=4", "layer_pair.lower=4 is not below layer_pair.upper=4"),
        ("layer_pair.upper=1", "layer_pair.lower=2 is not below layer_pair.upper=1"),
        ("layer_pair.lower=-1", "layer_pair.lower=-1: layers count from 0 (the embeddings)"),
        ("layer_pair.upper=5", "layer_pair.upper=5: model tiny has layers 0 (embeddings) to 4"),
        ("activations.layers=[0,5]", "activations.layers[1]=5: model tiny has layers 0 (embeddings) to 4"),
        ("activations.layers=[-1]", "activations.layers[0]=-1: model tiny has layers 0 (embeddings) to 4"),
        ("quantizer.top_k=401", "quantizer.top_k=401 is more than quantizer.codebook_size=400"),
        ("quantizer.top_k=0", "quantizer.top_k=0 is below 1"),
        ("quantizer.temperature=0", "quantizer.temperature=0.0 is not above 0"),
        ("quantizer.temperature=-0.5", "quantizer.temperature=-0.5 is not above 0"),
        ("quantizer.commitment_weight=-0.1", "quantizer.commitment_weight=-0.1 is below 0"),
        ("trainer.batch_size=0", "trainer.batch_size=0 is below 1"),
        (
            "model.allow_pickle=perhaps",
            "model.allow_pickle='perhaps': Value 'perhaps' is not a valid bool (type str)",
        ),
    ],
)
def test_bad_setting__exact_message(before_a_cell: Callable[..., Preflight], override: str, message: str) -> None:
    assert problems(before_a_cell, override) == [message]


def test_layers_that_the_model_lacks__are_all_named(before_a_cell: Callable[..., Preflight]) -> None:
    assert problems(before_a_cell, "layer_pair.lower=7", "layer_pair.upper=9") == [
        "layer_pair.lower=7: model tiny has layers 0 (embeddings) to 4",
        "layer_pair.upper=9: model tiny has layers 0 (embeddings) to 4",
    ]

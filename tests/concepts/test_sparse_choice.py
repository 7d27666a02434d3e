"""Sparse methods: which weight of the penalty is kept, and what can be asked for."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from sparse_models import (
    PAIR,
    Settings,
    autoencoder,
)

from clvq_exp.activations.store import ActivationStore
from clvq_exp.artifacts import fingerprint
from clvq_exp.concepts.base import (
    ConceptError,
)
from clvq_exp.concepts.sparse.autoencoder import SparseAutoencoder
from clvq_exp.concepts.sparse.trained import Trained
from clvq_exp.concepts.sparse.transcoder import SparseTranscoder


def trained(l1: float, l0: float, loss: float) -> Trained:
    history = ({"epoch": 0, "validation_loss": 9.0, "l0": 99.0}, {"epoch": 1, "validation_loss": loss, "l0": l0})
    return Trained(l1, history, Path("nowhere"))


def test_choice__lowest_validation_loss_within_a_quarter_of_the_wanted_l0(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    found = [trained(0.1, 60, 0.1), trained(0.2, 40, 0.3), trained(0.3, 33, 0.2), trained(0.4, 24, 0.25)]
    model = autoencoder(settings, l1=[each.l1 for each in found], l0=32)
    assert model.choose(found).l1 == 0.3
    assert model.choose([found[0], found[1], found[3]]).l1 == 0.4
    assert model.choose([found[0], found[1]]).l1 == 0.2, "exactly a quarter above is near"
    assert not caplog.messages


def test_choice__the_nearest_with_a_warning_where_none_is_near(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    found = [trained(0.1, 90, 0.1), trained(0.2, 60, 0.2), trained(0.3, 16, 0.4)]
    with caplog.at_level(logging.WARNING):
        assert autoencoder(settings, l1=[0.1, 0.2, 0.3], l0=32).choose(found).l1 == 0.2, (
            "60 / 32 is less than 32 / 16"
        )
    assert caplog.messages == [
        "no weight of the penalty gives an L0 near 32: l1=0.1 gives 90.0, l1=0.2 gives 60.0, l1=0.3 gives 16.0; "
        "l1=0.2 is kept; add weights to baseline.l1"
    ]


def test_choice__a_single_weight_is_taken_without_a_word(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    model = autoencoder(settings, l1=[0.1], l0=32)
    assert model.choose([trained(0.1, 0, 0.1)]).l1 == 0.1
    assert not caplog.messages


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"neurons": 0}, r"baseline\.neurons=0"),
        ({"l1": []}, r"baseline\.l1=\[\]"),
        ({"l1": [0.1, 0.1]}, r"baseline\.l1=\[0\.1, 0\.1\]: a list of different weights"),
        ({"l1": [-0.1]}, r"baseline\.l1=\[-0\.1\]"),
        ({"l0": 0}, r"baseline\.l0=0"),
        ({"learning_rate": 0.0}, r"baseline\.learning_rate=0\.0"),
        ({"batch_words": 0}, r"baseline\.batch_words=0"),
    ],
)
def test_arguments__that_cannot_be_trained_with_are_named(
    settings: Settings, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConceptError, match=message):
        autoencoder(settings, **changed)


def test_transcoder_arguments__that_cannot_be_trained_with_are_named(settings: Settings) -> None:
    with pytest.raises(ConceptError, match=r"baseline\.k=0"):
        SparseTranscoder(settings(), k=0)
    with pytest.raises(ConceptError, match=r"baseline\.expansion=0"):
        SparseTranscoder(settings(), expansion=0)
    with pytest.raises(
        ConceptError, match=r"baseline\.k=32 is more than the 16 neurons that baseline\.expansion=2"
    ):
        SparseTranscoder(settings(), expansion=2).neurons(8)


def test_identity__changes_with_what_reaches_training(store: ActivationStore, settings: Settings) -> None:
    def of(model: Any) -> str:
        return fingerprint(model.identity(store, PAIR))

    base = of(autoencoder(settings))
    for change in (
        {"neurons": 13},
        {"l1": [0.01]},
        {"l0": 4},
        {"learning_rate": 0.02},
        {"batch_words": 31},
    ):
        assert of(autoencoder(settings, **change)) != base, change

    def with_trainer(**trainer: Any) -> SparseAutoencoder:
        return autoencoder(lambda: settings(**trainer))

    assert of(with_trainer(trainer__max_epochs=7)) != base
    assert of(with_trainer(trainer__learning_rate=1.0, trainer__batch_size=3)) == base, "CLVQ-VAE's own"
    assert of(SparseTranscoder(settings(), k=3)) != of(SparseTranscoder(settings(), k=4))

"""Small sparse models: fitted, and with weights given by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from clvq_exp.activations.store import ActivationStore
from clvq_exp.artifacts import ArtifactCache
from clvq_exp.concepts.base import (
    ConceptSettings,
    FitRun,
)
from clvq_exp.concepts.sparse.autoencoder import SparseAutoencoder
from clvq_exp.concepts.sparse.network import SparseNetwork
from clvq_exp.concepts.sparse.trained import Trained, TrainedParts
from clvq_exp.settings import LayerPair

Settings = Callable[..., ConceptSettings]
CPU = torch.device("cpu")
PAIR = LayerPair(1, 2)
GRID = (0.01, 0.1)
ENCODER = [[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
"""Four neurons of three dimensions; each has to pass 0.5."""
WORDS = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 0.0], [0.2, 0.2, 0.4], [0.0, 0.0, 9.0]])


def fit_run(store: ActivationStore, folder: Path, seed: int = 0, logger: Any = None) -> FitRun:
    work = folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    return FitRun(store, PAIR, seed, work, ArtifactCache(folder / "cache"), CPU, logger)


def autoencoder(settings: Settings, **changed: Any) -> SparseAutoencoder:
    given: dict[str, Any] = {"neurons": 12, "l1": GRID, "l0": 3, "learning_rate": 0.01, "batch_words": 32}
    return SparseAutoencoder(settings(), **(given | changed))


def bits(model: SparseAutoencoder) -> dict[str, torch.Tensor]:
    return model.network.state_dict()


def same_bits(one: SparseAutoencoder, other: SparseAutoencoder) -> bool:
    return one.summary == other.summary and all(
        torch.equal(bits(one)[name], bits(other)[name]) for name in bits(one)
    )


def by_hand(settings: Settings, encoder: list[list[float]], bias: list[float]) -> SparseAutoencoder:
    """A model whose network is given: the encoder's weights and biases; the decoder mirrors the encoder."""
    weights = torch.tensor(encoder)
    network = SparseNetwork(weights.shape[1], len(weights), None, 0)
    with torch.no_grad():
        network.encoder_weight.copy_(weights)
        network.encoder_bias.copy_(torch.tensor(bias))
        network.decoder_weight.copy_(torch.nn.functional.normalize(weights.flip(1)))
    model = autoencoder(settings, neurons=len(weights))
    model._network = network
    return model


def inactive_store(make_store: Callable[..., ActivationStore], folder: Path) -> ActivationStore:
    """A training word and a validation word have no active neuron; on top are 0 1 - 3 0, then - 3, then 1."""
    words = torch.cat([WORDS, WORDS[[0, 2, 3]], WORDS[[1]]]).numpy()
    return make_store(folder, {"train": [3, 2], "validation": [2], "dev": [1]}, {1: words, 2: words})


def finished(model: SparseAutoencoder, folder: Path) -> Trained:
    parts = TrainedParts(folder / "networks")
    record = {"epoch": 1, "validation_loss": 0.5, "l0": 1.0, "dead_neurons": 1, "variance_explained": None}
    parts.enter(0.1, model.network.state_dict(), [{**record, "epoch": 0}, record])
    return parts.read(0.1)

"""A store of made-up activations, and small settings of a concept method."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from sparse_models import Settings, autoencoder, fit_run
from stores import cut_sentences, write_store

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import ConceptSettings
from clvq_exp.concepts.sparse.autoencoder import SparseAutoencoder
from clvq_exp.settings import (
    DecoderMemory,
    DecoderSettings,
    EncoderSettings,
    InitMethod,
    InitSettings,
    QuantizerSettings,
    SentenceBudget,
    TrainerSettings,
    WeightDecayOn,
)

WIDTH = 8


def cut_store(
    folder: Path, lengths: Mapping[str, Sequence[int]], layers: Mapping[int, np.ndarray]
) -> ActivationStore:
    """A store of words that lie one behind the other; the first of a sentence is its sentence token."""
    return write_store(folder, cut_sentences(lengths, layers))


@pytest.fixture
def store(tmp_path: Path) -> ActivationStore:
    """40 training, 10 validation and 10 dev sentences of 1 to 9 words, width 8, layers 1 and 2."""
    generator = np.random.default_rng(0)
    lengths = {
        name: generator.integers(1, 10, size).tolist()
        for name, size in (("train", 40), ("validation", 10), ("dev", 10))
    }
    total = sum(sum(each) for each in lengths.values())
    centres = generator.normal(size=(6, WIDTH)) * 3
    lower = centres[generator.integers(0, 6, total)] + generator.normal(size=(total, WIDTH)) * 0.3
    upper = np.tanh(lower @ generator.normal(size=(WIDTH, WIDTH)) * 0.3)
    return cut_store(tmp_path / "store", lengths, {1: lower, 2: upper})


def concept_settings(**changes: object) -> ConceptSettings:
    """Small settings; keyword arguments replace fields of the part that has them."""
    parts = {
        "encoder": EncoderSettings(),
        "quantizer": QuantizerSettings(codebook_size=6, top_k=3),
        "decoder": DecoderSettings(layers=1, heads=2, feed_forward=16, dropout=0.0, memory=DecoderMemory.encoder),
        "init": InitSettings("kmeans", InitMethod.kmeans),
        "trainer": TrainerSettings(
            name="test",
            sentences=SentenceBudget(),
            max_epochs=3,
            patience=15,
            attribution_steps=8,
            fine_tuning_epochs=1,
            batch_size=16,
            micro_batch_words=24,
        ),
    }
    for key, value in changes.items():
        part, _, field = key.partition("__")
        parts[part] = dataclasses.replace(parts[part], **{field: value})
    return ConceptSettings(**parts, weight_decay_on=WeightDecayOn.all_but_biases)


@pytest.fixture
def make_store() -> Callable[..., ActivationStore]:
    """`cut_store`, for stores of one's own."""
    return cut_store


@pytest.fixture
def settings() -> Callable[..., ConceptSettings]:
    return concept_settings


@pytest.fixture(scope="session")
def fitted_once() -> dict[str, SparseAutoencoder]:
    return {}


@pytest.fixture
def fitted(
    store: ActivationStore, settings: Settings, tmp_path: Path, fitted_once: dict[str, SparseAutoencoder]
) -> SparseAutoencoder:
    """A sparse autoencoder, fitted once: the store of each test holds the same words."""
    if "model" not in fitted_once:
        fitted_once["model"] = autoencoder(settings)
        fitted_once["model"].fit(fit_run(store, tmp_path / "fitted"))
    return fitted_once["model"]

"""A store of made-up activations, written without a language model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clvq_exp.activations.store import (
    LAYER_FACTS,
    SENTENCE_REPRESENTATIONS,
    SENTENCES_TABLE,
    WORD_ACTIVATIONS,
    WORDS_TABLE,
    ActivationStore,
)
from clvq_exp.artifacts import write_json
from clvq_exp.concepts.base import ConceptSettings
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
LayerMaker = Callable[[np.random.Generator, int], np.ndarray]


def write_store(
    folder: Path,
    lengths: dict[str, list[int]],
    layers: dict[int, np.ndarray],
    labels: np.ndarray | None = None,
) -> ActivationStore:
    """A store whose word activations are given; sentence representations are their first words'."""
    tables = folder / "tables"
    tables.mkdir(parents=True)
    flat = [length for each in lengths.values() for length in each]
    split = [index for index, each in enumerate(lengths.values()) for _ in each]
    first = np.concatenate([[0], np.cumsum(flat)[:-1]])
    n = len(flat)
    label = np.arange(n) % 2 if labels is None else labels
    sentences = {
        "id": [f"s{i}" for i in range(n)],
        "text": ["word " * (length - 1) for length in flat],
        "group": [f"s{i}" for i in range(n)],
        "label": pa.array(label, pa.int64()),
        "split": pa.array(split, pa.int8()),
        "first_word": pa.array(first, pa.int64()),
        "n_words": pa.array(flat, pa.int64()),
        "n_tokens": pa.array(flat, pa.int64()),
        "vanished": pa.array([0] * n, pa.int32()),
        "truncated": pa.array([0] * n, pa.int32()),
    }
    pq.write_table(pa.table(sentences), tables / SENTENCES_TABLE)
    words = {
        "sentence": pa.array(np.repeat(np.arange(n), flat), pa.int32()),
        "position": pa.array(np.concatenate([np.arange(length) - 1 for length in flat]), pa.int32()),
        "word": [f"w{i % 7}" for i in range(sum(flat))],
        "special": pa.array(np.concatenate([np.arange(length) == 0 for length in flat])),
    }
    pq.write_table(pa.table(words), tables / WORDS_TABLE)
    folders = {}
    for layer, activations in layers.items():
        out = folder / f"layer{layer}"
        out.mkdir()
        activations.astype(np.float32).tofile(out / WORD_ACTIVATIONS)
        activations[first].astype(np.float32).tofile(out / SENTENCE_REPRESENTATIONS)
        facts = {"layer": layer, "width": activations.shape[1], "dtype": "float32", "after_final_norm": False}
        write_json(out / LAYER_FACTS, facts)
        folders[layer] = out
    return ActivationStore(tables, folders)


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
    return write_store(tmp_path / "store", lengths, {1: lower, 2: upper})


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
    import dataclasses

    for key, value in changes.items():
        part, _, field = key.partition("__")
        parts[part] = dataclasses.replace(parts[part], **{field: value})
    return ConceptSettings(**parts, weight_decay_on=WeightDecayOn.all_but_biases)


@pytest.fixture
def make_store() -> Callable[..., ActivationStore]:
    """`write_store`, for stores of one's own."""
    return write_store


@pytest.fixture
def settings() -> Callable[..., ConceptSettings]:
    return concept_settings

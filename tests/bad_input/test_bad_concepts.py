"""Concept models that cannot be fitted as asked, and the smallest batches that can."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import review, tiny_settings

from clvq_exp.activations.extraction import extract
from clvq_exp.activations.store import ActivationStore
from clvq_exp.artifacts import ArtifactCache
from clvq_exp.concepts.base import ConceptError, ConceptSettings, FitRun
from clvq_exp.concepts.clvq_vae import ClvqVae
from clvq_exp.language_models.encoder import EncoderModel
from clvq_exp.records import Sentence
from clvq_exp.settings import (
    ActivationSettings,
    DecoderSettings,
    EncoderSettings,
    InitMethod,
    InitSettings,
    LayerPair,
    QuantizerSettings,
    SentenceBudget,
    Split,
    TrainerSettings,
    WeightDecayOn,
)

PAIR = LayerPair(0, 2)


def settings(size: int, init: InitMethod = InitMethod.kmeans, **trainer: Any) -> ConceptSettings:
    small = TrainerSettings(
        name="test",
        sentences=SentenceBudget(),
        max_epochs=2,
        patience=5,
        attribution_steps=8,
        fine_tuning_epochs=1,
    )
    return ConceptSettings(
        EncoderSettings(),
        QuantizerSettings(codebook_size=size, top_k=2),
        DecoderSettings(layers=1, heads=4, feed_forward=32),
        InitSettings(init.value, init),
        dataclasses.replace(small, **trainer),
        WeightDecayOn.all_but_biases,
    )


@pytest.fixture(scope="module")
def model(tiny_encoder: Path) -> EncoderModel:
    return EncoderModel.load(tiny_encoder, tiny_settings(), ["0", "1"], torch.device("cpu"))


def store_of(cache: Path, model: EncoderModel, train: list[str], validation: list[str]) -> ActivationStore:
    splits = {
        split: [Sentence(f"{split.value}-{row}", text, row % 2, str(row)) for row, text in enumerate(texts)]
        for split, texts in ((Split.train, train), (Split.validation, validation))
    }
    layers = [PAIR.lower, PAIR.upper]
    return extract(ArtifactCache(cache), model, splits, layers, ActivationSettings(), model.max_length)


def fit(store: ActivationStore, work: Path, asked: ConceptSettings) -> ClvqVae:
    fitted = ClvqVae(asked)
    work.mkdir()
    fitted.fit(FitRun(store, PAIR, 0, work, ArtifactCache(work.with_name("codebooks")), torch.device("cpu")))
    return fitted


def message(store: ActivationStore, work: Path, asked: ConceptSettings) -> str:
    with pytest.raises(ConceptError) as caught:
        fit(store, work, asked)
    return str(caught.value)


@pytest.mark.parametrize("init", list(InitMethod))
def test_more_codes_than_training_words__exact_message(
    model: EncoderModel, tmp_path: Path, init: InitMethod
) -> None:
    store = store_of(tmp_path / "cache", model, ["dull mess", "superb"], ["dull"])
    assert message(store, tmp_path / "work", settings(6, init)) == (
        "quantizer.codebook_size=6, but only 5 training words: set it lower, or use more sentences "
        "(trainer.sentences.concepts)"
    )


@pytest.mark.parametrize("init", list(InitMethod))
def test_more_codes_than_distinct_words__exact_message(
    model: EncoderModel, tmp_path: Path, init: InitMethod
) -> None:
    # Embeddings know a word and its place: three sentences that are alike have three distinct activations.
    store = store_of(tmp_path / "cache", model, ["dull mess"] * 3, ["dull"])
    assert store.word_range(Split.train) == (0, 9)
    assert message(store, tmp_path / "work", settings(4, init)) == (
        "quantizer.codebook_size=4, but only 3 distinct word activations: set quantizer.codebook_size to at "
        "most 3, or use more sentences (trainer.sentences.concepts)"
    )


def test_no_validation_sentences__exact_message(model: EncoderModel, tmp_path: Path) -> None:
    store = store_of(tmp_path / "cache", model, ["dull mess", "superb"], [])
    assert message(store, tmp_path / "work", settings(2)) == (
        "no validation sentences to stop on: raise trainer.sentences.concepts or dataset.validation_share"
    )


def test_batch_of_one_sentence__trains(model: EncoderModel, tmp_path: Path) -> None:
    train = [review(index)[0] for index in range(6)]
    store = store_of(tmp_path / "cache", model, train, [review(6)[0], review(7)[0]])
    fitted = fit(store, tmp_path / "work", settings(3, batch_size=1, micro_batch_words=1))
    start, end = store.word_range(Split.train)
    assert int(fitted.member_counts.sum()) == end - start
    losses = [record["train_loss"] for record in fitted.summary.history if record["train_loss"] is not None]
    assert len(losses) == 2
    assert all(0 < loss < float("inf") for loss in losses)


def test_one_sentence_to_train_on__trains(model: EncoderModel, tmp_path: Path) -> None:
    store = store_of(tmp_path / "cache", model, ["dull and clumsy"], ["superb"])
    fitted = fit(store, tmp_path / "work", settings(4))
    assert int(fitted.member_counts.sum()) == 4

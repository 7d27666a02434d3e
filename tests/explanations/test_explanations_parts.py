"""Attribution in parts: an interrupted one goes on, and warns of what did not converge once."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clvq_exp.activations.extraction import extract
from clvq_exp.activations.store import ActivationStore
from clvq_exp.artifacts import ArtifactCache
from clvq_exp.explanations import word_attributions
from clvq_exp.explanations.attribution import attribute
from clvq_exp.explanations.word_attributions import attribute_sentences
from clvq_exp.records import Sentence
from clvq_exp.settings import ActivationSettings, AttributionSettings, Split

SETTINGS = AttributionSettings(steps=4, adaptive=False)
TEXTS = tuple("zyxabcd"[: 1 + index % 7] for index in range(23))


class Power(BaseException):
    """The plug is pulled: nobody catches this."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArtifactCache:
    monkeypatch.setattr(word_attributions, "PART", 5)
    return ArtifactCache(tmp_path / "cache")


def stored(cache: ArtifactCache, model: Any) -> ActivationStore:
    sentences = [Sentence(str(index), text, index % 2, "g") for index, text in enumerate(TEXTS)]
    return extract(cache, model, {Split.dev: sentences}, [0], ActivationSettings(), 64)


@pytest.fixture
def model(letters: Any) -> Any:
    return letters(lambda summed: summed @ torch.tensor([1.0, -2.0, 0.5]))


def interrupted(monkeypatch: pytest.MonkeyPatch, most: int | None) -> list[int]:
    """Count the sentences of each call; the call after `most` does not come to its end."""
    calls: list[int] = []

    def counted(of: Any, texts: Any, *how: Any) -> Any:
        if len(calls) == most:
            raise Power
        calls.append(len(texts))
        return attribute(of, texts, *how)

    monkeypatch.setattr(word_attributions, "attribute", counted)
    return calls


def test_interrupted_attribution__goes_on_behind_its_last_part(
    cache: ArtifactCache, tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stored(cache, model)
    sentences = store.sentence_ids(Split.dev)
    expected = attribute_sentences(ArtifactCache(tmp_path / "whole"), model, store, sentences, SETTINGS)
    calls = interrupted(monkeypatch, 3)
    with pytest.raises(Power):
        attribute_sentences(cache, model, store, sentences, SETTINGS)
    assert calls == [5, 5, 5]
    calls = interrupted(monkeypatch, None)
    found = attribute_sentences(cache, model, store, sentences, SETTINGS)
    assert calls == [5, 3]
    for a, b in zip(found, expected, strict=True):
        assert np.array_equal(a, b)
    (folder,) = cache.root.glob("attributions/*/")
    assert {path.name for path in folder.iterdir()} == {"words.parquet", "sentences.parquet", "manifest.json"}


@pytest.mark.parametrize("name", ["words", "sentences"])
def test_part_that_changed__is_made_again_with_a_warning(
    cache: ArtifactCache,
    model: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    store = stored(cache, model)
    sentences = store.sentence_ids(Split.dev)
    interrupted(monkeypatch, 3)
    with pytest.raises(Power):
        attribute_sentences(cache, model, store, sentences, SETTINGS)
    (part,) = cache.root.glob(f"attributions/*.partial/part-000001-{name}.parquet")
    content = bytearray(part.read_bytes())
    content[len(content) // 3] ^= 1
    part.write_bytes(content)
    calls = interrupted(monkeypatch, None)
    attribute_sentences(cache, model, store, sentences, SETTINGS)
    assert calls == [5, 5, 3]
    assert [message for message in caplog.messages if f"part-000001-{name}" in message]


def test_warning__counts_what_did_not_converge_and_names_what_to_do(
    cache: ArtifactCache, letters: Any, caplog: pytest.LogCaptureFixture
) -> None:
    model = letters(lambda summed: 5 + torch.tanh(1e7 * (summed[:, 0] - 0.123)))
    model.embedding.weight.data[:, 0] = torch.linspace(-1, 1, 29)
    store = stored(cache, model)
    sentences = store.sentence_ids(Split.dev)
    for settings, advice in (
        (SETTINGS, "raise attribution.steps, or set attribution.adaptive=true"),
        (replace(SETTINGS, adaptive=True, max_steps=8), "raise attribution.max_steps"),
    ):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            found = attribute_sentences(cache, model, store, sentences, settings)
        off = int((np.abs(found.convergence_delta) > 0.01 * np.abs(found.logit_change)).sum())
        assert 0 < off <= len(TEXTS)
        assert caplog.messages == [
            f"{off} of {len(TEXTS)} attributions have a convergence delta above 0.01 of the logit's change; "
            + advice
        ]


def test_converged_attributions__warn_of_nothing(
    cache: ArtifactCache, model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store = stored(cache, model)
    with caplog.at_level(logging.WARNING):
        attribute_sentences(cache, model, store, store.sentence_ids(Split.dev), SETTINGS)
    assert caplog.messages == []

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clvq_exp.activations.extraction import extract
from clvq_exp.activations.store import ActivationStore
from clvq_exp.artifacts import ArtifactCache
from clvq_exp.explanations import word_attributions as attributions_module
from clvq_exp.explanations.attribution import attribute
from clvq_exp.explanations.salient_words import choose_salient_words
from clvq_exp.explanations.word_attributions import WordAttributions, attribute_sentences
from clvq_exp.records import Sentence
from clvq_exp.settings import (
    ActivationSettings,
    AttributionAt,
    AttributionBaseline,
    AttributionSettings,
    SalientBy,
    Split,
    WordScore,
)

SETTINGS = AttributionSettings(steps=4, adaptive=False)
TRAIN = ("Dull DULL film", "the film the End", "straße STRASSE dull")
DEV = ("ab cd", "", "efg", "h i j k l")


@pytest.fixture
def cache(tmp_path: Path) -> ArtifactCache:
    return ArtifactCache(tmp_path / "cache")


@pytest.fixture
def model(letters: Any) -> Any:
    return letters(lambda summed: summed @ torch.tensor([1.0, -2.0, 0.5]))


@pytest.fixture
def store(cache: ArtifactCache, model: Any) -> ActivationStore:
    splits = {
        split: [Sentence(f"{split.value}-{i}", text.lower(), i % 2, str(i)) for i, text in enumerate(texts)]
        for split, texts in ((Split.train, TRAIN), (Split.dev, DEV))
    }
    return extract(cache, model, splits, [0], ActivationSettings(), 64)


def scored(store: ActivationStore, *scores: list[float]) -> WordAttributions:
    """Attributions of the dev sentences with given scores."""
    sentences = store.sentence_ids(Split.dev)
    start, end = store.word_range(Split.dev)
    n = len(sentences)
    assert [len(each) for each in scores] == store.sentences.n_words[sentences].tolist()
    return WordAttributions(
        sentences,
        np.arange(start, end),
        np.concatenate([np.asarray(each, dtype=np.float32) for each in scores]),
        np.zeros((n, 2), dtype=np.float32),
        np.zeros(n, dtype=np.int64),
        *(np.zeros(n) for _ in range(2)),
        np.full(n, 4),
    )


def test_salient_word__is_the_highest_score(store: ActivationStore) -> None:
    given = scored(store, [0, -5, 2], [0], [0, -1], [9, 1, 2, 8, 4, 5])
    found = choose_salient_words(given, store, sentence_token_allowed=True)
    first = store.sentences.first_word[found.sentences]
    assert (found.word_rows - first).tolist() == [2, 0, 0, 0], "the highest, not the largest"
    assert found.scores.tolist() == [2, 0, 0, 9]
    assert found.special.tolist() == [False, True, True, True]


def test_sentence_token__is_not_chosen_unless_alone(store: ActivationStore) -> None:
    given = scored(store, [7, -5, -2], [0], [0, -1], [9, 1, 2, 8, 4, 5])
    found = choose_salient_words(given, store, sentence_token_allowed=False)
    first = store.sentences.first_word[found.sentences]
    assert (found.word_rows - first).tolist() == [2, 0, 1, 3]
    assert found.special.tolist() == [False, True, False, False]
    assert found.scores.tolist() == [-2, 0, -1, 8]
    assert given.scores[0] == 7, "the scores are left as they are"


def test_equal_scores__the_first_word(store: ActivationStore) -> None:
    given = scored(store, [0, 3, 3], [0], [0, 0], [0] * 6)
    found = choose_salient_words(given, store, sentence_token_allowed=False)
    first = store.sentences.first_word[found.sentences]
    assert (found.word_rows - first).tolist() == [1, 0, 1, 1]


def test_absolute_score__is_what_the_salient_word_may_be_highest_in(store: ActivationStore) -> None:
    given = scored(store, [0, -5, 2], [0], [3, -1], [-9, 1, 2, 8, 4, 5])
    found = choose_salient_words(given, store, sentence_token_allowed=True, by=SalientBy.absolute_score)
    first = store.sentences.first_word[found.sentences]
    assert (found.word_rows - first).tolist() == [1, 0, 0, 0]
    assert found.scores.tolist() == [-5, 0, 3, -9], "the scores themselves are kept"
    words = choose_salient_words(given, store, sentence_token_allowed=False, by=SalientBy.absolute_score)
    assert (words.word_rows - first).tolist() == [1, 0, 1, 3]


def test_attributions__belong_to_the_stored_words(
    cache: ArtifactCache, store: ActivationStore, model: Any
) -> None:
    sentences = store.sentence_ids(Split.dev)[[0, 2, 3]]
    found = attribute_sentences(cache, model, store, sentences, SETTINGS)
    results = attribute(model, [DEV[0], DEV[2], DEV[3]], SETTINGS)
    assert found.scores == pytest.approx(np.concatenate([each.words for each in results]), abs=1e-6)
    assert found.prediction.tolist() == [each.prediction for each in results]
    assert found.logits == pytest.approx(np.stack([each.logits for each in results]), abs=1e-6)
    assert found.logit_change == pytest.approx([each.logit_change for each in results])
    assert found.steps.tolist() == [4] * 3
    owners = store.word_column("sentence").to_numpy()[found.word_rows]
    assert owners.tolist() == np.repeat(sentences, [3, 2, 6]).tolist()


def test_attributions__are_made_once(
    cache: ArtifactCache, store: ActivationStore, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def counted(of: Any, texts: Any, *how: Any) -> Any:
        calls.append(len(texts))
        return attribute(of, texts, *how)

    monkeypatch.setattr(attributions_module, "attribute", counted)
    sentences = store.sentence_ids(Split.dev)
    first = attribute_sentences(cache, model, store, sentences, SETTINGS)
    again = attribute_sentences(ArtifactCache(cache.root), model, store, sentences, SETTINGS)
    assert calls == [4]
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a, b)
    unused = replace(
        SETTINGS,
        max_steps=1024,
        tolerance=0.5,
        sentence_token_can_be_salient=False,
        salient_by=SalientBy.absolute_score,
    )
    attribute_sentences(cache, model, store, sentences, unused, layer=5)
    attribute_sentences(cache, model, store, sentences, replace(SETTINGS, at=AttributionAt.lower_layer))
    assert calls == [4], "what fixed steps do not read changes nothing"
    attribute_sentences(cache, model, store, sentences, replace(SETTINGS, steps=8))
    attribute_sentences(cache, model, store, sentences[:2], SETTINGS)
    attribute_sentences(cache, model, store, sentences, replace(SETTINGS, adaptive=True))
    assert calls == [4, 4, 2, 4]
    for change in ({"baseline": AttributionBaseline.token_zero}, {"word_score": WordScore.max_absolute}):
        attribute_sentences(cache, model, store, sentences, replace(SETTINGS, **change))
    assert calls == [4, 4, 2, 4, 4, 4]


def test_attributions__of_another_layer_are_others(
    cache: ArtifactCache, store: ActivationStore, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers: list[int] = []

    def counted(of: Any, texts: Any, settings: Any, layer: int) -> Any:
        layers.append(layer)
        return attribute(of, texts, SETTINGS)

    monkeypatch.setattr(attributions_module, "attribute", counted)
    at_layer = replace(SETTINGS, at=AttributionAt.lower_layer)
    for layer in (1, 2, 1):
        attribute_sentences(cache, model, store, store.sentence_ids(Split.dev), at_layer, layer)
    assert layers == [1, 2]


def test_attributions__of_no_sentence(cache: ArtifactCache, store: ActivationStore, model: Any) -> None:
    found = attribute_sentences(cache, model, store, np.zeros(0, dtype=np.int64), SETTINGS)
    assert len(found.scores) == len(found.steps) == 0
    assert len(choose_salient_words(found, store, sentence_token_allowed=True).word_rows) == 0

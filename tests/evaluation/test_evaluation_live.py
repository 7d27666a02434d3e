"""The live intervention as an artifact: the same whether it is made or read, and never somebody else's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import review, tiny_settings

from clvq_exp.activations.extraction import extract
from clvq_exp.activations.store import ActivationStore
from clvq_exp.artifacts import ArtifactCache
from clvq_exp.evaluation import live
from clvq_exp.evaluation.controls import Removal, Subjects, layer_directions
from clvq_exp.evaluation.intervention import Found, LiveOutcomes, Sentences, intervene
from clvq_exp.evaluation.live import CONDITIONS, live_outcomes
from clvq_exp.language_models.encoder import EncoderModel
from clvq_exp.records import Sentence
from clvq_exp.settings import ActivationSettings, Split

LAYER = 2


@pytest.fixture(scope="module")
def model(tiny_encoder: Path) -> EncoderModel:
    return EncoderModel.load(tiny_encoder, tiny_settings(), ["0", "1"], torch.device("cpu"))


@pytest.fixture(scope="module")
def live_store(tmp_path_factory: pytest.TempPathFactory, model: EncoderModel) -> ActivationStore:
    """20 training and 30 dev reviews at layers 2 and 3."""

    def sentences(start: int, n: int) -> list[Sentence]:
        return [Sentence(f"r{i}", *review(i), f"r{i}") for i in range(start, start + n)]

    splits = {Split.train: sentences(0, 20), Split.dev: sentences(100, 30)}
    cache = ArtifactCache(tmp_path_factory.mktemp("live"))
    return extract(cache, model, splits, [LAYER, 3], ActivationSettings(), model.max_length)


@pytest.fixture
def removals(live_store: ActivationStore, axes: Any) -> dict[int, Removal]:
    """Two seeds of a removal."""
    return {seed: removal_of(live_store, type(axes)(8, live_store.width), seed) for seed in (0, 4)}


def removal_of(store: ActivationStore, concepts: Any, seed: int, n: int = 30, layer: int = LAYER) -> Removal:
    rows = store.sentence_ids(Split.dev)[:n]
    who = Subjects(store, layer, rows, store.sentences.first_word[rows] + 1)
    return Removal(concepts, who, layer_directions(store, layer), np.arange(8), "concept", seed)


@pytest.fixture
def cache(tmp_path: Path) -> ArtifactCache:
    return ArtifactCache(tmp_path / "cache")


def finished(cache: ArtifactCache) -> set[str]:
    return {path.parent.name for path in (cache.root / "interventions").glob("*/manifest.json")}


def arrays(found: Found) -> dict[tuple[str, str, str], np.ndarray]:
    return {
        (place, name, measure): getattr(outcomes, measure)
        for place, conditions in found.items()
        for name, outcomes in conditions.items()
        for measure in LiveOutcomes._fields
    }


def assert_same(one: Found, other: Found) -> None:
    assert list(arrays(one)) == list(arrays(other))
    for key, values in arrays(one).items():
        assert values.dtype == arrays(other)[key].dtype
        np.testing.assert_array_equal(values, arrays(other)[key], err_msg=str(key))


def test_outcomes__from_the_cache_equal_fresh_ones(
    cache: ArtifactCache, model: EncoderModel, removals: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = live_outcomes(cache, model, removals, 200, "test")
    assert {place: tuple(conditions) for place, conditions in fresh.items()} == dict.fromkeys(fresh, CONDITIONS)
    assert fresh["all_words"]["perturbed"].flips.any(), "otherwise there is nothing to see here"
    monkeypatch.setattr(live, "intervene", None)
    assert_same(live_outcomes(ArtifactCache(cache.root), model, removals, 200, "test"), fresh)


def test_outcomes__are_those_of_the_intervention_itself(
    cache: ArtifactCache, model: EncoderModel, removals: Any, live_store: ActivationStore
) -> None:
    who = removals[0].who
    blocks = {seed: next(removal.blocks(CONDITIONS)).bases for seed, removal in removals.items()}
    sentences = Sentences(
        live_store.sentence_column("text", who.sentences).to_pylist(),
        who.labels.numpy(),
        live_store.word_column("position", who.salient_rows).to_numpy().astype(np.int64),
    )
    bases = {name: {seed: blocks[seed][name] for seed in removals} for name in CONDITIONS}
    assert_same(live_outcomes(cache, model, removals, 200, "test"), intervene(model, LAYER, sentences, bases, 200))


def test_outcomes__do_not_hang_on_the_block_but_for_the_last_bits(
    cache: ArtifactCache, model: EncoderModel, removals: Any
) -> None:
    whole = arrays(live_outcomes(cache, model, removals, 200, "test"))
    parts = arrays(live_outcomes(cache, model, removals, 200, "test", block=7))
    assert len(finished(cache)) == 4, "other batches are another artifact"
    for key, values in whole.items():
        if values.dtype == np.bool_:
            np.testing.assert_array_equal(parts[key], values, err_msg=str(key))
        else:
            np.testing.assert_allclose(parts[key], values, atol=1e-5, err_msg=str(key))


def test_artifacts__a_changed_basis_makes_a_new_one(
    cache: ArtifactCache, model: EncoderModel, removals: Any
) -> None:
    live_outcomes(cache, model, removals, 200, "test")
    before = finished(cache)
    used = int(removals[4]._salient_ids[-1, 0])
    removals[4].model._vectors[used, 0] += 1e-7
    live_outcomes(cache, model, removals, 200, "test")
    assert len(finished(cache) - before) == 1, "directions of no concept are what they were"


def test_artifacts__other_concepts_share_the_directions_of_no_concept(
    cache: ArtifactCache, model: EncoderModel, removals: Any, live_store: ActivationStore, axes: Any
) -> None:
    first = live_outcomes(cache, model, removals, 200, "test")
    assert len(finished(cache)) == 2
    fewer = {seed: removal_of(live_store, type(axes)(2, live_store.width), seed) for seed in removals}
    second = live_outcomes(cache, model, fewer, 200, "test")
    assert len(finished(cache)) == 3
    for name in ("random_direction", "mean_direction"):
        for one, other in zip(first["all_words"][name], second["all_words"][name], strict=True):
            np.testing.assert_array_equal(one, other)
    one, other = (each["all_words"]["perturbed"].probability_change for each in (first, second))
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("changed", ["batch_tokens", "seeds", "sentences", "layer", "salient", "model"])
def test_artifacts__whatever_can_change_an_outcome_makes_new_ones(
    cache: ArtifactCache,
    model: EncoderModel,
    removals: Any,
    live_store: ActivationStore,
    axes: Any,
    monkeypatch: pytest.MonkeyPatch,
    changed: str,
) -> None:
    live_outcomes(cache, model, removals, 200, "test")
    concepts = type(axes)(8, live_store.width)
    budget = 100 if changed == "batch_tokens" else 200
    if changed == "seeds":
        removals = {seed + 1: removal for seed, removal in removals.items()}
    if changed == "sentences":
        removals = {seed: removal_of(live_store, concepts, seed, n=29) for seed in removals}
    if changed == "layer":
        removals = {seed: removal_of(live_store, concepts, seed, layer=3) for seed in removals}
    if changed == "salient":
        for removal in removals.values():
            removal.who.salient_rows[0] += 1
    if changed == "model":
        monkeypatch.setattr(model, "fingerprint", "another")
    live_outcomes(cache, model, removals, budget, "test")
    assert len(finished(cache)) == 4


def test_artifacts__a_failure_leaves_what_was_finished_before(
    cache: ArtifactCache, model: EncoderModel, removals: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = live_outcomes(ArtifactCache(cache.root / "elsewhere"), model, removals, 200, "test")
    calls: list[int] = []

    def fails_later(*given: Any) -> Found:
        calls.append(len(calls))
        if len(calls) == 2:  # the directions of no concept
            raise RuntimeError("the process ends here")
        return intervene(*given)

    monkeypatch.setattr(live, "intervene", fails_later)
    with pytest.raises(RuntimeError, match="ends here"):
        live_outcomes(cache, model, removals, 200, "test")
    assert len(finished(cache)) == 1
    assert_same(live_outcomes(cache, model, removals, 200, "test"), whole)
    assert len(calls) == 3

"""Extraction and attribution shared by two processes: the bytes of one, and what goes wrong in one of them."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from running import call, tiny_cell
from tiny import review, tiny_settings

from clvq_exp.activations import layer_pass
from clvq_exp.activations.extraction import extract
from clvq_exp.activations.store import ActivationStore
from clvq_exp.artifacts import MANIFEST, ArtifactCache, read_json
from clvq_exp.explanations import word_attributions
from clvq_exp.explanations.word_attributions import WordAttributions, attribute_sentences
from clvq_exp.language_models.base import LanguageModel, LanguageModelError
from clvq_exp.language_models.encoder import EncoderModel
from clvq_exp.language_models.prompt import Task
from clvq_exp.language_models.recipe import ALONE, ModelProcesses, ModelRecipe
from clvq_exp.ranks import RankError
from clvq_exp.records import Sentence
from clvq_exp.settings import ActivationSettings, AttributionSettings, Split

pytestmark = pytest.mark.slow
CPU = torch.device("cpu")
SENTENCES = [Sentence(str(index), *review(index), "g") for index in range(40)]


class Dying(ModelRecipe):
    """A process that opens this model is killed."""

    def open(self, device: torch.device) -> LanguageModel:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().open(device)


class Refused(ModelRecipe):
    """A process that opens this model gets an error."""

    def open(self, device: torch.device) -> LanguageModel:
        raise LanguageModelError(f"this model cannot be opened twice on a {device}; set trainer.devices=1")


@pytest.fixture
def recipe(tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> ModelRecipe:
    monkeypatch.setattr(layer_pass, "PART", 8)
    monkeypatch.setattr(word_attributions, "PART", 8)
    return ModelRecipe(tiny_encoder, tiny_settings(), Task(("0", "1"), "{text}", ()))


def made(
    cache: ArtifactCache, model: LanguageModel, processes: ModelProcesses
) -> tuple[ActivationStore, WordAttributions]:
    store = extract(
        cache, model, {Split.dev: SENTENCES}, [1, 3], ActivationSettings(batch_tokens=64), 64, processes
    )
    settings = AttributionSettings(steps=4, adaptive=False)
    return store, attribute_sentences(cache, model, store, np.arange(30), settings, processes=processes)


def contents(cache: ArtifactCache) -> dict[str, bytes]:
    """Every file of every artifact; the manifests compare what they list."""
    files = (path for path in cache.root.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(cache.root).as_posix(): path.read_bytes() for path in files}


def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sentences of each batch of extraction in this process."""
    sizes: list[int] = []
    own = EncoderModel.states

    def states(self: EncoderModel, batch: Any, layers: Any) -> Any:
        sizes.append(len(batch.input_ids))
        return own(self, batch, layers)

    monkeypatch.setattr(EncoderModel, "states", states)
    return sizes


def test_two_processes__make_the_bytes_of_one_and_each_a_share(
    recipe: ModelRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, together = ArtifactCache(tmp_path / "alone"), ArtifactCache(tmp_path / "together")
    model = recipe.open(CPU)
    sizes = batches(monkeypatch)
    made(alone, model, ALONE)
    assert sum(sizes) == 40
    sizes.clear()
    made(together, model, ModelProcesses(recipe, 2))
    assert 8 <= sum(sizes) <= 32, "the other process has its share"
    assert contents(together) == contents(alone)
    assert not [name for name in contents(together) if "parts" in name]


def test_killed_process__leaves_the_parts_of_the_others(
    recipe: ModelRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, whole = ArtifactCache(tmp_path / "cache"), ArtifactCache(tmp_path / "whole")
    model = recipe.open(CPU)
    sizes = batches(monkeypatch)
    with pytest.raises(RankError, match=r"SIGKILL.*the same command goes on"):
        made(cache, model, ModelProcesses(Dying(*recipe), 2))
    own = sum(sizes)
    assert 8 <= own <= 32
    made(cache, model, ALONE)
    assert sum(sizes) == 40, "what this process had finished is not made again"
    made(whole, model, ALONE)
    assert contents(cache) == contents(whole)


def test_error_of_another_process__is_raised_as_it_was(recipe: ModelRecipe, tmp_path: Path) -> None:
    with pytest.raises(LanguageModelError, match=r"cannot be opened twice on a cpu; set trainer\.devices=1"):
        made(ArtifactCache(tmp_path / "cache"), recipe.open(CPU), ModelProcesses(Refused(*recipe), 2))


def test_threads__are_as_before(recipe: ModelRecipe, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    made(ArtifactCache(tmp_path / "cache"), recipe.open(CPU), ModelProcesses(recipe, 2))
    assert torch.get_num_threads() == before


def test_cell_of_two_processes__shares_its_artifacts_with_that_of_one(
    tmp_path: Path, tiny_encoder: Path, reviews: Path
) -> None:
    cell = [*tiny_cell(tiny_encoder, reviews), "beside=none", "evaluation.intervention=false"]
    shared = {kind: set[Path]() for kind in ("activations", "attributions", "words")}
    for devices in (2, 1):
        done = call(tmp_path, *cell, f"trainer.devices={devices}", f"hydra.run.dir=run{devices}")
        assert done.code == 0, done.err
        for kind, known in shared.items():
            found = set((tmp_path / "cache" / kind).iterdir())
            assert not known or found == known
            shared[kind] = found
    two, one = (read_json(tmp_path / f"run{devices}" / "metrics.json") for devices in (2, 1))
    for name in ("model", "attribution"):
        assert two[name] == one[name]

"""A fitted or loaded model is put on a device, and words are given to their concepts there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from composing import checked
from torch.overrides import TorchFunctionMode

from clvq_exp.activations.store import ActivationStore
from clvq_exp.artifacts import ArtifactCache
from clvq_exp.concepts.base import ConceptModel, ConceptSettings, FitRun
from clvq_exp.concepts.clustering import Clustering
from clvq_exp.concepts.clvq_vae import ClvqVae
from clvq_exp.concepts.kmeans_codes import KMeansCodes
from clvq_exp.concepts.sparse.transcoder import SparseTranscoder
from clvq_exp.fitting import ConceptFit, fitted
from clvq_exp.settings import LayerPair

Make = Callable[[ConceptSettings], Any]
CPU, ELSEWHERE = torch.device("cpu"), torch.device("cuda:3")
PAIR = LayerPair(1, 2)
METHODS: dict[str, Make] = {
    "clvq_vae": ClvqVae,
    "kmeans_codes": KMeansCodes,
    "clustering": Clustering,
    "clustering, logistic": lambda settings: Clustering(settings, assignment="logistic"),
    "transcoder": lambda settings: SparseTranscoder(settings, k=3, expansion=2, batch_words=32),
}


class Devices(TorchFunctionMode):
    """What is moved counts as lying on another device, and its numbers stay where they can be read."""

    def __init__(self) -> None:
        super().__init__()
        self.moved: list[tuple[int, ...]] = []
        """Shapes of what was moved."""
        self._elsewhere: dict[int, torch.Tensor] = {}

    def of(self, tensor: torch.Tensor) -> torch.device:
        return ELSEWHERE if tensor.untyped_storage().data_ptr() in self._elsewhere else CPU

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func == torch.Tensor.device.__get__:
            return self.of(args[0])
        if func != torch.Tensor.to or ELSEWHERE not in args:
            return func(*args, **(kwargs or {}))
        found = args[0].to(*(each for each in args[1:] if isinstance(each, torch.dtype))).clone()
        self._elsewhere[found.untyped_storage().data_ptr()] = found
        self.moved.append(tuple(found.shape))
        return found


@pytest.fixture(params=METHODS)
def make(request: pytest.FixtureRequest, settings: Callable[..., ConceptSettings]) -> Callable[[], Any]:
    return lambda: METHODS[request.param](settings(trainer__max_epochs=1))


@pytest.fixture
def saved(make: Callable[[], Any], store: ActivationStore, tmp_path: Path) -> Path:
    model, work = make(), tmp_path / "work"
    work.mkdir()
    model.fit(FitRun(store, PAIR, 0, work, ArtifactCache(tmp_path / "cache"), CPU))
    model.save(work)
    return work


def results(model: ConceptModel, words: torch.Tensor) -> list[torch.Tensor]:
    ids = model.assign(words)
    return [ids, model.vectors().detach(), *(model.directions(ids, removal) for removal in model.removals)]


def test_loaded_model__meets_words_on_the_device_that_it_was_put_on(
    make: Callable[[], Any], saved: Path, store: ActivationStore
) -> None:
    words = store.words(1)[:20].clone()
    expected = results(make().load(saved), words)
    model = make().load(saved)
    with Devices() as devices:
        assert devices.of(model.vectors()) == CPU
        assert model.to(ELSEWHERE) is model
        assert devices.of(model.vectors()) == devices.of(model._member_means) == ELSEWHERE
        devices.moved.clear()
        model.assign(words)
        assert devices.moved == [(20, 8)], "the words, once, and nothing of the model"
        found = results(model, words)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_model__that_is_put_where_it_is_stays_as_it_is(
    make: Callable[[], Any], saved: Path, store: ActivationStore
) -> None:
    words = store.words(1)[:20]
    model = make().load(saved)
    before, expected = model.vectors().data_ptr(), results(model, words)
    found = results(model.to(CPU), words)
    assert model.vectors().data_ptr() == before
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


class Stays(KMeansCodes):
    """A method that does not say how it moves, as its author may have left it."""

    def to(self, device: torch.device) -> Any:
        return ConceptModel.to(self, device)


def test_method__that_does_not_say_how_it_moves_stays(settings: Callable[..., ConceptSettings]) -> None:
    model = Stays(settings())
    model.set_tensors({"codebook": torch.eye(3)})
    with Devices() as devices:
        assert model.to(ELSEWHERE) is model
        assert devices.of(model.vectors()) == CPU


@pytest.mark.parametrize("before", [False, True])
def test_fitted__puts_the_model_on_the_device_of_the_cell(
    before: bool, store: ActivationStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put: list[torch.device] = []

    def note(self: KMeansCodes, device: torch.device) -> KMeansCodes:
        put.append(device)
        return self

    config = checked("baseline=kmeans_codes", "beside=none", "quantizer.codebook_size=6", "layer_pair=0-4")
    config = replace(config, layer_pair=PAIR)
    (method,) = config.methods.values()
    cache = ArtifactCache(tmp_path / "cache")
    work = ConceptFit(config, method, store, 0, CPU, tmp_path)
    if before:
        fitted(work, cache)
    monkeypatch.setattr(KMeansCodes, "to", note)
    fitted(work, cache)
    assert put == [CPU]

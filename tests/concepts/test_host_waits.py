"""A step of training asks no value of a tensor, where a GPU's host would wait: looked at on the CPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from clvq_exp.activations import datamodule, word_batches
from clvq_exp.activations.datamodule import ActivationPairs, BatchKey
from clvq_exp.activations.resident import sent
from clvq_exp.activations.store import ActivationStore
from clvq_exp.activations.word_batches import WordPairs
from clvq_exp.artifacts import ArtifactCache
from clvq_exp.concepts import packing, trained_module
from clvq_exp.concepts.base import ConceptModel, ConceptSettings, FitRun
from clvq_exp.concepts.clvq_vae import ClvqVae
from clvq_exp.concepts.module import ClvqVaeModule
from clvq_exp.concepts.sparse.autoencoder import SparseAutoencoder
from clvq_exp.concepts.sparse.module import SparseModule
from clvq_exp.concepts.sparse.transcoder import SparseTranscoder
from clvq_exp.concepts.trained_module import TrainedModule
from clvq_exp.settings import LayerPair, SelfAttention, Split, WordsOfConcepts

Settings = Callable[..., ConceptSettings]
CPU = torch.device("cpu")
PAIR = LayerPair(1, 2)
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "bincount", "_unique2", "unique_dim", "equal"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}


class Waits(TorchDispatchMode):
    """Counts what makes a host wait for its GPU: values asked of tensors, and shapes that hang on values."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.steps = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.partition("::")[2]
        masked = name in INDEXING and any(each is not None and each.dtype == torch.bool for each in args[1])
        if masked or name in WAITING:
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def fit_and_count(
    model: ConceptModel,
    kind: type[TrainedModule],
    data: type[Any],
    store: ActivationStore,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Counter[str]:
    """Waits from the beginning to the end of every batch, of training and validation, and while it is made."""
    waits = Waits()

    def begin(self: Any, *_: Any, **__: Any) -> None:
        waits.__enter__()

    def end(self: Any, *_: Any, **__: Any) -> None:
        waits.__exit__(None, None, None)
        waits.steps += 1

    own = data._read if data is ActivationPairs else data.__getitem__

    def read(self: Any, *given: Any) -> Any:
        with waits:
            return own(self, *given)

    monkeypatch.setattr(data, own.__name__, read)
    for split in ("train", "validation"):
        monkeypatch.setattr(kind, f"on_{split}_batch_start", begin)
        monkeypatch.setattr(kind, f"on_{split}_batch_end", end)
    (folder / "work").mkdir(parents=True)
    model.fit(FitRun(store, PAIR, 0, folder / "work", ArtifactCache(folder / "cache"), CPU))
    assert waits.steps > 6, "otherwise nothing was looked at"
    return waits.found


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers kept on the device, padding computed along, and the kernel that a GPU's optimizer gets."""
    monkeypatch.setattr(packing, "picks_real_words", lambda *_: False)
    monkeypatch.setattr(trained_module, "fused_kernel", lambda *_: True)
    for module in (datamodule, word_batches):
        monkeypatch.setattr(module, "resident_device", lambda *_: CPU)


CHANGES: dict[str, dict[str, Any]] = {
    "paper": {},
    "nearest code alone": {"quantizer__top_k": 1},
    "as the reference": {
        "quantizer__words_of_concepts": WordsOfConcepts.sampled_code,
        "quantizer__ema_smoothing": 1e-5,
        "decoder__self_attention": SelfAttention.later_words,
    },
    "clipped": {"trainer__gradient_clip": 1.0},
}


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_clvq_vae__no_step_waits(
    store: ActivationStore,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
) -> None:
    model = ClvqVae(settings(**changes))
    assert not fit_and_count(model, ClvqVaeModule, ActivationPairs, store, tmp_path / "fit", monkeypatch)


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize("method", ["autoencoder", "transcoder"])
def test_sparse_methods__no_step_waits(
    store: ActivationStore, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    common: dict[str, Any] = {"learning_rate": 0.01, "batch_words": 32}
    model = {
        "autoencoder": lambda: SparseAutoencoder(settings(), neurons=12, l1=(0.1,), l0=3, **common),
        "transcoder": lambda: SparseTranscoder(settings(), k=3, expansion=2, **common),
    }[method]()
    assert not fit_and_count(model, SparseModule, WordPairs, store, tmp_path / "fit", monkeypatch)


def test_waits__are_seen_where_words_are_picked_out(
    store: ActivationStore, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = fit_and_count(
        ClvqVae(settings()), ClvqVaeModule, ActivationPairs, store, tmp_path / "fit", monkeypatch
    )
    assert found["index"], "z_e[real]"
    assert found["_local_scalar_dense"], "Adam counts its steps on the host"


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: float(x[0]),
        lambda x: bool((x > 0).all()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.masked_select(x > 0),
        lambda x: torch.bincount(x.long()),
        lambda x: torch.unique(x),
    ],
)
def test_waits__each_kind_is_counted(wait: Callable[[torch.Tensor], Any]) -> None:
    waits = Waits()
    with waits:
        wait(torch.arange(3.0))
    assert sum(waits.found.values()) >= 1


def with_codes(store: ActivationStore, settings: ConceptSettings) -> ClvqVaeModule:
    module = ClvqVaeModule(store.width, settings, seed=0)
    size = settings.quantizer.codebook_size
    module.quantizer.initialise(store.words(1)[:: store.n_words // size][:size].clone(), torch.ones(size))
    module.manual_backward = lambda loss: loss.backward()  # no Trainer is attached
    return module


@pytest.mark.parametrize("top_k", [1, 3])
def test_padding_computed_along__gives_the_same_codes_losses_gradients_and_codebook(
    store: ActivationStore, settings: Settings, monkeypatch: pytest.MonkeyPatch, top_k: int
) -> None:
    sentences = tuple(int(row) for row in store.sentence_ids(Split.train)[:16])
    batch = ActivationPairs(store, 1, 2, 10_000)[BatchKey(2, 1, sentences)]
    (micro,) = batch.micro_batches
    assert not micro.real.all(), "otherwise nothing is padded"
    found: list[tuple[Any, ...]] = []
    for picked in (True, False):
        monkeypatch.setattr(packing, "picks_real_words", lambda *_, picked=picked: picked)
        module = with_codes(store, settings(quantizer__top_k=top_k))
        losses, statistics = module.accumulate(batch)
        module.quantizer.update(statistics)
        out = module(micro, noise=(0, 2, 1)).quantizer
        gradients = {name: each.grad for name, each in module.named_parameters()}
        found.append((out.codes, out.quantized, losses, statistics, module.quantizer.codebook, gradients))
    picked, along = found
    assert torch.equal(picked[0], along[0])
    assert torch.equal(along[1][~micro.real], torch.zeros_like(along[1][~micro.real]))
    for one, other in zip(picked[1:5], along[1:5], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
    for name, gradient in picked[5].items():
        torch.testing.assert_close(gradient, along[5][name], rtol=1e-4, atol=1e-6, msg=name)


def test_sent__a_gpu_gets_pinned_memory_and_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Any]] = []

    def pin(self: torch.Tensor) -> torch.Tensor:
        asked.append(("pinned", None))
        return self

    def to(self: torch.Tensor, device: torch.device, non_blocking: bool = False) -> torch.Tensor:
        asked.append((str(device), non_blocking))
        return self

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", to)
    values = torch.arange(3)
    assert sent(values, torch.device("cuda:1")) is values
    assert sent(values, CPU) is values
    assert asked == [("pinned", None), ("cuda:1", True), ("cpu", False)]

"""Sparse methods: what a fit learns and reports, killed fits, and fits that cannot succeed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sparse_models import (
    ENCODER,
    GRID,
    Settings,
    autoencoder,
    by_hand,
    finished,
    fit_run,
    inactive_store,
    same_bits,
)

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import (
    ConceptError,
    FitRun,
    TrainingDivergedError,
)
from clvq_exp.concepts.sparse import model as sparse_model
from clvq_exp.concepts.sparse.autoencoder import SparseAutoencoder
from clvq_exp.concepts.sparse.module import SparseModule
from clvq_exp.concepts.sparse.trained import TrainedParts
from clvq_exp.concepts.sparse.transcoder import SparseTranscoder
from clvq_exp.run_folder import write_history
from clvq_exp.settings import Split


def test_fit__learns_and_reports(fitted: SparseAutoencoder, store: ActivationStore) -> None:
    summary = fitted.summary
    assert [record["epoch"] for record in summary.history] == [0, 1, 2, 3]
    assert summary.history[0]["train_loss"] is None
    best = summary.history[summary.best_epoch]
    assert summary.validation_loss == best["validation_loss"]
    assert summary.validation_loss == min(record["validation_loss"] for record in summary.history[1:])
    assert summary.validation_loss < 0.5 * summary.history[0]["validation_loss"]
    assert (summary.l0, summary.dead_neurons) == (best["l0"], best["dead_neurons"])
    assert summary.chosen["l1"] in GRID
    start, end = store.word_range(Split.validation)
    active = fitted.network.encode(store.words(1)[start:end]).detach()
    assert summary.l0 == pytest.approx(float((active > 0).sum(1).float().mean()), rel=1e-6)
    assert summary.dead_neurons == int((~(active > 0).any(0)).sum())
    target = store.words(2)[start:end]
    train = store.words(2)[slice(*store.word_range(Split.train))]
    squared = float((fitted.network.decode(active) - target).detach().square().mean())
    assert best["validation_reconstruction"] == pytest.approx(squared, rel=1e-4)
    assert summary.variance_explained == pytest.approx(
        1 - squared / float((target - train.mean(0)).square().mean()), rel=1e-4
    )


def test_fit__figures_of_top_neurons(fitted: SparseAutoencoder, store: ActivationStore) -> None:
    top = {}
    for split in (Split.train, Split.validation):
        start, end = store.word_range(split)
        active = fitted.network.encode(store.words(1)[start:end])
        top[split] = active.argmax(1)[active.max(1).values > 0]
    counts = torch.bincount(top[Split.validation]).double()
    share = counts[counts > 0] / counts.sum()
    assert fitted.summary.perplexity == pytest.approx(float((-(share * share.log()).sum()).exp()))
    assert fitted.summary.codes_in_use == len(torch.cat(list(top.values())).unique())


def test_fit__training_curves_have_the_columns_of_the_history(fitted: SparseAutoencoder, tmp_path: Path) -> None:
    write_history(tmp_path, {"sae": {0: fitted}})
    written = pq.read_table(tmp_path / "history.parquet").to_pylist()
    for row, record in zip(written, fitted.summary.history, strict=True):
        assert {name: value for name, value in row.items() if value is not None} == {
            "method": "sae",
            "seed": 0,
            **{name: value for name, value in record.items() if value is not None},
        }


def test_fit__same_seed_same_bits_other_seed_other(
    fitted: SparseAutoencoder, store: ActivationStore, settings: Settings, tmp_path: Path
) -> None:
    again, other = autoencoder(settings), autoencoder(settings)
    again.fit(fit_run(store, tmp_path / "again"))
    other.fit(fit_run(store, tmp_path / "other", seed=1))
    assert same_bits(again, fitted)
    assert not torch.equal(other.vectors(), fitted.vectors())


class KilledError(BaseException):
    """Nobody catches this."""


def killed_fit(run: FitRun, settings: Settings, monkeypatch: pytest.MonkeyPatch, l1: float, epoch: int) -> None:
    """A fit that is killed as an epoch of one network of the grid begins."""
    started = SparseModule.on_train_epoch_start

    def die(self: SparseModule) -> None:
        if (self.l1, self.current_epoch) == (l1, epoch):
            raise KilledError
        started(self)

    with monkeypatch.context() as patch:
        patch.setattr(SparseModule, "on_train_epoch_start", die)
        with pytest.raises(KilledError):
            autoencoder(settings).fit(run)


def trained_epochs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int]]:
    """Which epochs of which networks are trained from now on."""
    begun: list[tuple[float, int]] = []
    started = SparseModule.on_train_epoch_start

    def note(self: SparseModule) -> None:
        begun.append((self.l1, self.current_epoch))
        started(self)

    monkeypatch.setattr(SparseModule, "on_train_epoch_start", note)
    return begun


def test_fit__a_killed_fit_goes_on_behind_its_last_epoch_to_the_same_bits(
    fitted: SparseAutoencoder,
    store: ActivationStore,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = fit_run(store, tmp_path / "killed")
    killed_fit(run, settings, monkeypatch, l1=GRID[1], epoch=2)
    begun = trained_epochs(monkeypatch)
    resumed = autoencoder(settings)
    resumed.fit(run)
    assert begun == [(GRID[1], 2)], "nothing that was finished is trained again"
    assert same_bits(resumed, fitted)
    assert not list(run.work.iterdir()), "nothing of the grid is left"


def test_fit__a_finished_network_that_is_damaged_is_trained_again(
    fitted: SparseAutoencoder,
    store: ActivationStore,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = fit_run(store, tmp_path / "killed")
    killed_fit(run, settings, monkeypatch, l1=GRID[1], epoch=0)
    (path,) = (run.work / "networks").glob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    begun = trained_epochs(monkeypatch)
    again = autoencoder(settings)
    again.fit(run)
    assert begun[:3] == [(GRID[0], epoch) for epoch in range(3)]
    assert any("checksum differs" in message for message in caplog.messages)
    assert same_bits(again, fitted)


def test_fit__a_network_is_finished_once_it_is_entered(
    store: ActivationStore, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = fit_run(store, tmp_path)

    def die(*_: Any) -> None:
        raise KilledError

    monkeypatch.setattr(SparseAutoencoder, "choose", die)
    for _ in range(2):
        with pytest.raises(KilledError):
            autoencoder(settings).fit(run)
        monkeypatch.setattr(sparse_model, "train", pytest.fail)  # the second time there is nothing to train
    parts = TrainedParts(run.work / "networks")
    found = [parts.read(l1) for l1 in GRID]
    assert [each.l1 for each in found] == list(GRID)
    assert found[0].l0 > found[1].l0, "a heavier penalty leaves fewer neurons"
    for each in found:
        assert each.validation_loss == min(record["validation_loss"] for record in each.history[1:])


def test_fit__a_loss_that_is_not_finite_names_the_key(
    store: ActivationStore, settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(TrainingDivergedError, match=r"baseline\.learning_rate=1e\+30: lower it"):
        autoencoder(settings, learning_rate=1e30).fit(fit_run(store, tmp_path))


def test_fit__no_active_neuron_is_an_error_that_names_the_key(
    make_store: Callable[..., ActivationStore], settings: Settings, tmp_path: Path
) -> None:
    store = inactive_store(make_store, tmp_path / "store")
    model = by_hand(settings, ENCODER, [-100.0] * 4)
    with pytest.raises(ConceptError, match=r"no neuron is active .* l1=0\.1: .* smaller baseline\.l1"):
        model._finish(fit_run(store, tmp_path), finished(model, tmp_path))


def test_fit__no_training_words_is_an_error(
    make_store: Callable[..., ActivationStore], settings: Settings, tmp_path: Path
) -> None:
    words = np.ones((2, 8))
    store = make_store(tmp_path / "store", {"train": [], "validation": [1], "dev": [1]}, {1: words, 2: words})
    with pytest.raises(ConceptError, match=r"no training words: raise trainer\.sentences\.concepts"):
        autoencoder(settings).fit(fit_run(store, tmp_path))


class Noted:
    """A logger that keeps what it is told."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, float]] = []

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.steps.append((step, metrics["validation_loss"]))


def test_fit__the_curves_of_the_chosen_network_are_logged(
    store: ActivationStore, settings: Settings, tmp_path: Path
) -> None:
    noted = Noted()
    model = autoencoder(settings)
    model.fit(fit_run(store, tmp_path, logger=noted))
    assert noted.steps == [(record["epoch"], record["validation_loss"]) for record in model.summary.history]


def test_transcoder__has_k_active_of_a_multiple_of_the_width(
    store: ActivationStore, settings: Settings, tmp_path: Path
) -> None:
    model = SparseTranscoder(settings(), k=3, expansion=4, learning_rate=0.01, batch_words=32)
    model.fit(fit_run(store, tmp_path))
    assert model.n_concepts == 4 * store.width
    assert 2.5 < model.summary.l0 <= 3
    assert model.summary.chosen == {}
    assert model.summary.validation_loss == pytest.approx(
        model.summary.history[model.summary.best_epoch]["validation_reconstruction"]
    )
    ids = model.assign(store.words(1)[:40])
    assert ids.shape == (40, 10)
    assert ((ids >= 0).sum(1) <= 3).all()


def test_planted_features__are_found(
    make_store: Callable[..., ActivationStore], settings: Settings, tmp_path: Path
) -> None:
    """Each word holds a few of 12 planted features; the target has them along other directions than the source."""
    generator = np.random.default_rng(3)
    planted = [np.linalg.qr(generator.normal(size=(14, 14)))[0][:12] for _ in range(2)]
    n = 1100
    amounts = generator.uniform(1, 2, (n, 12)) * (generator.random((n, 12)) < 0.12)
    source, target = (amounts @ directions + 0.02 * generator.normal(size=(n, 14)) for directions in planted)
    lengths = {"train": [10] * 90, "validation": [10] * 10, "dev": [10] * 10}
    store = make_store(tmp_path / "store", lengths, {1: source, 2: target})
    chosen = settings(trainer__max_epochs=25)
    model = SparseAutoencoder(chosen, neurons=24, l1=[0.2], l0=2, learning_rate=0.01, batch_words=50)
    model.fit(fit_run(store, tmp_path))
    cosines = torch.from_numpy(planted[1]).float() @ model.vectors().T
    assert cosines.max(1).values.min() > 0.9, "each planted direction is a row of the decoder"
    assert model.summary.variance_explained > 0.9
    alone = torch.from_numpy((amounts > 0).sum(1) == 1)
    top = model.assign(torch.from_numpy(source).float())[:, 0]
    of_owner = cosines[torch.from_numpy(amounts.argmax(1)), top]
    assert alone.sum() > 200
    assert (of_owner[alone] > 0.9).float().mean() > 0.95, (
        "a word of one feature has a neuron of that feature on top"
    )

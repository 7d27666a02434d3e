"""Early stopping, best weights, and going on where a fit was killed: a module whose losses are given."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from clvq_exp.activations.store import ActivationStore
from clvq_exp.artifacts import ArtifactCache
from clvq_exp.concepts.base import MONITOR, ConceptSettings, FitRun, TrainingDivergedError
from clvq_exp.concepts.training import best_epoch, train
from clvq_exp.settings import LayerPair

Settings = Callable[..., ConceptSettings]
WORSE = (5.0, 4.0, 6.0, 7.0, 8.0)
"""Losses of five epochs, of which the second is the best."""


class KilledError(BaseException):
    """Nobody catches this."""


class Counting(pl.LightningModule):
    """Its weight is the number of epochs that it was trained for; its validation losses are given.

    Args:
        losses: of each trained epoch.
        killed_in: the epoch in which the process is killed, or None.
    """

    def __init__(self, losses: Sequence[float], killed_in: int | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.losses = losses
        self.killed_in = killed_in
        self.trained: list[int] = []

    def on_train_epoch_start(self) -> None:
        epoch = self.current_epoch + 1
        if epoch == self.killed_in:
            raise KilledError
        self.trained.append(epoch)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        del batch, batch_idx
        return -self.weight.sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """There is nothing to measure."""

    def on_validation_epoch_end(self) -> None:
        epoch = self.current_epoch + 1 if self.trainer.state.fn == "fit" else 0
        self.log("epoch", float(epoch))
        self.log(MONITOR, self.losses[epoch - 1] if epoch else 9.0)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1.0)


class OneBatch(pl.LightningDataModule):
    """An epoch is one step."""

    def train_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(torch.zeros(1, 1))

    def val_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(torch.zeros(1, 1))


class Fits:
    """Fits in one working folder, with settings of one's own."""

    def __init__(self, store: ActivationStore, settings: Settings, folder: Path) -> None:
        self.run = FitRun(
            store, LayerPair(1, 2), 0, folder / "work", ArtifactCache(folder / "cache"), torch.device("cpu")
        )
        self._settings = settings

    @property
    def files(self) -> list[str]:
        """The checkpoints that lie there."""
        return sorted(self.written)

    @property
    def written(self) -> dict[str, int]:
        """When each of them was written."""
        return {path.name: path.stat().st_mtime_ns for path in (self.run.work / "checkpoints").glob("*.ckpt")}

    def __call__(self, module: Counting, patience: int = 15) -> Counting:
        chosen = self._settings(trainer__max_epochs=5, trainer__patience=patience)
        train(module, OneBatch(), chosen.trainer, self.run, lambda: None)
        return module

    def killed(self, losses: Sequence[float], epoch: int, patience: int = 15) -> None:
        """A fit that is killed in an epoch."""
        with pytest.raises(KilledError):
            self(Counting(losses, killed_in=epoch), patience)


@pytest.fixture
def fits(store: ActivationStore, settings: Settings, tmp_path: Path) -> Fits:
    return Fits(store, settings, tmp_path)


def test_train__stops_when_patience_is_out_and_keeps_the_best_weights(fits: Fits) -> None:
    module = fits(Counting(WORSE), patience=2)
    assert module.trained == [1, 2, 3, 4]
    assert module.weight.item() == 2
    assert not module.training


def test_train__every_epoch_is_written(fits: Fits) -> None:
    fits.killed(WORSE, epoch=5)
    assert fits.files == ["best-000002.ckpt", "last-000004.ckpt"]


class AskedToEnd(Counting):
    """As its fourth epoch begins, the process is sent SIGTERM, as a scheduler does."""

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        if self.current_epoch == 3:
            os.kill(os.getpid(), signal.SIGTERM)


def test_train__a_process_that_is_asked_to_end_is_no_success_and_goes_on_later(fits: Fits) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop:
        fits(AskedToEnd(WORSE))
    assert stop.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before
    assert fits.files == ["best-000002.ckpt", "last-000004.ckpt"]  # the step, the epoch's only one, is finished
    assert fits(Counting(WORSE)).trained == [5]


@pytest.mark.parametrize(("last", "best"), [(8.0, 2), (3.0, 5)])
def test_train__a_killed_fit_goes_on_behind_an_epoch_that_was_not_the_best(
    fits: Fits, last: float, best: int
) -> None:
    losses = (*WORSE[:4], last)
    fits.killed(losses, epoch=5)
    module = fits(Counting(losses))
    assert module.trained == [5]
    assert module.weight.item() == best


def test_train__patience_counts_on_behind_a_kill(fits: Fits) -> None:
    fits.killed(WORSE, epoch=4, patience=2)
    assert fits(Counting(WORSE), patience=2).trained == [4]
    assert fits.files == ["best-000002.ckpt", "last-000004.ckpt"], "those of before the kill are gone"


@pytest.mark.parametrize("patience", [2, 15])
def test_train__a_fit_that_had_come_to_its_end_is_not_trained_further(fits: Fits, patience: int) -> None:
    fits(Counting(WORSE), patience)
    before = fits.written
    again = fits(Counting((*WORSE[:4], 1.0)), patience)  # a fifth epoch would be the best
    assert again.trained == []
    assert again.weight.item() == 2
    assert fits.written == before, "no file is written a second time"


def test_train__a_folder_that_was_moved_still_has_its_best_weights(fits: Fits, tmp_path: Path) -> None:
    fits.killed(WORSE, epoch=4)
    moved = tmp_path / "moved"
    fits.run.work.rename(moved)
    fits.run = fits.run._replace(work=moved)
    module = fits(Counting(WORSE))
    assert module.trained == [4, 5]
    assert module.weight.item() == 2
    assert fits.files == ["best-000002.ckpt", "last-000005.ckpt"]


def test_best_epoch__is_the_one_whose_weights_are_kept_also_where_float32_sees_no_difference(fits: Fits) -> None:
    losses = (5.0, 1.0, 1.0 - 1e-9, 1.0 - 2e-9, 5.0)
    history = [{"epoch": epoch, MONITOR: loss} for epoch, loss in enumerate((0.5, *losses))]
    assert best_epoch(history) == (2, 1.0), "epoch 0 is before any update"
    assert fits(Counting(losses)).weight.item() == 2


def test_label__names_the_bar_of_each_epoch(fits: Fits, capsys: pytest.CaptureFixture[str]) -> None:
    fits.run = fits.run._replace(label="sae_2048, seed 1")
    fits(Counting(WORSE))
    shown = capsys.readouterr()
    assert [f"training, sae_2048, seed 1, epoch {epoch}:" in shown.err for epoch in range(7)] == [
        *(False, True, True, True, True, True, False)
    ]
    assert "Epoch" not in shown.err
    assert shown.out == ""


def test_label__there_need_be_none(fits: Fits, capsys: pytest.CaptureFixture[str]) -> None:
    fits(Counting(WORSE))
    assert "training, epoch 5:" in capsys.readouterr().err


def test_label__names_a_fit_that_diverged(fits: Fits, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(_: Counting) -> None:
        raise TrainingDivergedError("the loss is not finite")

    monkeypatch.setattr(Counting, "on_validation_epoch_end", diverge)
    fits.run = fits.run._replace(label="sae_2048, seed 1")
    with pytest.raises(TrainingDivergedError, match=r"^sae_2048, seed 1: the loss is not finite$"):
        fits(Counting(WORSE))


def test_label__names_a_fit_that_begins_again(fits: Fits, caplog: pytest.LogCaptureFixture) -> None:
    fits.run = fits.run._replace(label="sae_2048, seed 1")
    fits.killed(WORSE, epoch=3)
    folder = fits.run.work / "checkpoints"
    with (folder / "last-000002.ckpt").open("ab") as file:
        file.write(b"x")
    assert fits(Counting(WORSE)).trained == [1, 2, 3, 4, 5]
    assert f"sae_2048, seed 1: {folder}: training begins again" in caplog.messages

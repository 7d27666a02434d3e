"""Checkpoints of a training run, each with a checksum: what changed on the disk is not gone on from."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from clvq_exp.parts import Ledger

log = logging.getLogger(__name__)

_PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")
"""What the callback's state holds of its files, beside `best_k_models`."""


class Checkpoints(ModelCheckpoint):
    """The best and the last epoch, in files of their own names.

    Every epoch is written: Lightning's own callback writes the last only where it is the best too, and a killed
    run would fall back to the best. A file is entered in the ledger once it is whole; only then is the one before
    it removed. torch reads a checkpoint with a changed byte without a word, so its checksum is looked at first.

    Args:
        folder: where they lie.
        monitor: what makes an epoch the best, by being lowest.
        label: what log lines name the run by; empty for none.
    """

    CHECKPOINT_NAME_LAST = "last-{epoch:06d}"

    def __init__(self, folder: Path, monitor: str, label: str = "") -> None:
        super().__init__(
            folder,
            "best-{epoch:06d}",
            monitor=monitor,
            save_top_k=1,
            save_last=True,
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )
        self._folder = folder
        self._named = f"{label}: {folder}" if label else str(folder)
        self._ledger = Ledger(folder)

    def last(self) -> Path | None:
        """The checkpoint to go on from; None where there is none, or where one of them is damaged."""
        known = [path for path in sorted(self._folder.glob("*.ckpt")) if self._ledger.holds(path.name)]
        if not all(self._ledger.has_file(path) for path in known):
            log.warning("%s: training begins again", self._named)
            self.remove_all()
            return None
        lasts = [path for path in known if path.name.startswith("last-")]
        return lasts[-1] if lasts else None

    def best_weights(self) -> dict[str, Any]:
        """The state dict of the best epoch."""
        return torch.load(self.best_model_path, map_location="cpu", weights_only=True)["state_dict"]

    def remove_all(self) -> None:
        """Remove the files and forget them."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._ledger = Ledger(self._folder)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch, whether or not it is the best."""
        super().on_train_epoch_end(trainer, pl_module)
        if not self._should_skip_saving_checkpoint(trainer):  # skipped if it was written as the best
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing is left to write, also where a run goes on that had come to its end."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what a checkpoint says; its files lie in this folder, also where the folder was moved."""

        def here(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else path

        paths = {name: here(state_dict[name]) for name in _PATHS}
        best = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": best, "dirpath": self.dirpath})

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        super()._save_checkpoint(trainer, filepath)
        if trainer.is_global_zero:
            self._ledger.enter_file(Path(filepath))

    def _should_remove_checkpoint(self, trainer: Trainer, previous: str, current: str) -> bool:
        """Lightning would keep the one that a run went on from: one more with every kill."""
        del trainer
        return previous != current

    def _remove_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        if trainer.is_global_zero:
            self._ledger.leave(Path(filepath).name)
        super()._remove_checkpoint(trainer, filepath)

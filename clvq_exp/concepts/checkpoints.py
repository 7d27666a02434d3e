"""Checkpoints of a training run, each with a checksum: what changed on the disk is not gone on from."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from clvq_exp.parts import Ledger

log = logging.getLogger(__name__)


class Checkpoints(ModelCheckpoint):
    """The best and the last epoch, in files of their own names.

    A file is entered in the ledger once it is whole; only then is the one before it removed. torch reads a
    checkpoint with a changed byte without a word, so its checksum is looked at first.

    Args:
        folder: where they lie.
        monitor: what makes an epoch the best, by being lowest.
    """

    CHECKPOINT_NAME_LAST = "last-{epoch:06d}"

    def __init__(self, folder: Path, monitor: str) -> None:
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
        self._ledger = Ledger(folder)

    def last(self) -> Path | None:
        """The checkpoint to go on from; None where there is none, or where one of them is damaged."""
        known = [path for path in sorted(self._folder.glob("*.ckpt")) if self._ledger.holds(path.name)]
        if not all(self._ledger.has_file(path) for path in known):
            log.warning("%s: training begins again", self._folder)
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

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        super()._save_checkpoint(trainer, filepath)
        if trainer.is_global_zero:
            self._ledger.enter_file(Path(filepath))

    def _remove_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        if trainer.is_global_zero:
            self._ledger.leave(Path(filepath).name)
        super()._remove_checkpoint(trainer, filepath)

"""Networks that one fit trained, kept until it has chosen one: a killed fit does not train them again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from clvq_exp.concepts.base import EpochRecord
from clvq_exp.concepts.training import best_epoch
from clvq_exp.parts import Ledger


class Trained(NamedTuple):
    """A trained network: its weights stay on the disk until they are asked for."""

    l1: float
    history: tuple[EpochRecord, ...]
    path: Path

    @property
    def best(self) -> EpochRecord:
        """The epoch whose weights were kept."""
        return self.history[best_epoch(self.history).epoch]

    @property
    def validation_loss(self) -> float:
        """Of the kept weights."""
        return best_epoch(self.history).loss

    @property
    def l0(self) -> float:
        """Active neurons of a validation word."""
        return float(self.best["l0"] or 0.0)

    def tensors(self) -> dict[str, Tensor]:
        """Read the weights."""
        return load_file(self.path)


class TrainedParts:
    """The finished networks of a fit, one file each, by the weight of their penalty.

    Args:
        folder: where they lie; what a killed fit left there is found again.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._ledger = Ledger(folder)

    def holds(self, l1: float) -> bool:
        """Whether the network was finished and is what was written."""
        return self._ledger.has_file(self._path(l1))

    def enter(self, l1: float, tensors: Mapping[str, Tensor], history: Sequence[EpochRecord]) -> None:
        """Keep a finished network."""
        path = self._path(l1)
        weights = {name: each.detach().cpu().contiguous() for name, each in tensors.items()}
        save_file(weights, path, metadata={"history": json.dumps(list(history))})
        self._ledger.enter_file(path)

    def read(self, l1: float) -> Trained:
        """A network that is held."""
        path = self._path(l1)
        with safe_open(path, framework="pt") as file:
            history: list[EpochRecord] = json.loads(file.metadata()["history"])
        return Trained(l1, tuple(history), path)

    def remove_all(self) -> None:
        """Remove the files and forget them."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, l1: float) -> Path:
        return self._folder / f"l1_{l1:g}.safetensors"

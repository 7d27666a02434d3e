"""What the LightningModules of all trained methods share: steps, epochs, and curves that outlive a kill."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any, ClassVar, cast

import pytorch_lightning as pl
import torch
from torch import nn

from clvq_exp.concepts.base import MONITOR, EpochRecord, TrainingDivergedError
from clvq_exp.ranks import gradients_of_own, sum_gradients
from clvq_exp.settings import TrainerSettings, TrainingPrecision

SAFE_RATE = 1e-3
"""Adam's own default; at the paper's 5e-3 some real runs learned nothing beyond the mean."""
SAFE_START = "1e-3 is a safe start"


def fused_kernel(device: torch.device) -> bool | None:
    """Whether Adam moves all weights in one kernel, steps counted on the GPU; the CPU keeps torch's own way."""
    return True if device.type == "cuda" else None


def knobs_of_training(trainer: TrainerSettings, names: Iterable[str]) -> dict[str, Any]:
    """What of the trainer's settings a fit hangs on; a precision only where it is not that of float32."""
    precision = {"precision": trainer.precision} if trainer.precision is not TrainingPrecision.float32 else {}
    return {name: getattr(trainer, name) for name in names} | precision


class TrainedModule(pl.LightningModule):
    """A network trained by Adam with ReduceLROnPlateau (Table 11), in one process or several.

    Args:
        trainer: patience and factor of the plateau, gradient clipping.
        learning_rate: Adam's first rate.
    """

    rate_key: ClassVar[str]
    """Where the configuration sets the rate."""

    def __init__(self, trainer: TrainerSettings, learning_rate: float) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.history: list[EpochRecord] = []
        self._trainer_settings = trainer
        self._learning_rate = learning_rate

    @contextmanager
    def one_step(self) -> Generator[None]:
        """Inside, `manual_backward` as often as needed; then gradients of all processes move the weights once."""
        optimizer = cast(Any, self.optimizers())
        optimizer.zero_grad()
        with gradients_of_own(self):
            yield
        sum_gradients(self.parameters())
        self.correct_gradients()
        clip = self._trainer_settings.gradient_clip
        if clip > 0:
            nn.utils.clip_grad_norm_(self.parameters(), clip)
        optimizer.step()

    def correct_gradients(self) -> None:
        """What a method does to the whole batch's gradients before they are clipped; nothing by default."""

    @abstractmethod
    def sum_up(self, trained: bool) -> None:
        """Sum what was measured over all processes.

        Args:
            trained: there was an epoch of training, not only a validation.
        """

    @abstractmethod
    def record(self, epoch: int) -> EpochRecord:
        """What was measured since the epoch and its validation began; epoch 0 is before any update."""

    def learning_rate_of(self, epoch: int) -> float:
        """The rate that an epoch was trained with."""
        if epoch == 0:
            return self._learning_rate
        return float(cast(Any, self.optimizers()).param_groups[0]["lr"])

    def on_validation_epoch_end(self) -> None:
        """Log the epoch, step the plateau scheduler.

        Raises:
            TrainingDivergedError: a loss that is not finite.
        """
        fitting = self.trainer.state.fn == "fit"
        self.sum_up(fitting)
        record = self.record(self.current_epoch + 1 if fitting else 0)
        self.history.append(record)
        self.log_dict({name: float(value) for name, value in record.items() if value is not None}, prog_bar=False)
        loss = cast(float, record[MONITOR])
        self.log("loss", loss, prog_bar=True, logger=False)
        if not math.isfinite(loss):
            safe = f" ({SAFE_START})" if self._learning_rate > SAFE_RATE else ""
            raise TrainingDivergedError(
                f"the loss is not finite after epoch {record['epoch']} at {self.rate_key}={self._learning_rate}: "
                f"lower it{safe}, or set trainer.gradient_clip=1.0"
            )
        if fitting:
            cast(Any, self.lr_schedulers()).step(loss)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the training curves with the weights."""
        checkpoint["history"] = list(self.history)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the curves of the run that is resumed."""
        self.history = list(checkpoint["history"])

    def parameters_to_train(self) -> Iterable[Any]:
        """What the optimizer is given: parameters, or groups of them."""
        return self.parameters()

    def configure_optimizers(self) -> Any:
        """Adam, its rate lowered where the validation loss stays."""
        trainer = self._trainer_settings
        optimizer = torch.optim.Adam(
            self.parameters_to_train(), lr=self._learning_rate, fused=fused_kernel(self.device)
        )
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=trainer.plateau_factor, patience=trainer.plateau_patience
        )
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

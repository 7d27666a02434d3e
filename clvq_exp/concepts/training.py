"""Training of a concept model's LightningModule: early stopping, checkpoints, going on where a run was killed."""

from __future__ import annotations

import gc
import inspect
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, EarlyStopping, TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch.nn.parallel import DistributedDataParallel

from clvq_exp.concepts.base import MONITOR, ConceptError, EpochRecord, FitRun, TrainingDivergedError
from clvq_exp.concepts.checkpoints import Checkpoints
from clvq_exp.concepts.precision import lightning_precision, rounded_products
from clvq_exp.ranks import first_says, part_company, ranks
from clvq_exp.settings import Split, TrainerSettings

TERMINATED = 128 + signal.SIGTERM
"""Exit code of a process that was asked to end, as a shell gives it."""


def train(
    module: pl.LightningModule,
    data: pl.LightningDataModule,
    settings: TrainerSettings,
    run: FitRun,
    start: Callable[[], None],
    part: str = "checkpoints",
) -> Checkpoints:
    """Train until the validation loss stops falling; the module then has its best weights.

    The module logs `validation_loss`. It is validated once before any update, so that its curves begin at epoch 0.
    A killed fit goes on behind the last epoch that it finished, if that is what was written.

    Args:
        module: the network; it is moved to the run's device and set to evaluation.
        data: batches of the store.
        settings: epochs, patience, device.
        run: the circumstances of the fit.
        start: gives the module its first weights; not called when a run goes on.
        part: name of the folder of its checkpoints, where a fit trains several modules.

    Where several processes train together, only the first has the best weights, and the checkpoints are its own.

    Returns:
        The checkpoints, to be removed once the fit is done.

    Raises:
        ConceptError: nothing to stop on, or a loss that is not finite.
        SystemExit: the process was asked to end (SIGTERM); the last finished epoch stays.
    """
    if not len(run.store.sentence_ids(Split.validation)):
        raise ConceptError(
            "no validation sentences to stop on: raise trainer.sentences.concepts or dataset.validation_share"
        )
    checkpoints = Checkpoints(run.work / part, MONITOR, run.label)
    trainer = _trainer(settings, run, checkpoints)
    is_first = ranks().rank == 0
    last = first_says(checkpoints.last() if is_first else None)
    with warnings.catch_warnings(), rounded_products(settings.precision):
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        warnings.filterwarnings("ignore", message=".*sync_dist=True.*")  # what is logged is summed up already
        warnings.filterwarnings("ignore", message="The `srun` command is available")
        try:
            if last is None:
                _one_after_another(start)
                trainer.validate(module, datamodule=data, verbose=False)
            trainer.fit(module, datamodule=data, ckpt_path=last, weights_only=True)
        except TrainingDivergedError as error:
            raise TrainingDivergedError(labelled(run, str(error))) from error
        except SIGTERMException:
            raise SystemExit(TERMINATED) from None  # Lightning's own ends the process as a success
    module.trainer = None
    del trainer  # holds itself, and the optimizer's moments with it, until the collector comes by
    gc.collect()
    if is_first:
        module.load_state_dict(checkpoints.best_weights())
    module.to(run.device).eval()
    return checkpoints


class Finished(Exception):
    """This process has trained along with the first, which does the rest."""


def leave_to_the_first() -> None:
    """Where several processes have trained together, the first goes on alone.

    Raises:
        Finished: in every process but the first.
    """
    if part_company().rank:
        raise Finished


def _one_after_another(start: Callable[[], None]) -> None:
    """The first process makes what the others then find."""
    if ranks().rank == 0:
        start()
    first_says(None)
    if ranks().rank:
        start()


def labelled(run: FitRun, line: str) -> str:
    """A log line or message about a fit, behind what the fit is shown under."""
    return f"{run.label}: {line}" if run.label else line


class BestEpoch(NamedTuple):
    """The epoch whose weights are kept."""

    epoch: int
    loss: float


def best_epoch(history: Sequence[EpochRecord]) -> BestEpoch:
    """The trained epoch of lowest validation loss, the first of several."""
    found = [BestEpoch(int(record["epoch"] or 0), float(record[MONITOR] or 0.0)) for record in history]
    # In float32, as the loss is logged: the epoch whose weights are kept is chosen among such numbers.
    return min((each for each in found if each.epoch > 0), key=lambda each: np.float32(each.loss))


def _trainer(settings: TrainerSettings, run: FitRun, checkpoints: Checkpoints) -> pl.Trainer:
    stop = _Stop(MONITOR, patience=settings.patience, check_finite=False)
    callbacks: list[Callback] = [checkpoints, stop, _Progress(run.label)]
    cuda = run.device.type == "cuda"
    several = ranks().world > 1
    one = [run.device.index or 0] if cuda else 1
    return pl.Trainer(
        accelerator="gpu" if cuda else "cpu",
        devices=ranks().world if several else one,
        strategy=_strategy() if several else "auto",
        plugins=[LightningEnvironment()],  # a job of Slurm that is queued again is the launcher's business
        precision=lightning_precision(settings.precision),
        max_epochs=settings.max_epochs,
        callbacks=callbacks,
        logger=run.logger if run.logger is not None else False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_model_summary=False,
        default_root_dir=str(run.work),
        log_every_n_steps=1,
    )


def _strategy() -> DDPStrategy:
    """Lightning's DDP; the codebook is a buffer that each process moves alike, and is not sent around."""
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {name: False}
    return DDPStrategy(**options)


class _Stop(EarlyStopping):
    """Early stopping that stays: Lightning's own lets a run that had stopped go on when it is resumed."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del pl_module
        trainer.should_stop = self.wait_count >= max(self.patience, 1)


class _Progress(TQDMProgressBar):
    """One bar over an epoch's steps, on standard error like all bars; none for the short validation passes.

    Args:
        label: what the bar is shown under; empty for none.
    """

    def __init__(self, label: str) -> None:
        super().__init__()
        self._label = f"training, {label}" if label else "training"

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        bar = self.train_progress_bar
        bar.set_description(f"{self._label}, epoch {trainer.current_epoch + 1}", refresh=False)
        bar.reset(self.total_train_batches)

    def init_train_tqdm(self) -> Tqdm:
        return Tqdm(
            desc=self._label,
            disable=self.is_disabled,
            dynamic_ncols=True,
            file=sys.stderr,
            smoothing=0,
            bar_format=self.BAR_FORMAT,
        )

    def init_validation_tqdm(self) -> Tqdm:
        return Tqdm(disable=True)

"""The LightningModule: training of one sparse network, word by word."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from clvq_exp.activations.word_batches import WordBatch
from clvq_exp.concepts.base import EpochRecord
from clvq_exp.concepts.sparse.network import LossSums, SparseNetwork
from clvq_exp.concepts.trained_module import TrainedModule
from clvq_exp.ranks import sum_over_ranks
from clvq_exp.settings import TrainerSettings


@dataclass(frozen=True)
class SparseSettings:
    """Training of a sparse network."""

    learning_rate: float
    """Adam's rate."""
    batch_words: int
    """Words per optimizer step."""
    trainer: TrainerSettings
    """Epochs, patience, plateau and gradient clipping; its rate, batch and weight decay are CLVQ-VAE's."""


class SparseModule(TrainedModule):
    """Rebuilds target words from source words; the loss is L_rec + l1 L_sparse, means over words and dimensions.

    L_rec is the mean squared error. L_sparse is the sum of a word's activations in units of the targets' scale,
    times the variance of a dimension: so both are squared activations, and `l1` is a pure number. There is no
    weight decay, which would pull at rows that keep norm 1.

    Args:
        network: with its first weights.
        settings: rate, batch and trainer.
        l1: weight of L_sparse.
    """

    rate_key = "baseline.learning_rate"

    def __init__(self, network: SparseNetwork, settings: SparseSettings, l1: float) -> None:
        super().__init__(settings.trainer, settings.learning_rate)
        self.network = network
        self.settings = settings
        self.l1 = l1
        self._train = _Totals()
        self._validation = _Totals()
        self._use = _Use(network.neurons)

    def training_step(self, batch: WordBatch, batch_idx: int) -> None:
        """One optimizer step; the decoder's rows keep norm 1."""
        del batch_idx
        with self.one_step():
            losses = self.network.loss_sums(self.network.encode(batch.source), batch.target)
            self.manual_backward(self.total_loss(losses, batch.n_words))
        self.network.scale_rows_to_one()
        self._train.add(losses, batch.n_words)

    def correct_gradients(self) -> None:
        """Along the sphere that the decoder's rows stay on."""
        self.network.keep_gradient_on_the_sphere()

    def total_loss(self, losses: LossSums, n_words: int) -> Float[Tensor, ""]:
        """What is minimised: the loss in units of the targets' variance."""
        return (losses.reconstruction + self.l1 * losses.sparsity) / n_words

    def validation_step(self, batch: WordBatch, batch_idx: int) -> None:
        """Losses, active neurons, and the error of predicting the mean."""
        del batch_idx
        active = self.network.encode(batch.source)
        self._validation.add(self.network.loss_sums(active, batch.target), batch.n_words)
        from_mean = (batch.target - self.network.target_mean) / self.network.target_scale
        self._use.add(active, from_mean.square().sum())

    def on_train_epoch_start(self) -> None:
        """Start the epoch's sums."""
        self._train.reset()

    def on_validation_epoch_start(self) -> None:
        """Start the split's sums."""
        self._validation.reset()
        self._use.reset()

    def sum_up(self, trained: bool) -> None:
        """Sum what was measured over all processes."""
        self._validation.sum_up()
        self._use.sum_up()
        if trained:
            self._train.sum_up()

    def record(self, epoch: int) -> EpochRecord:
        """Losses, the use of neurons and the rate of an epoch."""
        unit = float(self.network.loss_unit)
        rec, sparse = self._validation.means(unit)
        trained = self._train.means(unit) if epoch > 0 else None
        n_words = self._validation.n_words
        return dict(
            epoch=epoch,
            train_loss=trained[0] + self.l1 * trained[1] if trained else None,
            train_reconstruction=trained[0] if trained else None,
            train_sparsity=trained[1] if trained else None,
            validation_loss=rec + self.l1 * sparse,
            validation_reconstruction=rec,
            validation_sparsity=sparse,
            variance_explained=self._use.variance_explained(rec / unit * n_words),
            l0=float(self._use.fired.sum()) / n_words,
            dead_neurons=int((self._use.fired == 0).sum()),
            learning_rate=self.learning_rate_of(epoch),
        )


class _Totals:
    """Losses of an epoch, kept on the device until they are read."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._losses: tuple[Tensor, Tensor] | None = None
        self.n_words = 0

    def add(self, losses: LossSums, n_words: int) -> None:
        new = (losses.reconstruction.detach().double(), losses.sparsity.detach().double())
        self._losses = new if self._losses is None else (self._losses[0] + new[0], self._losses[1] + new[1])
        self.n_words += n_words

    def sum_up(self) -> None:
        """Sum over all processes; the words of a batch are counted in each of them."""
        assert self._losses is not None, "nothing was measured"
        sum_over_ranks(*self._losses)

    def means(self, unit: float) -> tuple[float, float]:
        """Mean reconstruction and sparsity loss over words and dimensions."""
        assert self._losses is not None, "nothing was measured"
        return unit * float(self._losses[0]) / self.n_words, unit * float(self._losses[1]) / self.n_words


class _Use:
    """How a split uses the neurons."""

    def __init__(self, neurons: int) -> None:
        self._neurons = neurons
        self.reset()

    def reset(self) -> None:
        self.fired = torch.zeros(self._neurons, dtype=torch.int64)
        """Words that each neuron is active on."""
        self._from_mean = torch.zeros((), dtype=torch.float64)

    def add(self, active: Tensor, from_mean: Tensor) -> None:
        self.fired = self.fired.to(active.device) + (active > 0).sum(0)
        self._from_mean = self._from_mean.to(from_mean.device) + from_mean.double()

    def sum_up(self) -> None:
        """Sum over all processes."""
        sum_over_ranks(self.fired, self._from_mean)

    def variance_explained(self, error: float) -> float | None:
        """1 less the error as a share of that of the mean predictor; None where all targets are that mean."""
        from_mean = float(self._from_mean)
        return 1 - error / from_mean if from_mean > 0 else None

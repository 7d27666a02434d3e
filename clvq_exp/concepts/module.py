"""The LightningModule: encoder, quantizer and decoder, trained by micro-batches."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Float, Int32
from torch import Tensor, nn

from clvq_exp.concepts.base import ConceptSettings, EpochRecord, perplexity
from clvq_exp.concepts.decoder import ConceptDecoder
from clvq_exp.concepts.encoder import AdaptiveResidualEncoder
from clvq_exp.concepts.quantizer import VectorQuantizer, word_counts
from clvq_exp.concepts.revival import Candidates, drawn, no_candidates
from clvq_exp.concepts.trained_module import TrainedModule
from clvq_exp.memory import give_back
from clvq_exp.ranks import ranks, sum_over_ranks
from clvq_exp.records import ActivationBatch, CodeStatistics, MicroBatch, QuantizerOutput
from clvq_exp.seeding import scoped_seed
from clvq_exp.settings import WeightDecayOn


class LossSums(NamedTuple):
    """Sums over real words of the means over dimensions; divide by the words of the whole batch."""

    reconstruction: Float[Tensor, ""]
    commitment: Float[Tensor, ""]


class MicroBatchOutput(NamedTuple):
    """What the model makes of one micro-batch."""

    losses: LossSums
    z_e: Float[Tensor, "sentences words d"]
    quantizer: QuantizerOutput


class Measured(NamedTuple):
    """A batch in evaluation mode."""

    losses: LossSums
    codes: Float[Tensor, " K"]
    """Words of each code."""
    counted: Float[Tensor, " K"]
    """The same, of the words that perplexity is of."""


class ClvqVaeModule(TrainedModule):
    """CLVQ-VAE (section 2): rebuilds the target layer from quantized layer-l words.

    One optimizer step per batch of sentences: each micro-batch adds its gradient and its code statistics, both
    over the whole batch's words; then the optimizer moves the weights and the EMA moves the codebook. All noise
    hangs on (seed, epoch, step), so a resumed fit goes on as if it had never stopped.

    Args:
        width: d.
        settings: encoder, quantizer, decoder and trainer.
        seed: of initial weights and all noise.
        perplexity_from: row of the first validation word that perplexity is of.
    """

    rate_key = "trainer.learning_rate"
    sampled_codes: Int32[Tensor, " words"] | None
    """Code last drawn for each word in training, by its row; -1 where there was none. None: not kept."""

    def __init__(self, width: int, settings: ConceptSettings, seed: int, perplexity_from: int = 0) -> None:
        super().__init__(settings.trainer, settings.trainer.learning_rate)
        self.settings = settings
        self.seed = seed
        with scoped_seed(seed, "weights"):
            self.encoder = AdaptiveResidualEncoder(width, settings.encoder)
            self.decoder = ConceptDecoder(width, settings.decoder, settings.trainer.packed)
        self.quantizer = VectorQuantizer(width, settings.quantizer)
        self.register_buffer("sampled_codes", None)
        self._perplexity_from = perplexity_from
        self._candidates: Candidates | None = None
        self._drawn_before: Tensor | None = None
        self._train = _Totals(settings.quantizer.codebook_size)
        self._revived = 0
        self._validation = _Totals(settings.quantizer.codebook_size)
        self._counted = torch.zeros(settings.quantizer.codebook_size, dtype=torch.float64)

    def keep_sampled_codes(self, n_words: int) -> None:
        """From now on, keep the code that was last drawn for each of the first words of the store.

        Args:
            n_words: how many words: their rows begin at 0, where the training split lies.
        """
        self.sampled_codes = torch.full((n_words,), -1, dtype=torch.int32)

    def forward(self, batch: MicroBatch, noise: tuple[int | str, ...] | None = None) -> MicroBatchOutput:
        """Run one micro-batch.

        Args:
            batch: activations of some sentences.
            noise: names the top-k draw; None takes the nearest codes.
        """
        z_e = self.encoder(batch.source)
        out = self.quantizer(z_e, batch.real, batch.word_ids, noise)
        rebuilt = self.decoder(out.quantized, z_e, batch.real)
        return MicroBatchOutput(LossSums(reconstruction_sum(rebuilt, batch), out.commitment_sum), z_e, out)

    def total_loss(self, losses: LossSums, n_words: int) -> Float[Tensor, ""]:
        """L_rec + beta L_commit (section 2.5), as means over the batch's words and dimensions."""
        beta = self.settings.quantizer.commitment_weight
        return (losses.reconstruction + beta * losses.commitment) / n_words

    def accumulate(self, batch: ActivationBatch) -> tuple[LossSums, CodeStatistics]:
        """Gradients (added to `.grad`), losses and code statistics of a whole batch; weights and codes stay."""
        self._candidates = None
        sums = LossSums(*torch.zeros(2, device=self.device))
        statistics = self.quantizer.no_statistics()
        own = ranks()
        for index, micro_batch in enumerate(batch.micro_batches):
            where = (self.seed, batch.epoch, batch.step)
            dropout = ("dropout", index) if own.world == 1 else ("dropout", index, "rank", own.rank)
            with scoped_seed(*where, *dropout, device=micro_batch.source.device):
                out = self(micro_batch, noise=where)
                self.manual_backward(self.total_loss(out.losses, batch.n_words))
            self._note(micro_batch, out, where)
            step = self.quantizer.statistics(out.z_e.detach(), micro_batch.real, out.quantizer.codes)
            sums = LossSums(*(a + b.detach() for a, b in zip(sums, out.losses, strict=True)))
            statistics = CodeStatistics(*(a + b for a, b in zip(statistics, step, strict=True)))
        return sums, statistics

    def _note(self, batch: MicroBatch, out: MicroBatchOutput, noise: tuple[int | str, ...]) -> None:
        """What is asked for beside losses and statistics: sampled codes, and outputs that may revive codes."""
        if self.sampled_codes is not None:
            # Padding says again what its sentence's first word does: to pick words out, a GPU's host would wait.
            rows, codes = (
                torch.where(batch.real, each, each[:, :1]) for each in (batch.word_ids, out.quantizer.codes)
            )
            self.sampled_codes[rows] = codes.int()
        if self.settings.quantizer.revive_below > 0:
            self._candidates = drawn(
                self._candidates, out.z_e, batch.real, batch.word_ids, noise, self.quantizer.size
            )

    def training_step(self, batch: ActivationBatch, batch_idx: int) -> None:
        """One optimizer step and one EMA update."""
        del batch_idx
        with self.one_step():
            losses, statistics = self.accumulate(batch)
        self.quantizer.update(statistics)
        if self.settings.quantizer.revive_below > 0:
            self._revived += self.quantizer.revive(self._candidates or no_candidates(self.quantizer.codebook))
        self._train.add(losses, statistics.counts, batch.n_words)
        give_back(self.device)

    def validation_step(self, batch: ActivationBatch, batch_idx: int) -> None:
        """Losses and code use with the nearest codes."""
        del batch_idx
        measured = self.measure(batch)
        self._validation.add(measured.losses, measured.codes, batch.n_words)
        self._counted = self._counted + measured.counted

    def measure(self, batch: ActivationBatch) -> Measured:
        """Losses and code counts of a batch in evaluation mode."""
        zero = torch.zeros((), device=self.device)
        reconstruction, commitment = zero.clone(), zero.clone()
        counts, counted = (torch.zeros(self.quantizer.size, device=self.device) for _ in range(2))
        for micro_batch in batch.micro_batches:
            out = self(micro_batch)
            reconstruction += out.losses.reconstruction
            commitment += out.losses.commitment
            for total, words in (
                (counts, micro_batch.real),
                (counted, micro_batch.real & (micro_batch.word_ids >= self._perplexity_from)),
            ):
                total += word_counts(out.quantizer.codes, words, self.quantizer.size)
        return Measured(LossSums(reconstruction, commitment), counts, counted)

    def on_train_epoch_start(self) -> None:
        """Start the epoch's sums."""
        self._train.reset()
        self._revived = 0
        if self.sampled_codes is not None and ranks().world > 1:  # others may draw next for a word of this process
            self._drawn_before = self.sampled_codes.clone()
            self.sampled_codes.fill_(-1)

    def on_validation_epoch_start(self) -> None:
        """Start the split's sums."""
        self._validation.reset()
        self._counted = torch.zeros(self.quantizer.size, dtype=torch.float64, device=self.device)
        if self._drawn_before is not None and self.sampled_codes is not None:
            dist.all_reduce(self.sampled_codes, dist.ReduceOp.MAX)
            drawn_now = self.sampled_codes >= 0
            self.sampled_codes.copy_(torch.where(drawn_now, self.sampled_codes, self._drawn_before))
            self._drawn_before = None

    def sum_up(self, trained: bool) -> None:
        """Sum what was measured over all processes."""
        self._validation.sum_up()
        if trained:
            self._train.sum_up()
        self._counted = self._counted.to(self.device)
        sum_over_ranks(self._counted)

    def record(self, epoch: int) -> EpochRecord:
        """Losses, code use, the scalar a and the rate of an epoch."""
        beta = self.settings.quantizer.commitment_weight
        rec, com = self._validation.means()
        trained = self._train.means() if epoch > 0 else None
        revives = self.settings.quantizer.revive_below > 0
        return dict(
            epoch=epoch,
            train_loss=trained[0] + beta * trained[1] if trained else None,
            train_reconstruction=trained[0] if trained else None,
            train_commitment=trained[1] if trained else None,
            validation_loss=rec + beta * com,
            validation_reconstruction=rec,
            validation_commitment=com,
            perplexity=perplexity(self._counted),
            codes_in_use=int((self._validation.counts > 0).sum()),
            revived_codes=self._revived if trained and revives else None,
            alpha=float(self.encoder.alpha.detach()),
            learning_rate=self.learning_rate_of(epoch),
        )

    def parameters_to_train(self) -> list[dict[str, Any]]:
        """Groups with and without weight decay."""
        return parameter_groups(self, self.settings.weight_decay_on, self.settings.trainer.weight_decay)


def reconstruction_sum(rebuilt: Float[Tensor, "s w d"], batch: MicroBatch) -> Float[Tensor, ""]:
    """Sum over real words of the mean squared error over dimensions."""
    squared = (rebuilt.float() - batch.target).square().mean(-1)
    return (squared * batch.real).sum()


def parameter_groups(module: nn.Module, scope: WeightDecayOn, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters with and without weight decay.

    The codebook is a buffer and never decays. `all_but_biases` is Table 11's wording; `weights_only` leaves out
    norms and the scalar a as well.
    """
    decays: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        is_bias = name.rsplit(".", 1)[-1].endswith("bias")
        keeps = {
            WeightDecayOn.everything: True,
            WeightDecayOn.all_but_biases: not is_bias,
            WeightDecayOn.weights_only: parameter.dim() > 1,
        }[scope]
        (decays if keeps else free).append(parameter)
    return [{"params": decays, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


class _Totals:
    """Sums over an epoch, kept on the device until they are read."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.reset()

    def reset(self) -> None:
        self._losses: tuple[Tensor, Tensor] | None = None
        self._n_words = 0
        self.counts = torch.zeros(self._size)

    def add(self, losses: LossSums, counts: Tensor, n_words: int) -> None:
        if self._losses is None:
            self._losses = (losses.reconstruction.double(), losses.commitment.double())
            self.counts = counts.double()
        else:
            self._losses = (self._losses[0] + losses.reconstruction, self._losses[1] + losses.commitment)
            self.counts = self.counts + counts
        self._n_words += n_words

    def sum_up(self) -> None:
        """Sum over all processes; the words of a batch are counted in each of them."""
        assert self._losses is not None, "nothing was measured"
        sum_over_ranks(*self._losses, self.counts)

    def means(self) -> tuple[float, float]:
        """Mean reconstruction and commitment loss per word."""
        assert self._losses is not None, "nothing was measured"
        return float(self._losses[0]) / self._n_words, float(self._losses[1]) / self._n_words

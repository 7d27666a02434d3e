"""CLVQ-VAE, and the single-layer baseline (the same model with the target layer set to the source layer)."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int32, Int64
from numpy.typing import NDArray
from torch import Tensor

from clvq_exp.activations.datamodule import ActivationDataModule
from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import ConceptSettings, FitRun, FitSummary, perplexity
from clvq_exp.concepts.bypass import measure_bypass
from clvq_exp.concepts.chosen_words import ChosenWords
from clvq_exp.concepts.codebook_model import CodebookModel
from clvq_exp.concepts.decoder import padding_of_a_pass
from clvq_exp.concepts.initialisation import ema_counts, initial_codebook
from clvq_exp.concepts.module import ClvqVaeModule
from clvq_exp.concepts.trained_module import SAFE_START, knobs_of_training
from clvq_exp.concepts.training import best_epoch, labelled, leave_to_the_first, train
from clvq_exp.concepts.word_filter import filter_identity, trained_words
from clvq_exp.settings import LayerPair, PerplexityOver, Split, TargetLayer, WordsOfConcepts

log = logging.getLogger(__name__)

_TRAINING_KNOBS = (
    "max_epochs",
    "patience",
    "learning_rate",
    "weight_decay",
    "batch_size",
    "micro_batch_words",
    "gradient_clip",
    "plateau_factor",
    "plateau_patience",
)


class ClvqVae(CodebookModel):
    """The paper's method behind the `ConceptModel` interface.

    Args:
        settings: encoder, quantizer, decoder, initialisation, training.
        target_layer: `upper` rebuilds the upper layer; `lower` is the single-layer baseline.
    """

    name: ClassVar[str] = "clvq_vae"
    is_trained: ClassVar[bool] = True

    def __init__(self, settings: ConceptSettings, target_layer: str = TargetLayer.upper.value) -> None:
        super().__init__(settings)
        self.target = TargetLayer(target_layer)
        self._module: ClvqVaeModule | None = None

    def identity(self, store: ActivationStore, pair: LayerPair) -> dict[str, Any]:
        """Both layers and every knob that reaches training."""
        settings = self.settings
        init = settings.init
        return {
            "method": self.name,
            "source": store.layer_fingerprint(pair.lower),
            "target": store.layer_fingerprint(self._target_layer(pair)),
            "encoder": settings.encoder,
            "quantizer": settings.quantizer,
            "decoder": settings.decoder,
            "init": [init.method, init.seeding_sample, init.max_iterations, init.tolerance],
            "frequent": filter_identity(settings.quantizer.trained_words),
            "weight_decay_on": settings.weight_decay_on,
            "trainer": knobs_of_training(settings.trainer, _TRAINING_KNOBS),
            **({"packed": True} if settings.trainer.packed else {}),
        }

    def fit(self, run: FitRun) -> None:
        """Train; a killed fit goes on from its last checkpoint in `run.work`, if that is what was written.

        Raises:
            ConceptError: too few words, or a loss that is not finite.
        """
        words = trained_words(run.store, self.settings.quantizer.trained_words, run.seed)
        data = self._data(run, words)
        quantizer = self.settings.quantizer
        module = ClvqVaeModule(run.store.width, self.settings, run.seed, self._counted_from(run.store))
        if quantizer.words_of_concepts is WordsOfConcepts.sampled_code:
            module.keep_sampled_codes(run.store.word_range(Split.train)[1])
        checkpoints = train(
            module, data, self.settings.trainer, run, lambda: self._initialise(module, data, run, words)
        )
        leave_to_the_first()
        data.read_alone()
        self._finish(module, data, run)
        checkpoints.remove_all()

    def _counted_from(self, store: ActivationStore) -> int:
        """Row of the first validation word that perplexity is of."""
        if self.settings.quantizer.perplexity_over is PerplexityOver.split:
            return 0
        _, end = store.word_range(Split.validation)
        sentences = store.sentence_ids(Split.validation)[:: self.settings.trainer.batch_size]
        batches = store.sentences.first_word[sentences]
        return int(batches[batches < end].max(initial=0))  # the last batch that has a word

    def _data(self, run: FitRun, words: NDArray[np.int64] | None = None) -> ActivationDataModule:
        trainer = self.settings.trainer
        kind = ActivationDataModule if words is None else ChosenWords
        data = kind(
            run.store,
            run.pair.lower,
            self._target_layer(run.pair),
            trainer.batch_size,
            trainer.micro_batch_words,
            run.seed,
            trainer.num_workers,
            trainer.resident_gib,
            run.device,
            padding_of_a_pass(run.store.width, self.settings.decoder, run.device, trainer.packed),
        )
        if isinstance(data, ChosenWords) and words is not None:
            data.choose(words)
        return data

    def _initialise(
        self, module: ClvqVaeModule, data: ActivationDataModule, run: FitRun, words: NDArray[np.int64] | None
    ) -> None:
        quantizer = self.settings.quantizer
        initial = initial_codebook(
            run.cache, run.store, run.pair.lower, self.settings.init, quantizer.codebook_size, run.seed, words
        )
        start, end = run.store.word_range(Split.train)
        n_words = end - start if words is None else len(words)
        counts = ema_counts(initial, quantizer.ema_start, n_words, data.steps_per_epoch)
        module.quantizer.initialise(initial.codes, counts)

    def _finish(self, module: ClvqVaeModule, data: ActivationDataModule, run: FitRun) -> None:
        """Members, perplexity and bypass of the best weights."""
        self._module = module
        self.collect_members(run.store, run.pair.lower)
        counts, in_use = self.codes_in_use(run.store, run.pair.lower)
        if self.settings.quantizer.perplexity_over is PerplexityOver.last_batch:
            counts = self._codes_of_last_batch(run.store, run.pair.lower)
        bypass = measure_bypass(module, run.store, self._target_layer(run.pair), data.val_dataloader(), run.seed)
        best = best_epoch(module.history)
        self.summary = FitSummary(
            perplexity=perplexity(counts),
            codes_in_use=in_use,
            alpha=float(module.encoder.alpha.detach()),
            validation_loss=best.loss,
            best_epoch=best.epoch,
            bypass=bypass,
            history=tuple(module.history),
        )
        if bypass.as_is >= bypass.mean_predictor:
            log.warning(
                "%s",
                labelled(
                    run,
                    f"the reconstruction loss {bypass.as_is:.4f} is no better than predicting the mean "
                    f"({bypass.mean_predictor:.4f}) at trainer.learning_rate="
                    f"{self.settings.trainer.learning_rate:g}; {SAFE_START}",
                ),
            )

    def _codes_of_last_batch(self, store: ActivationStore, layer: int) -> Int64[Tensor, " K"]:
        """Code use on the last batch of the validation split."""
        _, end = store.word_range(Split.validation)
        words = store.gather_words(layer, torch.arange(self._counted_from(store), end))
        return torch.bincount(self.assign(words)[:, 0].cpu(), minlength=self.n_concepts)

    def _target_layer(self, pair: LayerPair) -> int:
        return pair.upper if self.target is TargetLayer.upper else pair.lower

    @property
    def module(self) -> ClvqVaeModule:
        """The trained network."""
        assert self._module is not None, "fit or load the model first"
        return self._module

    @property
    def sampled_codes(self) -> Int32[Tensor, " words"] | None:
        """Code last sampled for each training word, by its row, -1 where none was; None where not asked for."""
        kept = self.module.sampled_codes
        return None if kept is None else kept.cpu()

    def encode(self, activations: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Encoder outputs z_e."""
        return self.module.encoder(activations)

    def vectors(self) -> Float[Tensor, "K d"]:
        """The codebook."""
        return self.module.quantizer.codebook

    def tensors(self) -> dict[str, Tensor]:
        """What is saved of it."""
        return self.module.state_dict()

    def set_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take what was saved."""
        codebook = tensors["quantizer.codebook"]
        self._module = ClvqVaeModule(codebook.shape[1], self.settings, seed=0)
        if "sampled_codes" in tensors:
            self._module.keep_sampled_codes(len(tensors["sampled_codes"]))
        self._module.to(codebook.device).load_state_dict(tensors)
        self._module.eval()

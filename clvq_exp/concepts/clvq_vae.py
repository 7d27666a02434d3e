"""CLVQ-VAE, and the single-layer baseline (the same model with the target layer set to the source layer)."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from clvq_exp.activations.datamodule import ActivationDataModule
from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import ConceptSettings, FitRun, FitSummary, perplexity
from clvq_exp.concepts.bypass import measure_bypass
from clvq_exp.concepts.codebook_model import CodebookModel
from clvq_exp.concepts.initialisation import ema_counts, initial_codebook
from clvq_exp.concepts.module import ClvqVaeModule
from clvq_exp.concepts.training import best_epoch, train
from clvq_exp.settings import LayerPair, Split, TargetLayer

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
            "weight_decay_on": settings.weight_decay_on,
            "trainer": {name: getattr(settings.trainer, name) for name in _TRAINING_KNOBS},
        }

    def fit(self, run: FitRun) -> None:
        """Train; a killed fit goes on from its last checkpoint in `run.work`, if that is what was written.

        Raises:
            ConceptError: too few words, or a loss that is not finite.
        """
        data = self._data(run)
        module = ClvqVaeModule(run.store.width, self.settings, run.seed)
        checkpoints = train(module, data, self.settings.trainer, run, lambda: self._initialise(module, data, run))
        self._finish(module, data, run)
        checkpoints.remove_all()

    def _data(self, run: FitRun) -> ActivationDataModule:
        trainer = self.settings.trainer
        return ActivationDataModule(
            run.store,
            run.pair.lower,
            self._target_layer(run.pair),
            trainer.batch_size,
            trainer.micro_batch_words,
            run.seed,
            trainer.num_workers,
            trainer.resident_gib,
            run.device,
        )

    def _initialise(self, module: ClvqVaeModule, data: ActivationDataModule, run: FitRun) -> None:
        quantizer = self.settings.quantizer
        initial = initial_codebook(
            run.cache, run.store, run.pair.lower, self.settings.init, quantizer.codebook_size, run.seed
        )
        start, end = run.store.word_range(Split.train)
        counts = ema_counts(initial, quantizer.ema_start, end - start, data.steps_per_epoch)
        module.quantizer.initialise(initial.codes, counts)

    def _finish(self, module: ClvqVaeModule, data: ActivationDataModule, run: FitRun) -> None:
        """Members, perplexity and bypass of the best weights."""
        self._module = module
        self._collect_members(run.store, run.pair.lower)
        counts, in_use = self._codes_in_use(run.store, run.pair.lower)
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
                "the reconstruction loss %.4f is no better than predicting the mean (%.4f) at "
                "trainer.learning_rate=%g; 1e-3 is a safe start",
                bypass.as_is,
                bypass.mean_predictor,
                self.settings.trainer.learning_rate,
            )

    def _target_layer(self, pair: LayerPair) -> int:
        return pair.upper if self.target is TargetLayer.upper else pair.lower

    @property
    def module(self) -> ClvqVaeModule:
        """The trained network."""
        assert self._module is not None, "fit or load the model first"
        return self._module

    def encode(self, activations: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Encoder outputs z_e."""
        return self.module.encoder(activations)

    def vectors(self) -> Float[Tensor, "K d"]:
        """The codebook."""
        return self.module.quantizer.codebook

    def _tensors(self) -> dict[str, Tensor]:
        return self.module.state_dict()

    def _set_tensors(self, tensors: dict[str, Tensor]) -> None:
        width = tensors["quantizer.codebook"].shape[1]
        self._module = ClvqVaeModule(width, self.settings, seed=0)
        self._module.load_state_dict(tensors)
        self._module.eval()

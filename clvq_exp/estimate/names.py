"""Names of what cells and methods may share: the settings that each artifact hangs on, and nothing else."""

from __future__ import annotations

from clvq_exp.artifacts import fingerprint
from clvq_exp.estimate.subject import Subject
from clvq_exp.settings import AttributionAt, InitSettings


class Names:
    """Names of the artifacts of one cell; two cells with equal names share what carries them.

    Args:
        subject: the cell.
    """

    def __init__(self, subject: Subject) -> None:
        config = subject.config
        self._config = config
        self._device = subject.device
        texts = [config.dataset, config.protocol.remove_duplicates]
        tuning = [config.fine_tuning, config.trainer.sentences.fine_tuning] if subject.tuned else None
        self.model = fingerprint([config.model, texts, tuning])
        """The language model under study."""
        budget = config.trainer.sentences
        self.tables = fingerprint([self.model, budget.concepts, budget.evaluation])
        """Words and sentences of the store."""
        stored = [config.activations.sub_word, config.activations.dtype, config.activations.batch_tokens]
        self.store = fingerprint([self.tables, stored, self._device])
        """All layers of the store."""
        self.attribution = fingerprint([self.tables, self._attribution(), self._device])
        """Attributions of any sentences."""
        chosen_by = [config.attribution.sentence_token_can_be_salient, config.attribution.salient_by]
        self.salient = fingerprint([self.attribution, chosen_by])
        """The choice of the salient words."""

    def _attribution(self) -> list[object]:
        settings = self._config.attribution
        at_lower = settings.at is AttributionAt.lower_layer
        return [
            settings.steps,
            [settings.max_steps, settings.tolerance] if settings.adaptive else None,
            self._config.layer_pair.lower if at_lower else None,
            settings.baseline,
            settings.word_score,
            settings.batch_tokens,
        ]

    def layer(self, layer: int) -> str:
        """One layer of the store."""
        return fingerprint([self.store, layer])

    def codebook(self, init: InitSettings, seed: int) -> str:
        """The initial codebook of a seed."""
        quantizer = self._config.quantizer
        return fingerprint(
            [
                "codebook",
                self.layer(self._config.layer_pair.lower),
                [init.method, init.seeding_sample, init.max_iterations, init.tolerance],
                quantizer.codebook_size,
                quantizer.trained_words,
                seed,
            ]
        )

    def fitted(self, seed: int, *inputs: object, processes: int = 1) -> str:
        """A fitted concept model.

        Args:
            seed: of the fit.
            inputs: all else that it hangs on.
            processes: that train it together.
        """
        return fingerprint(["concepts", *inputs, seed, self._device, processes])

    def live(self, *inputs: object) -> str:
        """A live intervention.

        Args:
            inputs: what is removed.
        """
        config = self._config
        lower = self.layer(config.layer_pair.lower)
        return fingerprint(["live", self.salient, lower, config.activations.batch_tokens, config.seeds, *inputs])

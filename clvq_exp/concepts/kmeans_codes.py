"""The untrained initial codebook with the identity encoder: what training has to beat."""

from __future__ import annotations

from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import ConceptSettings, FitRun, FitSummary, perplexity
from clvq_exp.concepts.codebook_model import CodebookModel
from clvq_exp.concepts.initialisation import initial_codebook
from clvq_exp.concepts.word_filter import filter_identity, trained_words
from clvq_exp.settings import LayerPair


class KMeansCodes(CodebookModel):
    """Codes are the initial codebook, words are assigned by their raw activation."""

    name: ClassVar[str] = "kmeans_codes"

    def __init__(self, settings: ConceptSettings) -> None:
        super().__init__(settings)
        self._codebook: Tensor | None = None

    def identity(self, store: ActivationStore, pair: LayerPair) -> dict[str, Any]:
        """Layer, initialisation, words and K."""
        init = self.settings.init
        return {
            "method": self.name,
            "layer": store.layer_fingerprint(pair.lower),
            "init": [init.method, init.seeding_sample, init.max_iterations, init.tolerance],
            "codebook_size": self.n_concepts,
            "frequent": filter_identity(self.settings.quantizer.trained_words),
        }

    def fit(self, run: FitRun) -> None:
        """Take the initial codebook and collect its members."""
        words = trained_words(run.store, self.settings.quantizer.trained_words, run.seed)
        initial = initial_codebook(
            run.cache, run.store, run.pair.lower, self.settings.init, self.n_concepts, run.seed, words
        )
        self._codebook = initial.codes
        self.collect_members(run.store, run.pair.lower)
        counts, in_use = self.codes_in_use(run.store, run.pair.lower)
        self.summary = FitSummary(perplexity(counts), in_use)

    def encode(self, activations: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The identity."""
        return activations

    def vectors(self) -> Float[Tensor, "K d"]:
        """The codes."""
        assert self._codebook is not None, "fit or load the model first"
        return self._codebook

    def tensors(self) -> dict[str, Tensor]:
        """What is saved of it."""
        return {"codebook": self.vectors()}

    def set_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take what was saved."""
        self._codebook = tensors["codebook"]

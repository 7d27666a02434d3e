"""The cross-layer sparse autoencoder: a ReLU, and an L1 penalty that is chosen by how many neurons it leaves."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any, ClassVar

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import ConceptError, ConceptSettings
from clvq_exp.concepts.sparse.model import SparseModel
from clvq_exp.concepts.sparse.trained import Trained
from clvq_exp.settings import LayerPair

NEAR = 0.25
"""An L0 is near the wanted one if it is off by no more than this share of it."""
DEFAULT_L1 = (0.04, 0.06, 0.09)

log = logging.getLogger(__name__)


class SparseAutoencoder(SparseModel):
    """Layer l to the target layer through a wide ReLU layer with an L1 penalty (Dunefsky et al. 2024).

    A network is trained with each weight of the penalty. Of those whose validation words have an L0 near the
    wanted one, that of the lowest validation loss is kept; where there is none, that of the nearest L0, with a
    warning.

    Args:
        settings: of which the trainer's part is used.
        neurons: hidden neurons.
        l1: weights of the penalty that are tried.
        l0: wanted number of active neurons of a word.
        learning_rate: Adam's.
        batch_words: words per optimizer step.

    Raises:
        ConceptError: an argument that no network can be trained with.
    """

    name: ClassVar[str] = "sae"

    def __init__(
        self,
        settings: ConceptSettings,
        neurons: int,
        l1: Sequence[float] = DEFAULT_L1,
        l0: float = 32,
        learning_rate: float = 1e-3,
        batch_words: int = 512,
    ) -> None:
        super().__init__(settings, learning_rate, batch_words, l1, k=None)
        if neurons < 1:
            raise ConceptError(f"baseline.neurons={neurons}: one is the least")
        if not l1 or min(l1) < 0 or len(set(l1)) < len(l1):
            raise ConceptError(f"baseline.l1={list(l1)}: a list of different weights of at least 0 is needed")
        if l0 <= 0:
            raise ConceptError(f"baseline.l0={l0}: it has to be above 0")
        self._neurons = neurons
        self._l0 = float(l0)

    def neurons(self, width: int) -> int:
        """As many as asked for, whatever the width."""
        del width
        return self._neurons

    def identity(self, store: ActivationStore, pair: LayerPair) -> dict[str, Any]:
        """Both layers, every knob that reaches training, and what the penalty is chosen by."""
        return {**super().identity(store, pair), "l0": [self._l0, NEAR]}

    def choose(self, found: Sequence[Trained]) -> Trained:
        """The lowest validation loss at an L0 near the wanted one."""
        near = [each for each in found if abs(each.l0 - self._l0) <= NEAR * self._l0]
        if near:
            return min(near, key=lambda each: each.validation_loss)
        nearest = min(found, key=lambda each: abs(math.log(max(each.l0, 1e-9) / self._l0)))
        if len(found) > 1:
            log.warning(
                "no weight of the penalty gives an L0 near %g: %s; l1=%g is kept; add weights to baseline.l1",
                self._l0,
                ", ".join(f"l1={each.l1:g} gives {each.l0:.1f}" for each in found),
                nearest.l1,
            )
        return nearest

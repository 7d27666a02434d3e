"""The sparse transcoder: each word keeps its k largest activations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from clvq_exp.concepts.base import ConceptError, ConceptSettings
from clvq_exp.concepts.sparse.model import SparseModel
from clvq_exp.concepts.sparse.trained import Trained


class SparseTranscoder(SparseModel):
    """Layer l to the target layer through the k largest of many neurons, as in Llama Scope's transcoders.

    Args:
        settings: of which the trainer's part is used.
        k: neurons that stay active.
        expansion: hidden neurons as a multiple of d.
        learning_rate: Adam's.
        batch_words: words per optimizer step.

    Raises:
        ConceptError: an argument that no network can be trained with.
    """

    name: ClassVar[str] = "transcoder"

    def __init__(
        self,
        settings: ConceptSettings,
        k: int = 32,
        expansion: int = 8,
        learning_rate: float = 1e-3,
        batch_words: int = 512,
    ) -> None:
        super().__init__(settings, learning_rate, batch_words, penalties=(0.0,), k=k)
        if k < 1:
            raise ConceptError(f"baseline.k={k}: one neuron is the least")
        if expansion < 1:
            raise ConceptError(f"baseline.expansion={expansion}: one is the least")
        self._expansion = expansion

    def neurons(self, width: int) -> int:
        """A multiple of the width.

        Raises:
            ConceptError: more neurons stay active than there are.
        """
        neurons = self._expansion * width
        if self._k is not None and self._k > neurons:
            raise ConceptError(
                f"baseline.k={self._k} is more than the {neurons} neurons that baseline.expansion="
                f"{self._expansion} gives for activations of width {width}"
            )
        return neurons

    def choose(self, found: Sequence[Trained]) -> Trained:
        """The only one."""
        return found[0]

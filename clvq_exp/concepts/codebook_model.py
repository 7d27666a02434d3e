"""What every method with one vector per concept shares: assignment by the nearest, members, directions."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Float, Int64
from safetensors.torch import load_file, save_file
from torch import Tensor

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import (
    CONCEPT,
    MEMBER_MEAN,
    ConceptModel,
    ConceptSettings,
    concept_members,
    concepts_in_use,
    read_summary,
    unit_rows,
    write_summary,
)
from clvq_exp.concepts.quantizer import nearest_codes

_WEIGHTS = "model.safetensors"
_MEMBERS = ("member_means", "member_counts")
_BLOCK = 16_384


Model = TypeVar("Model", bound="CodebookModel")


class CodebookModel(ConceptModel):
    """A concept is a code; a word belongs to the code nearest to its encoding."""

    def __init__(self, settings: ConceptSettings) -> None:
        self.settings = settings
        self._member_means: Tensor | None = None
        self._member_counts: Tensor | None = None

    @property
    def n_concepts(self) -> int:
        """K."""
        return self.settings.quantizer.codebook_size

    @abstractmethod
    def encode(self, activations: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Raw layer-l activations in the space where the codes live."""

    @torch.no_grad()
    def assign(self, activations: Float[Tensor, "n d"]) -> Int64[Tensor, "n 1"]:
        """The nearest code of each activation."""
        codebook = self.vectors()
        blocks = [
            nearest_codes(self.encode(block.to(codebook.device)), codebook)
            for block in activations.float().split(_BLOCK)
        ]
        return torch.cat(blocks)[:, None]

    def directions(self, ids: Int64[Tensor, "n 1"], removal: str) -> Float[Tensor, "n 1 d"]:
        """Unit vectors of the codes, or of the mean raw activation of their training words."""
        if removal == CONCEPT:
            vectors = self.vectors()
        elif removal == MEMBER_MEAN:
            assert self._member_means is not None, "fit or load the model first"
            vectors = self._member_means
        else:
            raise ValueError(f"{self.name} offers the removals {self.removals}, not {removal!r}")
        return unit_rows(vectors[ids.to(vectors.device)])

    @property
    def member_counts(self) -> Int64[Tensor, " K"]:
        """Training words of each concept."""
        assert self._member_counts is not None, "fit or load the model first"
        return self._member_counts

    def collect_members(self, store: ActivationStore, layer: int) -> None:
        """One pass over the training words: how many each concept holds, and their mean raw activation."""
        self._member_means, self._member_counts = concept_members(self, store, layer, self.vectors().device)

    def codes_in_use(self, store: ActivationStore, layer: int) -> tuple[Int64[Tensor, " K"], int]:
        """Code use on the validation split, and the codes that hold a training or validation word."""
        return concepts_in_use(self, store, layer, self.member_counts)

    def save(self, folder: Path) -> None:
        """Write tensors and summary."""
        assert self._member_means is not None
        assert self._member_counts is not None
        members = dict(zip(_MEMBERS, (self._member_means, self._member_counts), strict=True))
        tensors = {**self.tensors(), **members}
        save_file({name: each.detach().cpu().contiguous() for name, each in tensors.items()}, folder / _WEIGHTS)
        write_summary(folder, self.summary)

    def load(self: Model, folder: Path) -> Model:
        """Read tensors and summary; returns self."""
        tensors = load_file(folder / _WEIGHTS)
        self._member_means, self._member_counts = (tensors.pop(name) for name in _MEMBERS)
        self.set_tensors(tensors)
        self.summary = read_summary(folder)
        return self

    def to(self: Model, device: torch.device) -> Model:
        """Move the codes, what encodes words, and the means of the members; returns self."""
        if self.vectors().device != device:
            self.set_tensors({name: each.to(device) for name, each in self.tensors().items()})
            if self._member_means is not None and self._member_counts is not None:
                self._member_means = self._member_means.to(device)
                self._member_counts = self._member_counts.to(device)
        return self

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """The method's own tensors."""

    @abstractmethod
    def set_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take the method's own tensors, on the device where they are."""

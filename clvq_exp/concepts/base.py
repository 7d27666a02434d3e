"""The one interface behind which every concept method stands; the evaluation knows no method by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from clvq_exp.activations.store import ActivationStore
from clvq_exp.artifacts import ArtifactCache, read_json, write_json
from clvq_exp.settings import (
    DecoderSettings,
    EncoderSettings,
    InitSettings,
    LayerPair,
    QuantizerSettings,
    Split,
    TrainerSettings,
    WeightDecayOn,
)

CONCEPT = "concept"
"""Removal: the concept's own vector (code, centroid)."""
MEMBER_MEAN = "member_mean"
"""Removal: the mean raw activation of the concept's training words."""


MONITOR = "validation_loss"
"""What training is stopped on: its name in the training curves."""
_SUMMARY = "summary.json"

Model = TypeVar("Model", bound="ConceptModel")


class ConceptError(ValueError):
    """A concept model that cannot be fitted as asked; the message says which key to change."""


class TrainingDivergedError(ConceptError):
    """The loss is no longer finite."""


@dataclass(frozen=True)
class ConceptSettings:
    """What a concept method may be told; each method uses its part."""

    encoder: EncoderSettings
    quantizer: QuantizerSettings
    decoder: DecoderSettings
    init: InitSettings
    trainer: TrainerSettings
    weight_decay_on: WeightDecayOn


class FitRun(NamedTuple):
    """The circumstances of one fit."""

    store: ActivationStore
    pair: LayerPair
    seed: int
    work: Path
    """A folder that outlives a killed process: checkpoints go there."""
    cache: ArtifactCache
    device: torch.device
    logger: Any = None
    """A Lightning logger, or None."""
    label: str = ""
    """What the progress of this fit is shown under."""


EpochRecord = Mapping[str, int | float | None]
"""One point of the training curves, by column of `history.parquet`; epoch 0 is before any update."""


class Bypass(NamedTuple):
    """Reconstruction loss on the validation split when the codes are tampered with."""

    as_is: float
    permuted: float
    """Codes permuted among all words."""
    memory_zeroed: float
    """The cross-attention's memory set to zero."""
    mean_predictor: float
    """Predicting the mean of the training targets."""


@dataclass(frozen=True)
class FitSummary:
    """What a fit leaves to report; None where a method has no such thing."""

    perplexity: float
    """exp(entropy of the use of first concepts) over the whole validation split."""
    codes_in_use: int
    """Concepts that hold a training or validation word."""
    alpha: float | None = None
    validation_loss: float | None = None
    best_epoch: int | None = None
    bypass: Bypass | None = None
    variance_explained: float | None = None
    """Share of the validation targets' variance that the reconstruction explains; `bypass` tells it too."""
    l0: float | None = None
    """Mean number of active neurons of a validation word."""
    dead_neurons: int | None = None
    """Neurons that no validation word activates."""
    chosen: Mapping[str, float] = field(default_factory=dict[str, float])
    """What the fit came to by itself: a penalty chosen by the validation split, the words that were clustered."""
    history: tuple[EpochRecord, ...] = field(default=())


class ConceptModel(ABC):
    """Concepts found in the activations of layer l.

    Removals: every method offers `concept` and `member_mean`, and may add its own.
    """

    name: ClassVar[str]
    is_trained: ClassVar[bool] = False
    """Whether `fit` trains a network, which several processes may share (`trainer.devices`)."""
    removals: tuple[str, ...] = (CONCEPT, MEMBER_MEAN)
    summary: FitSummary

    @property
    @abstractmethod
    def n_concepts(self) -> int:
        """How many concepts there are (K)."""

    @abstractmethod
    def identity(self, store: ActivationStore, pair: LayerPair) -> dict[str, Any]:
        """All that can change the fitted model except the seed: the inputs of its fingerprint."""

    @abstractmethod
    def fit(self, run: FitRun) -> None:
        """Find the concepts.

        Raises:
            ConceptError: says which key to change.
        """

    @abstractmethod
    def assign(self, activations: Float[Tensor, "n d"]) -> Int64[Tensor, "n c"]:
        """The concepts of raw layer-l activations; the first column is the concept.

        A word that has fewer of them than there are columns has -1 in the rest; one that has none, in all. The
        activations may lie on another device than the model.
        """

    @abstractmethod
    def directions(self, ids: Int64[Tensor, "n c"], removal: str) -> Float[Tensor, "n r d"]:
        """An orthonormal basis of what to remove; r hangs on the removal alone.

        A concept without a direction (no training word, under `member_mean`) and -1 give zero rows: nothing is
        removed, and the evaluation counts it.
        """

    @abstractmethod
    def vectors(self) -> Float[Tensor, "K d"]:
        """One vector per concept, for cosines and maps."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the fitted model (safetensors and JSON)."""

    @abstractmethod
    def load(self: Model, folder: Path) -> Model:
        """Read a fitted model of the same settings, on the CPU; returns self."""

    def to(self: Model, device: torch.device) -> Model:
        """Assign words, and give directions, on a device from now on; returns self.

        A method that does not say how it moves stays where it is.

        Args:
            device: of the run.
        """
        del device
        return self


def write_summary(folder: Path, summary: FitSummary) -> None:
    """Write `summary.json`."""
    bypass = summary.bypass._asdict() if summary.bypass else None
    write_json(folder / _SUMMARY, {**vars(summary), "bypass": bypass})


def read_summary(folder: Path) -> FitSummary:
    """Read `summary.json`."""
    values = read_json(folder / _SUMMARY)
    bypass: dict[str, float] | None = values.pop("bypass")
    history: list[EpochRecord] = values.pop("history")
    return FitSummary(**values, bypass=Bypass(**bypass) if bypass else None, history=tuple(history))


def split_concepts(model: ConceptModel, store: ActivationStore, layer: int, split: Split) -> Iterator[Tensor]:
    """The first concept of every word of a split, in blocks of `[n]`; -1 for a word that has none."""
    for _, block in store.iterate_words(layer, (split,)):
        yield model.assign(block)[:, 0].cpu()


def concept_counts(model: ConceptModel, store: ActivationStore, layer: int, split: Split) -> Int64[Tensor, " K"]:
    """Words of a split that each concept holds."""
    counts = torch.zeros(model.n_concepts, dtype=torch.int64)
    for codes in split_concepts(model, store, layer, split):
        counts += torch.bincount(codes[codes >= 0], minlength=model.n_concepts)
    return counts


class Members(NamedTuple):
    """The training words of each concept."""

    means: Float[Tensor, "K d"]
    """Mean raw layer-l activation; zero where there is no word."""
    counts: Int64[Tensor, " K"]


def concept_members(model: ConceptModel, store: ActivationStore, layer: int, device: torch.device) -> Members:
    """One pass over the training words; a word belongs to its first concept.

    Args:
        model: its `assign` is asked.
        store: the activations.
        layer: layer l.
        device: where the sums are kept.
    """
    sums = torch.zeros((model.n_concepts, store.width), dtype=torch.float64, device=device)
    counts = torch.zeros(model.n_concepts, dtype=torch.int64, device=device)
    for _, block in store.iterate_words(layer):
        codes = model.assign(block)[:, 0].to(device)
        held = codes >= 0
        sums.index_add_(0, codes[held], block.to(device)[held].double())
        counts += torch.bincount(codes[held], minlength=model.n_concepts)
    return Members((sums / counts.clamp(min=1)[:, None]).float(), counts)


def concepts_in_use(
    model: ConceptModel, store: ActivationStore, layer: int, members: Int64[Tensor, " K"]
) -> tuple[Int64[Tensor, " K"], int]:
    """Use of the concepts on the validation split, and how many hold a training or validation word.

    Args:
        model: its `assign` is asked.
        store: the activations.
        layer: layer l.
        members: training words of each concept.
    """
    validation = concept_counts(model, store, layer, Split.validation)
    return validation, int(((validation > 0) | (members.cpu() > 0)).sum())


def unit_rows(vectors: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
    """Rows scaled to norm 1; zero rows stay zero."""
    norms = vectors.norm(dim=-1, keepdim=True)
    return torch.where(norms > 0, vectors / norms.clamp(min=torch.finfo(vectors.dtype).tiny), 0.0)


def orthonormal(vectors: Float[Tensor, "n r d"], tolerance: float = 1e-6) -> Float[Tensor, "n r d"]:
    """Gram-Schmidt in float64, twice; rows that add nothing new become zero rows.

    Args:
        vectors: any rows.
        tolerance: a row whose rest is shorter than this share of its length adds nothing.
    """
    rows: list[Tensor] = []
    for vector in vectors.double().unbind(1):
        rest = vector
        for _ in range(2):
            for row in rows:
                rest = rest - (rest * row).sum(1, keepdim=True) * row
        length = rest.norm(dim=1, keepdim=True)
        keeps: Bool[Tensor, "n 1"] = length > tolerance * vector.norm(dim=1, keepdim=True)
        rows.append(torch.where(keeps, rest / length.clamp(min=1e-300), 0.0))
    return torch.stack(rows, 1).to(vectors.dtype)


def mean_pairwise_cosine(vectors: Float[Tensor, "k d"]) -> float:
    """Mean cosine over all pairs of distinct rows; 1 for a single row."""
    k = len(vectors)
    if k < 2:
        return 1.0
    total = unit_rows(vectors.double()).sum(0).square().sum()
    return float((total - k) / (k * (k - 1)))


def perplexity(counts: Tensor) -> float:
    """exp(entropy) of code use, from counts `[K]`; between 1 and K.

    Raises:
        ValueError: if nothing was counted.
    """
    total = counts.sum()
    if total <= 0:
        raise ValueError("perplexity of no words: the split is empty")
    p = counts.double() / total
    entropy = -(p[p > 0] * p[p > 0].log()).sum()
    return float(entropy.exp())

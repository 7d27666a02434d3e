"""A store with known directions, and a concept model that knows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest
import torch
from stores import MadeSentence, write_store
from torch import Tensor

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import CONCEPT, MEMBER_MEAN, ConceptModel, FitRun, FitSummary
from clvq_exp.settings import LayerPair, Split

LAYER = 2


def one_layer(words: Tensor, label: int) -> MadeSentence:
    """A sentence of a store of one layer; the first word is the sentence token, which is h."""
    return MadeSentence({LAYER: words.numpy()}, label)


class AxisConcepts(ConceptModel):
    """Concept i is axis i of the activations; a word belongs to the axis along which it is longest.

    The last concept has no direction under `member_mean`.
    """

    name: ClassVar[str] = "axes"

    def __init__(self, n_concepts: int, width: int) -> None:
        self._vectors = torch.eye(n_concepts, width)
        self.summary = FitSummary(perplexity=2.0, codes_in_use=n_concepts)

    @property
    def n_concepts(self) -> int:
        return len(self._vectors)

    def identity(self, store: ActivationStore, pair: LayerPair) -> dict[str, Any]:
        return {"store": store.tables.name, "pair": pair.name}

    def fit(self, run: FitRun) -> None:
        raise NotImplementedError

    def assign(self, activations: Tensor) -> Tensor:
        return activations[:, : self.n_concepts].abs().argmax(1)[:, None]

    def directions(self, ids: Tensor, removal: str) -> Tensor:
        vectors = self._vectors.clone()
        if removal == MEMBER_MEAN:
            vectors[-1] = 0
        else:
            assert removal == CONCEPT
        return vectors[ids]

    def vectors(self) -> Tensor:
        return self._vectors

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    def load(self, folder: Path) -> Self:
        raise NotImplementedError


def labelled_sentences(n: int, seed: int, width: int = 12) -> list[MadeSentence]:
    """The label lies along axis 0 of h and of the first word, axis 1 is common to all, the rest is noise."""
    generator = torch.Generator().manual_seed(seed)
    made: list[MadeSentence] = []
    for index in range(n):
        label = index % 2
        words = 0.3 * torch.randn((4, width), generator=generator)
        words[:2, 0] += 3.0 * (2 * label - 1)
        words[2:, 1] += 4.0
        made.append(one_layer(words, label))
    return made


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[[Mapping[Split, Sequence[MadeSentence]]], ActivationStore]:
    """Write a store into the test's folder."""
    return lambda splits: write_store(tmp_path / f"store_{len(list(tmp_path.iterdir()))}", splits)


@pytest.fixture(scope="session")
def labelled_store(tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    """300 training, 60 validation and 200 dev sentences, four words each, whose label lies along axis 0."""
    splits = {
        Split.train: labelled_sentences(300, 0),
        Split.validation: labelled_sentences(60, 1),
        Split.dev: labelled_sentences(200, 2),
    }
    return write_store(tmp_path_factory.mktemp("labelled") / "store", splits)


@pytest.fixture
def axes() -> AxisConcepts:
    """Four concepts along the first four axes of twelve."""
    return AxisConcepts(4, 12)


@pytest.fixture
def sentence() -> Callable[[Tensor, int], MadeSentence]:
    """Words and label -> the record that `make_store` takes."""
    return one_layer

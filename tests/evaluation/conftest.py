"""A store with known directions, and a concept model that knows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from clvq_exp.activations.store import (
    LAYER_FACTS,
    SENTENCE_REPRESENTATIONS,
    SENTENCES_TABLE,
    WORD_ACTIVATIONS,
    WORDS_TABLE,
    ActivationStore,
)
from clvq_exp.artifacts import write_json
from clvq_exp.concepts.base import CONCEPT, MEMBER_MEAN, ConceptModel, FitRun, FitSummary
from clvq_exp.settings import LayerPair, Split

LAYER = 2


class MadeSentence(NamedTuple):
    """A sentence of a store: the activation of each word; the first is the sentence token, which is h."""

    words: Tensor
    label: int


def write_store(folder: Path, splits: Mapping[Split, Sequence[MadeSentence]]) -> ActivationStore:
    """A store of one layer, as `extract` leaves it."""
    made = [(split, sentence) for split in Split for sentence in splits.get(split, ())]
    lengths = [len(sentence.words) for _, sentence in made]
    tables, layer = folder / "tables", folder / "layer"
    tables.mkdir(parents=True)
    layer.mkdir()
    columns: dict[str, list[Any]] = {
        "id": [f"s{row}" for row in range(len(made))],
        "text": [" ".join(f"w{i}" for i in range(n - 1)) for n in lengths],
        "group": [f"g{row}" for row in range(len(made))],
        "label": [sentence.label for _, sentence in made],
        "split": pa.array([tuple(Split).index(split) for split, _ in made], pa.int8()),
        "first_word": np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64),
        "n_words": np.array(lengths, dtype=np.int64),
        "n_tokens": np.array(lengths, dtype=np.int64) + 1,
    }
    pq.write_table(pa.table(columns), tables / SENTENCES_TABLE)
    words = {
        "sentence": pa.array([row for row, n in enumerate(lengths) for _ in range(n)], pa.int32()),
        "position": pa.array([i - 1 for n in lengths for i in range(n)], pa.int32()),
        "word": ["[CLS]" if i == 0 else f"w{i - 1}" for n in lengths for i in range(n)],
        "special": [i == 0 for n in lengths for i in range(n)],
    }
    pq.write_table(pa.table(words), tables / WORDS_TABLE)
    width = made[0][1].words.shape[1]
    for name, rows in (
        (WORD_ACTIVATIONS, torch.cat([sentence.words for _, sentence in made])),
        (SENTENCE_REPRESENTATIONS, torch.stack([sentence.words[0] for _, sentence in made])),
    ):
        rows.float().numpy().tofile(layer / name)
    facts = {"layer": LAYER, "width": width, "dtype": "float32", "after_final_norm": False}
    write_json(layer / LAYER_FACTS, facts)
    return ActivationStore(tables, {LAYER: layer})


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
        made.append(MadeSentence(words, label))
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
def sentence() -> type[MadeSentence]:
    """The record that `make_store` takes."""
    return MadeSentence

"""The inventory of concepts: words, labels, sentences, examples, neighbours, the map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stores import MadeSentence, write_store

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import ConceptModel, FitRun
from clvq_exp.explanations import concept_inventory
from clvq_exp.explanations.codebook_map import MOST, codebook_map
from clvq_exp.explanations.concept_inventory import ConceptWord, Inventory, nearest_concepts, take_inventory
from clvq_exp.explanations.examples import DEV_WORDS, SENTENCES, TRAIN_WORDS
from clvq_exp.settings import LayerPair, Split

TRAIN = ["Dull DULL film", "the film the End", "straße STRASSE dull"]


class Scripted(ConceptModel):
    """Gives out concepts word by word, as written."""

    name: ClassVar[str] = "scripted"

    def __init__(self, concepts: list[int], n_concepts: int) -> None:
        self._next: Iterator[int] = iter(concepts)
        self._n = n_concepts

    @property
    def n_concepts(self) -> int:
        return self._n

    def assign(self, activations: torch.Tensor) -> torch.Tensor:
        return torch.tensor([next(self._next) for _ in range(len(activations))], dtype=torch.int64)[:, None]

    def identity(self, store: ActivationStore, pair: LayerPair) -> dict[str, Any]:
        raise NotImplementedError

    def fit(self, run: FitRun) -> None:
        raise NotImplementedError

    def directions(self, ids: torch.Tensor, removal: str) -> torch.Tensor:
        raise NotImplementedError

    def vectors(self) -> torch.Tensor:
        return torch.eye(self._n)

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    def load(self, folder: Path) -> Self:
        raise NotImplementedError


class Sampled(Scripted):
    """Knows which code was sampled for each training word."""

    sampled_codes: torch.Tensor | None = None


@pytest.fixture
def cased_store(tmp_path: Path) -> ActivationStore:
    def sentence(text: str, label: int) -> MadeSentence:
        words = text.split()
        return MadeSentence({0: np.zeros((len(words) + 1, 2), np.float32)}, label, words)

    train = [sentence(text, row // 2) for row, text in enumerate(TRAIN)]
    return write_store(tmp_path, {Split.train: train, Split.dev: [sentence("unseen words", 0)]})


#         [CLS] Dull DULL film | [CLS] the film the End | [CLS] straße STRASSE dull | dev: [CLS] unseen words
CONCEPTS = [2, 0, 0, 0, 2, 0, 0, 0, 1, 2, 1, 1, 0, 2, 1, -1]


def taken(store: ActivationStore, model: ConceptModel | None = None, **given: int) -> Inventory:
    return take_inventory(model or Scripted(CONCEPTS, 4), store, 0, 2, 0, **given)


def test_words__by_hand_and_without_sentence_tokens(cased_store: ActivationStore) -> None:
    found = taken(cased_store)
    assert [tuple(each) for each in found.words] == [
        (0, 0, "dull", 3),
        (0, 1, "film", 2),  # as often as "the": the one that sorts first
        (0, 2, "the", 2),
        (1, 0, "strasse", 2),  # case-folded, not lower-cased
        (1, 1, "end", 1),
    ]
    assert all(isinstance(each, ConceptWord) for each in found.words)
    assert found.forms.tolist() == [3, 2, 0, 0]
    assert [(each.concept, each.word) for each in taken(cased_store, kept=1).words] == [
        (0, "dull"),
        (1, "strasse"),
    ]


def test_counts__by_hand(cased_store: ActivationStore) -> None:
    found = taken(cased_store)
    assert found.train_words.tolist() == [7, 3, 3, 0]
    assert found.sentence_tokens.tolist() == [0, 0, 3, 0]
    assert found.dev_words.tolist() == [0, 1, 1, 0]
    assert found.train_sentences.tolist() == [3, 2, 3, 0]
    assert found.label_words.tolist() == [[6, 1], [1, 2], [0, 0], [0, 0]]  # the third sentence has label 1
    assert found.label.tolist() == [0, 1, -1, -1]
    assert found.purity[:2].tolist() == [6 / 7, 2 / 3]
    assert np.isnan(found.purity[2:]).all()


def test_words__of_sampled_codes_where_the_model_kept_them(cased_store: ActivationStore) -> None:
    model = Sampled(CONCEPTS, 4)
    assert taken(cased_store, model).words == taken(cased_store).words, "it may, and did not"
    model = Sampled(CONCEPTS[13:], 4)
    #                [CLS] Dull DULL film | [CLS] the film the End | [CLS] straße STRASSE dull
    model.sampled_codes = torch.tensor([3, 1, 1, -1, 3, -1, 0, -1, -1, 3, 1, -1, 0], dtype=torch.int32)
    found = taken(cased_store, model)
    assert [tuple(each) for each in found.words] == [
        (0, 0, "dull", 1),
        (0, 1, "film", 1),
        (1, 0, "dull", 2),
        (1, 1, "strasse", 1),
    ]
    assert found.train_words.tolist() == [2, 3, 0, 3]
    assert found.sentence_tokens.tolist() == [0, 0, 0, 3]
    assert found.dev_words.tolist() == [0, 1, 1, 0]


def made_store(folder: Path, lengths: list[int], dev: list[int]) -> ActivationStore:
    def sentences(of: list[int]) -> list[MadeSentence]:
        return [MadeSentence({0: np.zeros((n, 2), np.float32)}, row % 2) for row, n in enumerate(of)]

    return write_store(folder, {Split.train: sentences(lengths), Split.dev: sentences(dev)})


@pytest.mark.parametrize("block", [1, 3, 7, 1000])
def test_inventory__does_not_hang_on_the_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    store = made_store(tmp_path, [5, 12, 1, 9, 7], [4, 8])
    codes = np.random.default_rng(0).integers(-1, 3, store.n_words).tolist()
    whole = taken(store, Scripted(codes, 3))
    own = store.iterate_words
    monkeypatch.setattr(store, "iterate_words", lambda layer, splits: own(layer, splits, block))
    in_blocks = taken(store, Scripted(codes, 3))
    for name in ("train_words", "sentence_tokens", "train_sentences", "label_words", "dev_words", "forms"):
        assert np.array_equal(getattr(whole, name), getattr(in_blocks, name)), name
    assert whole.words == in_blocks.words
    assert all(np.array_equal(a, b) for a, b in zip(whole.drawn, in_blocks.drawn, strict=True))
    sentence = store.word_column("sentence").to_numpy()
    train = range(*store.word_range(Split.train))
    pairs = {(int(sentence[row]), codes[row]) for row in train if codes[row] >= 0}
    assert whole.train_sentences.tolist() == [sum(code == each for _, code in pairs) for each in range(3)]


def test_examples__are_words_of_the_concept_and_not_more_than_wanted(tmp_path: Path) -> None:
    # sentences of 5, 30, 4 and 31 words and the token: the last two are not drawn by it
    store = made_store(tmp_path, [6, 31, 5, 32] * 10, [30])
    codes = np.random.default_rng(0).integers(0, 2, store.n_words).tolist()
    found = taken(store, Scripted(codes, 3))
    position = store.word_column("position").to_numpy()
    sentence = store.word_column("sentence").to_numpy()
    for concept in range(2):
        rows = found.drawn.row[found.drawn.concept == concept]
        assert all(codes[row] == concept for row in rows)
        assert len(set(rows.tolist())) == len(rows)
        train = rows[rows < store.word_range(Split.train)[1]]
        assert (position[train] >= 0).sum() == TRAIN_WORDS
        assert (position[rows] >= 0).sum() == TRAIN_WORDS + DEV_WORDS
        tokens = train[position[train] < 0]
        assert set(store.sentences.n_words[sentence[tokens]].tolist()) <= {6, 31}
        assert 0 < len(tokens) <= SENTENCES
    assert not (found.drawn.concept == 2).any()
    assert (np.diff(found.drawn.concept) >= 0).all()


def test_examples__every_word_has_the_same_chance(tmp_path: Path) -> None:
    store = made_store(tmp_path, [21], [0])
    counts: Counter[int] = Counter()
    for seed in range(300):
        found = take_inventory(Scripted([0] * 21, 1), store, 0, 2, seed)
        counts.update(found.drawn.row.tolist())
    drawn = [counts[row] for row in range(1, 21)]  # 150 each are expected, with a deviation of 8.7
    assert min(drawn) > 110
    assert max(drawn) < 190


def test_neighbours__by_hand() -> None:
    angles = np.deg2rad([0, 10, 40, 20])
    vectors = torch.from_numpy(np.stack([np.cos(angles), np.sin(angles)], 1)).float()
    found = nearest_concepts(vectors, np.array([True, True, True, False]), wanted=2)
    assert found.concepts.tolist() == [[1, 2], [0, 2], [1, 0], [1, 2]]  # the last holds nothing
    assert found.cosines[0] == pytest.approx(np.cos(np.deg2rad([10, 40])), abs=1e-6)
    assert found.cosines[3] == pytest.approx(np.cos(np.deg2rad([10, 20])), abs=1e-6)


@pytest.mark.parametrize(("holds", "expected"), [([False] * 3, 0), ([True, False, False], 0), ([True] * 3, 2)])
def test_neighbours__are_never_more_than_there_are(holds: list[bool], expected: int) -> None:
    found = nearest_concepts(torch.eye(3), np.array(holds))
    assert found.concepts.shape == found.cosines.shape == (3, expected)


def test_neighbours__do_not_hang_on_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    holds = np.arange(50) % 3 > 0
    whole = nearest_concepts(vectors, holds)
    monkeypatch.setattr(concept_inventory, "_BLOCK", 7)
    in_blocks = nearest_concepts(vectors, holds)
    assert np.array_equal(whole.concepts, in_blocks.concepts)
    assert not (whole.concepts == np.arange(50)[:, None]).any()
    assert holds[whole.concepts].all()


def test_map__near_where_vectors_point_the_same_way() -> None:
    noise = torch.Generator().manual_seed(0)
    groups = torch.eye(8)[:2].repeat_interleave(20, 0) + 0.05 * torch.randn(40, 8, generator=noise)
    points = codebook_map(groups, np.full(40, 3), seed=0)
    first, second = points[:20], points[20:]
    apart = np.linalg.norm(first.mean(0) - second.mean(0))
    for each in (first, second):
        assert np.linalg.norm(each - each.mean(0), axis=1).max() < apart / 2
    assert np.abs(points).max() == 1.0
    assert np.array_equal(points, codebook_map(groups, np.full(40, 3), seed=0))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=7))
def test_map__shows_what_holds_a_word(use: list[int]) -> None:
    vectors = torch.randn(len(use), 4, generator=torch.Generator().manual_seed(1))
    points = codebook_map(vectors, np.array(use), seed=0)
    assert np.array_equal(np.isfinite(points).all(1), np.array(use) > 0)


def test_map__of_many_concepts_shows_the_most_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST == 2000
    monkeypatch.setattr("clvq_exp.explanations.codebook_map.MOST", 3)
    points = codebook_map(torch.eye(5), np.array([1, 5, 0, 7, 2]), seed=0)
    assert np.isfinite(points).all(1).tolist() == [False, True, False, True, True]


def test_map__of_concepts_that_are_all_the_same() -> None:
    points = codebook_map(torch.ones(3, 2), np.ones(3, dtype=np.int64), seed=0)
    assert np.array_equal(points, np.zeros((3, 2)))

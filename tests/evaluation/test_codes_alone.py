"""What a concept alone tells of the upper layer: values by hand, and bounds that hold for any data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from stores import MadeSentence, write_store
from torch import Tensor

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import ConceptModel
from clvq_exp.evaluation.codes_alone import codes_alone
from clvq_exp.settings import LayerPair, Split

PAIR = LayerPair(1, 2)


class Given(ConceptModel):
    """The concept of a word is written in its first dimension."""

    name = "given"

    def __init__(self, vectors: Tensor) -> None:
        self._vectors = vectors

    @property
    def n_concepts(self) -> int:
        return len(self._vectors)

    def assign(self, activations: Tensor) -> Tensor:
        return activations[:, :1].long()

    def vectors(self) -> Tensor:
        return self._vectors

    identity = fit = directions = save = load = None  # type: ignore[assignment]


def store_of(
    folder: Path, train: list[tuple[int, list[float]]], validation: list[tuple[int, list[float]]]
) -> ActivationStore:
    """One sentence per split; a word is its concept and its upper activation."""

    def sentence(words: list[tuple[int, list[float]]]) -> MadeSentence:
        lower = np.array([[float(concept), 0.0] for concept, _ in words])
        upper = np.array([target for _, target in words])
        return MadeSentence({PAIR.lower: lower, PAIR.upper: upper}, 0, ["w"] * len(words))

    splits = {
        Split.train: [sentence(train)],
        Split.validation: [sentence(validation)],
        Split.dev: [sentence(train)],
    }
    return write_store(folder, splits, sentence_token=False)


def test_code_means__by_hand(tmp_path: Path) -> None:
    train = [(0, [0.0, 0.0]), (0, [2.0, 0.0]), (1, [5.0, 0.0]), (1, [5.0, 0.0])]
    store = store_of(tmp_path, train, [(0, [1.0, 1.0]), (1, [5.0, 0.0])])
    found = codes_alone(Given(torch.tensor([[0.0, 0.0], [1.0, 0.0]])), store, PAIR)
    # the mean of all is (3, 0): the spread is (4 + 1) + 4 = 9; the code means (1, 0) and (5, 0) miss by 1 + 0
    assert found.code_mean == pytest.approx(1 - 1 / 9)
    assert found.linear_map == pytest.approx(1 - 1 / 9), "two codes: a line goes through both means"


def test_linear_map__misses_what_is_not_linear_in_the_vectors(tmp_path: Path) -> None:
    train = [(0, [0.0, 0.0]), (1, [3.0, 0.0]), (2, [0.0, 0.0])]
    store = store_of(tmp_path, train, train)
    found = codes_alone(Given(torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])), store, PAIR)
    assert found.code_mean == pytest.approx(1.0)
    assert found.linear_map == pytest.approx(0.0), "the best line through 0, 3, 0 is flat"


def test_linear_map__weighs_concepts_by_their_words(tmp_path: Path) -> None:
    train = [(0, [0.0, 0.0])] * 8 + [(1, [3.0, 0.0])] * 8 + [(2, [0.0, 0.0])]
    store = store_of(tmp_path, train, train)
    vectors = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    words = np.array([[vectors[concept, 0], 1.0] for concept, _ in train])
    targets = np.array([target for _, target in train])
    residual = targets - words @ np.linalg.lstsq(words, targets, rcond=None)[0]
    expected = 1 - np.square(residual).sum() / np.square(targets - targets.mean(0)).sum()
    assert codes_alone(Given(vectors), store, PAIR).linear_map == pytest.approx(float(expected))


def test_word_without_a_concept_or_of_an_unseen_one__is_predicted_as_the_mean(tmp_path: Path) -> None:
    train = [(0, [0.0, 0.0]), (1, [2.0, 0.0])]
    store = store_of(tmp_path, train, [(-1, [1.0, 3.0]), (2, [1.0, 4.0])])
    found = codes_alone(Given(torch.eye(3, 2)), store, PAIR)
    assert found == (pytest.approx(0.0), pytest.approx(0.0))


def test_training_words__code_means_are_the_best_that_a_concept_can_tell(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    train = [(int(random.integers(6)), list(random.normal(size=2))) for _ in range(60)]
    store = store_of(tmp_path, train, train)
    found = codes_alone(Given(torch.from_numpy(random.normal(size=(6, 2))).float()), store, PAIR)
    assert 0 <= found.linear_map <= found.code_mean <= 1


def test_targets_without_spread__explain_nothing(tmp_path: Path) -> None:
    train = [(0, [1.0, 1.0]), (1, [1.0, 1.0])]
    assert codes_alone(Given(torch.eye(2)), store_of(tmp_path, train, train), PAIR) == (0.0, 0.0)

"""The filter of word types, by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from stores import MadeSentence, write_store

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts import word_filter
from clvq_exp.concepts.word_filter import frequent_words
from clvq_exp.settings import Split


def store_of(folder: Path, train: Sequence[str], dev: Sequence[str] = ()) -> ActivationStore:
    """One training and one dev sentence, each behind its sentence token."""
    texts = {Split.train: train, Split.dev: dev}
    splits = {
        split: [MadeSentence({1: np.zeros((len(words) + 1, 2))}, 0, words)] for split, words in texts.items()
    }
    return write_store(folder, splits, row_group=7)


def test_filter__keeps_types_from_the_least_count_on(tmp_path: Path) -> None:
    store = store_of(tmp_path, ["a", "b", "c", "b", "c", "c", "d"])
    assert frequent_words(store, seed=0, at_least=2, at_most=3).tolist() == [0, 2, 3, 4, 5, 6]
    assert frequent_words(store, seed=0, at_least=3, at_most=3).tolist() == [0, 3, 5, 6]


def test_filter__by_default_five_are_needed_and_twenty_kept(tmp_path: Path) -> None:
    words = ["four"] * 4 + ["five"] * 5 + ["twenty"] * 20 + ["more"] * 33
    kept = frequent_words(store_of(tmp_path, words), seed=3)
    assert Counter(words[row - 1] for row in kept if row) == {"five": 5, "twenty": 20, "more": 20}
    assert kept.tolist() == sorted(set(kept.tolist()))


def test_filter__dev_words_are_neither_counted_nor_kept(tmp_path: Path) -> None:
    store = store_of(tmp_path, ["a", "b", "b"], dev=["a", "a", "b", "b"])
    assert frequent_words(store, seed=0, at_least=2, at_most=9).tolist() == [0, 2, 3]


def test_filter__a_type_is_the_word_as_it_is_spelt(tmp_path: Path) -> None:
    store = store_of(tmp_path, ["Good", "good", "good.", "good"])
    assert frequent_words(store, seed=0, at_least=2, at_most=9).tolist() == [0, 2, 4]


def test_filter__sentence_tokens_are_exempt_and_not_counted(tmp_path: Path) -> None:
    store = store_of(tmp_path, ["[CLS]", "[CLS]", "a"])  # the text itself holds the token's spelling
    assert frequent_words(store, seed=0, at_least=3, at_most=9).tolist() == [0]
    assert len(frequent_words(store, seed=0, at_least=2, at_most=1)) == 2


def test_filter__the_draw_belongs_to_the_seed(tmp_path: Path) -> None:
    store = store_of(tmp_path, ["a"] * 60)
    first, again, other = (frequent_words(store, seed).tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_filter__every_word_of_a_type_is_as_likely(tmp_path: Path) -> None:
    store = store_of(tmp_path, ["a", "b", "a", "a", "b", "a"])
    times = Counter(row for seed in range(400) for row in frequent_words(store, seed, 3, 1).tolist() if row)
    assert set(times) == {1, 3, 4, 6}
    assert all(abs(count - 100) < 35 for count in times.values())  # four standard deviations


@pytest.mark.parametrize("block", [1, 5, 16])
def test_filter__blocks_bound_what_is_read_and_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    store = store_of(tmp_path, ["a", "b", "c"] * 20)
    whole = frequent_words(store, seed=2, at_least=5, at_most=7)
    read: list[int] = []
    column = store.word_column
    monkeypatch.setattr(word_filter, "_BLOCK", block)
    monkeypatch.setattr(store, "word_column", lambda name, rows: read.append(len(rows)) or column(name, rows))
    np.testing.assert_array_equal(frequent_words(store, seed=2, at_least=5, at_most=7), whole)
    assert max(read) == block


def test_filter__no_type_is_frequent(tmp_path: Path) -> None:
    store = write_store(tmp_path, {Split.dev: [MadeSentence({1: np.zeros((3, 2))}, 0)]})
    assert frequent_words(store, seed=0).tolist() == []

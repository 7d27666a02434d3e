"""Batches of like length under a budget."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clvq_exp.activations.batching import length_sorted_batches

LENGTHS = st.lists(st.integers(0, 60), max_size=80)
BUDGETS = st.integers(1, 300)


def test_length_sorted_batches__by_hand():
    batches = length_sorted_batches([2, 5, 3, 5, 1], budget=10)
    assert [batch.tolist() for batch in batches] == [[1, 3], [2, 0, 4]]


def test_length_sorted_batches__an_item_beyond_the_budget_is_alone():
    batches = length_sorted_batches([3, 50, 4], budget=8)
    assert [batch.tolist() for batch in batches] == [[1], [2, 0]]


def test_length_sorted_batches__nothing_gives_nothing():
    assert length_sorted_batches([], budget=8) == []


@given(LENGTHS, BUDGETS)
def test_length_sorted_batches__every_item_comes_once(lengths: list[int], budget: int):
    found = [int(item) for batch in length_sorted_batches(lengths, budget) for item in batch]
    assert sorted(found) == list(range(len(lengths)))


@given(LENGTHS, BUDGETS)
def test_length_sorted_batches__padded_sizes_stay_within_the_budget(lengths: list[int], budget: int):
    for batch in length_sorted_batches(np.asarray(lengths, dtype=np.int64), budget):
        longest = max(lengths[item] for item in batch)
        assert len(batch) >= 1
        assert len(batch) == 1 or len(batch) * longest <= budget


@given(LENGTHS, BUDGETS)
def test_length_sorted_batches__go_from_long_to_short_and_keep_the_order_of_equals(
    lengths: list[int], budget: int
):
    order = [int(item) for batch in length_sorted_batches(lengths, budget) for item in batch]
    assert order == sorted(range(len(lengths)), key=lambda item: (-lengths[item], item))


@given(LENGTHS, BUDGETS)
def test_length_sorted_batches__no_batch_could_take_the_next_item(lengths: list[int], budget: int):
    batches = length_sorted_batches(lengths, budget)
    for batch in batches[:-1]:
        longest = max(1, lengths[batch[0]])
        assert (len(batch) + 1) * longest > budget

"""Batches of like length under a budget."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clvq_exp.activations.batching import length_sorted_batches, tight_batches

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


def padded(batches: list[np.ndarray], lengths: list[int], cost: int) -> int:
    return sum(max(1, *(lengths[item] for item in batch)) * len(batch) + cost for batch in batches)


def cheapest(lengths: list[int], budget: int, cost: int) -> int:
    """The least of all ways to cut the sorted lengths, by trying each."""
    longest_first = sorted((max(1, length) for length in lengths), reverse=True)
    found = []
    for cuts in itertools.product((False, True), repeat=len(lengths) - 1):
        batches, begun = [], 0
        for place, cut in enumerate((*cuts, True), start=1):
            if cut:
                batches.append(longest_first[begun:place])
                begun = place
        if all(len(batch) == 1 or len(batch) * batch[0] <= budget for batch in batches):
            found.append(sum(len(batch) * batch[0] + cost for batch in batches))
    return min(found)


def test_tight_batches__by_hand():
    # One batch: 4 * 10 + 3; cut behind the long one: 10 + 3 * 3 + 2 * 3; cut twice: 10 + 6 + 2 + 3 * 3.
    batches = tight_batches([3, 10, 2, 3], budget=100, cost=3)
    assert [batch.tolist() for batch in batches] == [[1], [0, 3, 2]]
    assert padded(batches, [3, 10, 2, 3], cost=3) == 25


def test_tight_batches__an_item_beyond_the_budget_is_alone_and_nothing_gives_nothing():
    assert [batch.tolist() for batch in tight_batches([3, 50, 4], budget=8, cost=2)] == [[1], [2, 0]]
    assert tight_batches([], budget=8, cost=1) == []


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.integers(1, 120), st.integers(0, 40))
def test_tight_batches__no_other_cut_costs_less(lengths: list[int], budget: int, cost: int):
    assert padded(tight_batches(lengths, budget, cost), lengths, cost) == cheapest(lengths, budget, cost)


@given(LENGTHS, BUDGETS, st.integers(0, 40))
def test_tight_batches__every_item_comes_once_in_order_of_length_within_the_budget(
    lengths: list[int], budget: int, cost: int
):
    batches = tight_batches(lengths, budget, cost)
    order = [int(item) for batch in batches for item in batch]
    assert order == sorted(range(len(lengths)), key=lambda item: (-lengths[item], item))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(1, *(lengths[item] for item in batch)) <= budget

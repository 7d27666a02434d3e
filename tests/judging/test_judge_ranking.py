"""Ranks, agreement and wins, held against published examples, scipy and values by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import friedmanchisquare

from clvq_exp.collect.paper import paper
from clvq_exp.judging.disagreement import disagreement
from clvq_exp.judging.ranking import kendall_w, pairs_won, ranked_first, ranks, reciprocal_ranks

NO_TIES = [
    [1, 3, 4, 5, 2, 8, 6, 7, 10, 9],
    [2, 1, 4, 5, 6, 3, 8, 7, 10, 9],
    [3, 2, 1, 5, 7, 4, 6, 8, 9, 10],
    [4, 2, 3, 1, 6, 7, 5, 9, 8, 10],
]
"""Ten projects ranked by four judges, a textbook's worked example: the squares sum to 1,048 and W is 0.794."""
TIES = [
    [1, 4.5, 2, 4.5, 3, 7.5, 6, 9, 7.5, 10],
    [2.5, 1, 2.5, 4.5, 4.5, 8, 9, 6.5, 10, 6.5],
    [2, 1, 4.5, 4.5, 4.5, 4.5, 8, 8, 8, 10],
]
"""Siegel (1956), ten objects by three judges with ties: W is 0.828."""
ANXIETY = [
    [3, 3, 3, 4, 5, 5, 2, 3, 5, 2, 2, 6, 1, 5, 2, 2, 1, 2, 4, 3],
    [3, 6, 4, 6, 2, 4, 2, 4, 3, 3, 2, 3, 3, 3, 2, 2, 1, 3, 3, 4],
    [2, 1, 4, 4, 3, 2, 1, 6, 1, 1, 1, 2, 3, 3, 1, 1, 3, 3, 2, 2],
]
"""The data `anxiety` of the R package irr: W corrected for ties is 0.540."""


def means(low: int = 2) -> st.SearchStrategy[np.ndarray]:
    shapes = st.tuples(st.integers(low, 6), st.integers(2, 6))
    return shapes.flatmap(lambda shape: arrays(np.float64, shape, elements=st.integers(0, 6).map(float)))


def test_kendall_w__worked_example_without_ties() -> None:
    given_ranks = np.array(NO_TIES, dtype=float)
    assert ((given_ranks.sum(0) - 22) ** 2).sum() == 1048
    assert kendall_w(-given_ranks) == pytest.approx(12 * 1048 / (4**2 * (10**3 - 10)))
    assert round(float(kendall_w(-given_ranks)), 3) == 0.794
    assert kendall_w(-given_ranks, corrected=False) == pytest.approx(float(kendall_w(-given_ranks)))


def test_kendall_w__worked_examples_with_ties() -> None:
    assert round(float(kendall_w(-np.array(TIES))), 3) == 0.828
    assert round(float(kendall_w(np.array(ANXIETY, dtype=float))), 3) == 0.540


def test_kendall_w__correction_for_ties_by_hand() -> None:
    # Two judges, three methods; the first ties two: ranks 1.5 1.5 3 and 1 2 3, sums 2.5 3.5 6, S = 6.5.
    found = np.array([[3.0, 3.0, 1.0], [3.0, 2.0, 1.0]])
    assert kendall_w(found) == pytest.approx(12 * 6.5 / (4 * 24 - 2 * 6))
    assert kendall_w(found, corrected=False) == pytest.approx(12 * 6.5 / (4 * 24))


@given(means(3))
def test_kendall_w__is_friedmans_statistic_of_scipy(found: np.ndarray) -> None:
    judges, methods = found.shape
    w = float(kendall_w(found))
    if methods < 3:
        return
    with np.errstate(all="ignore"):
        statistic = friedmanchisquare(*found.T).statistic
    if np.isnan(w):
        assert (found == found[:, :1]).all(), "undefined only where every judge ties everything"
    else:
        assert w == pytest.approx(statistic / (judges * (methods - 1)), abs=1e-9)
        assert -1e-9 <= w <= 1 + 1e-9


@pytest.mark.parametrize(
    "found",
    [[[1.0, 2.0, 3.0]], [[1.0], [2.0]], [[2.0, 2.0], [2.0, 2.0]], [[np.nan, 1.0, 2.0], [1.0, 2.0, 3.0]]],
    ids=["one judge", "one method", "all tied", "one judge with ratings"],
)
def test_kendall_w__not_defined(found: list[list[float]]) -> None:
    assert np.isnan(kendall_w(np.array(found)))


def test_kendall_w__a_judge_without_ratings_takes_no_part() -> None:
    found = np.array([[3.0, 2.0, 1.0], [np.nan, np.nan, np.nan], [3.0, 2.0, 1.0]])
    assert kendall_w(found) == pytest.approx(1.0)


def test_kendall_w__many_at_once_is_one_by_one() -> None:
    drawn = np.random.default_rng(0).integers(1, 4, (50, 3, 4)).astype(float)
    one_by_one = [float(kendall_w(each)) for each in drawn]
    assert kendall_w(drawn).tolist() == pytest.approx(one_by_one, nan_ok=True)


def test_ranks__ties_share_and_rounding_noise_is_a_tie() -> None:
    assert ranks(np.array([2.0, 3.0, 2.0])).tolist() == [2.5, 1.0, 2.5]
    assert ranks(np.array([0.1 + 0.2, 0.3])).tolist() == [1.5, 1.5]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([3.0, 2.0, 1.0], [1, 1 / 2, 1 / 3]),
        ([3.0, 3.0, 1.0], [3 / 4, 3 / 4, 1 / 3]),
        ([3.0, 1.0, 1.0], [1, 5 / 12, 5 / 12]),
        ([2.0, 2.0, 2.0], [11 / 18] * 3),
    ],
)
def test_reciprocal_ranks__by_hand(found: list[float], expected: list[float]) -> None:
    assert reciprocal_ranks(np.array(found)).tolist() == pytest.approx(expected)


@given(means())
def test_reciprocal_ranks__always_add_up(found: np.ndarray) -> None:
    expected = sum(1 / place for place in range(1, found.shape[1] + 1))
    assert reciprocal_ranks(found).sum(-1).tolist() == pytest.approx([expected] * len(found))


@given(means())
def test_wins__add_up_to_the_pairs_without_ties(found: np.ndarray) -> None:
    n = found.shape[1]
    for row in found:
        tied = sum(row[a] == row[b] for a in range(n) for b in range(a))
        assert pairs_won(row).sum() * (n - 1) == pytest.approx(n * (n - 1) / 2 - tied)
        assert ranked_first(row).sum() == ((row == row.max()).sum() == 1)


def test_wins__ties_count_for_neither() -> None:
    assert pairs_won(np.array([3.0, 3.0, 1.0])).tolist() == [0.5, 0.5, 0.0]
    assert ranked_first(np.array([[3.0, 3.0, 1.0], [3.0, 2.0, 1.0]])).tolist() == [[0, 0, 0], [1, 0, 0]]


def test_rankings__of_missing_means_are_missing() -> None:
    found = np.array([np.nan, 1.0, 2.0])
    for measure in (reciprocal_ranks, pairs_won, ranked_first):
        assert np.isnan(measure(found)).all()


@pytest.mark.parametrize(("table", "n", "tied"), [("v1_table02", 4, 0), ("v1_table06", 3, 1)])
def test_formulas__agree_with_what_the_paper_prints(table: str, n: int, tied: int) -> None:
    # Twelve configurations: reciprocal ranks of n methods add up to the harmonic number, wins to the untied pairs.
    figures = [row.figures for row in paper()[table]]
    assert len(figures) == n
    harmonic = sum(1 / place for place in range(1, n + 1))
    assert sum(each["reciprocal_rank"].value or 0 for each in figures) == pytest.approx(harmonic, abs=0.0021)
    wins = [(each["win_percent"].value or 0) / 100 * 12 * (n - 1) for each in figures]
    assert [round(each) for each in wins] == pytest.approx(wins, abs=0.02), "whole pairs, as in A.4.1"
    assert sum(map(round, wins)) == 12 * n * (n - 1) // 2 - tied


# ---------------------------------------------------------------- the judge that is left out


def test_disagreement__by_hand() -> None:
    a, b, c = [1, 2, 3, 2], [1, 2, 3, 1], [3, 2, 1, 2]
    found = disagreement(np.array([a, b, c], dtype=float).T, "abc")
    ab, bc = np.corrcoef(a, b)[0, 1], np.corrcoef(b, c)[0, 1]
    assert found.values == pytest.approx([1 - (ab - 1) / 2, 1 - (ab + bc) / 2, 1 - (bc - 1) / 2])
    assert found.left_out == 2
    assert "c is left out" in found.why


def test_disagreement__over_the_ratings_that_both_gave() -> None:
    ratings = np.array([[1, 1, 3], [2, 2, 2], [3, 3, 1], [np.nan, 1, 1], [1, np.nan, 3]], dtype=float)
    found = disagreement(ratings, "abc")
    assert found.correlations[0, 1] == pytest.approx(1.0)
    assert found.left_out == 2


@pytest.mark.parametrize(
    ("ratings", "names", "said"),
    [
        ([[1, 2], [2, 1], [3, 3]], "ab", "there are 2 judges"),
        ([[1, 2, 2], [2, 1, 2], [3, 3, 2]], "abc", "all ratings of c are the same"),
        ([[1, 1, 1], [2, 2, 2], [3, 3, 3]], "abc", "a and b and c disagree equally"),
        ([[1, np.nan, 1], [2, np.nan, 3], [3, 1, 2], [1, 2, np.nan]], "abc", "too few different ratings"),
        ([[np.nan] * 3, [1, 2, np.nan], [2, 1, np.nan]], "abc", "all ratings of c are the same"),
    ],
    ids=["two judges", "constant", "equal", "nothing in common", "no ratings at all"],
)
def test_disagreement__nobody_is_left_out(ratings: list[list[float]], names: str, said: str) -> None:
    found = disagreement(np.array(ratings, dtype=float), names)
    assert found.left_out is None
    assert said in found.why

"""Fleiss' kappa against tables that were worked through in print, and against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from statsmodels.stats import inter_rater

from clvq_exp.study.agreement import agreement, counts_of, fleiss_kappa, kappa, reading

WORKED = np.array(
    [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
)
"""Fourteen annotators, ten subjects, five labels: the example that is worked through where kappa is explained."""
PSYCHIATRISTS = np.array(
    [
        *([0, 0, 0, 6, 0], [0, 3, 0, 0, 3], [0, 1, 4, 0, 1], [0, 0, 0, 0, 6], [0, 3, 0, 3, 0]),
        *([2, 0, 4, 0, 0], [0, 0, 4, 0, 2], [2, 0, 3, 1, 0], [2, 0, 0, 4, 0], [0, 0, 0, 0, 6]),
        *([1, 0, 0, 5, 0], [1, 1, 0, 4, 0], [0, 3, 3, 0, 0], [1, 0, 0, 5, 0], [0, 2, 0, 3, 1]),
        *([0, 0, 5, 0, 1], [3, 0, 0, 1, 2], [5, 1, 0, 0, 0], [0, 2, 0, 4, 0], [1, 0, 2, 0, 3]),
        *([0, 0, 0, 0, 6], [0, 1, 0, 5, 0], [0, 2, 0, 1, 3], [2, 0, 0, 4, 0], [1, 0, 0, 4, 1]),
        *([0, 5, 0, 1, 0], [4, 0, 0, 0, 2], [0, 2, 0, 4, 0], [1, 0, 5, 0, 0], [0, 0, 0, 0, 6]),
    ]
)
"""Fleiss' own table (1971): thirty patients, six psychiatrists, five diagnoses."""


def test_fleiss_kappa__of_the_worked_example() -> None:
    value = fleiss_kappa(WORKED)
    assert value is not None
    assert round(value, 3) == 0.210
    found = agreement(WORKED)
    printed = [1.0, 0.253, 0.308, 0.440, 0.330, 0.462, 0.242, 0.176, 0.286, 0.286]
    assert found.pairs == pytest.approx(printed, abs=5e-4)
    assert found.shares.mean(0) == pytest.approx([0.143, 0.200, 0.279, 0.150, 0.229], abs=5e-4)


def test_fleiss_kappa__of_fleiss_own_patients() -> None:
    assert (PSYCHIATRISTS.sum(1) == 6).all()
    value = fleiss_kappa(PSYCHIATRISTS)
    assert value is not None
    assert round(value, 3) == 0.430
    assert agreement(PSYCHIATRISTS).pairs.mean() == pytest.approx(0.5556, abs=5e-5)


def test_fleiss_kappa__of_four_answers_by_hand() -> None:
    # three annotators, two subjects: all agree on the first, two of three on the second
    counts = np.array([[3, 0], [1, 2]])
    pairs = (1 + 1 / 3) / 2
    by_chance = (4 / 6) ** 2 + (2 / 6) ** 2
    assert fleiss_kappa(counts) == pytest.approx((pairs - by_chance) / (1 - by_chance))


@st.composite
def tables(draw: st.DrawFn) -> NDArray[np.int64]:
    """Labels of n annotators for some subjects, `[n, N]`."""
    n, subjects, k = draw(st.integers(2, 6)), draw(st.integers(1, 8)), draw(st.integers(2, 4))
    rows = st.lists(st.lists(st.integers(0, k - 1), min_size=subjects, max_size=subjects), min_size=n, max_size=n)
    return np.array(draw(rows))


@given(tables())
def test_fleiss_kappa__is_that_of_statsmodels_and_hangs_on_no_order(labels: NDArray[np.int64]) -> None:
    counts = counts_of(labels, 4)
    value = fleiss_kappa(counts)
    if len(np.unique(labels)) == 1:
        assert value is None
        return
    assert value == pytest.approx(inter_rater.fleiss_kappa(counts), abs=1e-12)
    assert value == pytest.approx(fleiss_kappa(counts_of(labels[::-1, ::-1], 4)), abs=1e-12)
    assert value == pytest.approx(fleiss_kappa(counts_of(3 - labels, 4)), abs=1e-12)
    assert -1 <= value <= 1


def test_fleiss_kappa__of_full_agreement_and_of_full_disagreement() -> None:
    assert fleiss_kappa(np.array([[4, 0], [0, 4]])) == 1.0
    assert fleiss_kappa(np.array([[1, 1], [1, 1]])) == -1.0


def test_kappa__of_many_samples_at_once() -> None:
    pairs, shares = np.array([1.0, 1.0, 0.5]), np.array([[0.5, 1.0, 0.5], [0.5, 0.0, 0.5]])
    found = kappa(pairs, shares)
    assert found[[0, 2]] == pytest.approx([1.0, 0.0])
    assert np.isnan(found[1])


@pytest.mark.parametrize("counts", [[[3, 0], [1, 1]], [[1, 0], [0, 1]]])
def test_agreement__needs_the_same_two_annotators_or_more(counts: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="two annotators or more"):
        agreement(np.array(counts))


def test_reading__as_the_paper_says() -> None:
    assert reading(0.864) == "almost perfect"
    assert reading(0.59) == "moderate"
    assert [reading(value) for value in (-0.1, 0.1, 0.4, 0.7)] == ["poor", "slight", "fair", "substantial"]

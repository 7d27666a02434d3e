from __future__ import annotations

import numpy as np
import pytest

from clvq_exp.evaluation.specificity.purity import BINS, label_counts, purity_measures


def test_label_counts__are_words_by_code_and_label() -> None:
    codes, labels = np.array([0, 2, 2, 2], dtype=np.int32), np.array([1, 0, 0, 1])
    assert label_counts(codes, labels, 4, 2).tolist() == [[0, 1], [0, 0], [2, 1], [0, 0]]


def test_purity__is_that_of_the_textbook_example() -> None:
    # Manning, Raghavan and Schuetze (2008), section 16.3: 17 points of three classes in three clusters
    found = purity_measures(np.array([[5, 1, 0], [1, 4, 1], [2, 0, 3]]))
    assert found["weighted_mean"] == pytest.approx((5 + 4 + 3) / 17)
    assert found["mean"] == pytest.approx((5 / 6 + 4 / 6 + 3 / 5) / 3)
    assert found["pure_share"] == 0


def test_purity__leaves_out_codes_without_words() -> None:
    found = purity_measures(np.array([[0, 0], [3, 1], [0, 0], [0, 2]]))
    assert (found["weighted_mean"], found["mean"], found["pure_share"]) == (5 / 6, 0.875, 0.5)
    assert found["histogram"].sum() == 2


@pytest.mark.parametrize(
    ("of_code", "expected"),
    [([3, 2], 12), ([19, 1], 19), ([7, 0], 19), ([1, 1], 10), ([1, 1, 1], 6), ([11, 9], 11)],
)
def test_histogram__puts_a_purity_on_an_edge_into_the_upper_bin(of_code: list[int], expected: int) -> None:
    histogram = purity_measures(np.array([of_code]))["histogram"]
    assert histogram.tolist() == [int(index == expected) for index in range(BINS)]


def test_purity__of_no_words_is_not_defined() -> None:
    found = purity_measures(np.zeros((3, 2), dtype=np.int64))
    assert np.isnan([found["weighted_mean"], found["mean"], found["pure_share"]]).all()
    assert not found["histogram"].any()

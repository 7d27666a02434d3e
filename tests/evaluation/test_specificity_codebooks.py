from __future__ import annotations

import numpy as np
import pytest
import torch

from clvq_exp.evaluation.specificity.codebooks import agreement, cosine_quantiles, match_codebooks


def at_angles(*degrees: float) -> torch.Tensor:
    """Vectors of different lengths at these angles."""
    angles = torch.tensor(degrees).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1) * torch.arange(1, len(degrees) + 1)[:, None]


def test_quantiles__of_three_codes_by_hand() -> None:
    found = cosine_quantiles(at_angles(0, 60, 90))  # cosines 0, 0.5, 0.866
    assert found == {"0": 0.0, "0.05": 0.0, "0.25": 0.0, "0.5": 0.5, "0.75": 0.866, "0.95": 0.866, "1": 0.866}


@pytest.mark.parametrize("at_once", [1, 64, 2**22])
def test_quantiles__are_numpy_s_whatever_the_block(at_once: int) -> None:
    vectors = torch.randn((40, 3), generator=torch.Generator().manual_seed(0))
    unit = torch.nn.functional.normalize(vectors.double()).numpy()
    cosines = np.round((unit @ unit.T)[np.triu_indices(40, 1)], 4)
    found = cosine_quantiles(vectors, at_once)
    expected = np.quantile(cosines, [float(name) for name in found], method="inverted_cdf")
    assert list(found.values()) == pytest.approx(expected.tolist(), abs=1e-9)


def test_quantiles__of_one_code_are_not_defined() -> None:
    assert set(cosine_quantiles(torch.ones(1, 3)).values()) == {None}


def test_quantiles__take_the_cosine_of_a_zero_vector_for_zero() -> None:
    assert set(cosine_quantiles(torch.tensor([[0.0, 0.0], [1.0, 2.0]])).values()) == {0.0}


def test_matching__finds_a_shuffled_codebook_again() -> None:
    vectors = torch.randn((9, 4), generator=torch.Generator().manual_seed(0))
    found = match_codebooks(vectors, 3 * vectors.flip(0))
    assert found is not None
    assert found.matched_cosine == pytest.approx(1.0)
    unit = torch.nn.functional.normalize(vectors)
    assert found.random_cosine == pytest.approx(float((unit @ unit.T).mean()), abs=1e-6)


def test_matching__is_the_best_as_a_whole_not_pair_by_pair() -> None:
    found = match_codebooks(at_angles(0, 30), at_angles(10, -80))  # 0 with 10 is the closest pair of all
    assert found is not None
    assert found.matched_cosine == pytest.approx(np.cos(np.deg2rad([80, 20])).mean())
    assert found.random_cosine == pytest.approx(np.cos(np.deg2rad([10, 80, 20, 110])).mean())


def test_matching__leaves_codes_of_the_larger_codebook_without_a_match() -> None:
    found = match_codebooks(at_angles(0, 90, 45), at_angles(44))
    assert found is not None
    assert found.matched_cosine == pytest.approx(np.cos(np.deg2rad(1)))


def test_matching__of_an_empty_codebook_is_not_defined() -> None:
    assert match_codebooks(torch.zeros(0, 2), torch.ones(3, 2)) is None


def codes(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int32)


def test_agreement__is_one_for_the_same_partition_under_other_numbers() -> None:
    assert agreement(codes(0, 0, 1, 1, 2), codes(5, 5, 0, 0, 3)) == pytest.approx(1.0)


def test_agreement__takes_off_what_chance_gives() -> None:
    # a third of the ways to pair four words off shares log 2, the rest nothing: (0 - 1/3) / (1 - 1/3)
    assert agreement(codes(0, 0, 1, 1), codes(0, 1, 0, 1)) == pytest.approx(-0.5)


def test_agreement__leaves_out_words_without_a_concept() -> None:
    assert agreement(codes(0, -1, 0, 1, 1), codes(4, 4, 4, 2, -1)) == pytest.approx(1.0)
    assert agreement(codes(-1, 0), codes(0, -1)) is None

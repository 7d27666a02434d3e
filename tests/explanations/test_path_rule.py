from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from clvq_exp.explanations.path_rule import ADDED, CENTRED, added, following, merged, path_rule


def test_rule__of_one_two_and_three_points_by_hand() -> None:
    # The points are (1 + cos(k pi / (n + 1))) / 2; the weights make every polynomial below degree n exact.
    assert path_rule(1).points == pytest.approx([0.5])
    assert path_rule(1).weights == pytest.approx([1.0])
    assert path_rule(2).points == pytest.approx([0.75, 0.25])
    assert path_rule(2).weights == pytest.approx([0.5, 0.5])
    root = np.sqrt(0.5)
    assert path_rule(3).points == pytest.approx([(1 + root) / 2, 0.5, (1 - root) / 2])
    assert path_rule(3).weights == pytest.approx([1 / 3, 1 / 3, 1 / 3])


@pytest.mark.parametrize("n", [1, 4, 5, 15, 31, 100])
def test_rule__is_exact_for_polynomials_below_degree_n(n: int) -> None:
    rule = path_rule(n)
    for degree in range(n):
        assert float(rule.weights @ rule.points**degree) == pytest.approx(1 / (degree + 1), abs=1e-12)


@pytest.mark.parametrize("centred", [0.0, CENTRED])
@pytest.mark.parametrize("n", [1, 4, 15, 16])
def test_next_rule__has_the_points_of_this_one_and_others_between_them(n: int, centred: float) -> None:
    this, following_rule = path_rule(n, centred), path_rule(following(n), centred)
    assert following_rule.points[1::2] == pytest.approx(this.points)
    new = following_rule.points[ADDED]
    assert len(new) == added(following(n)) == n + 1
    assert merged(this.points.astype(np.float32), new.astype(np.float32)) == pytest.approx(following_rule.points)
    assert (np.diff(following_rule.points) < 0).all()


def test_centred_rule__needs_fewer_points_for_what_happens_in_the_middle() -> None:
    def bump(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + 300 * (x - 0.55) ** 2)

    exact = quad(bump, 0, 1, epsabs=1e-12)[0]
    errors = {
        centred: [
            abs(rule.weights @ bump(rule.points) - exact) for rule in (path_rule(n, centred) for n in (15, 31))
        ]
        for centred in (0.0, CENTRED)
    }
    assert errors[CENTRED][0] < 0.1 * errors[0.0][0]
    assert errors[CENTRED][1] < 0.1 * errors[0.0][1]
    assert errors[CENTRED][1] < 1e-4 * exact


def test_centred_rule__weights_sum_to_one() -> None:
    for n in (1, 4, 15, 31):
        rule = path_rule(n, CENTRED)
        assert float(rule.weights.sum()) == pytest.approx(1, abs=1e-12)
        assert (rule.weights > 0).all()
        assert rule.points + rule.points[::-1] == pytest.approx(np.ones(n))

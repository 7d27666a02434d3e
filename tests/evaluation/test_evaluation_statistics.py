from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from clvq_exp.evaluation import statistics
from clvq_exp.evaluation.statistics import (
    Bootstrap,
    SignFlips,
    above_majority,
    cohens_h,
    holm,
    minimum_detectable_drop,
)
from clvq_exp.seeding import numpy_generator


def names(n: int) -> list[str]:
    return [f"sentence {index}" for index in range(n)]


def test_bootstrap__covers_a_known_share() -> None:
    n, share, rng = 150, 0.7, np.random.default_rng(0)
    bootstrap = Bootstrap(names(n), 1, 500, 0.95, seed=1)
    found = bootstrap.of([rng.random((1, n)) < share for _ in range(500)])
    covered = np.mean([low <= share <= high for _, low, high in found])
    assert 0.92 <= covered <= 0.975


def test_bootstrap__covers_a_known_share_of_groups() -> None:
    groups, of_each, share, rng = 60, 5, 0.6, np.random.default_rng(0)
    bootstrap = Bootstrap([f"document {i // of_each}" for i in range(groups * of_each)], 1, 400, 0.95, seed=1)
    outcomes = [np.repeat(rng.random((1, groups)) < share, of_each, axis=1) for _ in range(300)]
    covered = np.mean([low <= share <= high for _, low, high in bootstrap.of(outcomes)])
    assert 0.91 <= covered <= 0.98


def test_bootstrap__agreement_inside_groups_widens_the_interval() -> None:
    rng = np.random.default_rng(0)
    alike = np.repeat(rng.random((1, 40)) < 0.5, 5, axis=1).astype(float)
    grouped = Bootstrap([str(i // 5) for i in range(200)], 1, 2000, 0.95, seed=0).of([alike])[0]
    single = Bootstrap(names(200), 1, 2000, 0.95, seed=0).of([alike])[0]
    assert grouped.mean == single.mean == alike.mean()
    ratio = (grouped.high - grouped.low) / (single.high - single.low)
    assert ratio == pytest.approx(5**0.5, rel=0.1)


def test_bootstrap__seeds_that_differ_widen_the_interval() -> None:
    alike = np.tile((np.arange(400) % 2).astype(float), (3, 1))
    differing = np.stack([np.zeros(400), (np.arange(400) % 2).astype(float), np.ones(400)])
    bootstrap = Bootstrap(names(400), 3, 1000, 0.95, seed=0)
    narrow, wide = bootstrap.of([alike, differing])
    assert narrow.mean == wide.mean == 0.5
    assert wide.high - wide.low > 4 * (narrow.high - narrow.low)


def test_bootstrap__same_seed_same_interval_whatever_the_names() -> None:
    outcome = (np.arange(50) % 3 == 0).astype(float)[None]
    one = Bootstrap(names(50), 1, 200, 0.95, seed=7).of([outcome])[0]
    assert Bootstrap(names(50), 1, 200, 0.95, seed=7).of([outcome])[0] == one
    assert Bootstrap(names(50), 1, 200, 0.95, seed=8).of([outcome])[0] != one


def test_bootstrap__more_confidence_is_wider() -> None:
    outcome = (np.arange(80) % 3 == 0).astype(float)[None]
    low = Bootstrap(names(80), 1, 2000, 0.8, seed=0).of([outcome])[0]
    high = Bootstrap(names(80), 1, 2000, 0.99, seed=0).of([outcome])[0]
    assert high.low < low.low < low.high < high.high


def test_bootstrap__differences_are_paired() -> None:
    rng = np.random.default_rng(0)
    before = (rng.random((1, 300)) < 0.8).astype(float)
    after = before.copy()
    after[0, np.flatnonzero(before[0])[:10]] = 0
    bootstrap = Bootstrap(names(300), 1, 1000, 0.95, seed=0)
    means = bootstrap.means([before, after])
    paired = means[0] - means[1]
    apart = means[0] - Bootstrap(names(300), 1, 1000, 0.95, seed=1).means([after])[0]
    assert paired.std() < 0.5 * apart.std()


def drawn(n_groups: int, n_seeds: int, samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each resample holds each group and each seed."""
    generator = numpy_generator(seed, "bootstrap")
    groups = generator.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=samples)
    return groups, generator.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=samples)


def test_means__by_hand_over_seeds_and_groups() -> None:
    rng = np.random.default_rng(0)
    of_sentence = rng.integers(20, size=60)
    of_sentence[:20] = np.arange(20)
    outcomes = [rng.random((2, 60)) < 0.5, rng.normal(size=(2, 60))]
    groups, seeds = drawn(20, 2, 300, 4)
    weights = groups[:, of_sentence]
    expected = [((seeds / 2) @ each * weights).sum(1) / weights.sum(1) for each in outcomes]
    found = Bootstrap([f"g{number:02d}" for number in of_sentence], 2, 300, 0.95, seed=4).means(outcomes)
    np.testing.assert_allclose(found, np.stack(expected), rtol=1e-12)


@pytest.mark.parametrize("at_once", [1, 500, 10_000])
def test_means__do_not_hang_on_how_many_resamples_are_drawn_at_once(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    rng = np.random.default_rng(0)
    outcomes = [rng.random((3, 70)) < 0.5 for _ in range(4)]
    bootstrap = Bootstrap(names(70), 3, 200, 0.95, seed=2)
    whole = bootstrap.means(outcomes)
    test = SignFlips(names(70), 500, seed=0)
    p_value = test.p_value(outcomes[0], outcomes[1])
    monkeypatch.setattr(statistics, "DRAWN_AT_ONCE", at_once)
    assert np.array_equal(bootstrap.means(outcomes), whole)
    assert test.p_value(outcomes[0], outcomes[1]) == p_value


def test_restrict__same_resamples_of_some_sentences() -> None:
    keep = np.arange(60) % 2 == 0
    outcome = np.random.default_rng(0).random((2, 60))
    bootstrap = Bootstrap(sorted(names(60)), 2, 300, 0.95, seed=0)
    groups, seeds = drawn(60, 2, 300, 0)
    weights = groups[:, keep]
    expected = ((seeds / 2) @ outcome[:, keep] * weights).sum(1) / weights.sum(1)
    assert bootstrap.restrict(keep).means([outcome[:, keep]])[0] == pytest.approx(expected)
    assert bootstrap.restrict(np.ones(60, dtype=bool)).of([outcome]) == bootstrap.of([outcome])


def test_restrict__resample_without_any_of_them_counts_all() -> None:
    keep = np.zeros(10, dtype=bool)
    keep[[2, 5]] = True
    bootstrap = Bootstrap(names(10), 1, 500, 0.95, seed=0)
    none = drawn(10, 1, 500, 0)[0][:, keep].sum(1) == 0
    assert none.any()
    means = bootstrap.restrict(keep).means([np.array([[0.0, 1.0]])])[0]
    assert set(means[none]) == {0.5}
    assert set(np.unique(means)) >= {0.0, 0.5, 1.0}


def test_holm__published_example_of_statsmodels() -> None:
    # `pval0` of statsmodels' tests; Holm's values by R's multtest, which are 10 p, 9 p, 8 p, 7 p and 1.
    p_values = [0.838541367553, 0.642193923795, 0.680845947633, 0.967833824309, 0.71626938238]
    p_values += [0.177096952723, 5.23656777208e-005, 0.0202732688798, 0.00028140506198, 0.0149877310796]
    expected = [1, 1, 1, 1, 1, 1, 5.23656777208e-04, 1.419128821586e-01, 2.53264555782e-03, 1.199018486368e-01]
    assert holm(p_values) == pytest.approx(expected)


def test_holm__is_monotone_and_keeps_the_order() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.3]) == [0.3]


def test_cohens_h__published_example() -> None:
    # Cohen (1988), table 6.2.2: phi of 0.65 is 1.875, of 0.45 is 1.471.
    assert cohens_h(0.65, 0.45) == pytest.approx(1.875 - 1.471, abs=1e-3)
    assert cohens_h(0.45, 0.65) == -cohens_h(0.65, 0.45)


def exact_p(sums: np.ndarray) -> float:
    flips = np.array(list(itertools.product([-1.0, 1.0], repeat=len(sums))))
    return float((np.abs(flips @ sums) >= abs(sums.sum()) - 1e-12).mean())


def test_sign_flips__agree_with_all_flips() -> None:
    a = np.array([[1, 1, 1, 1, 1, 0, 1, 1, 0, 1.0]])
    b = np.array([[0, 0, 1, 0, 1, 1, 0, 0, 0, 0.0]])
    p_value = SignFlips(names(10), 20_000, seed=0).p_value(a, b)
    exact = exact_p((a - b)[0])
    assert exact == 16 / 128, "six gains and a loss: 2 * (1 + 7) of the 2**7 flips"
    assert p_value == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 20_000) ** 0.5)


def test_sign_flips__groups_flip_as_one() -> None:
    a = np.ones((1, 12))
    b = np.repeat([[0.0, 1.0]], 6, axis=1).reshape(1, 12)
    groups = [str(index // 4) for index in range(12)]
    grouped = SignFlips(groups, 20_000, seed=0).p_value(a, b)
    sums = np.array([(a - b)[0, start : start + 4].sum() for start in (0, 4, 8)])
    assert grouped == pytest.approx(exact_p(sums), abs=0.015)
    assert grouped > SignFlips(names(12), 20_000, seed=0).p_value(a, b)


def test_sign_flips__by_seeds_of_equal_methods_and_reproducible() -> None:
    same = np.tile((np.arange(30) % 2).astype(float), (3, 1))
    assert SignFlips(names(30), 1000, seed=0).p_value(same, same) == 1
    other, test = 1 - same, SignFlips(names(30), 500, seed=3)
    assert test.p_value(same, other) == test.p_value(same, other)
    a, b = np.ones((2, 200)), np.zeros((2, 200))
    assert SignFlips(names(200), 999, seed=0).p_value(a, b) == 1 / 1000


def test_sign_flips__hold_their_level() -> None:
    rng = np.random.default_rng(0)
    p_values = []
    for _ in range(300):
        a, b = (rng.random((2, 1, 60)) < 0.6).astype(float)
        p_values.append(SignFlips(names(60), 400, seed=0).p_value(a, b))
    assert np.mean(np.array(p_values) <= 0.05) < 0.085


def test_detectable_drop__shrinks_with_sentences_and_grows_with_noise() -> None:
    drops = [minimum_detectable_drop(0.05, n) for n in (30, 100, 300, 1000, 10_000)]
    assert all(drop is not None for drop in drops)
    assert drops == sorted(drops, reverse=True)
    assert minimum_detectable_drop(0.2, 300) > minimum_detectable_drop(0.02, 300)
    assert minimum_detectable_drop(0.0, 300) > 0
    assert minimum_detectable_drop(0.95, 5) is None


@pytest.mark.parametrize(("noise", "n"), [(0.04, 300), (0.2, 800)])
def test_detectable_drop__agrees_with_a_simulation(noise: float, n: int) -> None:
    drop = minimum_detectable_drop(noise, n)
    assert drop is not None
    shares = [noise / 2 + drop, noise / 2, 1 - noise - drop]  # lost, gained, unchanged
    lost, gained, _ = np.random.default_rng(0).multinomial(n, shares, size=4000).T
    mean = (lost - gained) / n
    error = np.sqrt(((lost + gained) / n - mean**2) / n)
    power = np.mean(np.abs(mean) / error > stats.norm.ppf(0.975))
    assert power == pytest.approx(0.8, abs=0.05)


def test_above_majority__by_hand() -> None:
    labels = np.array([0] * 5 + [1] * 5)
    all_right = np.ones(10)
    assert above_majority(all_right, labels) == pytest.approx(0.5**10)
    assert above_majority(np.zeros(10), labels) == 1
    skewed = np.array([0] * 9 + [1])
    assert above_majority(all_right, skewed) == pytest.approx(0.9**10)
    assert above_majority((skewed == 0).astype(float), skewed) > 0.5, "saying the commonest class shows nothing"

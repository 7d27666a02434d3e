"""The figures of an evaluation, by hand and by their properties."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from clvq_exp.judging.figures import Figures, figures
from clvq_exp.judging.ratings import Ratings, collect, of_judges, who_disagrees
from clvq_exp.judging.records import FLOOR, Configuration, Instance, Outcome, Question, Rated
from clvq_exp.judging.sampling import Drawn


def ratings(values: object, floor: object = None, groups: object = None) -> Ratings:
    """Of one configuration: `[instances][judges][methods]`."""
    array = np.array(values, dtype=float)
    given = ~np.isnan(array)
    floors = np.full(array.shape[:2], np.nan) if floor is None else np.array(floor, dtype=float)
    return Ratings(array, given, floors, np.arange(len(array)) if groups is None else np.array(groups))


def computed(*each: Ratings, datasets: tuple[str, ...] = (), samples: int = 200) -> Figures:
    names = datasets or tuple("d" for _ in each)
    return figures(each, names, samples, 0.95, 7)


FIRST = [[[3, 1], [3, 2]], [[2, 1], [3, 1]]]
"""Two instances, two judges, two methods: means 2.75 and 1.25."""
SECOND = [[[1, 2], [1, 3]], [[1, 2], [2, 2]]]
"""Means 1.25 and 2.25; the first judge ranks the second method first, the second judge too."""
THIRD = [[[2, 2], [1, 2]], [[2, 2], [2, 1]]]
"""Means 1.75 and 1.75: tied; the judges tie, and differ by nothing."""


def test_figures__by_hand() -> None:
    found = computed(ratings(FIRST), ratings(SECOND), ratings(THIRD), datasets=("x", "x", "y"))
    a, b = found.methods
    assert a.rating is not None
    assert b.rating is not None
    assert a.rating.mean == pytest.approx((2.75 + 1.25 + 1.75) / 3)
    assert b.rating.mean == pytest.approx((1.25 + 2.25 + 1.75) / 3)
    assert a.deviation == pytest.approx(np.std([2.75, 1.25, 1.75], ddof=1))
    assert [each.reciprocal_rank.mean for each in found.methods if each.reciprocal_rank] == pytest.approx(
        [(1 + 1 / 2 + 3 / 4) / 3, (1 / 2 + 1 + 3 / 4) / 3]
    )
    assert [each.pairs_won.mean for each in found.methods if each.pairs_won] == pytest.approx([1 / 3, 1 / 3])
    assert [each.ranked_first.mean for each in found.methods if each.ranked_first] == pytest.approx([1 / 3, 1 / 3])
    assert [each.kendall_w.mean for each in found.configurations[:2] if each.kendall_w] == pytest.approx(
        [1.0, 1.0]
    )
    assert found.configurations[2].kendall_w is None, "both judges tie both methods"
    assert found.configurations[2].kendall_w_uncorrected == pytest.approx(0.0)
    (x, y) = found.of_datasets
    assert x[0] == "x"
    assert x[1] is not None
    assert x[1].mean == pytest.approx(1.0)
    assert y == ("y", None)
    assert found.overall is not None
    assert found.overall.mean == pytest.approx(1.0)


def test_overall_w__is_the_mean_over_configurations_as_the_paper_averages() -> None:
    split = [[[3, 1], [1, 3]], [[3, 1], [1, 3]]]
    found = computed(ratings(FIRST), ratings(split), datasets=("x", "y"))
    assert [each[1].mean for each in found.of_datasets if each[1]] == pytest.approx([1.0, 0.0])
    assert found.overall is not None
    assert found.overall.mean == pytest.approx(0.5)
    assert round((0.833 + 0.828 + 0.686) / 3, 3) == 0.782, "so Table 3"


def test_one_configuration__has_no_deviation() -> None:
    assert computed(ratings(FIRST)).methods[0].deviation is None


def test_missing_answers__take_no_part() -> None:
    nan = float("nan")
    with_missing = [[[3, 1], [nan, nan]], [[2, 1], [3, 1]]]
    found = computed(ratings(with_missing))
    a = found.methods[0].rating
    assert a is not None
    assert a.mean == pytest.approx((3 + 2 + 3) / 3)
    assert (found.configurations[0].answers, found.configurations[0].missing) == (3, 1)


def test_nothing_but_missing_answers__gives_no_figures() -> None:
    found = computed(ratings(np.full((2, 2, 2), np.nan)))
    assert found.overall is None
    assert all(
        each.rating is None and each.reciprocal_rank is None and each.pairs_won is None for each in found.methods
    )


def test_floor__is_held_against_the_same_answers() -> None:
    nan = float("nan")
    found = computed(ratings(FIRST, floor=[[1, nan], [2, nan]]))
    assert found.floor is not None
    assert found.floor.mean == pytest.approx(1.5)
    assert [each.above_floor.mean for each in found.methods if each.above_floor] == pytest.approx(
        [(3 + 2) / 2 - 1.5, (1 + 1) / 2 - 1.5]
    )


def drawn_ratings(n: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).integers(1, 4, (n, 3, 3)).astype(float)


def test_intervals__hold_the_figure_and_narrow_with_more_sentences() -> None:
    few, many = (computed(ratings(drawn_ratings(n)), samples=500) for n in (10, 400))
    for found in (few, many):
        for method in found.methods:
            assert method.rating is not None
            assert method.rating.low <= method.rating.mean <= method.rating.high
    widths = [
        [each.rating.high - each.rating.low for each in found.methods if each.rating] for found in (few, many)
    ]
    assert all(wide > 3 * narrow for wide, narrow in zip(*widths, strict=True))


def test_intervals__draw_documents_as_a_whole() -> None:
    values = np.repeat(drawn_ratings(10), 10, axis=0)
    alone = computed(ratings(values), samples=500).methods[0].rating
    documents = computed(ratings(values, groups=np.repeat(np.arange(10), 10)), samples=500).methods[0].rating
    few = computed(ratings(drawn_ratings(10)), samples=500).methods[0].rating
    assert alone is not None
    assert documents is not None
    assert few is not None
    assert documents == pytest.approx(few), "ten documents of equal sentences are ten sentences"
    assert documents.high - documents.low > 2 * (alone.high - alone.low)


def test_intervals__cover_about_as_often_as_they_say() -> None:
    inside = 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        values = generator.choice([1.0, 2.0, 3.0], size=(60, 1, 1), p=[0.5, 0.3, 0.2])
        found = computed(ratings(np.repeat(values, 2, axis=2)), samples=300).methods[0].rating
        assert found is not None
        inside += found.low <= 1.7 <= found.high
    assert 87 <= inside <= 100


def test_intervals__are_the_same_each_time() -> None:
    assert computed(ratings(drawn_ratings(20))) == computed(ratings(drawn_ratings(20)))


# ---------------------------------------------------------------- from outcomes to ratings


def configured(methods: tuple[str, ...], n: int) -> tuple[Configuration, Drawn]:
    instances = tuple(
        Instance(f"{place}", "t", f"g{place // 2}", 0, 0, "w", dict.fromkeys(methods, 0)) for place in range(n)
    )
    configuration = Configuration("m", "d", "1-2", ("a", "b"), ("a", "b"), "", None, methods, instances, {})
    return configuration, Drawn(instances, {})


def test_collect__empty_concepts_have_one_and_missing_answers_nothing() -> None:
    configuration, drawn = configured(("x", "y"), 2)
    asked = [Question(0, instance, judge, (), ("y",), "p") for instance in range(2) for judge in range(2)]
    outcomes = [
        Outcome({"x": Rated(3, ""), FLOOR: Rated(2, "")}, 1),
        Outcome(None, 4, "no JSON"),
        Outcome({"x": Rated(2, "")}, 1),
        Outcome({}, 0),
    ]
    (found,) = collect([configuration], [drawn], 2, asked, outcomes)
    nan = float("nan")
    assert np.array_equal(found.values, [[[3, 1], [nan, nan]], [[2, 1], [1, 1]]], equal_nan=True)
    assert found.given.tolist() == [[[True, False], [False, False]], [[True, False], [False, False]]]
    assert np.array_equal(found.floor, [[2, nan], [nan, nan]], equal_nan=True)
    assert found.groups.tolist() == [0, 0]


def test_left_out__is_found_over_ratings_that_judges_gave() -> None:
    # Judges a and b agree on what they were asked; c says the opposite. Empty concepts, 1 for all, say nothing.
    values = [[[3, 1], [3, 1], [1, 1]], [[1, 1], [1, 1], [3, 1]], [[2, 1], [2, 1], [2, 1]]]
    given = ratings(values)
    given.given[..., 1] = False
    found = who_disagrees([given], ["a", "b", "c"])
    assert found.left_out == 2
    assert found.correlations[0, 1] == pytest.approx(1.0)
    assert found.correlations[0, 2] == pytest.approx(-1.0)
    assert of_judges(given, [0, 1]).values.shape == (3, 2, 2)

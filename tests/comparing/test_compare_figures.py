"""Figures of two runs: what differs, intervals, tests, Holm's correction."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from collect.made_runs import interval
from comparing.made_pairs import (
    CONTROLS,
    TEXTS,
    compared,
    correct,
    make_run,
    method_figures,
    salient_rows,
    seal,
    side_by_side,
    write,
)
from scipy import stats

from clvq_exp.comparing.compare import Compared
from clvq_exp.comparing.figures import Part, Row, Test, Unit, Value, adjusted
from clvq_exp.comparing.randomisation import Chance, Sides, contrasts, specific_drop
from clvq_exp.evaluation.statistics import Bootstrap, SignFlips

CHANCE = Chance(samples=200, permutations=4000, confidence=0.95, seed=3)


def rows_of(found: Compared, part: str) -> dict[str, Row]:
    """The rows of one part, by their keys."""
    (chosen,) = [each for each in found.parts if each.key == part]
    return {row.key: row for row in chosen.rows}


def sides(
    base: dict[str, list[int]], other: dict[str, list[int]], groups: str = "abcd", paired: bool = True
) -> Sides:
    """Outcomes of one seed each."""
    arrays = [{name: np.array([values], bool) for name, values in each.items()} for each in (base, other)]
    return Sides(arrays[0], arrays[1], list(groups), list(groups), paired)


def test_specific_drop__by_hand() -> None:
    # drops 0.5, 0.25 (the largest control) and 0; below, the original accuracy is 0 and nothing can drop
    means = np.array([[0.8, 0.0], [0.4, 0.0], [0.6, 0.0], [0.8, 0.0], [0.8, 0.0], [0.8, 0.0], [0.8, 0.0]])
    assert specific_drop(means).tolist() == pytest.approx([0.25, 0.0])


def test_paired__difference_p_and_effect_by_hand() -> None:
    found = contrasts(sides(correct(), correct(perturbed=[0, 0, 0, 0])), CHANCE)
    perturbed = found["perturbed"]
    assert (perturbed.difference.mean, perturbed.difference.low, perturbed.difference.high) == (-1.0, -1.0, -1.0)
    assert perturbed.p_value == pytest.approx(2 / 16, abs=0.02)  # both of 2^4 flips that leave one sign
    assert perturbed.cohens_h == pytest.approx(-math.pi)
    assert found["original"].p_value == 1.0
    assert found["specific_drop"].difference.mean == 1.0
    assert found["specific_drop"].p_value == pytest.approx(2 / 16, abs=0.02)
    assert found["specific_drop"].cohens_h is None


def test_paired__sentences_of_one_document_flip_together() -> None:
    found = contrasts(sides(correct(), correct(perturbed=[0, 0, 0, 0]), groups="aabb"), CHANCE)
    assert found["perturbed"].p_value == pytest.approx(2 / 4, abs=0.03)
    assert found["specific_drop"].p_value == pytest.approx(2 / 4, abs=0.03)


def test_unpaired__all_ways_to_put_the_sentences_to_two_runs() -> None:
    found = contrasts(sides(correct(), correct(perturbed=[0, 0, 0, 0]), paired=False), CHANCE)
    assert found["perturbed"].p_value == pytest.approx(2 / 70, abs=0.012)  # of 8 over 4
    assert found["original"].p_value == 1.0
    assert found["random_direction"].difference.mean == 0.0


def test_paired__p_and_interval_are_those_of_a_run() -> None:
    generator = np.random.default_rng(0)
    a, b = ({"perturbed": generator.random((3, 40)) < share} for share in (0.7, 0.5))
    groups = [str(place // 3) for place in range(40)]
    found = contrasts(Sides(a, b, groups, groups, True), CHANCE)["perturbed"]
    assert found.p_value == SignFlips(groups, 4000, 3).p_value(b["perturbed"], a["perturbed"])
    gap = b["perturbed"].astype(float) - a["perturbed"]
    (expected,) = Bootstrap(groups, 3, 200, 0.95, 3).of([gap])
    assert found.difference == pytest.approx(expected)


def test_unpaired__an_interval_is_wider_than_of_the_same_sentences() -> None:
    generator = np.random.default_rng(1)
    outcomes = generator.random((2, 60)) < 0.5
    groups = [str(place) for place in range(60)]
    widths: list[float] = []
    for paired in (True, False):
        both = Sides({"original": outcomes}, {"original": outcomes}, groups, groups, paired)
        ends = contrasts(both, CHANCE)["original"].difference
        widths.append(ends.high - ends.low)
    assert widths[0] == 0.0
    assert widths[1] > 0.1


def test_tested__the_specific_drop_needs_every_control() -> None:
    whole = correct()
    whole.pop(CONTROLS[0])
    assert set(contrasts(sides(whole, correct()), CHANCE)) == {"original", "perturbed", *CONTROLS[1:]}
    assert contrasts(sides({}, correct()), CHANCE) == {}


def test_adjusted__holm_over_all_runs_beside_the_base_part_by_part() -> None:
    def part(key: str, *p_values: float | None) -> Part:
        rows = [
            Row(str(place), "", Unit.accuracy, None, None, None, p_value=each)
            for place, each in enumerate(p_values)
        ]
        return Part(key, "", tuple(rows))

    found = adjusted([[part("a", 0.04, None), part("b", 0.5)], [part("a", 0.01)]])
    assert [[[row.p_holm for row in each.rows] for each in parts] for parts in found] == [
        [[0.04, None], [0.5]],
        [[0.02]],
    ]


def test_a_run_beside_itself__no_difference_and_p_1(tmp_path: Path) -> None:
    outcomes = [correct(perturbed=[0, 1, 0, 1]), correct(perturbed=[0, 0, 0, 1])]
    run = make_run(tmp_path / "run", seeds=(0, 1), outcomes=outcomes, main=method_figures(0.375, (2.0, 3.0)))
    found = side_by_side(run, run)
    rows = [row for part in found.parts for row in part.rows]
    assert {row.difference.mean for row in rows if row.difference} == {0.0}
    assert {row.p_value for row in rows if row.test is not Test.none} == {1.0}
    assert {row.p_holm for row in rows if row.test is not Test.none} == {1.0}
    perturbed = rows_of(found, "faithfulness.own")["perturbed"]
    assert perturbed.test is Test.paired
    assert perturbed.difference == Value(0.0, 0.0, 0.0)
    assert perturbed.cohens_h == 0.0
    assert rows_of(found, "codebook")["perplexity"].test is Test.seeds


def test_faithfulness__figures_of_the_metrics_and_tests_over_sentences(tmp_path: Path) -> None:
    base = make_run(tmp_path / "a", main=method_figures(0.8))
    outcomes = [correct(perturbed=[0, 0, 0, 0])]
    other = make_run(tmp_path / "b", outcomes=outcomes, main=method_figures(0.2), settings={"encoder.alpha": 0.5})
    rows = rows_of(side_by_side(base, other), "faithfulness.own")
    assert rows["perturbed"].base == pytest.approx((0.8, 0.79, 0.81, ""))
    assert rows["perturbed"].other == pytest.approx((0.2, 0.19, 0.21, ""))
    assert rows["perturbed"].difference == Value(-1.0, -1.0, -1.0)  # of the outcomes, which say more
    assert rows["perturbed"].p_value == pytest.approx(2 / 16, abs=0.02)
    assert rows["perturbed"].p_holm == pytest.approx(5 * 2 / 16, abs=0.1)  # of five that are tested
    assert rows["random_active_code_norm_matched"].difference == pytest.approx((0.0, None, None, ""))
    assert rows["random_active_code_norm_matched"].test is Test.none
    assert list(rows)[-2:] == ["drop", "specific_drop"]


def test_faithfulness__the_order_of_the_sentences_does_not_matter(tmp_path: Path) -> None:
    outcomes = [correct(perturbed=[0, 1, 0, 0])]
    documents = ["x", "y", "z", "z"]
    base = make_run(tmp_path / "a", salient=salient_rows(TEXTS, group=documents), outcomes=outcomes)
    turned = [
        {**row, "sentence": 7 + place} for place, row in enumerate(salient_rows(TEXTS, group=documents)[::-1])
    ]
    other = make_run(
        tmp_path / "b", salient=turned, outcomes=[correct(perturbed=[0, 0, 1, 0])], settings={"encoder.alpha": 0.5}
    )
    perturbed = rows_of(side_by_side(base, other), "faithfulness.own")["perturbed"]
    assert perturbed.p_value == 1.0
    assert perturbed.difference == Value(0.0, 0.0, 0.0)  # the same sentences are drawn for both


def test_faithfulness__other_dev_sentences_are_unpaired(tmp_path: Path) -> None:
    base = make_run(tmp_path / "a")
    texts = (*TEXTS[:3], "another one", "and one more")
    other = make_run(tmp_path / "b", salient=salient_rows(texts), settings={"encoder.alpha": 0.5})
    found = side_by_side(base, other)
    assert rows_of(found, "faithfulness.own")["perturbed"].test is Test.unpaired
    assert found.pair.shared is not None
    assert (len(found.pair.shared.base), found.pair.paired) == (3, False)


def test_faithfulness__a_text_that_stands_there_twice_is_two_sentences(tmp_path: Path) -> None:
    base = make_run(tmp_path / "a", salient=salient_rows(("dull", "dull", "fine", "fine")))
    once = make_run(tmp_path / "b", salient=salient_rows(("dull", "fine", "fine", "x")), settings={"seeds": [0]})
    assert side_by_side(base, base).pair.paired
    shared = side_by_side(base, once).pair.shared
    assert shared is not None
    assert shared.base.tolist() == [0, 2, 3]
    assert shared.other.tolist() == [0, 1, 2]


def test_faithfulness__seeds_may_differ_in_number(tmp_path: Path) -> None:
    base = make_run(tmp_path / "a", seeds=(0, 1, 2))
    outcomes = [correct(perturbed=[0, 0, 0, 0]), correct()]
    other = make_run(tmp_path / "b", seeds=(0, 5), outcomes=outcomes)
    perturbed = rows_of(side_by_side(base, other), "faithfulness.own")["perturbed"]
    assert perturbed.difference is not None
    assert perturbed.difference.mean == -0.5
    assert (perturbed.difference.low, perturbed.difference.high) == (
        -1.0,
        0.0,
    )  # as one seed or the other is drawn


def test_faithfulness__without_outcomes_only_means_are_compared(tmp_path: Path) -> None:
    base = make_run(tmp_path / "a", main=method_figures(0.8))
    other = make_run(tmp_path / "b", main=method_figures(0.5), outcomes=[{}], settings={"encoder.alpha": 0.5})
    found = side_by_side(base, other)
    (part,) = [each for each in found.parts if each.key == "faithfulness.own"]
    rows = rows_of(found, "faithfulness.own")
    assert rows["perturbed"].difference == pytest.approx((-0.3, None, None, ""))
    assert {row.p_value for row in part.rows} == {None}
    assert part.notes == ("Not tested: outcomes of single sentences are not in both run folders.",)


def test_faithfulness__a_seed_without_all_sentences_is_not_tested(tmp_path: Path) -> None:
    base = make_run(tmp_path / "a")
    short = make_run(tmp_path / "b", salient=salient_rows(TEXTS[:3]), settings={"encoder.alpha": 0.5})
    write(short, "salient_words", salient_rows(TEXTS))
    seal(short)
    assert {row.test for row in rows_of(side_by_side(base, short), "faithfulness.own").values()} == {Test.none}


def test_faithfulness__each_method_by_its_own_removal_then_by_those_of_both(tmp_path: Path) -> None:
    main = method_figures()
    main["faithfulness"] = {name: main["faithfulness"]["concept"] for name in ("concept", "member_mean")}
    both = make_run(tmp_path / "a", main=main)
    one = make_run(tmp_path / "b", settings={"encoder.alpha": 0.5})
    keys = [part.key for part in side_by_side(both, both).parts]
    assert keys == ["faithfulness.own", "faithfulness.member_mean", "codebook"]
    again = rows_of(side_by_side(both, both), "faithfulness.member_mean")["original"]
    assert again.test is Test.none  # nothing is removed there: it is tested once
    assert [part.key for part in side_by_side(both, one).parts] == ["faithfulness.own", "codebook"]


def test_faithfulness__warnings_stand_beside_figures(tmp_path: Path) -> None:
    main = method_figures()
    main["faithfulness"]["concept"] |= {"inverted": ["perturbed"], "readable": False}
    run = make_run(tmp_path / "a", main=main)
    rows = rows_of(side_by_side(run, run), "faithfulness.own")
    marks = {name: row.base.mark for name, row in rows.items() if row.base and row.base.mark}
    assert marks == {
        "original": "not readable",
        "perturbed": "inverted",
        "drop": "not readable",
        "specific_drop": "not readable",
    }


def live(flips: float, half: float = 0.0196) -> dict[str, object]:
    return {"concept": {"all_words": {"perturbed": {"flips": interval(flips, half), "accuracy": None}}}}


def test_intervention__from_the_two_intervals_by_hand(tmp_path: Path) -> None:
    base = make_run(tmp_path / "a", main={**method_figures(), "intervention": live(0.5)})
    other = make_run(
        tmp_path / "b", main={**method_figures(), "intervention": live(0.6)}, settings={"encoder.alpha": 0.5}
    )
    rows = rows_of(side_by_side(base, other), "intervention")
    assert list(rows) == ["all_words.perturbed.flips"]
    row = rows["all_words.perturbed.flips"]
    assert row.test is Test.intervals
    assert row.difference is not None
    ends = 0.0196 * math.sqrt(2)  # standard errors of 0.01 each
    assert row.difference == pytest.approx((0.1, 0.1 - ends, 0.1 + ends, ""))
    assert row.p_value == pytest.approx(math.erfc(10 / math.sqrt(2) / math.sqrt(2)), rel=0.01)
    assert row.cohens_h == pytest.approx(2 * math.asin(math.sqrt(0.6)) - 2 * math.asin(math.sqrt(0.5)))


def test_intervention__intervals_without_a_width_are_tested_only_where_nothing_differs(tmp_path: Path) -> None:
    base = make_run(tmp_path / "a", main={**method_figures(), "intervention": live(0.5, 0.0)})
    other = make_run(
        tmp_path / "b", main={**method_figures(), "intervention": live(0.6, 0.0)}, settings={"encoder.alpha": 0.5}
    )
    assert rows_of(side_by_side(base, other), "intervention")["all_words.perturbed.flips"].p_value is None
    assert rows_of(side_by_side(base, base), "intervention")["all_words.perturbed.flips"].p_value == 1.0


def test_codebook__means_over_seeds_and_welchs_test_by_hand(tmp_path: Path) -> None:
    base = make_run(tmp_path / "a", seeds=(0, 1), main=method_figures(0.5, (2.0, 4.0)))
    other = make_run(tmp_path / "b", seeds=(0, 1, 2), main=method_figures(0.5, (8.0, 8.0, 11.0)))
    row = rows_of(side_by_side(base, other), "codebook")["perplexity"]
    assert row.base is not None
    assert row.other is not None
    assert (row.base.mean, row.base.low, row.base.high) == (3.0, 2.075, 3.925)
    assert row.other.mean == 9.0
    assert row.test is Test.seeds
    # variances 2 / 2 and 3 / 3: t = 6 / sqrt(2) with 4 / (1 / 1 + 1 / 2) degrees of freedom
    assert row.p_value == pytest.approx(2 * stats.t.sf(6 / math.sqrt(2), 4 / 1.5))
    assert row.difference is not None
    assert row.difference.mean == 6.0


def test_codebook__one_seed_is_no_test(tmp_path: Path) -> None:
    base = make_run(tmp_path / "a", main=method_figures(0.5, (2.0,)))
    other = make_run(tmp_path / "b", seeds=(0, 1), main=method_figures(0.5, (3.0, 5.0), 8))
    rows = rows_of(side_by_side(base, other), "codebook")
    assert rows["perplexity"].difference == Value(2.0)
    assert rows["size"].difference == Value(5.0)
    assert rows["purity"].difference == Value(0.0)
    assert rows["purity_shuffled"].base == Value(0.53, 0.52, 0.54)
    assert {row.p_value for row in rows.values()} == {None}


def test_holm__goes_over_every_run_beside_the_base(tmp_path: Path) -> None:
    base = make_run(tmp_path / "a")
    others = [
        make_run(
            tmp_path / str(place), outcomes=[correct(perturbed=[0] * 4)], settings={"encoder.alpha": place / 10}
        )
        for place in (2, 3)
    ]
    alone = rows_of(side_by_side(base, others[0]), "faithfulness.own")["perturbed"]
    beside = [rows_of(each, "faithfulness.own")["perturbed"] for each in compared(base, *others)]
    assert [row.p_value for row in beside] == [alone.p_value] * 2
    assert alone.p_value is not None
    assert alone.p_value < 0.15
    assert all(row.p_holm is not None and row.p_holm >= (alone.p_holm or 0) for row in beside)

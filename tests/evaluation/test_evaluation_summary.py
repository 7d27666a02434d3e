from __future__ import annotations

from math import asin, sqrt
from typing import Any

import numpy as np
import pytest

from clvq_exp.concepts.base import Bypass, FitSummary
from clvq_exp.evaluation.codes_alone import CodesAlone
from clvq_exp.evaluation.faithfulness import RemovalOutcomes
from clvq_exp.evaluation.intervention import LiveOutcomes
from clvq_exp.evaluation.statistics import Bootstrap, SignFlips
from clvq_exp.evaluation.summary import (
    codebook_figures,
    comparisons,
    faithfulness_figures,
    intervention_figures,
)

N = 40
LABELS = np.arange(N) % 2
CONTROLS = ("random_direction", "random_active_code", "mean_direction", "own_code", "other_word")
OTHERS = ("centred_concept", "class_means", "random_direction_norm_matched", "random_active_code_norm_matched")
EXTRAS = {
    *("drop", "specific_drop", "standard_deviation", "inverted", "readable", "readable_p_value"),
    *("minimum_detectable_drop", "removed_norm", "rank", "empty_concepts", "without_sentence_token"),
}


def right(n: int) -> np.ndarray:
    """The first `n` sentences are classified rightly."""
    return (np.arange(N) < n).astype(np.float64)[None]


def removal(n_seeds: int = 1, refit: bool = True, **hits: int) -> RemovalOutcomes:
    correct = {name: right(36) for name in ("original", "perturbed", *CONTROLS, *OTHERS)}
    if refit:
        correct |= {"refit": right(30), "refit_original": right(34)}
    correct |= {name: right(n) for name, n in hits.items()}
    correct = {name: np.repeat(each, n_seeds, axis=0) for name, each in correct.items()}
    norms = {name: 0.5 for name in correct if "refit" not in name and name != "original"}
    return RemovalOutcomes(correct, norms, rank=1, empty=0.125)


def figures(of: RemovalOutcomes, special: np.ndarray | None = None) -> dict[str, Any]:
    n_seeds = len(of.correct["original"])
    bootstrap = Bootstrap([str(index) for index in range(N)], n_seeds, 500, 0.95, seed=0)
    token = np.zeros(N, dtype=bool) if special is None else special
    return faithfulness_figures(of, bootstrap, LABELS, 2, token)


def test_figures__have_the_documented_keys() -> None:
    of = removal()
    found = figures(of)
    assert set(found) == set(of.correct) | EXTRAS
    for name in (*of.correct, "drop", "specific_drop"):
        assert set(found[name]) == {"mean", "low", "high"}
        assert found[name]["low"] <= found[name]["mean"] <= found[name]["high"]
    assert set(found["standard_deviation"]) == set(of.correct)
    assert (found["rank"], found["empty_concepts"]) == (1, 0.125)
    assert found["removed_norm"] == of.removed_norm
    assert not {"refit", "refit_original"} & set(figures(removal(refit=False)))


def test_drops__by_hand() -> None:
    found = figures(removal(perturbed=9, random_direction=34, own_code=18, class_means=0, centred_concept=2))
    assert found["original"]["mean"] == pytest.approx(0.9)
    assert found["drop"]["mean"] == pytest.approx((36 - 9) / 36)
    # The largest of the five controls is own_code; the ceiling and the centred concept take no part.
    assert found["specific_drop"]["mean"] == pytest.approx((36 - 9) / 36 - (36 - 18) / 36)
    assert found["drop"]["low"] < 0.75 < found["drop"]["high"]


@pytest.mark.parametrize("control", CONTROLS)
def test_specific_drop__is_taken_against_each_control(control: str) -> None:
    found = figures(removal(perturbed=12, **{control: 6}))
    assert found["specific_drop"]["mean"] == pytest.approx((36 - 12) / 36 - (36 - 6) / 36)
    assert found["specific_drop"]["mean"] < 0


def test_inverted__lists_conditions_below_chance() -> None:
    found = figures(removal(perturbed=5, own_code=19, mean_direction=20, class_means=1))
    assert found["inverted"] == ["class_means", "own_code", "perturbed"]
    assert figures(removal())["inverted"] == []


def test_readable__only_above_the_majority_class() -> None:
    assert figures(removal())["readable"] is True
    poor = figures(removal(original=22))
    assert poor["readable"] is False
    assert poor["readable_p_value"] > 0.05
    of = removal(n_seeds=2)
    of.correct["original"][1] = right(21)
    assert figures(of)["readable"] is False, "every seed has to be"


def test_standard_deviation__over_seeds_or_null() -> None:
    assert set(figures(removal())["standard_deviation"].values()) == {None}
    of = removal(n_seeds=3)
    of.correct["perturbed"] = np.concatenate([right(10), right(20), right(30)])
    found = figures(of)["standard_deviation"]
    assert found["perturbed"] == pytest.approx(0.25)
    assert found["original"] == 0


def test_without_sentence_token__null_or_the_others_by_hand() -> None:
    of = removal(perturbed=9, own_code=27)
    assert figures(of)["without_sentence_token"] is None
    assert figures(of, np.ones(N, dtype=bool))["without_sentence_token"] is None, "nothing would be left"
    special = np.arange(N) < 18
    found = figures(of, special)["without_sentence_token"]
    assert set(found) == {"sentences", "drop", "specific_drop", *of.correct} - {"refit", "refit_original"}
    assert found["sentences"] == 22
    assert found["original"]["mean"] == pytest.approx(18 / 22)
    assert found["perturbed"]["mean"] == 0
    assert found["drop"]["mean"] == 1
    assert found["specific_drop"]["mean"] == pytest.approx(1 - (18 - 9) / 18)


def test_minimum_detectable_drop__rises_with_the_noise_of_random_directions() -> None:
    quiet, loud = figures(removal()), figures(removal(random_direction=26))
    assert 0 < quiet["minimum_detectable_drop"] < loud["minimum_detectable_drop"] < 1


def compared(results: dict[str, dict[str, RemovalOutcomes]]) -> list[dict[str, Any]]:
    groups = [str(index) for index in range(N)]
    return comparisons(results, Bootstrap(groups, 1, 200, 0.95, 0), SignFlips(groups, 999, seed=0))


def test_comparisons__own_removals_first_and_holm_over_the_pairs_of_one_removal() -> None:
    results = {
        "a": {"concept": removal(perturbed=10), "member_mean": removal(perturbed=10)},
        "b": {"concept": removal(perturbed=30), "member_mean": removal(perturbed=10)},
        "c": {"top": removal(perturbed=11), "concept": removal(perturbed=10)},
    }
    rows = compared(results)
    assert [(row["removals"], row["methods"]) for row in rows] == [
        (["concept", "concept"], ["a", "b"]),
        (["member_mean", "member_mean"], ["a", "b"]),
        (["concept", "top"], ["a", "c"]),
        (["concept", "concept"], ["a", "c"]),
        (["concept", "top"], ["b", "c"]),
        (["concept", "concept"], ["b", "c"]),
    ]
    first, member = rows[:2]
    assert first["difference"]["mean"] == pytest.approx(-0.5)
    assert first["difference"]["low"] < -0.5 < first["difference"]["high"] < 0
    assert first["cohens_h"] == pytest.approx(2 * (asin(sqrt(10 / N)) - asin(sqrt(30 / N))))
    assert first["p_value"] == pytest.approx(1 / 1000, abs=1e-3)
    assert first["p_holm"] == pytest.approx(3 * first["p_value"]), "three pairs by their own removals"
    assert (member["difference"]["mean"], member["p_value"], member["p_holm"]) == (0, 1, 1)
    assert rows[5]["p_holm"] == pytest.approx(2 * rows[5]["p_value"]), "two pairs by the concept alone"
    assert compared({"a": results["a"]}) == []


def test_intervention_figures__intervals_per_place_and_condition() -> None:
    live = {"salient_word": {"perturbed": LiveOutcomes(right(10), right(26), -0.25 * right(40))}}
    bootstrap = Bootstrap([str(index) for index in range(N)], 1, 200, 0.95, seed=0)
    found = intervention_figures(live, right(36), bootstrap)["salient_word"]
    assert set(found) == {"original", "perturbed"}
    assert found["original"]["accuracy"]["mean"] == pytest.approx(0.9)
    assert found["perturbed"]["accuracy"]["mean"] == pytest.approx(0.25)
    assert found["perturbed"]["flips"]["mean"] == pytest.approx(0.65)
    assert found["perturbed"]["probability_change"] == pytest.approx({"mean": -0.25, "low": -0.25, "high": -0.25})


def test_codebook_figures__means_over_seeds_and_each_seed(axes: Any) -> None:
    other = type(axes)(4, 12)
    axes.summary = FitSummary(2.0, 3, 0.25, 0.5, 7, Bypass(0.5, 0.6, 0.7, 0.8))
    other.summary = FitSummary(3.0, 4, 0.35, 0.7, 8, Bypass(0.7, 0.8, 0.9, 1.0))
    found = codebook_figures({0: axes, 1: other}, {0: CodesAlone(0.25, 0.5), 1: CodesAlone(0.75, 1.0)})
    assert (found["size"], found["perplexity"], found["utilisation"]) == (4, 2.5, 0.625)
    assert (found["codes_in_use"], found["best_epoch"]) == (3.5, 7.5)
    assert found["mean_cosine"] == pytest.approx(0, abs=1e-12)
    assert found["bypass"] == pytest.approx(
        {"as_is": 0.6, "permuted": 0.7, "memory_zeroed": 0.8, "mean_predictor": 0.9}
    )
    assert found["codes_alone"] == {"linear_map": 0.5, "code_mean": 0.75}
    assert found["seeds"]["0"]["codes_alone"] == {"linear_map": 0.25, "code_mean": 0.5}
    assert found["seeds"]["1"]["perplexity"] == 3.0


def test_codebook_figures__null_where_a_method_has_none(axes: Any) -> None:
    found = codebook_figures({0: axes}, {0: CodesAlone(0.0, 0.0)})
    for name in ("alpha", "validation_loss", "best_epoch", "bypass"):
        assert found[name] is None
        assert found["seeds"]["0"][name] is None

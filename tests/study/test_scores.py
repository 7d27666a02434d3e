"""Scores of a study whose answers are given, against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from study.made_studies import drawn, make_run

from clvq_exp.collect.paper import paper
from clvq_exp.study.answers import Rating
from clvq_exp.study.design import Design, Item, Label, Method, Sentence
from clvq_exp.study.scores import score
from clvq_exp.study.sheets import PAPERS_TABLE, document

PREDICTIONS = (1, 1, 0, 0)
STRATA = ("True positive", "False positive", "True negative", "False negative")


def made(groups: tuple[str, ...] = ("a", "b", "c", "d"), method: str = "clustering") -> Design:
    """Four sentences under two methods."""
    return Design(
        model="roberta",
        dataset="eraser_movie",
        layer_pair="8-12",
        labels=(Label("negative", ""), Label("positive", "")),
        methods=(Method("clvq_vae", "clvq_vae", "", "", 0), Method(method, method, "", "", 0)),
        sentences=tuple(
            Sentence(str(place), group, "", 0, prediction, stratum)
            for place, (group, prediction, stratum) in enumerate(zip(groups, PREDICTIONS, STRATA, strict=True))
        ),
        items=tuple(Item(place // 4, place % 4, place % 4 % 3, "", "") for place in range(8)),
        pool=dict.fromkeys(STRATA, 9),
        seed=0,
        content_warning="",
        introduction="",
    )


def rated(who: str, labels: list[int], confidences: list[int]) -> list[Rating]:
    """Answers of one annotator, item by item."""
    return [
        Rating(who, place, place, label, confidence, float(place), "2026-01-01T00:00:00.000+00:00")
        for place, (label, confidence) in enumerate(zip(labels, confidences, strict=True))
    ]


RATINGS = [
    *rated("a01", [1, 1, 0, 0, 1, 0, 0, 1], [10, 9, 8, 7, 1, 2, 3, 4]),
    *rated("a02", [1, 1, 0, 1, 0, 0, 0, 1], [10, 10, 10, 10, 2, 2, 2, 2]),
    *rated("a03", [1, 1, 0, 0, 1, 1, 0, 0], [6, 6, 6, 6, 5, 5, 5, 5]),
]


def test_score__of_three_annotators_by_hand() -> None:
    found = score(made(), ["a01", "a02", "a03"], RATINGS)
    ours, theirs = found.methods
    assert ours.figures.alignment.mean == pytest.approx(11 / 12)
    assert theirs.figures.alignment.mean == pytest.approx(7 / 12)  # 2, 1 and 4 of four
    assert ours.figures.confidence.mean == pytest.approx((34 + 40 + 24) / 12)
    assert theirs.figures.confidence.mean == pytest.approx((10 + 8 + 20) / 12)
    # ours: full agreement on three sentences, one of three pairs on the fourth; 7 of 12 answers are positive
    by_chance = (7 / 12) ** 2 + (5 / 12) ** 2
    assert ours.figures.kappa is not None
    assert ours.figures.kappa.mean == pytest.approx(((3 + 1 / 3) / 4 - by_chance) / (1 - by_chance))
    # theirs: 2 1 0 2 positive answers of three
    by_chance = (5 / 12) ** 2 + (7 / 12) ** 2
    assert theirs.figures.kappa is not None
    assert theirs.figures.kappa.mean == pytest.approx(((1 / 3 * 3 + 1) / 4 - by_chance) / (1 - by_chance))
    (difference,) = found.differences
    assert difference.methods == ("clvq_vae", "clustering")
    assert difference.figures.alignment.mean == pytest.approx(4 / 12)
    assert difference.figures.confidence.mean == pytest.approx((98 - 38) / 12)
    assert ours.by_stratum["False negative"].mean == pytest.approx(2 / 3)
    assert theirs.by_stratum["False positive"].mean == pytest.approx(1 / 3)
    assert ours.different_clouds == 3


def test_score__intervals_hold_the_figure_and_one_of_constants_has_no_width() -> None:
    found = score(made(), ["a01", "a02", "a03"], RATINGS)
    for method in found.methods:
        for value in (*method.figures, *method.by_stratum.values()):
            assert value is not None
            assert value.low <= value.mean <= value.high
    stratum = found.methods[0].by_stratum["True positive"]
    assert (stratum.low, stratum.high) == (1.0, 1.0)
    confidence = found.methods[0].figures.confidence
    assert confidence.low < confidence.mean < confidence.high
    assert found == score(made(), ["a01", "a02", "a03"], RATINGS)


def test_score__sentences_of_one_document_are_drawn_together() -> None:
    alone = score(made(), ["a01", "a02", "a03"], RATINGS).methods[1].figures.alignment
    together = score(made(("a", "a", "a", "a")), ["a01", "a02", "a03"], RATINGS).methods[1].figures.alignment
    assert together.mean == alone.mean
    # the one document is always drawn: what is left varies over annotators alone
    assert together.high - together.low < alone.high - alone.low


def test_score__who_has_not_answered_everything_is_left_out_and_named() -> None:
    half = rated("a04", [0, 0, 0, 0], [1, 1, 1, 1])
    found = score(made(), ["a01", "a02", "a03", "a04", "a05"], [*RATINGS, *half])
    assert found.complete == ("a01", "a02", "a03")
    assert found.methods == score(made(), ["a01", "a02", "a03"], RATINGS).methods
    assert [(each.annotator, each.answered) for each in found.annotators][3:] == [("a04", 4), ("a05", 0)]
    assert found.annotators[3].alignment == 0.5
    assert found.annotators[4].median_seconds is None
    assert found.annotators[0].median_seconds == 3.5


def test_score__of_nobody_of_one_and_of_one_label() -> None:
    nobody = score(made(), ["a01"], [])
    assert (nobody.methods, nobody.differences) == ((), ())
    one = score(made(), ["a01"], RATINGS[:8])
    assert one.methods[0].figures.kappa is None
    assert one.methods[0].figures.alignment.mean == 1.0
    constant = [each._replace(label=1) for each in RATINGS]
    same = score(made(), ["a01", "a02", "a03"], constant)
    assert same.methods[0].figures.kappa is None
    assert same.methods[0].figures.alignment.mean == 0.5
    shown = document(made(), same).sections[0].grids[0].rows[0].cells[0]
    assert shown.mark == "not defined"


def test_papers_rates_are_those_of_14_annotators_and_19_sentences() -> None:
    rows = {row.method: row.figures for row in paper()[PAPERS_TABLE]}
    for method, hits in (("clustering", 144), ("clvq_vae", 208)):
        assert rows[method]["alignment_percent"].value == pytest.approx(100 * hits / (14 * 19), abs=0.006)


def test_document__papers_figures_stand_beside_the_method_they_are_of() -> None:
    scores = score(made(method="kmeans_codes"), ["a01", "a02", "a03"], RATINGS)
    rows = document(made(method="kmeans_codes"), scores).sections[0].grids[0].rows
    assert [cell.main for cell in rows[0].cells[1::2]] == ["0.864", "8.44", "78.20%"]
    assert [cell.main for cell in rows[1].cells[1::2]] == ["–", "–", "–"]
    rows = document(made(), score(made(), ["a01", "a02", "a03"], RATINGS)).sections[0].grids[0].rows
    assert [cell.main for cell in rows[1].cells[1::2]] == ["0.59", "5.981", "54.14%"]


def test_score__of_guessing_holds_one_half_and_no_agreement(tmp_path) -> None:
    design = drawn(make_run(tmp_path / "run")).design
    lot = np.random.default_rng(3)
    ratings = [
        Rating(f"a{who}", item, item, int(lot.integers(2)), int(lot.integers(1, 11)), 1.0, "t")
        for who in range(14)
        for item in range(len(design.items))
    ]
    for method in score(design, [f"a{who}" for who in range(14)], ratings).methods:
        assert method.figures.kappa is not None
        assert method.figures.kappa.low < 0.05
        assert abs(method.figures.kappa.mean) < 0.1
        assert method.figures.alignment.low < 0.5 < method.figures.alignment.high

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from clvq_exp.report import reading
from clvq_exp.report.codebook_tables import codebook_rows
from clvq_exp.report.formatting import decimal, memory, p_value, percent, seconds
from clvq_exp.report.method_tables import comparison_rows
from clvq_exp.report.tables import (
    FaithfulnessCell,
    faithfulness_table,
    intervention_table,
)


def cell(table, condition: str, column: int = 0) -> FaithfulnessCell:
    found = next(row for row in table.rows if row.condition == condition).cells[column]
    assert found is not None
    return found


def test_faithfulness_table__columns_are_methods_by_removal(run) -> None:
    table = faithfulness_table(run.metrics)
    assert [tuple(column) for column in table.columns] == [
        ("clvq_vae", "concept"),
        ("kmeans_codes", "concept"),
        ("clvq_vae", "member_mean"),
        ("kmeans_codes", "member_mean"),
    ]
    assert table.columns[0].title == "CLVQ-VAE"


def test_faithfulness_table__drops_are_those_of_table_1(run) -> None:
    table = faithfulness_table(run.metrics, ["concept"])
    assert cell(table, "original").drop is None
    assert cell(table, "perturbed").drop == pytest.approx(0.25)  # (0.8 - 0.6) / 0.8
    assert cell(table, "perturbed", 1).drop == pytest.approx(0.2)
    assert cell(table, "mean_direction").drop == pytest.approx(0.1)
    assert cell(table, "refit_original").drop is None
    assert cell(table, "refit").drop == pytest.approx((0.76 - 0.74) / 0.76)  # against its own original
    drop, specific = table.drops
    assert drop.values[0] is not None
    assert drop.values[0].mean == pytest.approx(0.25)
    assert specific.values[0] is not None
    assert specific.values[0].mean == pytest.approx(0.075)


def test_faithfulness_table__marks_what_is_inverted(run) -> None:
    table = faithfulness_table(run.metrics, ["concept"])
    assert [row.condition for row in table.rows if row.cells[0] and row.cells[0].inverted] == ["class_means"]


def test_faithfulness_table__rows_in_the_order_of_the_controls(run) -> None:
    rows = faithfulness_table(run.metrics).rows
    assert [row.name.title for row in rows][:3] == ["Original", "Concept removed", "Random direction"]
    assert all(row.name.explanation for row in rows)


def test_faithfulness_table__removal_of_one_method_only(run) -> None:
    changed = copy.deepcopy(run.metrics)
    changed["beside"]["kmeans_codes"]["faithfulness"]["top_10"] = changed["faithfulness"]["concept"]
    table = faithfulness_table(changed, ["top_10"])
    assert [column.method for column in table.columns] == ["kmeans_codes"]


def test_faithfulness_table__without_sentence_token(run) -> None:
    table = faithfulness_table(run.metrics, ["concept"], without_sentence_token=True)
    assert cell(table, "original").accuracy.mean == pytest.approx(0.81)
    run.metrics["faithfulness"]["concept"]["without_sentence_token"] = None
    table = faithfulness_table(run.metrics, ["concept"], ["clvq_vae"], without_sentence_token=True)
    assert table.columns == ()


def test_notes__say_what_limits_the_reading(run) -> None:
    notes = "\n".join(faithfulness_table(run.metrics, ["concept"]).notes)
    assert "less than 0.031" in notes
    assert "sentence token in 25.0%" in notes
    assert "In 5.0% of the sentences the concept has no direction" in notes
    assert "converged in 97.5%" in notes
    assert "no drop can be read here" not in notes
    assert "One seed" not in notes


def test_notes__not_readable_and_one_seed(run) -> None:
    block = run.metrics["faithfulness"]["concept"]
    block |= {"readable": False, "readable_p_value": 0.34}
    run.metrics["cell"]["seeds"] = [0]
    notes = faithfulness_table(run.metrics, ["concept"]).notes
    assert any(
        note.startswith("CLVQ-VAE, the concept vector:") and "p = 0.340): no drop can be read here." in note
        for note in notes
    )
    assert any(note.startswith("One seed") for note in notes)
    assert any("no drop can be read here" in sentence for sentence in reading.summary(run.metrics))


def test_intervention_table__places_by_conditions(run) -> None:
    table = intervention_table(run.metrics, ["concept"])
    assert len(table.rows) == 3 * 5
    row = next(row for row in table.rows if (row.place, row.condition) == ("all_words", "perturbed"))
    assert row.cells[0] is not None
    assert row.cells[0].flips is not None
    assert row.cells[0].flips.mean == pytest.approx(0.4)
    original = table.rows[0].cells[0]
    assert original is not None
    assert original.flips is None


def test_codebook_rows__bypass_is_read(run) -> None:
    trained, untrained = codebook_rows(run.metrics)
    assert trained.reading is not None
    assert trained.reading.startswith("the decoder goes around the codebook")
    assert untrained.reading is None
    assert untrained.alpha is None
    assert [row.seed for row in codebook_rows(run.metrics, per_seed=True)] == ["0", "1", "0", "1"]


@pytest.mark.parametrize(
    ("permuted", "around"), [(0.1, True), (0.0995, True), (0.1009, True), (0.1011, False), (0.2, False)]
)
def test_bypass__within_one_percent(permuted: float, around: bool) -> None:
    assert ("goes around" in (reading.bypass(0.1, permuted) or "")) is around


def test_comparison_rows(run) -> None:
    (row,) = comparison_rows(run.metrics)
    assert (row.first, row.second, row.p_holm) == ("CLVQ-VAE", "k-means codes", 0.04)
    assert (row.removal, row.difference, row.cohens_h) == ("the concept vector", (-0.04, -0.07, -0.01), -0.08)


def test_summary__names_the_strongest_control_and_the_verdict(run) -> None:
    text = " ".join(reading.summary(run.metrics))
    assert "from 0.800 to 0.600, a drop of 25.0%" in text
    assert "‘Another word's concept’ does most, with a drop of 17.5%" in text
    assert "does more than removing any of the control directions" in text


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-0.1, 0.1, "cannot be told apart"), (-0.2, -0.1, "a control direction does more")],
)
def test_summary__specific_drop_that_is_none(run, low: float, high: float, verdict: str) -> None:
    run.metrics["faithfulness"]["concept"]["specific_drop"] = {
        "mean": (low + high) / 2,
        "low": low,
        "high": high,
    }
    assert verdict in " ".join(reading.summary(run.metrics))


def test_tables__nothing_measured() -> None:
    empty = {"cell": {"method": "clvq_vae"}, "faithfulness": None, "intervention": None, "codebook": None}
    assert faithfulness_table(empty).columns == ()
    assert intervention_table(empty).rows == ()
    assert codebook_rows(empty) == ()
    assert comparison_rows(empty) == ()
    assert len(reading.summary(empty)) == 1


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (decimal(-0.0001), "0.000"),
        (decimal(-0.5), "−0.500"),
        (decimal(1234.5, 1), "1,234.5"),
        (decimal(None), "–"),
        (percent(0.125), "12.5%"),
        (percent(-0.0125), "−1.2%"),
        (p_value(0.0001), "< 0.001"),
        (seconds(125.0), "2 min 05 s"),
        (seconds(3725), "1 h 02 min"),
        (memory(3 * 2**29), "1.50 GiB"),
        (memory(2**20), "1 MiB"),
        (memory(400 * 2**10), "400 KiB"),
    ],
)
def test_formatting(shown: str, expected: str) -> None:
    assert shown == expected


def test_faithfulness_table__unchanged_metrics(run, make_run: Callable) -> None:
    before = copy.deepcopy(run.metrics)
    faithfulness_table(run.metrics)
    intervention_table(run.metrics)
    reading.summary(run.metrics)
    assert run.metrics == before

"""Figures of a unit: means, intervals and deviations, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from collect.made_runs import DEMO_CELL, PAPER_CELL, block, history, interval, write_run

from clvq_exp.collect.measures import MEASURES, Ours, curve, over_seeds
from clvq_exp.collect.runs import find_runs
from clvq_exp.collect.units import Unit, cell_unit, units_of


def units(folder: Path) -> list[Unit]:
    (run,) = find_runs([folder]).runs
    return units_of(run)


def read(unit: Unit, figure: str) -> Ours | None:
    return MEASURES[figure].read(unit)


def test_over_seeds__one_value_has_no_interval() -> None:
    assert over_seeds([3.0]) == Ours(3.0, seeds=1)
    assert over_seeds([]) is None


def test_over_seeds__counts_every_resample_of_a_few_seeds() -> None:
    # two seeds: resamples 1-1, 1-2, 2-1, 2-2 with means 1, 1.5, 1.5, 2; the 2.5% point lies 0.075 behind the first
    found = over_seeds([1.0, 2.0])
    assert found is not None
    assert found.mean == 1.5
    assert found.low == pytest.approx(1 + 0.075 * 0.5)
    assert found.high == pytest.approx(2 - 0.075 * 0.5)
    assert found.deviation == pytest.approx(0.5**0.5)
    assert (found.seeds, found.over) == (2, "seeds")
    # three seeds: 27 resamples, the lowest means are 1 and 4/3; the 2.5% point lies 0.65 behind the first
    three = over_seeds([1.0, 2.0, 3.0])
    assert three is not None
    assert three.low == pytest.approx(1 + 0.65 / 3)


def test_over_seeds__draws_resamples_of_many_seeds_and_always_the_same() -> None:
    values = [float(value) for value in range(10)]
    found = over_seeds(values)
    assert found == over_seeds(values)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    # the standard error of the mean of 0 to 9 is sqrt(8.25 / 10) = 0.908
    assert found.low == pytest.approx(4.5 - 1.96 * 0.908, abs=0.15)
    assert found.high == pytest.approx(4.5 + 1.96 * 0.908, abs=0.15)


def test_accuracies__keep_the_interval_of_the_run_and_its_deviation(tmp_path: Path) -> None:
    write_run(tmp_path / "run", *PAPER_CELL, main=block(0.25, deviation=0.004))
    (unit,) = units(tmp_path)
    assert read(unit, "perturbed") == Ours(0.25, 0.24, 0.26, 0.004, 3, "seeds and sentences")
    drop = read(unit, "drop_percent")
    assert drop is not None
    # (0.8 - 0.25) / 0.8 = 0.6875, 0.02 to either side
    assert drop[:4] == (pytest.approx(68.75), pytest.approx(66.75), pytest.approx(70.75), None)
    specific = read(unit, "specific_drop_percent")
    assert specific is not None
    assert specific.mean == pytest.approx(58.75)
    assert read(unit.removing("encoder_top_1"), "perturbed") is None


def test_accuracies__of_one_seed_are_over_sentences(tmp_path: Path) -> None:
    write_run(tmp_path / "run", *PAPER_CELL, settings={"seeds": [0]})
    (unit,) = units(tmp_path)
    found = read(unit, "original")
    assert found is not None
    assert (found.seeds, found.over, found.deviation) == (1, "sentences", None)


def test_perplexity__is_the_mean_over_seeds(tmp_path: Path) -> None:
    write_run(tmp_path / "run", *PAPER_CELL, main=block(perplexities=[100.0, 140.0, 180.0]))
    (unit,) = units(tmp_path)
    found = read(unit, "perplexity")
    assert found is not None
    assert (found.mean, found.deviation, found.seeds) == (140.0, 40.0, 3)
    share = read(unit, "utilisation_percent")
    assert share is not None
    assert share.mean == pytest.approx(35.0)  # of 400 codes


def test_training_curves__epochs_the_last_one_and_the_lowest_loss(tmp_path: Path) -> None:
    rising = [float(epoch) for epoch in range(41)]
    stopped = [float(2 * epoch) for epoch in range(21)]
    curves = history("clvq_vae", {0: rising, 1: stopped}, [0.9, 0.25, 0.3])
    write_run(tmp_path / "run", *PAPER_CELL, curves=curves)
    (unit,) = units(tmp_path)
    means = {
        name: found.mean if (found := read(unit, name)) else None
        for name in ("perplexity_before", "perplexity_epoch_10", "perplexity_epoch_30", "perplexity_final")
    }
    assert means == {
        "perplexity_before": 0.0,
        "perplexity_epoch_10": 15.0,  # 10 and 20
        "perplexity_epoch_30": 30.0,  # one seed came so far
        "perplexity_final": 40.0,  # 40 at epoch 40, and 40 at epoch 20
    }
    late = read(unit, "perplexity_epoch_30")
    assert late is not None
    assert late.seeds == 1
    loss = read(unit, "best_validation_loss")
    assert loss is not None
    assert loss.mean == 0.25
    points = curve(unit)
    assert [point.epoch for point in points] == list(range(41))
    assert (points[20].value.mean, points[20].value.seeds) == (30.0, 2)
    assert (points[21].value.mean, points[21].value.seeds) == (21.0, 1)


def test_training_curves__are_those_of_the_method(tmp_path: Path) -> None:
    write_run(
        tmp_path / "run",
        *DEMO_CELL,
        beside={"kmeans_codes": block()},
        curves=history("clvq_vae", {0: [1.0, 2.0]}),
    )
    main, codes = units(tmp_path)
    assert len(curve(main)) == 2
    assert curve(codes) == []
    assert read(codes, "perplexity_final") is None


def test_specificity__of_codes_and_of_shuffled_labels(tmp_path: Path) -> None:
    write_run(tmp_path / "run", *PAPER_CELL, main=block(perplexities=[1.0, 2.0]))
    (unit,) = units(tmp_path)
    means = {
        name: found.mean if (found := read(unit, name)) else None
        for name in (
            "purity",
            "pure_share_percent",
            "differing_percent",
            "divergence",
            "overlap_ratio_below_0.3",
            "overlap_ratio_at_least_0.3",
        )
    }
    assert means == {
        "purity": 0.7,
        "pure_share_percent": 25.0,
        "differing_percent": 50.0,
        "divergence": 0.75,
        "overlap_ratio_below_0.3": 1.75,
        "overlap_ratio_at_least_0.3": 4.0,
    }
    assert read(unit, "purity_shuffled") == Ours(0.53, 0.52, 0.54, over="shuffles")


def test_sizes__validation_counts_as_training(tmp_path: Path) -> None:
    write_run(tmp_path / "run", *PAPER_CELL)
    (run,) = find_runs([tmp_path]).runs
    unit = cell_unit(run)
    assert [read(unit, name) for name in ("train_sentences", "dev_sentences", "labels")] == [
        Ours(13_878),
        Ours(856),
        Ours(2),
    ]


def test_measures__nothing_where_the_metrics_have_nothing(tmp_path: Path) -> None:
    write_run(tmp_path / "run", *PAPER_CELL, faithfulness=None, codebook=None, specificity=None)
    (unit,) = units(tmp_path)
    of_texts = {"train_sentences", "dev_sentences", "labels"}
    assert [name for name in MEASURES if read(unit, name) is not None] == [
        name for name in MEASURES if name in of_texts
    ]
    broken = {"concept": {"perturbed": {**interval(0.5), "low": None}, "standard_deviation": None}}
    write_run(tmp_path / "b" / "run", *PAPER_CELL, settings={"seeds": [1]}, faithfulness=broken)
    (unit,) = units(tmp_path / "b")
    assert read(unit, "perturbed") is None

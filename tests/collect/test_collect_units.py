"""What a figure hangs on, and where that departs from the paper."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from collect.made_runs import DEMO_CELL, PAPER_CELL, block, write_run

from clvq_exp.collect.runs import find_runs
from clvq_exp.collect.units import Unit, cell_unit, dataset_unit, units_of


def unit(folder: Path, *overrides: str, key: str | None = None, **given: Any) -> Unit:
    """A method of a run that is made in the folder."""
    write_run(folder, *overrides, **given)
    (run,) = find_runs([folder]).runs
    return next(each for each in units_of(run) if key in (None, each.key))


def departures(found: Unit) -> set[str]:
    return {str(each) for each in found.departures}


def test_units__the_start_of_the_codebook_is_part_of_a_method(tmp_path: Path) -> None:
    beside = {
        name: block() for name in ("kmeans_codes", "clvq_vae_random", "clvq_vae_spherical_kmeans", "single_layer")
    }
    write_run(tmp_path / "a", *DEMO_CELL, "beside=table1", beside=beside)
    (run,) = find_runs([tmp_path / "a"]).runs
    assert [each.method for each in units_of(run)] == ["clvq_vae", *sorted(beside)]
    write_run(tmp_path / "b", *DEMO_CELL, "init=random", beside={"kmeans_codes": block()})
    (run,) = find_runs([tmp_path / "b"]).runs
    assert [each.method for each in units_of(run)] == ["clvq_vae_random", "kmeans_codes_random"]


def test_units__a_method_has_the_settings_that_it_reads(tmp_path: Path) -> None:
    names = ("kmeans_codes", "clustering", "sae_2048")
    write_run(tmp_path / "a", *DEMO_CELL, "beside=table1", beside={name: block() for name in names})
    (run,) = find_runs([tmp_path / "a"]).runs
    settings = {each.method: set(each.settings) for each in units_of(run)}
    shared = {"seeds", "probe.hidden", "attribution.steps", "trainer.sentences.concepts"}
    assert all(shared <= found for found in settings.values())
    assert {"quantizer.top_k", "trainer.learning_rate", "init.max_iterations"} <= settings["clvq_vae"]
    assert "quantizer.codebook_size" in settings["kmeans_codes"]
    assert not {"quantizer.top_k", "trainer.max_epochs", "encoder.alpha_mode"} & settings["kmeans_codes"]
    assert "quantizer.codebook_size" in settings["clustering"]
    assert {"method.l0", "method.l1", "trainer.max_epochs"} <= settings["sae_2048"]
    assert not {"quantizer.codebook_size", "trainer.learning_rate"} & settings["sae_2048"]
    nothing_of_ours = {"trainer.device", "trainer.num_workers", "model.path", "dataset.path", "logger.name"}
    assert not any(nothing_of_ours & found for found in settings.values())
    assert not any(key.startswith(("quantizer.", "encoder.")) for key in cell_unit(run).settings)
    assert "seeds" not in dataset_unit(run).settings


def test_units__a_fixed_alpha_is_read_in_its_mode_alone(tmp_path: Path) -> None:
    fixed = {"encoder.alpha_mode": "fixed", "encoder.alpha": 0.4}
    assert unit(tmp_path / "a", *PAPER_CELL, settings=fixed).settings["encoder.alpha"] == 0.4
    assert "encoder.alpha" not in unit(tmp_path / "b", *PAPER_CELL).settings


def test_departures__none_where_everything_is_the_papers(tmp_path: Path) -> None:
    harmless = {
        "trainer.device": "cuda",
        "dataset.path": "/data",
        "activations.layers": [1],
        "seeds": [42, 43, 44],
    }
    beside = {"kmeans_codes": block(), "sae_2048": block(), "clvq_vae_random": block()}
    write_run(tmp_path / "a", *PAPER_CELL, "beside=table1", settings=harmless, beside=beside)
    (run,) = find_runs([tmp_path / "a"]).runs
    assert {each.method: departures(each) for each in units_of(run)} == {
        "clvq_vae": set(),
        "clvq_vae_random": set(),
        "kmeans_codes": set(),
        "sae_2048": set(),
    }


def test_departures__of_the_demo(tmp_path: Path) -> None:
    write_run(tmp_path / "a", *DEMO_CELL, beside={"kmeans_codes": block()})
    (run,) = find_runs([tmp_path / "a"]).runs
    main, codes = (departures(each) for each in units_of(run))
    of_training = {"trainer.max_epochs=3, not 100", "trainer.learning_rate=0.001, not 0.005"}
    assert main == codes | of_training
    assert codes == {
        "trainer.sentences.fine_tuning=3000, not 0",
        "trainer.sentences.concepts=1500, not 0",
        "trainer.sentences.evaluation=300, not 0",
        "trainer.sentences.refit=300, not 2000",
        "fine_tuning.epochs=1, not 3",
        "attribution.steps=16, not 50",
        "seeds=[0], not [0,1,2]",
    }


@pytest.mark.parametrize(
    ("overrides", "settings", "expected"),
    [
        ((), {"seeds": [0, 1]}, {"seeds=[0,1], not [0,1,2]"}),
        ((), {"probe.hidden": 8}, {"probe.hidden=8, not 64"}),
        ((), {"init.max_iterations": 5}, {"init.max_iterations=5, not 100"}),
        ((), {"baseline.target_layer": "lower"}, {"method.target_layer=lower, not upper"}),
        (("protocol=strict",), {}, {"protocol=strict, not paper"}),
        (
            ("protocol=strict",),
            {"attribution.steps": 32},
            {"protocol=strict, not paper", "attribution.steps=32, not 15"},
        ),
        ((), {"model.name": "mine", "trainer.max_epochs": 5}, {"trainer.max_epochs=5, not 100"}),
    ],
)
def test_departures__each_by_its_key_with_both_values(
    tmp_path: Path, overrides: tuple[str, ...], settings: Mapping[str, Any], expected: set[str]
) -> None:
    assert departures(unit(tmp_path / "a", *PAPER_CELL, *overrides, settings=settings)) == expected


def test_departures__what_the_provenance_says_and_the_configuration_does_not_show(tmp_path: Path) -> None:
    said = {"attribution.steps": {"used": 50, "protocol": 100}, "model.label_tokens": {"used": "words"}}
    found = unit(tmp_path / "a", *PAPER_CELL, departures={"attribution.steps": said["attribution.steps"]})
    assert departures(found) == {"attribution.steps=50, not 100"}


def test_departures__texts_that_are_not_as_many_as_the_paper_has(tmp_path: Path) -> None:
    write_run(tmp_path / "a", *PAPER_CELL)
    (run,) = find_runs([tmp_path / "a"]).runs
    cell = {**run.cell, "sentences": {"train": 9_000, "validation": 1_000, "evaluation": 199}}
    assert departures(unit(tmp_path / "b", *PAPER_CELL, cell=cell)) == {
        "train sentences=10000, not 13878",
        "dev sentences=199, not 856",
    }
    budget = {"trainer.sentences.concepts": 10_000}
    assert departures(unit(tmp_path / "c", *PAPER_CELL, cell=cell, settings=budget)) == {
        "trainer.sentences.concepts=10000, not 0",  # which says it already
        "dev sentences=199, not 856",
    }


def test_departures__an_older_format_is_said(tmp_path: Path) -> None:
    assert departures(unit(tmp_path / "a", *PAPER_CELL, format_version=0)) == {"format_version=0, not 1"}


def test_units__of_a_run_whose_configuration_lists_no_methods(tmp_path: Path) -> None:
    write_run(tmp_path / "a", *PAPER_CELL, settings={"beside": {}}, beside={"kmeans_codes": block()})
    (run,) = find_runs([tmp_path / "a"]).runs
    _, codes = units_of(run)
    assert codes.kind == "KMeansCodes"
    assert codes.departures == ()

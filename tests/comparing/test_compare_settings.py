"""Which settings of runs are said to differ."""

from __future__ import annotations

from pathlib import Path

from collect.made_runs import DEMO_CELL, PAPER_CELL, write_run

from clvq_exp.comparing.differences import Setting, differing_settings
from clvq_exp.comparing.subjects import open_runs


def settings_of(*folders: Path) -> dict[str, Setting]:
    opened = open_runs(folders)
    assert opened.problems == []
    return {each.key: each for each in differing_settings(opened.subjects)}


def test_settings__only_those_that_differ_with_their_defaults(tmp_path: Path) -> None:
    base = write_run(tmp_path / "a", *PAPER_CELL)
    changed = {"quantizer.codebook_size": 50, "trainer.max_epochs": 3, "seeds": [0]}
    other = write_run(tmp_path / "b", *PAPER_CELL, settings=changed)
    found = settings_of(base, other)
    assert found == {
        "trainer.max_epochs": Setting("trainer", "trainer.max_epochs", "100", ("100", "3"), (True, False)),
        "seeds": Setting("run", "seeds", "[0,1,2]", ("[0,1,2]", "[0]"), (True, False)),
        "quantizer.codebook_size": Setting(
            "quantizer", "quantizer.codebook_size", "400", ("400", "50"), (True, False)
        ),
    }
    assert settings_of(base, base) == {}


def test_settings__a_default_of_each_model_is_no_default_of_all(tmp_path: Path) -> None:
    found = settings_of(write_run(tmp_path / "a", *PAPER_CELL), write_run(tmp_path / "b", *DEMO_CELL))
    assert found["model.name"] == Setting("model", "model.name", None, ("roberta", "minilm"), (True, True))
    assert found["trainer.max_epochs"].default == "100"  # the demo's trainer is another
    assert found["trainer.max_epochs"].is_default[0]
    assert not found["trainer.max_epochs"].is_default[1]


def test_settings__of_the_method_and_of_the_start_have_defaults_too(tmp_path: Path) -> None:
    base = write_run(tmp_path / "a", *PAPER_CELL)
    other = write_run(tmp_path / "b", *PAPER_CELL, "init=spherical_kmeans", "baseline=single_layer")
    found = settings_of(base, other)
    assert found["baseline.name"].values == ("clvq_vae", "single_layer")
    assert found["baseline.name"].is_default == (True, True)
    assert found["init.method"].values == ("kmeans", "spherical_kmeans")


def test_settings__a_key_that_one_run_lacks(tmp_path: Path) -> None:
    base = write_run(tmp_path / "a", *PAPER_CELL)
    other = write_run(tmp_path / "b", *PAPER_CELL, settings={"quantizer.added": 7})
    third = write_run(tmp_path / "c", *PAPER_CELL, settings={"beside": {}})
    added = settings_of(base, other, base)["quantizer.added"]
    assert added == Setting("quantizer", "quantizer.added", None, (None, "7", None), (False, False, False))
    assert not added.is_new
    beside = settings_of(base, third)
    assert beside["beside.kmeans_codes.name"].values == ("kmeans_codes", None)


def test_setting__of_a_newer_version_at_its_default_is_new() -> None:
    assert Setting("s", "s.k", "1", (None, "1"), (False, True)).is_new
    assert not Setting("s", "s.k", "1", (None, "2"), (False, False)).is_new
    assert not Setting("s", "s.k", "1", ("1", "2"), (True, False)).is_new


def test_settings__true_is_no_1_and_1_is_1_0(tmp_path: Path) -> None:
    base = write_run(tmp_path / "a", *PAPER_CELL, settings={"quantizer.top_k": 1, "quantizer.temperature": 1.0})
    other = write_run(tmp_path / "b", *PAPER_CELL, settings={"quantizer.top_k": True, "quantizer.temperature": 1})
    assert list(settings_of(base, other)) == ["quantizer.top_k"]

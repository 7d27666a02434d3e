"""Which folders are finished runs, and what is said of the others."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
from collect.made_runs import PAPER_CELL, history, write_run

from clvq_exp.artifacts import read_json, write_json, write_manifest
from clvq_exp.collect.runs import METRICS_FORMAT, find_runs


def reasons(folder: Path) -> dict[str, str]:
    """Name of each folder that is left out, and why."""
    return {each.folder.name: each.reason for each in find_runs([folder]).left_out}


def seal(folder: Path) -> None:
    """A new manifest for changed files."""
    (folder / "manifest.json").unlink()
    write_manifest(folder, {"cell": read_json(folder / "metrics.json")["cell"]["fingerprint"]})


def test_find_runs__at_any_depth_and_by_the_folder_itself(tmp_path: Path) -> None:
    deep = write_run(tmp_path / "a" / "b" / "run", *PAPER_CELL)
    other = write_run(tmp_path / "c", *PAPER_CELL, settings={"seeds": [7]})
    assert [run.folder for run in find_runs([tmp_path]).runs] == [deep, other]
    assert [run.folder for run in find_runs([other, deep, tmp_path]).runs] == [other, deep]
    assert find_runs([other, deep, tmp_path]).left_out == []
    assert find_runs([deep]).runs[0].place == ("roberta", "eraser_movie", "8-12")


def test_find_runs__does_not_look_inside_what_belongs_to_a_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", *PAPER_CELL)
    for name in ("concept_model", ".partial", "wandb", "logs"):
        (run / name).mkdir()
        shutil.copy(run / "metrics.json", run / name / "metrics.json")
    assert reasons(tmp_path) == {}


def test_find_runs__an_unfinished_run_is_named_with_what_it_said(tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    (killed / ".hydra").mkdir(parents=True)
    failed = tmp_path / "failed"
    failed.mkdir()
    write_json(failed / "failure.json", {"message": "no words\n  give some"})
    assert reasons(tmp_path) == {
        "killed": "unfinished: the run has not come to its end",
        "failed": "unfinished: no words give some",
    }


def test_find_runs__a_folder_of_something_else_is_named(tmp_path: Path) -> None:
    artifact = tmp_path / "artifact"
    artifact.mkdir()
    write_manifest(artifact, {"model": "x"})
    stray = tmp_path / "stray"
    stray.mkdir()
    write_json(stray / "metrics.json", {})
    assert reasons(tmp_path) == {
        "artifact": "its manifest is not that of a run",
        "stray": "holds metrics.json without manifest.json: not what a run leaves",
    }
    assert reasons(tmp_path / "none") == {"none": "no such folder"}


@pytest.mark.parametrize("name", ["metrics.json", "config.yaml", "provenance.json", "manifest.json"])
def test_find_runs__one_changed_byte_of_a_file_that_is_read_is_damage(tmp_path: Path, name: str) -> None:
    run = write_run(tmp_path / "run", *PAPER_CELL)
    content = bytearray((run / name).read_bytes())
    content[len(content) // 2] ^= 1
    (run / name).write_bytes(bytes(content))
    assert find_runs([tmp_path]).runs == []
    assert reasons(tmp_path)["run"].startswith("damaged: ")
    assert name in reasons(tmp_path)["run"]


def test_find_runs__a_file_that_is_gone_is_damage_and_one_that_is_not_read_is_not(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", *PAPER_CELL, curves=history("clvq_vae", {0: [1.0]}))
    (run / "history.parquet").unlink()
    assert len(find_runs([tmp_path]).runs) == 1
    (run / "config.yaml").unlink()
    assert "config.yaml" in reasons(tmp_path)["run"]


def test_run__damaged_training_curves_are_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = write_run(tmp_path / "run", *PAPER_CELL, curves=history("clvq_vae", {0: [1.0, 2.0]}))
    (found,) = find_runs([tmp_path]).runs
    assert [row["perplexity"] for row in found.history] == [1.0, 2.0]
    (run / "history.parquet").write_bytes(b"PAR1")
    (found,) = find_runs([tmp_path]).runs
    with caplog.at_level(logging.WARNING):
        assert found.history == []
    assert "history.parquet" in caplog.text
    seal(run)
    (found,) = find_runs([tmp_path]).runs
    assert found.history == []
    assert "cannot be read" in caplog.text


def test_find_runs__the_same_cell_counts_once(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", *PAPER_CELL)
    shutil.copytree(first, tmp_path / "b")
    shutil.copytree(first, tmp_path / "c")
    metrics = read_json(tmp_path / "c" / "metrics.json")
    write_json(tmp_path / "c" / "metrics.json", {**metrics, "codebook": {}})
    seal(tmp_path / "c")
    assert [run.folder for run in find_runs([tmp_path]).runs] == [first]
    assert reasons(tmp_path) == {
        "b": f"the same cell as {first}",
        "c": f"the same cell as {first}, with other figures",
    }


def test_find_runs__takes_figures_of_an_older_format_and_no_newer_ones(tmp_path: Path) -> None:
    write_run(tmp_path / "old", *PAPER_CELL, format_version=METRICS_FORMAT - 1)
    write_run(tmp_path / "new", *PAPER_CELL, format_version=METRICS_FORMAT + 1)
    assert [run.format_version for run in find_runs([tmp_path]).runs] == [METRICS_FORMAT - 1]
    assert "format 2, and this version reads up to 1" in reasons(tmp_path)["new"]


def test_metrics_format__is_the_one_that_runs_write() -> None:
    from clvq_exp.metrics import FORMAT_VERSION

    assert METRICS_FORMAT == FORMAT_VERSION


def test_find_runs__odd_content_under_a_right_seal_is_no_crash(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", *PAPER_CELL)
    for content in ([], {"cell": None}, {"cell": {"fingerprint": "x", "seeds": "all"}}):
        (run / "metrics.json").write_text(json.dumps(content))
        (run / "manifest.json").unlink()
        write_manifest(run, {"cell": "x"})
        (found,) = find_runs([tmp_path]).runs
        assert found.place == ("?", "?", "?")
        assert found.train_sentences is None

from __future__ import annotations

from pathlib import Path

import pytest

from clvq_exp.report.run_logger import finish, headline, make_training_logger
from clvq_exp.settings import LoggerSettings


def test_make_training_logger__none(tmp_path: Path) -> None:
    logger = make_training_logger(LoggerSettings("none"), tmp_path / "run", "name", {})
    assert logger is None
    finish(logger, {}, tmp_path)
    assert not (tmp_path / "run").exists()


def test_make_training_logger__unknown_name_says_which_are_known(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'tensorboard'; known are none, csv, wandb"):
        make_training_logger(LoggerSettings("tensorboard"), tmp_path, "name", {})


def test_headline__leaves_out_what_is_missing(run) -> None:
    figures = headline(run.metrics)
    assert figures["faithfulness/concept/drop"] == pytest.approx(0.25)
    assert figures["codebook/bypass/permuted"] == pytest.approx(0.1167)
    run.metrics["codebook"] = None
    assert not [name for name in headline(run.metrics) if name.startswith("codebook")]


def test_csv_logger__writes_into_the_run_folder(run) -> None:
    logger = make_training_logger(LoggerSettings("csv"), run.folder, "name", {"seed": 0})
    assert logger is not None
    logger.log_metrics({"validation_loss": 0.5}, step=1)
    finish(logger, run.metrics, run.folder)
    assert "0.5" in (run.folder / "logs" / "metrics.csv").read_text()


@pytest.mark.slow
def test_wandb__offline_twice_in_one_process(run, monkeypatch, tmp_path: Path) -> None:
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for variable in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    ids: list[str] = []
    for name in ("first", "second"):
        logger = make_training_logger(LoggerSettings("wandb", group="sweep"), run.folder, name, {"seed": 0})
        assert logger is not None
        logger.log_metrics({"validation_loss": 0.5}, step=1)
        ids.append(logger.experiment.id)
        assert logger.experiment.group == "sweep"
        finish(logger, run.metrics, run.folder)
        assert wandb.run is None
    assert ids[0] != ids[1]
    folders = sorted(path.name for path in (run.folder / "wandb").glob("offline-run-*"))
    assert len(folders) == 2
    assert all(any(folder.endswith(each) for folder in folders) for each in ids)


@pytest.mark.slow
def test_wandb__run_left_open_by_a_failed_job_is_not_reused(run, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for variable in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    first = make_training_logger(LoggerSettings("wandb"), run.folder, "first", {})
    assert first is not None
    left = first.experiment.id
    second = make_training_logger(LoggerSettings("wandb"), run.folder, "second", {})
    assert second is not None
    assert second.experiment.id != left
    finish(second, run.metrics, run.folder)

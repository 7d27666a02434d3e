from __future__ import annotations

from pathlib import Path

import pytest

from clvq_exp.report.run_logger import (
    account_problem,
    finish,
    headline,
    log_curves,
    make_training_logger,
)
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
    assert "0.5" in (run.folder / "logs" / "name" / "metrics.csv").read_text()


def test_csv_logger__each_seed_has_a_file_of_its_own(run) -> None:
    for seed in (0, 1):
        logger = make_training_logger(LoggerSettings("csv"), run.folder, f"seed_{seed}", {})
        log_curves(logger, [{"epoch": 0, "train_loss": None, "alpha": 0.25}, {"epoch": 1, "alpha": 0.5 + seed}])
        finish(logger, {}, run.folder)
    for seed in (0, 1):
        lines = (run.folder / "logs" / f"seed_{seed}" / "metrics.csv").read_text().splitlines()
        assert len(lines) == 3
        assert str(0.5 + seed) in lines[2]


def test_account_problem__says_what_to_do_before_anything_runs(monkeypatch, tmp_path: Path) -> None:
    for variable in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    problem = account_problem(LoggerSettings("wandb"))
    assert problem is not None
    assert "WANDB_MODE=offline" in problem
    assert account_problem(LoggerSettings("csv")) is None
    with monkeypatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        assert account_problem(LoggerSettings("wandb")) is None
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    assert account_problem(LoggerSettings("wandb")) is None


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

from __future__ import annotations

import json
from pathlib import Path

import pytest
from offline_runs import OfflineRun, offline_runs

from clvq_exp.report.headline import headline
from clvq_exp.report.run_logger import (
    CELL,
    TRAINING,
    LoggedRun,
    account_problem,
    finish,
    log_curves,
    make_training_logger,
    tags,
)
from clvq_exp.settings import LoggerSettings

CONFIG = {
    "model": {"name": "minilm"},
    "dataset": {"name": "movie"},
    "layer_pair": {"lower": 4, "upper": 6},
    "protocol": {"name": "paper"},
}


def logged(name: str = "name", job_type: str = TRAINING, **changed) -> LoggedRun:
    return LoggedRun(name, job_type, "clvq_vae", "kmeans", [0])._replace(**changed)


@pytest.fixture
def offline(monkeypatch, tmp_path: Path) -> None:
    """W&B without an account, and without its folders in the user's home."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for variable in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))


def left_offline(folder: Path) -> list[OfflineRun]:
    """What lies there once W&B's own process, which writes the files, has ended."""
    import wandb

    wandb.teardown()
    return offline_runs(folder)


def test_make_training_logger__none(tmp_path: Path) -> None:
    logger = make_training_logger(LoggerSettings("none"), tmp_path / "run", logged(), {})
    assert logger is None
    finish(logger, {}, tmp_path)
    assert not (tmp_path / "run").exists()


def test_make_training_logger__unknown_name_says_which_are_known(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'tensorboard'; known are none, csv, wandb"):
        make_training_logger(LoggerSettings("tensorboard"), tmp_path, logged(), {})


def test_headline__leaves_out_what_is_missing(run) -> None:
    figures = headline(run.metrics)
    assert figures["faithfulness/concept/drop"] == pytest.approx(0.25)
    assert figures["codebook/bypass/permuted"] == pytest.approx(0.1167)
    run.metrics["codebook"] = None
    assert not [name for name in headline(run.metrics) if name.startswith("codebook")]


def test_headline__has_the_controls_and_the_ends_of_the_drops_interval(run) -> None:
    figures = headline(run.metrics)
    assert figures["faithfulness/concept/specific_drop"] == pytest.approx(0.25 - 0.175)
    assert figures["faithfulness/concept/specific_drop_low"] == pytest.approx(0.055)
    assert figures["faithfulness/concept/specific_drop_high"] == pytest.approx(0.095)
    assert figures["codebook/utilisation"] == 0.875
    assert figures["intervention/concept/all_words/flips"] == pytest.approx(0.4)
    assert figures["intervention/concept/all_words/original"] == pytest.approx(0.9)
    assert figures["texts/train_sentences"] == 100
    assert figures["texts/labels"] == 2


def test_headline__has_every_method_under_its_name_the_cells_own_too(run) -> None:
    figures = headline(run.metrics)
    assert figures["methods/kmeans_codes/faithfulness/concept/perturbed"] == pytest.approx(0.64)
    own = {name: value for name, value in figures.items() if name.startswith(("faithfulness", "codebook"))}
    assert len(own) > 20
    assert {f"methods/clvq_vae/{name}": value for name, value in own.items()}.items() <= figures.items()


def test_headline__has_no_dot_in_a_name(nine) -> None:
    assert [name for name in headline(nine.metrics) if "." in name] == []


def test_tags__say_what_the_run_is_of(run) -> None:
    assert tags(logged(seeds=[0, 2]), CONFIG) == [
        *("minilm", "movie", "4-6", "clvq_vae", "kmeans", "paper"),
        *("seed 0", "seed 2"),
    ]
    assert tags(logged(method="minilm"), CONFIG).count("minilm") == 1


def test_tags__are_what_wandb_takes_whatever_the_names() -> None:
    hostile = {**CONFIG, "dataset": {"name": "a\x1b[31m" + "x" * 100}, "model": {"name": ""}}
    found = tags(logged(method="\u202egnp.exe"), hostile)
    assert found[0] == "a\\x1b[31m" + "x" * 55
    assert "\\u202egnp.exe" in found
    assert {len(each) <= 64 and each.isprintable() and each != "" for each in found} == {True}


def test_csv_logger__writes_into_the_run_folder(run) -> None:
    logger = make_training_logger(LoggerSettings("csv"), run.folder, logged(), {"seed": 0})
    assert logger is not None
    logger.log_metrics({"validation_loss": 0.5}, step=1)
    finish(logger, run.metrics, run.folder)
    assert "0.5" in (run.folder / "logs" / "name" / "metrics.csv").read_text()


def test_csv_logger__each_seed_has_a_file_of_its_own(run) -> None:
    for seed in (0, 1):
        logger = make_training_logger(LoggerSettings("csv"), run.folder, logged(f"seed_{seed}"), {})
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


def test_account_problem__reads_the_key_of_the_server_that_wandb_goes_to(monkeypatch, tmp_path: Path) -> None:
    import wandb

    for variable in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    own = wandb.Settings().base_url.removeprefix("https://")
    assert f"no key for {own}" in str(account_problem(LoggerSettings("wandb")))
    (tmp_path / "netrc").write_text(f"machine {own} login user password secret\n")
    assert account_problem(LoggerSettings("wandb")) is None
    monkeypatch.setenv("WANDB_BASE_URL", "http://server.invalid:8080")
    assert "no key for server.invalid:8080" in str(account_problem(LoggerSettings("wandb")))
    (tmp_path / "netrc").write_text("machine server.invalid:8080 login user password secret\n")
    assert account_problem(LoggerSettings("wandb")) is None


@pytest.mark.slow
def test_wandb__offline_twice_in_one_process(run, offline) -> None:
    import wandb

    ids: list[str] = []
    for name in ("first", "second"):
        settings = LoggerSettings("wandb", group="sweep")
        logger = make_training_logger(settings, run.folder, logged(name, CELL), {"seed": 0})
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
def test_wandb__concepts_cases_clouds_and_plots_are_logged_once(run, offline) -> None:
    logger = make_training_logger(LoggerSettings("wandb"), run.folder, logged("cell", CELL), {})
    finish(logger, run.metrics, run.folder.with_name("elsewhere"), run.folder)
    (found,) = left_offline(run.folder)
    names = {name.partition(".")[0] for row in found.history for name in row}
    kinds = ("true_positive", "false_positive", "true_negative", "false_negative")
    assert {f"tables/{name}" for name in ("faithfulness", "intervention", "concepts", "cases")} <= names
    assert {f"figures/{name}" for name in ("concept-map", "concept-cosines", "code-use", "purity")} <= names
    assert {name for name in names if name.startswith("clouds/")} <= {f"clouds/{kind}" for kind in kinds}
    assert "clouds/true_positive" in names
    assert sum("tables/concepts._type" in row for row in found.history) == 1
    (path,) = run.folder.glob("wandb/offline-run-*/files/media/table/tables/concepts_*.table.json")
    table = json.loads(path.read_text(encoding="utf-8"))
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [row["train_words"] for row in rows] == [0, 400, 150, 80, 41, 20, 9, 3]
    assert rows[1]["words"].startswith("great, dull, acting")
    (path,) = run.folder.glob("wandb/offline-run-*/files/media/table/tables/cases_*.table.json")
    assert len(json.loads(path.read_text(encoding="utf-8"))["data"]) == 4


@pytest.mark.slow
def test_wandb__curves_stand_over_epochs_with_their_best_value(run, offline) -> None:
    settings = LoggerSettings("wandb", project="mine", group="g" * 200)
    logger = make_training_logger(settings, run.folder, logged("curves"), CONFIG)
    losses, perplexities = (0.5, 0.25, 0.75), (4.0, 6.0, 5.0)
    rows = zip(losses, perplexities, strict=True)
    log_curves(logger, [{"epoch": i, "validation_loss": a, "perplexity": b} for i, (a, b) in enumerate(rows)])
    finish(logger, {}, run.folder)
    (found,) = left_offline(run.folder)
    assert (found.name, found.project, found.job_type) == ("curves", "mine", "training")
    assert found.group == "g" * 128
    assert found.tags == tags(logged(), CONFIG)
    assert found.config["run"] == {
        **{"job_type": "training", "method": "clvq_vae", "init": "kmeans"},
        **{"layers": "4-6", "seeds": [0]},
    }
    assert found.defined["validation_loss"] == ("epoch", "min")
    assert found.defined["variance_explained"] == ("epoch", "max")
    assert found.defined["perplexity"] == ("epoch", "")
    assert found.defined["*"] == ("epoch", "")
    assert [row["epoch"] for row in found.history] == [0, 1, 2]
    assert found.summary["validation_loss"] == {"min": 0.25}
    assert found.summary["perplexity"] == 5.0


@pytest.mark.slow
def test_wandb__no_run_is_opened_for_a_method_without_curves(run, offline) -> None:
    logger = make_training_logger(LoggerSettings("wandb"), run.folder, logged(), {})
    finish(logger, {}, run.folder)
    assert left_offline(run.folder) == []


@pytest.mark.slow
def test_wandb__run_left_open_by_a_failed_job_is_not_reused(run, offline) -> None:
    first = make_training_logger(LoggerSettings("wandb"), run.folder, logged("first"), {})
    assert first is not None
    left = first.experiment.id
    second = make_training_logger(LoggerSettings("wandb"), run.folder, logged("second"), {})
    assert second is not None
    assert second.experiment.id != left
    finish(second, run.metrics, run.folder)

"""Training curves and summaries outside the run folder's own files: nothing, CSV or Weights & Biases."""

from __future__ import annotations

import logging
import netrc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from clvq_exp.report.access import Metrics, entry, number
from clvq_exp.report.text_safety import visible
from clvq_exp.settings import LoggerSettings

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

LOGGERS = ("none", "csv", "wandb")
_WANDB_SETTINGS: dict[str, Any] = {
    "host": "",  # not None, which would be filled in
    "disable_git": True,  # of the folder where the run was started, remote address and all
    "x_disable_meta": True,  # machine, interpreter's path, command line
}
"""What W&B would keep besides what it is given; `provenance.json` says what matters for a result."""

log = logging.getLogger(__name__)


def make_training_logger(
    settings: LoggerSettings, folder: Path, run_name: str, config: dict[str, Any]
) -> Logger | None:
    """The Lightning logger of one job.

    Args:
        settings: which logger, and W&B's project and group. W&B's mode is set from outside (`WANDB_MODE`).
        folder: the run folder; CSV goes to `logs/<run_name>`, W&B's files to `wandb` in it.
        run_name: name of the run in W&B, or of the folder of the CSV file.
        config: the resolved configuration as plain values; its texts reach W&B as `visible` writes them.

    Returns:
        The logger, or None for `none`.

    Raises:
        ValueError: for an unknown name.
    """
    if settings.name not in LOGGERS:
        raise ValueError(f"logger.name is {settings.name!r}; known are {', '.join(LOGGERS)}")
    if settings.name == "none":
        return None
    folder.mkdir(parents=True, exist_ok=True)
    if settings.name == "csv":
        from pytorch_lightning.loggers import CSVLogger

        return CSVLogger(save_dir=folder, name="logs", version=run_name)
    import wandb
    from pytorch_lightning.loggers import WandbLogger

    if wandb.run is not None:  # left by a job that failed; WandbLogger would go on writing into it
        log.warning("the W&B run %s was still open; it is closed", wandb.run.id)
        wandb.finish(exit_code=1)
    return WandbLogger(
        name=visible(run_name),
        save_dir=folder,
        project=settings.project,
        group=settings.group,
        config=_visible_everywhere(config),
        settings=wandb.Settings(**_WANDB_SETTINGS),
    )


def _visible_everywhere(value: Any) -> Any:
    """Plain values with every text in them as it may be shown: W&B prints and displays what it is given."""
    if isinstance(value, dict):
        return {_visible_everywhere(key): _visible_everywhere(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_visible_everywhere(item) for item in value]
    return visible(value) if isinstance(value, str) else value


def account_problem(settings: LoggerSettings) -> str | None:
    """What stands in the way of W&B, found before anything runs: no key where one is needed.

    Args:
        settings: which logger.

    Returns:
        A sentence that says what to do, or None.
    """
    if settings.name != "wandb" or os.environ.get("WANDB_MODE") in ("offline", "dryrun", "disabled"):
        return None
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    if os.environ.get("WANDB_API_KEY") or _in_netrc(host):
        return None
    return (
        f"logger=wandb: no key for {host} is known; run `wandb login`, set WANDB_API_KEY, or set "
        "WANDB_MODE=offline, which needs no account"
    )


def _in_netrc(host: str) -> bool:
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def log_curves(logger: Logger | None, history: Sequence[Mapping[str, float | None]]) -> None:
    """Log the training curves of a model that was fitted before.

    Args:
        logger: what `make_training_logger` returned.
        history: one mapping per epoch, as in `history.parquet`.
    """
    if logger is not None:
        for record in history:
            known = {name: value for name, value in record.items() if value is not None}
            logger.log_metrics(known, step=int(known["epoch"]))


def headline(metrics: Metrics) -> dict[str, float]:
    """The figures of a run that a dashboard compares.

    Args:
        metrics: the content of `metrics.json`.

    Returns:
        Name -> value, named by their path; figures that are missing are left out.
    """
    found: dict[str, float | None] = {"model/accuracy": number(entry(metrics, "model").get("accuracy"))}
    for removal, values in entry(metrics, "faithfulness").items():
        for name in ("original", "perturbed", "random_direction", "drop", "specific_drop"):
            found[f"faithfulness/{removal}/{name}"] = number(values.get(name))
    codebook = entry(metrics, "codebook")
    for name in ("perplexity", "codes_in_use", "mean_cosine", "alpha", "validation_loss"):
        found[f"codebook/{name}"] = number(codebook.get(name))
    for name in ("as_is", "permuted"):
        found[f"codebook/bypass/{name}"] = number(entry(codebook, "bypass").get(name))
    return {name: value for name, value in found.items() if value is not None}


def finish(logger: Logger | None, metrics: Metrics, folder: Path) -> None:
    """Write the results of a finished job and close its logger.

    Args:
        logger: what `make_training_logger` returned.
        metrics: the content of `metrics.json`; empty for a job that only logs training curves.
        folder: the run folder.
    """
    if logger is None:
        return
    from pytorch_lightning.loggers import WandbLogger

    if not isinstance(logger, WandbLogger):
        logger.finalize("success")
        return
    import wandb

    if not metrics and wandb.run is None:  # nothing was logged: no empty run is opened
        return
    run: Any = logger.experiment
    try:
        figures = headline(metrics)
        for name in figures:
            run.define_metric(name, summary="last")
        if metrics:
            run.log({**figures, **_tables(metrics)})
        run.summary["run_folder"] = visible(folder.name)
    finally:
        wandb.finish()  # or the next job of this process would write into the same run


def _tables(metrics: Metrics) -> dict[str, Any]:
    """The faithfulness and intervention tables as W&B tables, one row per figure."""
    import wandb

    from clvq_exp.report.tables import faithfulness_table, intervention_table

    faithfulness: Any = wandb.Table(
        columns=["method", "removal", "condition", "accuracy", "low", "high", "drop", "inverted"]
    )
    table = faithfulness_table(metrics)
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            if cell is not None:
                names = map(visible, (*column, row.condition))
                faithfulness.add_data(*names, *cell.accuracy, cell.drop, cell.inverted)
    intervention: Any = wandb.Table(
        columns=["method", "removal", "place", "condition", "accuracy", "flips", "probability_change"]
    )
    live = intervention_table(metrics)
    for row in live.rows:
        for column, cell in zip(live.columns, row.cells, strict=True):
            if cell is not None:
                means = (value.mean if value else None for value in cell)
                names = map(visible, (*column, row.place, row.condition))
                intervention.add_data(*names, *means)
    return {"tables/faithfulness": faithfulness, "tables/intervention": intervention}

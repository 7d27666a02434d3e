"""Training curves and summaries outside the run folder's own files: nothing, CSV or Weights & Biases."""

from __future__ import annotations

import logging
import netrc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from clvq_exp.report.access import Metrics, entry
from clvq_exp.report.headline import headline
from clvq_exp.report.text_safety import visible
from clvq_exp.settings import LoggerSettings

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

LOGGERS = ("none", "csv", "wandb")
OFFLINE = ("offline", "dryrun", "disabled")
"""Values of `WANDB_MODE` with which nothing is sent."""
_WANDB_SETTINGS: dict[str, Any] = {
    "host": "",  # not None, which would be filled in
    "disable_git": True,  # of the folder where the run was started, remote address and all
    "x_disable_meta": True,  # machine, interpreter's path, command line
}
"""What W&B would keep besides what it is given; `provenance.json` says what matters for a result."""

TRAINING, CELL = "training", "cell"
"""Job types in W&B: the curves of one concept model, the figures of a whole cell."""
RUN = "run"
"""Section that the configuration in W&B has beside those of the cell: what the W&B run itself is of."""
_LONGEST_TAG = 64
_LONGEST_GROUP = 128
_OLDER_HOST = "api.wandb.ai"
"""Keys that were stored under it are W&B's own service's, whatever that is called now."""

log = logging.getLogger(__name__)


class LoggedRun(NamedTuple):
    """What one run in W&B, or one CSV file, is of."""

    name: str
    """Of the run in W&B, or of the folder of the CSV file."""
    job_type: str
    """`training` or `cell`."""
    method: str
    """The concept method, as its rows are named."""
    init: str
    """Its start of the codebook."""
    seeds: Sequence[int]


def make_training_logger(
    settings: LoggerSettings, folder: Path, run: LoggedRun, config: dict[str, Any]
) -> Logger | None:
    """The Lightning logger of one job.

    Args:
        settings: which logger, and W&B's project and group. W&B's mode is set from outside (`WANDB_MODE`).
        folder: the run folder; CSV goes to `logs/<name>`, W&B's files to `wandb` in it.
        run: what is logged.
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

        return CSVLogger(save_dir=folder, name="logs", version=run.name)
    import wandb

    from clvq_exp.report.wandb_logger import TrainingLogger, WandbLogger

    if wandb.run is not None:  # left by a job that failed; WandbLogger would go on writing into it
        log.warning("the W&B run %s was still open; it is closed", wandb.run.id)
        wandb.finish(exit_code=1)
    kind = TrainingLogger if run.job_type == TRAINING else WandbLogger
    return kind(
        name=visible(run.name),
        save_dir=folder,
        project=settings.project,
        group=visible(settings.group)[:_LONGEST_GROUP] if settings.group else None,
        job_type=run.job_type,
        tags=tags(run, config),
        config=_visible_everywhere({**config, RUN: _of_run(run, config)}),
        settings=wandb.Settings(**_WANDB_SETTINGS),
    )


def tags(run: LoggedRun, config: Mapping[str, Any]) -> list[str]:
    """Model, data set, layers, method, start of the codebook, protocol and seeds of a run, each once.

    Args:
        run: what is logged.
        config: the resolved configuration as plain values.

    Returns:
        Texts that can be shown, of 1 to 64 characters: W&B takes no others.
    """
    found = [
        entry(config, "model").get("name"),
        entry(config, "dataset").get("name"),
        _layers(config),
        run.method,
        run.init,
        entry(config, "protocol").get("name"),
        *(f"seed {seed}" for seed in run.seeds),
    ]
    shown = (visible(str(each))[:_LONGEST_TAG] for each in found if each is not None)
    return [each for each in dict.fromkeys(shown) if each]


def _layers(config: Mapping[str, Any]) -> str | None:
    """`8-12`."""
    pair = entry(config, "layer_pair")
    return f"{pair['lower']}-{pair['upper']}" if {"lower", "upper"} <= set(pair) else None


def _of_run(run: LoggedRun, config: Mapping[str, Any]) -> dict[str, Any]:
    """What dashboards group and filter by, under the same keys for a cell and for one method of it."""
    return {
        "job_type": run.job_type,
        "method": run.method,
        "init": run.init,
        "layers": _layers(config),
        "seeds": list(run.seeds),
    }


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
    if settings.name != "wandb" or os.environ.get("WANDB_MODE") in OFFLINE:
        return None
    host = host_without_key()
    if host is None:
        return None
    return (
        f"logger=wandb: no key for {host} is known; run `wandb login`, set WANDB_API_KEY, or set "
        "WANDB_MODE=offline, which needs no account"
    )


def host_without_key() -> str | None:
    """The W&B server that runs would go to, if no key for it is known; None where there is one."""
    hosts = _hosts()
    if os.environ.get("WANDB_API_KEY") or any(map(_in_netrc, hosts)):
        return None
    return hosts[0]


def _hosts() -> list[str]:
    """The server, port and all as `wandb login` notes it, and what else its key may be stored under."""
    given = os.environ.get("WANDB_BASE_URL")
    if given:
        return [urlsplit(given).netloc or given]
    import wandb  # which server is its own hangs on its version

    return [urlsplit(wandb.Settings().base_url).netloc, _OLDER_HOST]


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


def finish(logger: Logger | None, metrics: Metrics, folder: Path, files: Path | None = None) -> None:
    """Write the results of a finished job and close its logger.

    Args:
        logger: what `make_training_logger` returned.
        metrics: the content of `metrics.json`; empty for a job that only logs training curves.
        folder: the run folder.
        files: where the tables of the run are, as long as they are not in their place; None for the run folder.
    """
    if logger is None:
        return
    from pytorch_lightning.loggers import WandbLogger

    if not isinstance(logger, WandbLogger):
        logger.finalize("success")
        return
    import wandb

    from clvq_exp.report.wandb_content import shown_once
    from clvq_exp.report.wandb_logger import declare_figures

    if not metrics and wandb.run is None:  # nothing was logged: no empty run is opened
        return
    run: Any = logger.experiment
    try:
        figures = headline(metrics) if metrics else {}
        declare_figures(run, list(figures))
        if metrics:
            run.log({**figures, **shown_once(files or folder, metrics)})
        run.summary["run_folder"] = visible(folder.name)
    finally:
        wandb.finish()  # or the next job of this process would write into the same run

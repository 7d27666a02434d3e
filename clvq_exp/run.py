"""One run or a sweep: compose, check, run each cell. Heavy libraries are imported after the check.

Launchers hand `job` to other processes, which import this module by its name: so it is not `__main__`.
"""

from __future__ import annotations

import importlib.util
import logging
import multiprocessing
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from clvq_exp.config import Config, check
from clvq_exp.lifetime import end_with_parent
from clvq_exp.report.text_safety import visible
from clvq_exp.resolvers import register
from clvq_exp.sweep_end import forget_failure, note_failure, tell_unfinished

if TYPE_CHECKING:
    from clvq_exp.preflight import Preflight

log = logging.getLogger(__name__)

CONFIG_NAME = "config"
"""Of the primary configuration, where the command line names no other."""
_QUIET = (
    "pytorch_lightning.utilities.rank_zero",
    "pytorch_lightning",
    "lightning.pytorch",
    "faiss.loader",
    "httpx",
    "transformers",
)


register()


def run(config: Config, yaml: str, folder: Path) -> None:
    """Run one cell, or show the result that is there already."""
    from clvq_exp.preflight import preflight
    from clvq_exp.publishing import finished_metrics, run_folder
    from clvq_exp.report.terminal import print_summary

    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    ready = preflight(config, yaml)
    with run_folder(folder):
        forget_failure(folder)
        metrics = finished_metrics(folder, ready.fingerprint)
        if metrics is None:
            _quieten_libraries()
            _warn_of_shortage(config, ready, folder)
            from clvq_exp.cell import run_cell

            metrics = run_cell(config, ready, folder)
        else:
            log.info("finished before; nothing is run")
        print_summary(folder, metrics)


def _warn_of_shortage(config: Config, ready: Preflight, folder: Path) -> None:
    """Say before anything is loaded that memory or disk may not do."""
    from clvq_exp.estimate.shortage import shortage

    for line in shortage(config, ready.needs, folder):
        log.warning("%s", line)


def _quieten_libraries() -> None:
    """Their notices drown the run's own; warnings and errors stay."""
    import warnings

    import transformers

    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()  # of loading and saving weights; that of training stays


def in_group(config: Config) -> Config:
    """The configuration with a W&B group, where it names none: W&B alone sees it, so it changes no fingerprint.

    A sweep file gives its cells its name, a sweep of the command line that of its folder; a cell that runs alone
    is a group of its own.

    Args:
        config: the checked configuration of the job that Hydra runs.
    """
    if config.logger.group:
        return config
    hydra_config = HydraConfig.get()
    name = str(hydra_config.job.config_name).removesuffix(".yaml")
    if hydra_config.mode is RunMode.RUN:
        pair = f"{config.layer_pair.lower}-{config.layer_pair.upper}"
        cell = (config.model.name, config.dataset.name, pair, config.baseline["name"], config.init.name)
        group = "-".join((*cell, config.protocol.name))
    elif name != CONFIG_NAME:
        group = Path(name).name
    else:
        group = Path(hydra_config.sweep.dir).resolve().name
    return replace(config, logger=replace(config.logger, group=group))


class CellError(CompactHydraException):
    """A cell of a sweep that failed, after its own log said why; the other cells run all the same."""


def job(cfg: DictConfig) -> None:
    """One cell, composed.

    Raises:
        SystemExit: of a single run that failed.
        CellError: of a cell of a sweep that failed.
    """
    _end_with_the_sweep()
    folder = Path(HydraConfig.get().runtime.output_dir)
    alone = HydraConfig.get().mode is RunMode.RUN
    try:
        config = in_group(check(cfg))
        yaml = OmegaConf.to_yaml(cfg, resolve=True)
        run(config, yaml, folder)
    except Exception as error:  # all of them: what Hydra would print does not pass through the log's formatter
        known = isinstance(error, PermissionError) or type(error).__module__.startswith("clvq_exp")
        if known:
            log.error("%s", error)
            log.debug("where it came from", exc_info=True)
        else:
            log.exception("the cell stopped at an error that was not foreseen")
        if alone:
            raise SystemExit(1) from None
        note_failure(folder, str(error) or type(error).__name__)
        raise CellError(visible(f"a cell of the sweep failed; the log in {folder} says why")) from None


def _end_with_the_sweep() -> None:
    """Have a worker of `launcher=joblib` end when the process of the sweep is killed.

    It would go on for the cells that it was given, hours each, beside those of the sweep that is started again.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        end_with_parent(parent.pid)


_LAUNCHERS = {"joblib": "hydra_joblib_launcher", "slurm": "hydra_submitit_launcher"}


def missing_launcher(arguments: Sequence[str]) -> str | None:
    """What to install for the launcher that a command line asks for; None where nothing is missing."""
    for name, plugin in _LAUNCHERS.items():
        if f"launcher={name}" in arguments:
            try:
                found = importlib.util.find_spec(f"hydra_plugins.{plugin}")
            except ModuleNotFoundError:  # no plugin at all
                found = None
            if found is None:
                return f"launcher={name} is not installed: pip install 'clvq_exp[sweeps]'"
    return None


def entry() -> None:
    """The installed command: a run or a sweep, and what a sweep left unfinished."""
    problem = missing_launcher(sys.argv[1:])
    if problem is not None:
        sys.stderr.write(problem + "\n")
        raise SystemExit(1)
    main = hydra.main(version_base="1.3", config_path="pkg://clvq_exp.conf", config_name=CONFIG_NAME)(job)
    try:
        main()
    except SystemExit as stop:
        if stop.code not in (None, 0, 2):  # 2: a command line that argparse refuses; nothing began
            tell_unfinished(sys.argv[1:])
        raise

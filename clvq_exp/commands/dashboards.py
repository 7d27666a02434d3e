"""`clvq dashboards`: a dashboard for the training curves and one for each table, saved in Weights & Biases."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from clvq_exp.credentials import without_credentials
from clvq_exp.dashboards.panels import Dashboard
from clvq_exp.dashboards.shelf import chosen
from clvq_exp.dashboards.text import as_text
from clvq_exp.dashboards.workspaces import INSTALL, DashboardError, is_installed, save_all
from clvq_exp.report.run_logger import OFFLINE, host_without_key
from clvq_exp.report.text_safety import visible

_DRY_RUN = "--dry-run shows them without an account"


def dashboards(given: argparse.Namespace) -> int:
    """Save the dashboards, or print what would be saved; returns the exit code.

    Args:
        given: the parsed command line.
    """
    try:
        wanted = chosen(given.only or ())
    except ValueError as error:
        return _refuse(f"--only: {error}")
    if given.dry_run:
        sys.stdout.write(f"Project {_place(given)}; nothing is sent.\n\n{as_text(wanted)}")
        return 0
    problem = _problem()
    return _save(wanted, given) if problem is None else _refuse(problem)


def _problem() -> str | None:
    """What stands in the way, found before anything is sent."""
    if not is_installed():
        return f"dashboards are saved by wandb-workspaces, which is not installed: {INSTALL}; {_DRY_RUN}"
    mode = os.environ.get("WANDB_MODE")
    if mode in OFFLINE:
        return f"WANDB_MODE={mode}, but dashboards are kept by the server: unset it; {_DRY_RUN}"
    host = host_without_key()
    if host is not None:
        return f"no key for {host} is known: run `wandb login` or set WANDB_API_KEY; {_DRY_RUN}"
    return None


def _save(wanted: Sequence[Dashboard], given: argparse.Namespace) -> int:
    n = 0
    try:
        for each in save_all(wanted, _entity(given), given.project):
            what = "replaced" if each.replaced else "new"
            sys.stdout.write(_safe(f"{what:<9} {each.dashboard.key:<12} {each.dashboard.name}  {each.url}") + "\n")
            sys.stdout.flush()
            n += 1
    except DashboardError as error:
        return _refuse(
            f"{error}; {n} of {len(wanted)} are saved. See that the project is there (a run with logger=wandb "
            "makes it) and that the key may write to it, then give the command again: what is saved is replaced"
        )
    return 0


def _entity(given: argparse.Namespace) -> str | None:
    return given.entity or os.environ.get("WANDB_ENTITY")


def _place(given: argparse.Namespace) -> str:
    entity = _entity(given)
    return _safe(f"{entity}/{given.project}" if entity else f"{given.project} of the account's own entity")


def _refuse(problem: str) -> int:
    sys.stderr.write(_safe(problem) + "\n")
    return 1


def _safe(text: str) -> str:
    """W&B's answers may repeat what they were sent."""
    return visible(without_credentials(text))

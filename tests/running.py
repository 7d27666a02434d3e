"""Run `python -m clvq_exp` as a user does: every call is a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Call(NamedTuple):
    """A finished process."""

    code: int
    out: str
    err: str
    seconds: float


def environment(cache: Path, **variables: str) -> dict[str, str]:
    """The test's environment without what would change a run."""
    hidden = {"WANDB_API_KEY", "CLVQ_EXP_CACHE", "HYDRA_FULL_ERROR"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    given = {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline", "WANDB_SILENT": "true", "COLUMNS": "200"}
    given["OMP_NUM_THREADS"] = (
        "1"  # tiny matrices gain nothing from more, and many processes would fight for cores
    )
    return {**kept, **given, "CLVQ_EXP_CACHE": str(cache), **variables}


def command(*arguments: str) -> list[str]:
    """The command line of one call."""
    return [sys.executable, "-m", "clvq_exp", *arguments]


def call(
    folder: Path,
    *arguments: str,
    cache: Path | None = None,
    before: Callable[[], None] | None = None,
    **variables: str,
) -> Call:
    """Run to the end in a folder; the cache lies in it unless another is given.

    Args:
        folder: the working folder.
        arguments: overrides.
        cache: the cache folder.
        before: called in the new process before it begins.
        variables: of its environment.
    """
    start = time.monotonic()
    done = subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(cache or folder / "cache", **variables),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=before,
    )
    return Call(done.returncode, done.stdout, done.stderr, time.monotonic() - start)


def tiny_cell(encoder: Path, reviews: Path) -> list[str]:
    """A whole cell in seconds: 160 made-up reviews, a random encoder, 20 codes."""
    return [
        "dataset=file",
        f"dataset.path={reviews}",
        f"model.path={encoder}",
        "model.default_lower=2",
        "model.default_upper=4",
        "trainer=demo",
        "quantizer.codebook_size=20",
        "decoder.layers=1",
        "decoder.heads=4",
        "decoder.feed_forward=32",
        "attribution.steps=8",
        "evaluation.bootstrap_samples=200",
    ]

"""Where a result comes from: versions, hardware, seconds and peak memory of every step."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clvq_exp import __version__

_PACKAGES = (
    "torch",
    "pytorch-lightning",
    "transformers",
    "captum",
    "faiss-cpu",
    "hydra-core",
    "numpy",
    "scikit-learn",
    "safetensors",
)
_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")

log = logging.getLogger(__name__)


class Steps:
    """Seconds and peak memory of the steps of a run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.peak_memory_bytes: dict[str, int] = {}

    @contextmanager
    def step(self, name: str) -> Generator[None]:
        """Measure a step; one that is entered again adds its seconds."""
        log.info("%s", name.replace("_", " "))
        _reset_peak()
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
            self.peak_memory_bytes[name] = max(self.peak_memory_bytes.get(name, 0), peak_memory())


def peak_memory() -> int:
    """Largest resident memory of this process since the last reset, in bytes."""
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def _reset_peak() -> None:
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:  # not Linux, or not allowed: the peak is that of the whole run so far
        return


def facts(device: str) -> dict[str, Any]:
    """Versions, commit and hardware; no host name, no user, no environment."""
    return {
        "clvq_exp": __version__,
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "hardware": {
            "machine": platform.machine(),
            "system": platform.system(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "device": device,
        },
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of the checkout that this package runs from, or None for an installed wheel."""
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()

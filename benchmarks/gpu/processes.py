"""Steps as processes of their own: each is cut after some minutes, and begun again where it was."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clvq_exp.artifacts import DamagedArtifactError, fingerprint, plain, read_sealed, write_sealed

UNFINISHED = 3
"""Exit code of a call that ended by its time limit: the same command goes on."""
_PLAN = "plan.json"
_DONE = "done"
_LOGS = "logs"
_BAR = re.compile(r"\d+%\||it/s|s/it")
"""In a line of a progress bar."""
_GRACE = 5.0
"""Seconds that a process has to end by itself."""


class Limits(NamedTuple):
    """When work is cut."""

    step: float
    """Seconds that a process of a step may take; the next one goes on behind its last finished part."""
    call: float | None
    """Seconds of the whole call; None for no limit."""
    cuts: int
    """Cuts of one step after which the benchmark gives up."""


class StepFailed(RuntimeError):
    """A step's process ended with an error; the message names its log."""


class Unfinished(RuntimeError):
    """The call's time is over."""


def open_folder(folder: Path, plan: Any) -> None:
    """Make the folder of a benchmark, or find it again.

    Args:
        folder: holds everything.
        plan: what is measured.

    Raises:
        SystemExit: it holds another plan.
    """
    for name in (_DONE, _LOGS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    path, wanted = folder / _PLAN, {"plan": plain(plan)}
    try:
        found = read_sealed(path) if path.exists() else None
    except DamagedArtifactError as error:
        raise SystemExit(f"{error}: delete {folder}, or give another --work") from error
    if found is None:
        write_sealed(path, wanted)
    elif found != wanted:
        raise SystemExit(
            f"{folder} holds measurements of other settings ({fingerprint(found)}, not {fingerprint(wanted)}): "
            "give another --work, or delete it"
        )


def finish_step(folder: Path, name: str, facts: Any) -> None:
    """Enter a step that is done, and what was found."""
    write_sealed(folder / _DONE / f"{name}.json", {"facts": plain(facts)})


def facts_of(folder: Path, name: str) -> dict[str, Any] | None:
    """What a finished step found; None where it is not finished or its file is not what was written."""
    path = folder / _DONE / f"{name}.json"
    try:
        return read_sealed(path)["facts"] if path.exists() else None
    except DamagedArtifactError:
        return None


def run_steps(folder: Path, names: Sequence[str], command: Sequence[str], limits: Limits) -> None:
    """Run what is not finished, one process after another.

    Args:
        folder: of the benchmark.
        names: of the steps, in order.
        command: runs a step; its name is put behind.
        limits: when a process is cut.

    Raises:
        StepFailed: a step ended with an error, or is cut again and again.
        Unfinished: the call's time is over.
    """
    begun = time.monotonic()
    for name in names:
        cuts = 0
        while facts_of(folder, name) is None:
            left = limits.step
            if limits.call is not None:
                left = min(left, limits.call - (time.monotonic() - begun))
            if left <= 0:
                raise Unfinished
            print(f"  {folder.name}: {name}", file=sys.stderr, flush=True)
            if _run(name, folder / _LOGS / f"{name}.log", [*command, name], left):
                continue
            cuts += 1
            if cuts >= limits.cuts:
                raise StepFailed(f"{folder.name}: {name} was cut {cuts} times: raise --step-seconds")


def _run(name: str, log: Path, command: Sequence[str], limit: float) -> bool:
    """Run a process; False where it was cut."""
    with log.open("ab") as out:
        process = subprocess.Popen([*command, "--parent", str(os.getpid())], stdout=out, stderr=out)
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            return False
        finally:
            _end(process)
    if code:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()  # a progress bar's too
        said = [line.strip() for line in lines if line.strip() and not _BAR.search(line)]
        raise StepFailed(f"{name} failed ({said[-1] if said else f'exit code {code}'}): see {log}")
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

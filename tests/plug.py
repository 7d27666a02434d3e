"""`python -m clvq_exp` with a hand on the plug: `python plug.py SPEC ARGUMENT...`.

SPEC is JSON: `kill` names a function and the call of it at which the process is killed (by SIGKILL),
`set` gives constants other values, `count` names functions whose calls are counted, into the file `counts`.
Functions and constants are written `module:name` or `module:Class.name`.

For sweeps, whose cells run in processes of their own, there is `Marks`, a callback of Hydra: it enters what they
do into one file, a line at a time, and the lines of a process that is killed stay.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

if TYPE_CHECKING:
    from clvq_exp.artifacts import ArtifactCache

SWEEP = "sweep"
"""A sweep began."""
VISITED = "visited"
"""A process took up a cell."""
BEGUN = "begun"
"""A cell without a result is run."""
AGAIN = "again"
"""A cell is run although its folder is sealed."""
MAKES = "makes"
"""The working folder of an artifact is there, and its maker begins or goes on."""
MADE = "made"
"""The artifact is whole and in its place."""


def place(name: str) -> tuple[Any, str]:
    """What holds a named thing, and its name there."""
    module, _, path = name.partition(":")
    *owners, last = path.split(".")
    return functools.reduce(getattr, owners, importlib.import_module(module)), last


def watch(name: str, counts: dict[str, int], kill_at: int | None, file: Path) -> None:
    """Count the calls of a function, and end the process at one of them."""
    owner, attribute = place(name)
    own = getattr(owner, attribute)

    @functools.wraps(own)
    def watched(*args: Any, **kwargs: Any) -> Any:
        if counts.get(name, 0) + 1 == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        counts[name] = counts.get(name, 0) + 1
        file.write_text(json.dumps(counts))
        return own(*args, **kwargs)

    setattr(owner, attribute, watched)


class Mark(NamedTuple):
    """A line of the file: what was done, to what, by which process."""

    what: str
    on: str
    """The run folder; of `MAKES` and `MADE` the artifact, `kind/fingerprint`."""
    process: int


def marks(file: Path) -> list[Mark]:
    """All marks so far, in the order in which they were made; a line that is not whole yet is left out."""
    if not file.exists():
        return []
    lines = [line for line in file.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    return [
        Mark(what, on, int(process)) for what, on, process in (line.rstrip("\n").split("\t") for line in lines)
    ]


class Marks(Callback):
    """Enters cells, makers of artifacts and calls of functions into a file.

    Args:
        file: where the marks go; several processes may write it.
        functions: whose calls are entered, under their own names.
    """

    def __init__(self, file: str, functions: Sequence[str]) -> None:
        self._file = file
        self._functions = list(functions)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """In the process of the sweep."""
        del config, kwargs
        self._enter(SWEEP, "")

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """In the process of a single run."""
        del config, kwargs
        self._enter(SWEEP, "")

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """In the process of a cell, before the cell."""
        del kwargs
        _Process.folder = str(config.hydra.runtime.output_dir)
        self._enter(VISITED, _Process.folder)
        if not _Process.watches_cells:
            _Process.watches_cells = True
            self._watch_cells()

    def _enter(self, what: str, on: str) -> None:
        line = f"{what}\t{on}\t{os.getpid()}\n".encode()
        file = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(file, line)  # at once: lines of several processes do not mix
        finally:
            os.close(file)

    def _watch_cells(self) -> None:
        from clvq_exp import publishing

        own = publishing.finished_metrics

        def finished_metrics(folder: Path, fingerprint: str) -> dict[str, Any] | None:
            sealed = (folder / "manifest.json").exists()
            metrics = own(folder, fingerprint)
            if metrics is None:
                self._enter(AGAIN if sealed else BEGUN, str(folder))
                if not _Process.watches_work:  # what a cell with a result does not even import
                    _Process.watches_work = True
                    self._watch_work()
            return metrics

        publishing.finished_metrics = finished_metrics

    def _watch_work(self) -> None:
        for name, watched in (("_working_folder", self._makes), ("_make", self._made)):
            owner, attribute = place(f"clvq_exp.artifacts:ArtifactCache.{name}")
            setattr(owner, attribute, watched(getattr(owner, attribute)))
        for name in self._functions:
            self._watch(name)

    def _makes(self, own: Callable[..., Path]) -> Callable[..., Path]:
        def working_folder(cache: ArtifactCache, kind: str, *given: Any) -> Path:
            folder = own(cache, kind, *given)
            self._enter(MAKES, f"{kind}/{folder.stem}")
            return folder

        return working_folder

    def _made(self, own: Callable[..., None]) -> Callable[..., None]:
        def make(
            cache: ArtifactCache, kind: str, inputs: Sequence[object], missing: list[int], *given: Any
        ) -> None:
            own(cache, kind, inputs, missing, *given)
            for index in missing:
                self._enter(MADE, f"{kind}/{cache.path(kind, inputs[index]).name}")

        return make

    def _watch(self, name: str) -> None:
        owner, attribute = place(name)
        own = getattr(owner, attribute)

        @functools.wraps(own)
        def watched(*args: Any, **kwargs: Any) -> Any:
            self._enter(name, _Process.folder)
            return own(*args, **kwargs)

        setattr(owner, attribute, watched)


class _Process:
    """What is known in one process."""

    folder = ""
    watches_cells = False
    watches_work = False


def marking(file: Path, functions: Sequence[str]) -> list[str]:
    """The overrides that hang `Marks` into a run or a sweep; `tests/` has to be on its PYTHONPATH."""
    own = "+hydra.callbacks.marks"
    return [f"{own}._target_=plug.Marks", f"{own}.file={file}", f"{own}.functions=[{','.join(functions)}]"]


def members(session: int) -> list[int]:
    """Living processes of a session, by the number of its leader: the leader, if it lives, then all others."""
    found: list[int] = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            except OSError:  # it ended just now
                continue
            if int(stat[3]) == session and stat[0] not in "ZX":
                found.append(int(folder.name))
    return sorted(found, key=lambda process: (process != session, process))


def workers(session: int) -> list[int]:
    """Those of them that `launcher=joblib` runs cells in."""
    found: list[int] = []
    for process in members(session):
        with contextlib.suppress(OSError):
            if b"popen_loky" in Path(f"/proc/{process}/cmdline").read_bytes():
                found.append(process)
    return found


def kill(process: int) -> None:
    """End a process, wherever it is."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


@contextlib.contextmanager
def contained(leader: subprocess.Popen[str]) -> Generator[None]:
    """No process of a session that a process leads outlives this."""
    try:
        yield
    finally:
        while left := members(leader.pid):
            for process in left:
                kill(process)
            leader.poll()
            time.sleep(0.02)
        leader.wait()


def main() -> None:
    """Entry point."""
    spec = json.loads(sys.argv[1])
    counts: dict[str, int] = {}
    file = Path(spec["counts"])
    file.write_text("{}")
    for name, value in spec["set"].items():
        owner, attribute = place(name)
        setattr(owner, attribute, value)
    killed, call = spec["kill"] or (None, None)
    for name in {*spec["count"], *([killed] if killed else [])}:
        watch(name, counts, call if name == killed else None, file)
    sys.argv = ["clvq_exp", *sys.argv[2:]]
    runpy.run_module("clvq_exp", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

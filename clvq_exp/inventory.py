"""What the cache holds, which cells use it, and what can go.

Every cell enters itself and the artifacts that it used under `<root>/cells/`. An artifact is used as long as the
run folder of one of its cells is there; that of another machine counts as there, since this one cannot tell.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from clvq_exp.artifacts import (
    MANIFEST,
    WORKING,
    DamagedArtifactError,
    fingerprint,
    read_sealed,
    verify,
    write_sealed,
)

CELLS = "cells"
"""Folder of the entries, beside those of the artifacts."""
_DAY = 86_400

log = logging.getLogger(__name__)


class CellEntry(NamedTuple):
    """A cell that used the cache."""

    name: str
    """Model, data set, layers and method, for people."""
    host: str
    run_folder: Path
    artifacts: frozenset[str]
    """`kind/fingerprint` of each."""

    @property
    def is_there(self) -> bool:
        """Whether its run folder is there, or may be."""
        return self.host != socket.gethostname() or self.run_folder.is_dir()


class CellRecorder:
    """Enters a cell, and each artifact as soon as the cell uses it.

    A cache that cannot be written is used all the same, and does not know of the cell.

    Args:
        root: the cache folder.
        name: model, data set, layers and method.
        run_folder: where the cell's result will lie.
    """

    def __init__(self, root: Path, name: str, run_folder: Path) -> None:
        place = {"host": socket.gethostname(), "run_folder": str(run_folder.absolute())}
        self._path = root / CELLS / f"{fingerprint(place)}.json"
        self._facts = {"name": name, **place}
        earlier = _read(self._path)
        self._artifacts = set(earlier.artifacts) if earlier else set[str]()
        self._write()

    def __call__(self, kind: str, name: str) -> None:
        """The cell uses an artifact."""
        artifact = f"{kind}/{name}"
        if artifact not in self._artifacts:
            self._artifacts.add(artifact)
            self._write()

    def _write(self) -> None:
        try:
            self._path.parent.mkdir(exist_ok=True)
            write_sealed(self._path, {**self._facts, "artifacts": sorted(self._artifacts)})
        except OSError as error:  # a filled cache may be read-only
            log.debug("%s cannot be written: %s", self._path, error)


def cell_entries(root: Path) -> list[CellEntry]:
    """All cells that entered themselves; an entry that cannot be read is warned of and left out."""
    found = (_read(path) for path in sorted((root / CELLS).glob("*.json")))
    return [entry for entry in found if entry is not None]


def _read(path: Path) -> CellEntry | None:
    if not path.is_file():
        return None
    try:
        facts = read_sealed(path)
        return CellEntry(facts["name"], facts["host"], Path(facts["run_folder"]), frozenset(facts["artifacts"]))
    except (DamagedArtifactError, KeyError, TypeError) as error:
        log.warning("%s; what this cell uses is not known until it runs again", error)
        return None


class State(Enum):
    """How far an artifact is."""

    finished = "finished"
    working = "working folder"  # its maker is at work, or was killed and goes on from there
    unsealed = "without a manifest"  # never read; made again when it is needed


class Held(NamedTuple):
    """A folder of the cache."""

    kind: str
    folder: Path
    state: State
    size: int
    """Bytes."""
    changed: float
    """When it was last changed, in seconds since 1970."""
    cells: tuple[CellEntry, ...]
    """That used it; their run folders may be gone."""

    @property
    def name(self) -> str:
        """Its fingerprint."""
        return self.folder.name.removesuffix(WORKING)

    @property
    def is_used(self) -> bool:
        """Whether the run folder of one of its cells is there."""
        return any(cell.is_there for cell in self.cells)

    @property
    def is_being_made(self) -> bool:
        """Whether a process holds its lock."""
        lock = _lock(self)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        except OSError:  # a cache that cannot be written: nobody makes anything there
            return False
        lock.release()
        return False


def inventory(root: Path) -> list[Held]:
    """Everything that the cache holds, by kind and fingerprint.

    Args:
        root: the cache folder; nothing is held where it is missing.
    """
    users: dict[str, list[CellEntry]] = {}
    for entry in cell_entries(root):
        for artifact in entry.artifacts:
            users.setdefault(artifact, []).append(entry)
    return [_held(folder, users) for folder in _folders(root)]


def _folders(root: Path) -> Iterator[Path]:
    for kind in sorted(path for path in root.glob("*") if path.is_dir() and path.name != CELLS):
        yield from sorted(path for path in kind.iterdir() if path.is_dir())


def _held(folder: Path, users: Mapping[str, list[CellEntry]]) -> Held:
    if folder.name.endswith(WORKING):
        state = State.working
    else:
        state = State.finished if (folder / MANIFEST).is_file() else State.unsealed
    size, changed = 0, 0.0
    for place, _, files in os.walk(folder):  # passes over a folder that its maker has just moved away
        for path in (Path(place), *(Path(place, name) for name in files)):
            try:
                facts = path.stat()
            except FileNotFoundError:  # so with a file
                continue
            size += 0 if path.is_dir() else facts.st_size
            changed = max(changed, facts.st_mtime)
    kind, name = folder.parent.name, folder.name.removesuffix(WORKING)
    return Held(kind, folder, state, size, changed, tuple(users.get(f"{kind}/{name}", ())))


def damages(held: Iterable[Held]) -> Iterator[tuple[Held, str]]:
    """The finished artifacts that are not what was written, and what is wrong with each. Reads every byte."""
    for each in held:
        if each.state is not State.finished:
            continue
        try:
            inputs = verify(each.folder)["inputs"]
        except (DamagedArtifactError, FileNotFoundError) as error:
            yield each, str(error)
            continue
        if fingerprint(inputs) != each.name:
            yield each, f"{each.folder} holds what was made of other inputs"


class Choice(NamedTuple):
    """What may be removed: any of the three, and of that only what is old enough."""

    unused: bool
    """Finished artifacts whose cells' run folders are gone, or that no cell entered."""
    unfinished: bool
    """Working folders of killed makers, and folders without a manifest."""
    damaged: bool
    """Finished artifacts that are not what was written."""
    older_than: float = 0.0
    """Days since the last change."""


def removable(held: Iterable[Held], choice: Choice) -> list[tuple[Held, str]]:
    """What a choice comes to: each artifact with the reason. What is being made is never in it."""
    listed = list(held)
    broken = {each.folder: problem for each, problem in damages(listed)} if choice.damaged else {}
    found: list[tuple[Held, str]] = []
    for each in listed:
        reason = _reason(each, choice, broken)
        if reason and time.time() - each.changed >= choice.older_than * _DAY and not each.is_being_made:
            found.append((each, reason))
    return found


def _reason(held: Held, choice: Choice, broken: Mapping[Path, str]) -> str | None:
    if held.folder in broken:
        return "damaged"
    if held.state is not State.finished:
        return held.state.value if choice.unfinished else None
    if choice.unused and not held.is_used:
        return "its run folders are gone" if held.cells else "no cell entered it"
    return None


def remove(held: Held) -> bool:
    """Remove a folder, unless a process makes it again just now.

    Returns:
        Whether it was removed. A process that was killed here leaves a folder without a manifest.
    """
    lock = _lock(held)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    try:
        (held.folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(held.folder)
    finally:
        lock.release()
    return True


def forget_gone_cells(root: Path) -> int:
    """Remove the entries of cells whose run folders are gone; returns how many."""
    gone = 0
    for path in (root / CELLS).glob("*.json"):
        entry = _read(path)
        if entry is not None and not entry.is_there:
            path.unlink(missing_ok=True)
            gone += 1
    return gone


def _lock(held: Held) -> FileLock:
    return FileLock(held.folder.parent / f"{held.name}.lock")

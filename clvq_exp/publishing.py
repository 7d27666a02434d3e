"""How a run folder gets finished: all files at once, sealed by a manifest, by one process at a time."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from clvq_exp.artifacts import (
    MANIFEST,
    DamagedArtifactError,
    read_json,
    read_sealed,
    remove_temporary_files,
    verify,
    write_manifest,
)
from clvq_exp.storage import storage_errors

WORKING = ".partial"
LOCK = ".lock"
METRICS = "metrics.json"
ADVICE = "free space there, or choose another by hydra.run.dir"

log = logging.getLogger(__name__)


@contextmanager
def run_folder(folder: Path) -> Generator[None]:
    """Hold a run folder: a second process of the same cell waits, and then finds the result.

    Raises:
        StorageError: the folder cannot be made or written.
    """
    with storage_errors("the run folder", folder, ADVICE):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=0.1)
        except Timeout:
            log.info("another process runs this cell; waiting for it")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def publishing(folder: Path, fingerprint: str) -> Generator[Path]:
    """A working folder whose files become those of the run folder, all of them or none.

    Args:
        folder: the run folder. From the first file that is moved to the last it has no manifest, so that what a
            killed process leaves counts as unfinished. Files of an earlier result that are not written again go.
        fingerprint: of the cell.

    Raises:
        StorageError: a full disk or a folder that cannot be written.
    """
    with storage_errors("the run folder", folder, ADVICE):
        working = folder / WORKING
        shutil.rmtree(working, ignore_errors=True)
        remove_temporary_files(folder)
        working.mkdir()
        yield working
        _retire(folder)
        files = [path.relative_to(working) for path in sorted(working.rglob("*")) if path.is_file()]
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (working / name).replace(folder / name)
        write_manifest(folder, {"cell": fingerprint}, [folder / name for name in files])
        shutil.rmtree(working)


def _retire(folder: Path) -> None:
    """Take down an earlier result: first what says that it is one."""
    try:
        earlier = list(read_sealed(folder / MANIFEST)["files"])
    except DamagedArtifactError:
        earlier = []
    (folder / MANIFEST).unlink(missing_ok=True)
    for name in earlier:
        (folder / name).unlink(missing_ok=True)


def finished_metrics(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """The figures of a cell if the run folder holds them already, with every file as it was written.

    Args:
        folder: the run folder.
        fingerprint: of the cell.

    Returns:
        The content of `metrics.json`; None where there is none, where it is of other settings, or where a file is
        damaged, which is warned of.
    """
    if not (folder / MANIFEST).is_file():
        return None
    try:
        made_of = verify(folder)["inputs"]
    except DamagedArtifactError as error:
        log.warning("%s; the result is made again", error)
        return None
    if made_of != {"cell": fingerprint}:
        return None
    metrics: dict[str, Any] = read_json(folder / METRICS)
    return metrics

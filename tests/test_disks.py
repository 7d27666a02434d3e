"""Disks that are full or read-only: one clear error, and nothing half-finished that looks finished."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from running import Call, call, tiny_cell

from clvq_exp.artifacts import CACHE_FORMAT, MANIFEST, verify

pytestmark = pytest.mark.slow

FREE = "free space there, or set CLVQ_EXP_CACHE to a folder that can be written"
CUT_SHORT = "a file could not be written to its end (a full disk, or a limit on file sizes?)"
FREE_RUN = "free space there, or choose another by hydra.run.dir"
Mount = Callable[[str], Path]


@pytest.fixture
def mount(tmp_path: Path) -> Generator[Mount]:
    """Mount a file system in memory with these options, `size=300k` say."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mounted(options: str) -> Path:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        return folder

    yield mounted
    subprocess.run(["umount", str(folder)], capture_output=True, check=False)


@pytest.fixture
def cell(reviews: Path, base_encoder: Path) -> list[str]:
    return tiny_cell(base_encoder, reviews)


def assert_refused(done: Call, *messages: str) -> None:
    """The run stopped with one of these messages."""
    assert done.code == 1
    said = done.out + done.err
    assert any(message in said for message in messages), said[-3000:]
    assert "Traceback" not in said


def assert_unfinished(*folders: Path) -> None:
    """Whatever has a manifest is whole, and no run does."""
    for folder in folders:
        for manifest in folder.rglob(MANIFEST):
            verify(manifest.parent)
            assert "run" not in manifest.parts


@pytest.mark.parametrize("size", [64, 400])
def test_disk_too_small_for_the_activations__is_refused_before_anything_runs(
    tmp_path: Path, mount: Mount, cell: list[str], size: int
) -> None:
    disk = mount(f"size={size}k")
    refused = call(tmp_path, *cell, "hydra.run.dir=run", cache=disk / "cache")
    assert_refused(refused, "the activations alone take")
    assert f"the cache {disk / 'cache'} has" in refused.out + refused.err
    assert not list(disk.rglob(MANIFEST))


@pytest.mark.parametrize("size", [700, 900])
def test_full_disk_under_the_cache__is_said_and_the_next_run_goes_on(
    tmp_path: Path, mount: Mount, cell: list[str], size: int
) -> None:
    disk = mount(f"size={size}k")
    full = call(tmp_path, *cell, "hydra.run.dir=run", cache=disk / "cache")
    refused = f"the cache folder {disk / 'cache'} cannot be written: "
    # torch only says that a checkpoint is not whole
    assert_refused(full, f"{refused}the disk is full; {FREE}", f"{refused}{CUT_SHORT}; {FREE}")
    assert_unfinished(disk, tmp_path / "run")
    subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
    again = call(tmp_path, *cell, "hydra.run.dir=run", cache=disk / "cache")
    assert again.code == 0, again.err[-3000:]
    verify(tmp_path / "run")


def test_full_disk_under_the_run_folder__loses_no_artifact(tmp_path: Path, mount: Mount, cell: list[str]) -> None:
    disk = mount("size=2m")  # less than the report's own scripts take
    full = call(tmp_path, *cell, f"hydra.run.dir={disk / 'run'}")
    assert_refused(full, f"the run folder {disk / 'run'} cannot be written: the disk is full; {FREE_RUN}")
    assert_unfinished(disk)
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob(MANIFEST)}
    assert len(made) > 6
    again = call(tmp_path, *cell, f"hydra.run.dir={tmp_path / 'run'}")
    assert again.code == 0, again.err[-3000:]
    assert {path: path.stat().st_mtime_ns for path in made} == made


def test_limit_on_file_sizes__is_named(tmp_path: Path, cell: list[str]) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    done = call(tmp_path, *cell, "hydra.run.dir=run", before=limit)
    assert_refused(
        done,
        f"the cache folder {tmp_path / 'cache'} cannot be written: a file would grow beyond the limit on file "
        f"sizes (ulimit -f); {FREE}",
    )
    assert_unfinished(tmp_path)


def test_read_only_cache__is_named_and_is_enough_once_it_is_filled(
    tmp_path: Path, mount: Mount, cell: list[str]
) -> None:
    disk = mount("size=200m")
    filled = call(tmp_path, *cell, "hydra.run.dir=run", cache=disk)
    assert filled.code == 0, filled.err[-3000:]
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    other = call(tmp_path, *cell, "hydra.run.dir=other", cache=disk)
    assert other.code == 0, "what is there can be read: nothing has to be written"
    metrics = [(tmp_path / name / "metrics.json").read_bytes() for name in ("run", "other")]
    assert metrics[0] == metrics[1]
    changed = call(tmp_path, *cell, "hydra.run.dir=changed", "quantizer.codebook_size=10", cache=disk)
    assert_refused(changed, f"the cache folder {disk} cannot be written: the file system is read-only; {FREE}")
    assert not (disk / CACHE_FORMAT).with_suffix(".tmp").exists()


def test_read_only_run_folder__is_named(tmp_path: Path, mount: Mount, cell: list[str]) -> None:
    disk = mount("size=2m")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    done = call(tmp_path, *cell, f"hydra.run.dir={disk / 'run'}")
    assert_refused(
        done, f"the run folder {disk / 'run'} cannot be written: the file system is read-only; {FREE_RUN}"
    )
    assert not (tmp_path / "cache").exists(), "it is found before anything runs"

"""Trouble with disks, as Python and libraries in other languages tell of it, becomes one clear error."""

from __future__ import annotations

import errno
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from clvq_exp.storage import StorageError, disk_problem, storage_errors

FULL = "the disk is full"
CUT_SHORT = "a file could not be written to its end (a full disk, or a limit on file sizes?)"
TOO_BIG = "a file would grow beyond the limit on file sizes (ulimit -f)"


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), FULL),
        (OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device"), FULL),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), FULL),
        (OSError(errno.EFBIG, "File too large"), TOO_BIG),
        (RuntimeError("I/O error: File too large (os error 27)"), TOO_BIG),
        (PermissionError(errno.EACCES, "Permission denied", "/data/x"), "no permission to write there"),
        (OSError(errno.EROFS, "Read-only file system"), "the file system is read-only"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk quota is used up"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), None),
        (ValueError("size 28 is not 27"), None),
        (KeyError("x"), None),
    ],
)
def test_disk_problem__is_told_from_number_or_words(error: Exception, problem: str | None) -> None:
    assert disk_problem(error) == problem


def test_disk_problem__is_found_behind_the_error_of_a_library_that_closes_its_file() -> None:
    closing = RuntimeError("the file is not whole")
    closing.__context__ = OSError(errno.ENOSPC, "No space left on device")
    assert disk_problem(closing) == FULL
    assert disk_problem(RuntimeError("the file is not whole")) is None


def test_storage_errors__name_folder_problem_and_advice(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught, storage_errors("the run folder", tmp_path, "free space there"):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "metrics.json"))
    assert str(caught.value) == (
        f"the run folder {tmp_path} cannot be written: the disk is full; free space there"
    )


def test_storage_errors__leave_other_errors_and_other_folders_alone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="seven"), storage_errors("the cache folder", tmp_path, ""):
        raise ValueError("seven")
    moved = OSError(errno.ENOSPC, "No space left on device", "/elsewhere/tmp1", None, str(tmp_path / "a.ckpt"))
    with pytest.raises(StorageError, match="the disk is full"), storage_errors("the cache folder", tmp_path, ""):
        raise moved
    elsewhere = PermissionError(errno.EACCES, "Permission denied", "/elsewhere/train.jsonl")
    with pytest.raises(PermissionError), storage_errors("the cache folder", tmp_path, ""):
        raise elsewhere


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np, torch
import pyarrow as pa, pyarrow.parquet as pq
from safetensors.torch import save_file
from clvq_exp.artifacts import ArtifactCache
from clvq_exp.storage import StorageError

def numbers(out): (out / "a.bin").write_bytes(bytes(1 << 20))
def parquet(out): pq.write_table(pa.table({"a": np.random.default_rng(0).random(200_000)}), out / "a.parquet")
def tensors(out): save_file({"a": torch.rand(200_000)}, out / "a.safetensors")
def checkpoint(out): torch.save({"a": torch.rand(200_000)}, out / "a.ckpt")

cache = ArtifactCache(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
for make in (numbers, parquet, tensors, checkpoint):
    try:
        cache.get_or_make("things", make.__name__, make)
    except StorageError as error:
        print(make.__name__, error)
"""


def test_limit_on_file_sizes__is_one_clear_error_whatever_library_writes(tmp_path: Path) -> None:
    script = tmp_path / "limited.py"
    script.write_text(textwrap.dedent(LIMITED))
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "cache")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    problems = {"numbers": TOO_BIG, "parquet": TOO_BIG, "tensors": TOO_BIG, "checkpoint": CUT_SHORT}
    assert done.stdout.splitlines() == [
        f"{name} the cache folder {tmp_path / 'cache'} cannot be written: {problem}; "
        "free space there, or set CLVQ_EXP_CACHE to a folder that can be written"
        for name, problem in problems.items()
    ]
    assert not [path for path in (tmp_path / "cache" / "things").iterdir() if path.suffix != ".lock"]

"""What goes wrong with disks, told apart from what goes wrong with programs."""

from __future__ import annotations

import errno
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

_PROBLEMS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file would grow beyond the limit on file sizes (ulimit -f)",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "no permission to write there",
    errno.EPERM: "no permission to write there",
    errno.EIO: "the disk reports an input/output error",
    errno.ENOTDIR: "a part of the path is a file",
}
_CUT_SHORT = "a file could not be written to its end (a full disk, or a limit on file sizes?)"
_CUT_SHORT_WORDS = ("iostream error", "unexpected pos", "pytorchstreamwriter failed")
"""All that torch says when it cannot write a checkpoint."""
_WORDS = {
    "no space left on device": errno.ENOSPC,
    "disk quota exceeded": errno.EDQUOT,
    "file too large": errno.EFBIG,
    "read-only file system": errno.EROFS,
    "permission denied": errno.EACCES,
    "input/output error": errno.EIO,
}
_OS_ERROR = re.compile(r"\(os error (\d+)\)|\[errno (\d+)\]|errno:? (\d+)")


class StorageError(RuntimeError):
    """A folder that cannot be written; the message says which, why, and what to do."""


@contextmanager
def storage_errors(what: str, root: Path, advice: str) -> Generator[None]:
    """Turn what libraries raise when a disk is full or read-only into one `StorageError`.

    Args:
        what: names the folder in the message: 'the cache folder', say.
        root: the folder that is written. An error about a file elsewhere passes.
        advice: what to do about it.

    Raises:
        StorageError: in place of an error that is one of the disk; every other error passes.
    """
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        problem = disk_problem(error)
        if problem is None or _is_elsewhere(error, root):
            raise
        raise StorageError(f"{what} {root} cannot be written: {problem}; {advice}") from error


def _is_elsewhere(error: Exception, root: Path) -> bool:
    """Whether the error is about files that all lie outside of the folder: something that is read, say."""
    names = (error.filename, error.filename2) if isinstance(error, OSError) else ()
    here = root.absolute()
    paths = [Path(name).absolute() for name in names if isinstance(name, str)]
    return bool(paths) and not any(path.is_relative_to(here) or here.is_relative_to(path) for path in paths)


def disk_problem(error: BaseException) -> str | None:
    """Which trouble with a disk an error is about, or None.

    Libraries in other languages pass on no `errno`, only its words, and some raise while they close the file that
    could not be written: the errors that one came from are looked at as well.
    """
    for each in _chain(error):
        number = each.errno if isinstance(each, OSError) else None
        number = number if number in _PROBLEMS else _number_in(str(each))
        if number is not None:
            return _PROBLEMS[number]
        if isinstance(each, RuntimeError) and any(words in str(each).lower() for words in _CUT_SHORT_WORDS):
            return _CUT_SHORT
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__


def _number_in(message: str) -> int | None:
    lowered = message.lower()
    found = _OS_ERROR.search(lowered)
    if found:
        number = int(next(group for group in found.groups() if group))
        if number in _PROBLEMS:
            return number
    return next((number for words, number in _WORDS.items() if words in lowered), None)

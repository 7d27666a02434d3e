"""Flat files of rows, read by position: what is in memory is what was asked for.

A memory map would need fewer lines, but every page of it that was touched once counts as the process's own memory,
until the whole file does.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor

from clvq_exp.artifacts import DamagedArtifactError
from clvq_exp.settings import StoreDtype

TORCH_TYPES: dict[StoreDtype, torch.dtype] = {
    StoreDtype.float32: torch.float32,
    StoreDtype.float16: torch.float16,
    StoreDtype.bfloat16: torch.bfloat16,
}

Rows = slice | NDArray[np.int64] | Int64[Tensor, " n"]
"""Which rows: a slice without a step, or numbers in any order, more than once if need be."""


class _Run(NamedTuple):
    """Rows that lie side by side in the file and are wanted one after another."""

    row: int
    start: int
    """Position of the first of them among the wanted rows."""
    end: int


@dataclass(frozen=True)
class RowFile:
    """A file of numbers, `[rows, width]`, that is indexed like a tensor by its first dimension.

    It is opened for each access: other processes can be handed it as it is.
    """

    path: Path
    rows: int
    width: int
    number_format: StoreDtype

    @property
    def dtype(self) -> torch.dtype:
        """Number format of what is read."""
        return TORCH_TYPES[self.number_format]

    @property
    def row_bytes(self) -> int:
        """Size of a row in bytes."""
        return self.width * self.dtype.itemsize

    def __getitem__(self, rows: Rows) -> Tensor:
        """Some rows, `[n, width]`, in the file's number format; rows side by side are read at once.

        Raises:
            IndexError: rows that the file does not have.
            DamagedArtifactError: the file is shorter than its rows.
        """
        runs, n = _runs(rows, self.rows)
        found = torch.empty((n, self.width), dtype=self.dtype)
        if n:
            buffer = found.view(-1).view(torch.uint8).numpy().data  # bytes: numpy has no bfloat16
            size = self.row_bytes
            with self.path.open("rb", buffering=0) as stream:
                for run in runs:
                    stream.seek(run.row * size)
                    self._fill(stream, buffer[run.start * size : run.end * size])
        return found

    def _fill(self, stream: io.FileIO, buffer: memoryview) -> None:
        while len(buffer):
            n = stream.readinto(buffer)
            if not n:
                raise DamagedArtifactError(
                    f"{self.path} ends before its {self.rows} rows of {self.row_bytes} bytes do; delete its "
                    "folder, and it is made again"
                )
            buffer = buffer[n:]


def _runs(rows: Rows, n_rows: int) -> tuple[list[_Run], int]:
    if isinstance(rows, slice):
        start, end, step = rows.indices(n_rows)
        if step != 1:
            raise IndexError(f"rows {rows}: a slice has no step here")
        n = max(0, end - start)
        return [_Run(start, 0, n)], n
    numbers = rows.numpy() if isinstance(rows, Tensor) else rows
    n = len(numbers)
    if not n:
        return [], 0
    if numbers.min() < 0 or numbers.max() >= n_rows:
        raise IndexError(f"rows {numbers.min()} to {numbers.max()} are asked for where there are {n_rows}")
    starts = np.flatnonzero(np.diff(numbers, prepend=-2) != 1)
    ends = np.append(starts[1:], n)
    return [_Run(*each) for each in zip(numbers[starts].tolist(), starts.tolist(), ends.tolist(), strict=True)], n

"""Arrays and tensors of a caller, read as float32 on the CPU a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from clvq_exp.activations.store import BLOCK


class NotebookError(ValueError):
    """Arrays or names that cannot be used as given; the message says what to do."""


class Rows:
    """Activations `[n, d]`: a NumPy array (memory-mapped too), a tensor on any device, or what NumPy makes of it.

    Args:
        values: the activations.
        name: of the argument, for messages.

    Raises:
        NotebookError: another shape, or no real numbers.
    """

    def __init__(self, values: Any, name: str) -> None:
        self.name = name
        self._values = values if isinstance(values, Tensor) else np.asarray(values)
        shape = tuple(int(each) for each in self._values.shape)
        if len(shape) != 2:
            raise NotebookError(
                f"{name} has the shape {list(shape)}: give [n, d], one row for each word. Of [texts, positions, "
                f"d], {name}[mask] takes the real positions, and sentences=torch.where(mask)[0] says whose each is"
            )
        self.n, self.width = shape
        if not self.n or not self.width:
            raise NotebookError(f"{name} has the shape {list(shape)}: there is nothing in it")
        kind = str(self._values.dtype)
        if not any(word in kind for word in ("float", "int")):
            raise NotebookError(f"{name} holds {kind}: give real numbers")

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Float[Tensor, "n d"]:
        """Some rows, copied."""
        found = self._values[rows]
        if isinstance(found, Tensor):
            return found.detach().to("cpu", torch.float32, copy=True).contiguous()
        with np.errstate(over="ignore"):  # what is too large becomes infinite, which `blocks` tells
            return torch.from_numpy(np.array(found, np.float32, order="C"))

    def blocks(self) -> Iterator[tuple[int, Float[Tensor, "n d"]]]:
        """All rows in blocks, each with the number of its first row.

        Raises:
            NotebookError: a value that is not finite in float32.
        """
        for start in range(0, self.n, BLOCK):
            block = self[start : min(start + BLOCK, self.n)]
            finite = block.isfinite().all(1)
            if not bool(finite.all()):
                row = start + int((~finite).nonzero()[0])
                raise NotebookError(
                    f"{self.name} holds a value that is not finite (NaN, or too large for float32), first in row "
                    f"{row}: leave such rows out of every argument, or look at where they come from"
                )
            yield start, block


class Asked:
    """Activations of any leading shape `[..., d]` as rows, and the way back to what the caller has.

    Args:
        activations: an array or a tensor.
        width: d of the concepts.

    Raises:
        NotebookError: another width.
    """

    def __init__(self, activations: Any, width: int) -> None:
        self._is_tensor = isinstance(activations, Tensor)
        values: Any = activations if self._is_tensor else np.asarray(activations)
        shape = tuple(int(each) for each in values.shape)
        if not shape or shape[-1] != width:
            raise NotebookError(
                f"the activations have the shape {list(shape)}, and these concepts are {width} wide: give "
                f"[..., {width}], of the layer that they were fitted to"
            )
        self.leading = shape[:-1]
        self._rows: Any = values.reshape(-1, width)
        self._width = width

    def __len__(self) -> int:
        return len(self._rows)

    def blocks(self) -> Iterator[tuple[slice, Float[Tensor, "n d"]]]:
        """The rows in float32, those of float64 in float64, on the device where they are."""
        for start in range(0, len(self), BLOCK):
            rows = slice(start, min(start + BLOCK, len(self)))
            block: Tensor = self._rows[rows] if self._is_tensor else torch.from_numpy(np.array(self._rows[rows]))
            yield rows, block if block.dtype == torch.float64 else block.float()

    def like_them(self, found: list[Tensor]) -> Any:
        """Changed rows, block by block, in the shape, number format and kind of what was given."""
        changed = torch.cat(found) if found else torch.zeros((0, self._width))
        shaped = changed.reshape(*self.leading, self._width)
        if self._is_tensor:
            return shaped.to(self._rows.dtype) if self._rows.is_floating_point() else shaped
        numbers = shaped.detach().numpy()
        return numbers.astype(self._rows.dtype) if np.issubdtype(self._rows.dtype, np.floating) else numbers

    def told_of_them(self, found: list[Tensor], columns: int | None) -> Any:
        """Something of each row, block by block, in their leading shape; a tensor where a tensor was given."""
        tail = () if columns is None else (columns,)
        told = torch.cat(found) if found else torch.zeros((0, *tail), dtype=torch.int64)
        shaped = told.reshape(*self.leading, *tail)
        return shaped.to(self._rows.device) if self._is_tensor else shaped.cpu().numpy()

    def concepts(self, codes: Any, n_concepts: int, columns: int) -> Int64[Tensor, "n c"]:
        """The concepts that a caller names for each of the rows.

        Args:
            codes: one number for all rows, `[...]` or `[..., c]`.
            n_concepts: K.
            columns: that the method has; where fewer are given, the rest is -1.

        Raises:
            NotebookError: another shape, or a concept that there is not.
        """
        given = torch.as_tensor(codes if isinstance(codes, Tensor) else np.asarray(codes)).detach().cpu()
        if given.is_floating_point() or given.is_complex() or given.dtype == torch.bool:
            raise NotebookError(f"codes holds {given.dtype}: give numbers of concepts")
        given = given.long()
        if not given.dim():
            given = given.expand(self.leading)
        own = given.shape[-1] if given.dim() > len(self.leading) else 1
        if tuple(given.shape) not in (self.leading, (*self.leading, own)) or own > columns:
            raise NotebookError(
                f"codes has the shape {list(given.shape)}: give one concept for each activation, "
                f"{list(self.leading)}, or up to {columns}"
            )
        least, most = (int(given.min()), int(given.max())) if given.numel() else (0, 0)
        if least < -1 or most >= n_concepts:
            raise NotebookError(f"codes holds {least} to {most}: there are the concepts 0 to {n_concepts - 1}")
        return torch.nn.functional.pad(given.reshape(len(self), own), (0, columns - own), value=-1)

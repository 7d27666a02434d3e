"""Memory that was freed, given back to the system."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import pyarrow as pa
import torch


def use_system_allocator() -> None:
    """Have Arrow take its memory from the C library; once, when a run starts.

    Its own allocator keeps what was freed for each of its threads, which `give_back` does not reach.
    """
    pa.set_memory_pool(pa.system_memory_pool())


def give_back(device: torch.device) -> None:
    """Give freed memory back to the system, after a batch on the CPU.

    glibc keeps freed blocks of up to 32 MiB for later. Batches differ in shape, so the next one fits into what the
    last one left only in part, and a process would grow with the number of its batches, for as long as it runs.
    Elsewhere, and for batches on a GPU, there is nothing to do.

    Args:
        device: where the batch was run.
    """
    trim = _malloc_trim()
    if trim is not None and device.type == "cpu":
        trim(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    """glibc's function, or None where the C library is another."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):  # Windows has no library of that kind; macOS and musl no function
        return None

"""What this machine has: how fast it multiplies matrices, how much memory and disk are there."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import torch

from clvq_exp.estimate.records import Rates
from clvq_exp.settings import NumberFormat

MEASURED_SECONDS = 0.5
"""Of each number format: long enough to be steady, and both together take about a second."""
_FIRST_ROWS = 64
_LONG_ENOUGH = 0.02
"""Seconds of one product from which its start does not matter."""
_EACH_TIME = 3
"""Products of one size of which the fastest counts."""
_MOST_ROWS = 4096
_MEMINFO = Path("/proc/meminfo")
_GROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


class Room(NamedTuple):
    """Memory of this machine, in bytes; None where it cannot be told."""

    host: int | None
    """All there is, or all that this process may have."""
    host_free: int | None
    """What could be had now."""
    gpu: int | None = None
    """Of the run's GPU, of several the smallest; of all of them where the model is spread."""
    gpu_free: int | None = None


def device_of(name: str) -> str:
    """The kind of device that a run takes here, `cpu` or `cuda`: a GPU that is not there is the run's to miss."""
    return "cuda" if name.startswith(("auto", "cuda")) and torch.cuda.is_available() else "cpu"


def measure_rates(device: str, width: int, number_format: NumberFormat) -> Rates:
    """Time matrix products of the model's width on the threads that torch would use; a second or two.

    Args:
        device: `cpu` or `cuda`.
        width: d.
        number_format: of the language model.
    """
    training = _flops_per_second(device, width, torch.float32)
    host = None if device == "cpu" else _flops_per_second("cpu", width, torch.float32)
    threads = torch.get_num_threads()
    if number_format is NumberFormat.float32:
        return Rates(training, training, host, threads)
    network = _flops_per_second(device, width, getattr(torch, number_format.value))
    return Rates(network, training, host, threads)


def _flops_per_second(device: str, width: int, dtype: torch.dtype) -> float:
    """The fastest of some products `[rows, d] x [d, 4d]`, more rows as long as they are short.

    The fastest, since one that waits for a thread which another process holds takes fifty times as long, and a run
    outlasts such waits: what it would make of them is no estimate.
    """
    weights = torch.ones((width, 4 * width), dtype=dtype, device=device)
    rows, spent, fastest = _FIRST_ROWS, 0.0, 0.0
    while spent < MEASURED_SECONDS:
        seconds = min(_product(rows, weights) for _ in range(_EACH_TIME))
        fastest = max(fastest, 2 * rows * 4 * width**2 / seconds)
        spent += _EACH_TIME * seconds
        if seconds < _LONG_ENOUGH and rows < _MOST_ROWS:
            rows *= 2
    return fastest


def busy_cores() -> float | None:
    """Cores that were at work in the last minute; None where the system does not tell."""
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):  # Windows has no such call
        return None


def _product(rows: int, weights: torch.Tensor) -> float:
    given = torch.ones((rows, weights.shape[0]), dtype=weights.dtype, device=weights.device)
    start = time.perf_counter()
    result = given @ weights
    if result.device.type == "cuda":
        torch.cuda.synchronize()
    return max(time.perf_counter() - start, 1e-9)


def memory_room(device: str, spread: bool = False, gpus: int = 1) -> Room:
    """How much memory there is.

    Args:
        device: `cpu` or `cuda`.
        spread: over all GPUs (`model.device_map`).
        gpus: that processes of the run have, each one.
    """
    found = _meminfo()
    host, free = found.get("MemTotal"), found.get("MemAvailable")
    if host is None:
        host = free = _pages()
    limit = _group_limit()
    if limit is not None:
        host = limit if host is None else min(host, limit)
        free = limit if free is None else min(free, limit)
    if device != "cuda":
        return Room(host, free)
    there = torch.cuda.device_count()
    each = [torch.cuda.mem_get_info(index) for index in range(there if spread else min(gpus, there))]
    all_or_one = sum if spread else min
    return Room(host, free, all_or_one(whole for _, whole in each), all_or_one(left for left, _ in each))


def _meminfo() -> dict[str, int]:
    """Linux: values of /proc/meminfo in bytes."""
    try:
        lines = _MEMINFO.read_text().splitlines()
    except OSError:
        return {}
    split = (line.split() for line in lines)
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in split if len(words) == 3}


def _pages() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # Windows has no such call
        return None


def _group_limit() -> int | None:
    """What a container may have."""
    try:
        return int(_GROUP_LIMIT.read_text())
    except (OSError, ValueError):  # no such file, or `max`
        return None


def disk_free(folder: Path) -> int | None:
    """Bytes that can be written into a folder that need not be there yet; None where it cannot be told."""
    here = folder.absolute()
    for place in (here, *here.parents):
        if place.is_dir():
            try:
                return shutil.disk_usage(place).free
            except OSError:
                return None
    return None

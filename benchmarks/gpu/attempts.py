"""Seconds and peak memory of steps that may be killed: what an attempt took is on the disk while it goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from clvq_exp.artifacts import read_json, write_json
from clvq_exp.provenance import Steps, peak_memory

_EVERY = 0.5
"""Seconds between two entries: what a kill can lose of the time that was spent."""


class Taken(NamedTuple):
    """What a step took, over all its attempts up to the one that ended it."""

    seconds: float
    processor: float
    """Seconds of all threads of its processes."""
    allocated: int
    """Peak of what torch's tensors took of the card's memory, bytes."""
    reserved: int
    """Peak of what torch kept of it."""
    host: int
    """Peak of the process's resident memory."""
    cuts: int
    """Attempts that did not end it."""
    ended: bool


class WatchedSteps(Steps):
    """Steps whose attempts are entered into a folder as they go on.

    Args:
        folder: of the attempts.
        device: whose memory is meant.
    """

    __slots__ = ("_device", "_folder")  # apart from what goes into the provenance of a run

    def __init__(self, folder: Path, device: Any) -> None:
        super().__init__()
        self._folder = folder
        self._device = device
        folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def step(self, name: str) -> Generator[None]:
        """Measure a step; the card has done all of it when it ends."""
        import torch

        cuda = self._device.type == "cuda"
        if cuda:
            torch.cuda.reset_peak_memory_stats(self._device)
        path = self._folder / f"{name}-{len(list(self._folder.glob(f'{name}-*.json'))):03d}.json"
        begun, processor, done = time.perf_counter(), time.process_time(), threading.Event()

        def enter(ended: bool) -> None:
            write_json(
                path,
                {
                    "seconds": time.perf_counter() - begun,
                    "processor": time.process_time() - processor,
                    "allocated": torch.cuda.max_memory_allocated(self._device) if cuda else 0,
                    "reserved": torch.cuda.max_memory_reserved(self._device) if cuda else 0,
                    "host": peak_memory(),
                    "ended": ended,
                },
            )

        def watch() -> None:
            while not done.wait(_EVERY):
                enter(False)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        ended = False
        try:
            with super().step(name):
                yield
                if cuda:
                    torch.cuda.synchronize(self._device)
            ended = True
        finally:
            done.set()
            watcher.join()
            enter(ended)


def taken(folder: Path, name: str) -> Taken | None:
    """What a step took so far; None where it never began.

    Args:
        folder: of the attempts.
        name: of the step.
    """
    found: list[dict[str, Any]] = []
    for path in sorted(folder.glob(f"{name}-*.json")):
        found.append(read_json(path))
        if found[-1]["ended"]:
            break
    if not found:
        return None
    return Taken(
        sum(each["seconds"] for each in found),
        sum(each["processor"] for each in found),
        *(max(each[kind] for each in found) for kind in ("allocated", "reserved", "host")),
        cuts=sum(not each["ended"] for each in found),
        ended=found[-1]["ended"],
    )

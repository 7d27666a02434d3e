"""How many threads compute."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Generator[None]:
    """Inside, PyTorch computes on one thread.

    For many small steps, a probe's say: sharing one out takes longer than the step itself, and where other
    programs compute too, each thread waits for the others' turn.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

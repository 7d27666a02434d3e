"""Several processes that train one model: which one this is, sums over all of them, how they begin and end."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import pytorch_lightning as pl
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from pytorch_lightning.strategies import ParallelStrategy
from torch import Tensor, nn

from clvq_exp.artifacts import read_json, write_json

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
Rows = TypeVar("Rows")


class RankError(RuntimeError):
    """A process of several that ended before its work did."""


class Ranks(NamedTuple):
    """Which process this is, of how many."""

    rank: int = 0
    world: int = 1

    def share(self, rows: Rows) -> Rows:
        """This process's part of a sequence or array: every row belongs to one process."""
        return rows[self.rank :: self.world] if self.world > 1 else rows  # pyright: ignore[reportIndexIssue]


def ranks() -> Ranks:
    """This process among those that work together; alone where none do."""
    if dist.is_available() and dist.is_initialized():
        return Ranks(dist.get_rank(), dist.get_world_size())
    return Ranks()


def sum_over_ranks(*tensors: Tensor) -> None:
    """Replace each tensor by its sum over all processes."""
    if ranks().world > 1:
        for tensor in tensors:
            dist.all_reduce(tensor)


def gradients_of_own(module: pl.LightningModule) -> AbstractContextManager[None]:
    """Backward passes whose gradients are not summed: processes may have unlike numbers of them."""
    if ranks().world == 1:
        return contextlib.nullcontext()
    return cast(ParallelStrategy, module.trainer.strategy).block_backward_sync()


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its sum over all processes, in one message; a missing one counts as zero."""
    if ranks().world == 1:
        return
    learned = [each for each in parameters if each.requires_grad]
    flat = torch.cat([(torch.zeros_like(each) if each.grad is None else each.grad).flatten() for each in learned])
    dist.all_reduce(flat)
    for each, gradient in zip(learned, flat.split([each.numel() for each in learned]), strict=True):
        each.grad = gradient.view_as(each).clone()


def first_says(value: Any) -> Any:
    """What the first process holds, in every process. For small plain values."""
    if ranks().world == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


def part_company() -> Ranks:
    """Wait for all processes and end what they do together; each goes on, or ends, alone.

    Returns:
        Which process this was.
    """
    was = ranks()
    if was.world > 1:
        dist.barrier()
        dist.destroy_process_group()
    return was


def run_on_ranks(world: int, device_type: str, work: Callable[..., None], *arguments: Any) -> None:
    """Run a function in several new processes of this machine that form one group.

    On GPUs each process has the one of its rank; on CPU they share the cores. They end with this process, however
    that ends.

    Args:
        world: how many.
        device_type: `cpu` (gloo) or `cuda` (nccl).
        work: a function of a module, called with `arguments` in each process.
        arguments: anything that can be pickled.

    Raises:
        RankError: a process was killed, or failed in a way that was not foreseen.
        Exception: what `work` raised, where that is an error of this project.
    """
    threads = max(1, torch.get_num_threads() // world) if device_type == "cpu" else 1
    with tempfile.TemporaryDirectory() as name:
        meeting = _Meeting(Path(name), world, device_type, threads)
        try:
            mp.start_processes(_begin, (meeting, work, arguments), nprocs=world, start_method="spawn")
        except (mp.ProcessRaisedException, mp.ProcessExitedException) as error:
            raise _told(Path(name)) or RankError(_ended(error)) from error


class _Meeting(NamedTuple):
    folder: Path
    world: int
    device_type: str
    threads: int


def _begin(rank: int, meeting: _Meeting, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """A new process, from its first line to its last."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    os.environ.update(LOCAL_RANK=str(rank), NODE_RANK="0")
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all of them are on this machine
    torch.set_num_threads(meeting.threads)
    cuda = meeting.device_type == "cuda"
    if cuda:
        torch.cuda.set_device(rank)
    meeting_point = f"file://{meeting.folder / 'meeting'}"
    dist.init_process_group("nccl" if cuda else "gloo", meeting_point, rank=rank, world_size=meeting.world)
    try:
        work(*arguments)
    except Exception as error:
        kind = type(error)
        note = {"module": kind.__module__, "name": kind.__qualname__, "message": str(error)}
        write_json(meeting.folder / f"error-{rank}.json", note)
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _told(folder: Path) -> Exception | None:
    """The first error that a process left, one of this project as it was raised; later ones are of lost peers."""
    notes = sorted(folder.glob("error-*.json"), key=lambda path: path.stat().st_mtime_ns)
    if not notes:
        return None
    note = read_json(notes[0])
    if note["module"].partition(".")[0] == "clvq_exp":
        kind: type[Exception] = getattr(importlib.import_module(note["module"]), note["name"])
        return kind.__new__(kind, note["message"])  # whatever it is built from, this is what it says
    return RankError(f"a process of several failed: {note['name']}: {note['message']}")


def _ended(error: Exception) -> str:
    """What is known of processes that left no note."""
    signal_name = getattr(error, "signal_name", None)
    if signal_name is None:
        return f"a process of several failed: {error}"
    return (
        f"a process of several was ended by {signal_name} (memory?): the same command goes on behind the last "
        "finished epoch"
    )

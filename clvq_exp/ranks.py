"""Several processes on one piece of work: which one this is, sums over all of them, how they begin and end."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import tempfile
from collections.abc import Callable, Generator, Iterable
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
from clvq_exp.lifetime import end_with_parent

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

    def title(self, what: str) -> str:
        """What this process does, for its progress bar."""
        return f"{what}, process {self.rank + 1} of {self.world}" if self.world > 1 else what


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
    with tempfile.TemporaryDirectory() as name:
        meeting = _Meeting(Path(name), world, device_type, _threads(world, device_type))
        with _errors_of_others(meeting.folder):
            mp.start_processes(_begin_in_group, (meeting, work, arguments), nprocs=world, start_method="spawn")


def share_out(world: int, device_type: str, work: Callable[..., None], *arguments: Any) -> None:
    """Run a function in this process and in new ones beside it, each on its share; they send each other nothing.

    What goes wrong in another process is raised once this one has done its own share.

    Args:
        world: how many processes, with this one, which is the first.
        device_type: `cpu`, where they share the cores, or `cuda`, where each has the GPU of its rank.
        work: a function of a module, called with its process's `Ranks` and `arguments`.
        arguments: anything that can be pickled.

    Raises:
        RankError: a process was killed, or failed in a way that was not foreseen.
        Exception: what `work` raised, where that is an error of this project.
    """
    threads, before = _threads(world, device_type), torch.get_num_threads()
    with tempfile.TemporaryDirectory() as name:
        meeting = _Meeting(Path(name), world, device_type, threads)
        with _errors_of_others(meeting.folder):
            others: Any = mp.start_processes(
                _begin_beside, (meeting, work, arguments), nprocs=world - 1, join=False, start_method="spawn"
            )
            torch.set_num_threads(threads)
            try:
                work(Ranks(0, world), *arguments)
                while not others.join():
                    pass
            finally:
                torch.set_num_threads(before)
                for process in others.processes:
                    process.kill()
                    process.join()


class _Meeting(NamedTuple):
    folder: Path
    world: int
    device_type: str
    threads: int


def _threads(world: int, device_type: str) -> int:
    """Of each process."""
    return max(1, torch.get_num_threads() // world) if device_type == "cpu" else 1


def _begin_in_group(rank: int, meeting: _Meeting, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """A new process of a group, from its first line to its last."""
    _settle_in(rank, meeting)
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all of them are on this machine
    backend = "nccl" if meeting.device_type == "cuda" else "gloo"
    place = f"file://{meeting.folder / 'meeting'}"
    dist.init_process_group(backend, place, rank=rank, world_size=meeting.world)
    try:
        with _errors_left(rank, meeting):
            work(*arguments)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _begin_beside(index: int, meeting: _Meeting, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """A new process beside the first."""
    rank = index + 1
    _settle_in(rank, meeting)
    with _errors_left(rank, meeting):
        work(Ranks(rank, meeting.world), *arguments)


def _settle_in(rank: int, meeting: _Meeting) -> None:
    """End with the first process; take this rank's threads and GPU."""
    end_with_parent()
    os.environ.update(LOCAL_RANK=str(rank), NODE_RANK="0")
    torch.set_num_threads(meeting.threads)
    if meeting.device_type == "cuda":
        torch.cuda.set_device(rank)


@contextlib.contextmanager
def _errors_left(rank: int, meeting: _Meeting) -> Generator[None]:
    """An error leaves a note for the first process."""
    try:
        yield
    except Exception as error:
        kind = type(error)
        note = {"module": kind.__module__, "name": kind.__qualname__, "message": str(error)}
        write_json(meeting.folder / f"error-{rank}.json", note)
        raise


@contextlib.contextmanager
def _errors_of_others(folder: Path) -> Generator[None]:
    """What another process raised is raised here."""
    try:
        yield
    except (mp.ProcessRaisedException, mp.ProcessExitedException) as error:
        raise _told(folder) or RankError(_ended(error)) from error


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
        "finished epoch or part"
    )

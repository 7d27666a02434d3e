"""Work that goes on behind its caller: in order, in one thread, and never more than a step behind."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import ParamSpec

_P = ParamSpec("_P")


class Behind:
    """One thread that does a step while the caller prepares the next.

    Writing and waiting for a disk cost the caller next to nothing while it multiplies matrices. What is given
    holds memory until it is done, so the caller waits for the step before.

    A step that fails is the last one: its error is raised by the next call, at the latest when the block is left.
    An error of the block itself goes first; the step given before it is done.
    """

    def __init__(self) -> None:
        self._open: Future[object] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="behind")

    def give(self, step: Callable[_P, object], *args: _P.args, **kwargs: _P.kwargs) -> None:
        """Have a step done once the one before is done.

        Raises:
            Exception: what the step before raised; the new one is not done then.
        """
        if self._open is not None:
            self._open.result()
        self._open = self._thread.submit(step, *args, **kwargs)

    def __enter__(self) -> Behind:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
        if kind is None and self._open is not None:
            self._open.result()

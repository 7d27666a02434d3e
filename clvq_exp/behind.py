"""Work that goes on behind its caller: in order, in one thread, and never far behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import ParamSpec

_P = ParamSpec("_P")


class Behind:
    """One thread that does steps in the order in which they were given, while the caller computes.

    Writing and waiting for a disk cost the caller next to nothing while it multiplies matrices. What is given
    holds memory until it is done, so the caller waits once `most` steps are open.

    A step that fails is the last one: none after it is done, and its error is raised by the next call, at the
    latest when the block is left. An error of the block itself goes first; the steps given before it are done.

    Args:
        most: steps that may be open, at least 1.
    """

    def __init__(self, most: int) -> None:
        if most < 1:
            raise ValueError(f"most={most}: at least one step has to be open for anything to be done")
        self._most = most
        self._open: deque[Future[None]] = deque()
        self._failed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="behind")

    def give(self, step: Callable[_P, object], *args: _P.args, **kwargs: _P.kwargs) -> None:
        """Have a step done after all that were given before.

        Raises:
            Exception: what an earlier step raised.
        """
        while self._open and (len(self._open) >= self._most or self._open[0].done()):
            self._open.popleft().result()
        self._open.append(self._thread.submit(self._do, lambda: step(*args, **kwargs)))

    def __enter__(self) -> Behind:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
        if kind is None:
            for step in self._open:
                step.result()

    def _do(self, step: Callable[[], object]) -> None:
        if self._failed:
            return
        try:
            step()
        except BaseException:
            self._failed = True
            raise

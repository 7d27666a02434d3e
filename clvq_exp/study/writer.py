"""One thread that writes answers: those that wait together are flushed to the disk together."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue

from clvq_exp.study.answers import Answer, connect, record

_MOST = 256
"""Answers of one transaction."""

_Job = tuple[Answer, "Future[bool]"]


class AnswerWriter:
    """Takes answers from any thread, and says of each when it is safe.

    A flush to the disk takes some milliseconds, whatever it holds: with one for every answer, annotators would
    wait for each other.

    Args:
        path: the file of the study's answers.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="answers", daemon=True)
        self._thread.start()

    def submit(self, answer: Answer) -> Future[bool]:
        """Hand an answer over.

        Returns:
            Done when the answer is on the disk: whether it was new (see `record`), or why it could not be kept.
        """
        future: Future[bool] = Future()
        self._jobs.put((answer, future))
        return future

    def close(self) -> None:
        """Write what waits, and end."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        connection = connect(self._path)
        try:
            while (first := self._jobs.get()) is not None:
                jobs = [first]
                ended = False
                while len(jobs) < _MOST and not self._jobs.empty():
                    following = self._jobs.get()
                    if following is None:
                        ended = True
                        break
                    jobs.append(following)
                _write(connection, jobs)
                if ended:
                    return
        finally:
            connection.close()


def _write(connection: sqlite3.Connection, jobs: list[_Job]) -> None:
    """Write answers in one transaction; no future is done before its end."""
    results: list[bool | sqlite3.Error] = []
    try:
        connection.execute("BEGIN IMMEDIATE")
        for answer, _ in jobs:
            try:
                results.append(record(connection, answer))
            except sqlite3.IntegrityError as error:  # this one alone is undone
                results.append(error)
        connection.execute("COMMIT")
    except sqlite3.Error as error:  # a full disk: nothing of this transaction is kept
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        results = [error] * len(jobs)
    for (_, future), result in zip(jobs, results, strict=True):
        if isinstance(result, bool):
            future.set_result(result)
        else:
            future.set_exception(result)

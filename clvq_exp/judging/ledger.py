"""Every answer and every call on the disk, as soon as it is known: SQLite with a write-ahead log.

`answers` is a cache over all evaluations, by the hash of what was asked. `calls` says what each evaluation paid
for: a call is entered before it is made, at the most that it can cost, and that is what a killed process leaves
behind. So a budget holds over kills, and an answer and its cost are there together or not at all.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from clvq_exp.artifacts import cache_root

FOLDER = "judge_answers"
"""Of the cache."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, text TEXT NOT NULL, refused INTEGER NOT NULL, model TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, estimated INTEGER NOT NULL,
    cost REAL NOT NULL, made REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY, evaluation TEXT NOT NULL, key TEXT NOT NULL, judge TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'answered', 'failed')), cost REAL NOT NULL,
    prompt_tokens INTEGER NOT NULL DEFAULT 0, completion_tokens INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '', began REAL NOT NULL, seconds REAL NOT NULL DEFAULT 0) STRICT;
CREATE INDEX IF NOT EXISTS calls_of_evaluations ON calls (evaluation);
"""
_BUSY = 60_000
"""Milliseconds that another process may hold the file."""


class Answer(NamedTuple):
    """What a judge said."""

    text: str
    """As it was said; where it was refused, the endpoint's reason."""
    refused: bool
    """The endpoint refuses to have this asked (400, 413, 422, 451)."""
    model: str
    """As the endpoint names itself."""
    prompt_tokens: int
    completion_tokens: int
    estimated: bool
    """The endpoint did not count its tokens: they are taken at their upper bound."""
    cost: float
    """Dollars."""


class Spent(NamedTuple):
    """What the calls of an evaluation come to."""

    calls: int
    answered: int
    failed: int
    unknown: int
    """Calls that no end is known of: those under way, and those of killed processes."""
    prompt_tokens: int
    completion_tokens: int
    cost: float
    """Dollars; calls without a known end at the most that they can cost."""


def question_key(asked: Mapping[str, Any]) -> str:
    """The name of exactly this request: SHA-256 of its canonical JSON."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


class Ledger:
    """The store of answers and calls; safe to use from several threads and processes.

    Args:
        folder: where it lies; in the cache where None. Made where missing, for its owner alone.
        evaluation: whose calls are entered.
    """

    def __init__(self, evaluation: str, folder: Path | None = None) -> None:
        place = cache_root() / FOLDER if folder is None else folder
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = place / "answers.sqlite"
        path.touch(mode=0o600)
        self.evaluation = evaluation
        self._lock = threading.RLock()
        self._file = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._file.execute(f"PRAGMA busy_timeout = {_BUSY}")
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute("PRAGMA synchronous = FULL")
        self._file.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    def answer(self, key: str) -> Answer | None:
        """The answer to a request, whichever evaluation asked for it."""
        with self._lock:
            row = self._file.execute(
                "SELECT text, refused, model, prompt_tokens, completion_tokens, estimated, cost FROM answers "
                "WHERE key = ?",
                (key,),
            ).fetchone()
        return None if row is None else Answer(row[0], bool(row[1]), row[2], row[3], row[4], bool(row[5]), row[6])

    def begin(self, key: str, judge: str, reserved: float, budget: float | None) -> int | None:
        """Enter a call before it is made.

        Args:
            key: of the request.
            judge: its name.
            reserved: dollars that it can cost at most.
            budget: dollars that the evaluation may cost.

        Returns:
            Its number; None where it does not fit into the budget any more, and nothing was entered.
        """
        with self._lock, self._transaction():
            if budget is not None and self._cost() + reserved > budget + 1e-12:
                return None
            entered = self._file.execute(
                "INSERT INTO calls (evaluation, key, judge, state, cost, began) VALUES (?, ?, ?, 'open', ?, ?)",
                (self.evaluation, key, judge, reserved, time.time()),
            )
            return entered.lastrowid

    def end(self, call: int, key: str, answer: Answer) -> None:
        """A call brought an answer: both are kept at once."""
        with self._lock, self._transaction():
            self._file.execute(
                "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    key,
                    answer.text,
                    int(answer.refused),
                    answer.model,
                    answer.prompt_tokens,
                    answer.completion_tokens,
                    int(answer.estimated),
                    answer.cost,
                    time.time(),
                ),
            )
            self._file.execute(
                "UPDATE calls SET state = 'answered', cost = ?, prompt_tokens = ?, completion_tokens = ?, "
                "seconds = ? - began WHERE id = ? AND state = 'open'",
                (answer.cost, answer.prompt_tokens, answer.completion_tokens, time.time(), call),
            )

    def fail(self, call: int, reason: str, charged: bool) -> None:
        """A call brought nothing.

        Args:
            call: its number.
            reason: why.
            charged: whether the endpoint may charge for it all the same: it then counts at the most it can cost.
        """
        with self._lock, self._transaction():
            self._file.execute(
                "UPDATE calls SET state = 'failed', reason = ?, cost = CASE WHEN ? THEN cost ELSE 0 END, "
                "seconds = ? - began WHERE id = ? AND state = 'open'",
                (reason, int(charged), time.time(), call),
            )

    def forget(self, keys: Iterable[str]) -> None:
        """Forget that requests were refused, so that they are made again."""
        with self._lock, self._transaction():
            self._file.executemany("DELETE FROM answers WHERE key = ? AND refused = 1", [(key,) for key in keys])

    def spent(self) -> Spent:
        """What the evaluation came to so far, over all processes that worked on it."""
        with self._lock:
            row = self._file.execute(
                "SELECT count(*), total(state = 'answered'), total(state = 'failed'), total(state = 'open'), "
                "total(prompt_tokens), total(completion_tokens), total(cost) FROM calls WHERE evaluation = ?",
                (self.evaluation,),
            ).fetchone()
        calls, answered, failed, unknown, prompt, completion = (int(each) for each in row[:6])
        return Spent(calls, answered, failed, unknown, prompt, completion, float(row[6]))

    def _cost(self) -> float:
        row = self._file.execute("SELECT total(cost) FROM calls WHERE evaluation = ?", (self.evaluation,))
        return float(row.fetchone()[0])

    def _transaction(self) -> _Transaction:
        return _Transaction(self._file)


class _Transaction:
    """All of it or nothing; other processes wait from its beginning."""

    def __init__(self, file: sqlite3.Connection) -> None:
        self._file = file

    def __enter__(self) -> None:
        self._file.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        self._file.execute("COMMIT" if kind is None else "ROLLBACK")

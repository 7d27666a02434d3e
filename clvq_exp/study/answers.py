"""Annotators, orders and answers: one SQLite file with a write-ahead log, so that a kill loses no answer."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from clvq_exp.study.design import HIGHEST, LOWEST, StudyError

FORMAT_VERSION = 1
_PATIENCE = 30.0
"""Seconds that a process waits for another one that writes."""
_SCHEMA = f"""
CREATE TABLE study (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  format_version INTEGER NOT NULL,
  design TEXT NOT NULL,  -- fingerprint of the design that the items are of
  form_key BLOB NOT NULL  -- signs the forms, so that nobody else's page can send one
);
CREATE TABLE annotators (
  annotator INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  secret_hash BLOB NOT NULL UNIQUE
);
CREATE TABLE orders (
  annotator INTEGER NOT NULL REFERENCES annotators,
  place INTEGER NOT NULL CHECK (place >= 0),
  item INTEGER NOT NULL CHECK (item >= 0),
  PRIMARY KEY (annotator, place),
  UNIQUE (annotator, item)
) WITHOUT ROWID;
CREATE TABLE answers (
  annotator INTEGER NOT NULL,
  place INTEGER NOT NULL,
  label INTEGER NOT NULL CHECK (label >= 0),
  confidence INTEGER NOT NULL CHECK (confidence BETWEEN {LOWEST} AND {HIGHEST}),
  seconds REAL NOT NULL CHECK (seconds >= 0),  -- from the page to the answer
  answered_at TEXT NOT NULL,  -- UTC, ISO 8601
  PRIMARY KEY (annotator, place),
  FOREIGN KEY (annotator, place) REFERENCES orders
) WITHOUT ROWID;
"""
_NEXT = "(SELECT count(*) FROM answers WHERE annotator = :annotator)"
_RECORD = f"""
INSERT INTO answers (annotator, place, label, confidence, seconds, answered_at)
SELECT :annotator, :place, :label, :confidence, :seconds, :answered_at WHERE {_NEXT} = :place
ON CONFLICT DO NOTHING
"""


class Annotator(NamedTuple):
    """Who answers."""

    annotator: int
    """Number in the file."""
    name: str


class Entrant(NamedTuple):
    """An annotator who is let in."""

    name: str
    secret_hash: bytes
    order: Sequence[int]
    """Item at each place."""


class Answer(NamedTuple):
    """One answer, on its way into the file."""

    annotator: int
    place: int
    label: int
    confidence: int
    seconds: float
    answered_at: str


class Rating(NamedTuple):
    """One answer, as it is scored."""

    annotator: str
    place: int
    item: int
    label: int
    confidence: int
    seconds: float
    answered_at: str


def create(path: Path, design: str) -> None:
    """Make the file of a new study, readable by its owner alone.

    Args:
        path: of a file that is not there.
        design: fingerprint of the study's design.
    """
    path.touch(mode=0o600, exist_ok=False)
    with connected(path) as connection, writing(connection):
        for statement in _SCHEMA.split(";\n"):
            connection.execute(statement)
        key = secrets.token_bytes(32)
        connection.execute("INSERT INTO study VALUES (1, ?, ?, ?)", (FORMAT_VERSION, design, key))


def connect(path: Path) -> sqlite3.Connection:
    """Open the file of a study. Every statement is a transaction unless `writing` holds several together.

    Raises:
        StudyError: there is no such file.
    """
    if not path.is_file():
        raise StudyError(f"{path} is missing: the study has lost its answers, or is no study")
    connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # an answer is on the disk before its page is answered
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


@contextmanager
def connected(path: Path) -> Generator[sqlite3.Connection]:
    """Open the file of a study for a while."""
    connection = connect(path)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def writing(connection: sqlite3.Connection) -> Generator[None]:
    """All statements inside, or none of them."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def check(connection: sqlite3.Connection, path: Path, design: str) -> bytes:
    """See that the answers are those of a design.

    Returns:
        The key by which forms are signed.

    Raises:
        StudyError: they are of another one, of another version, or not there.
    """
    try:
        version, found, key = connection.execute("SELECT format_version, design, form_key FROM study").fetchone()
    except (sqlite3.DatabaseError, TypeError) as error:
        raise StudyError(f"{path} does not hold the answers of a study: {error}") from error
    if version != FORMAT_VERSION:
        raise StudyError(f"{path} has format {version}, and this version reads format {FORMAT_VERSION}")
    if found != design:
        raise StudyError(
            f"{path} holds the answers of another study: its study.json is not the one they were given to"
        )
    return key


def let_in(connection: sqlite3.Connection, entrants: Sequence[Entrant]) -> None:
    """Enter annotators with their orders; inside `writing`."""
    for each in entrants:
        added = connection.execute(
            "INSERT INTO annotators (name, secret_hash) VALUES (?, ?)", (each.name, each.secret_hash)
        )
        rows = [(added.lastrowid, place, item) for place, item in enumerate(each.order)]
        connection.executemany("INSERT INTO orders VALUES (?, ?, ?)", rows)


def replace_secret(connection: sqlite3.Connection, name: str, secret_hash: bytes) -> bool:
    """Give an annotator another secret: the link before leads nowhere any more; returns whether there is one."""
    changed = connection.execute("UPDATE annotators SET secret_hash = ? WHERE name = ?", (secret_hash, name))
    return changed.rowcount == 1


def annotators(connection: sqlite3.Connection) -> list[Annotator]:
    """All of them, in the order in which they were let in."""
    rows = connection.execute("SELECT annotator, name FROM annotators ORDER BY annotator")
    return [Annotator(*row) for row in rows]


def find(connection: sqlite3.Connection, secret_hash: bytes) -> Annotator | None:
    """The annotator of a secret."""
    row = connection.execute(
        "SELECT annotator, name FROM annotators WHERE secret_hash = ?", (secret_hash,)
    ).fetchone()
    return None if row is None else Annotator(*row)


def answered(connection: sqlite3.Connection, annotator: int) -> int:
    """How many items an annotator has answered: as answers come in order, the place of the next one."""
    return int(connection.execute(f"SELECT {_NEXT}", {"annotator": annotator}).fetchone()[0])


def item_at(connection: sqlite3.Connection, annotator: int, place: int) -> int | None:
    """The item at a place of an annotator's order."""
    row = connection.execute(
        "SELECT item FROM orders WHERE annotator = ? AND place = ?", (annotator, place)
    ).fetchone()
    return None if row is None else int(row[0])


def record(connection: sqlite3.Connection, answer: Answer) -> bool:
    """Keep an answer.

    Returns:
        Whether it was new. An answer stands as it was first given: what comes for its place again, or for a place
        that is not the next one, changes nothing.

    Raises:
        sqlite3.IntegrityError: a place or a confidence that there is none of.
    """
    return connection.execute(_RECORD, answer._asdict()).rowcount == 1


def ratings(connection: sqlite3.Connection) -> list[Rating]:
    """All answers, annotator by annotator in the order in which they were given."""
    rows = connection.execute(
        "SELECT name, place, item, label, confidence, seconds, answered_at FROM answers "
        "JOIN orders USING (annotator, place) JOIN annotators USING (annotator) ORDER BY annotator, place"
    )
    return [Rating(*row) for row in rows]

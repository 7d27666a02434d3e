"""From a file to raw rows: how it is packed, how its rows are written, what a row holds.

Files are read as a stream of bytes and decoded line by line, so that a wrong encoding can be named by the
byte where it begins. JSONL rows are counted as lines, CSV and TSV rows as a spreadsheet counts them: the
header is row 1.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import hashlib
import json
import lzma
import sys
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO, Any, NamedTuple

from clvq_exp.artifacts import file_checksum
from clvq_exp.settings import DatasetSettings

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
PACKINGS = (".gz", ".bz2", ".xz")
DAMAGE = (OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile)
"""What Python raises where a file cannot be opened or its packing is damaged."""


class TextsError(ValueError):
    """Texts that cannot be found or used; the message says what, where and which key to change."""


class RawRow(NamedTuple):
    """One row, or why there is none."""

    number: int
    """Line of a JSONL file, row of a spreadsheet; from 1."""
    values: dict[str, Any]
    problem: str | None = None


@dataclass(frozen=True)
class RowSource(ABC):
    """Where the rows of one part of a data set are, and how they are read."""

    settings: DatasetSettings

    @property
    @abstractmethod
    def place(self) -> str:
        """What messages call it: a path, say."""

    @property
    def row_word(self) -> str:
        """What the number of a row counts."""
        return "row"

    @abstractmethod
    def rows(self) -> Iterator[RawRow]:
        """Read row by row, each value as it is written.

        Yields:
            Rows in order. A row that cannot be read carries its problem; blank rows are passed over.

        Raises:
            TextsError: if the source as a whole cannot be read.
        """

    def checksum(self) -> str:
        """SHA-256 of what is read here: of all rows, unless a source has something shorter."""
        digest = hashlib.sha256()
        for row in self.rows():
            digest.update(json.dumps(row, sort_keys=True, default=repr).encode())
        return digest.hexdigest()


class Source(NamedTuple):
    """The parts of a data set."""

    train: RowSource
    dev: RowSource | None
    """None: dev is drawn from `train`."""


class Form(Enum):
    """How the rows of a text file are written."""

    jsonl = "jsonl"
    csv = "csv"
    tsv = "tsv"


@dataclass(frozen=True)
class DataFile(RowSource):
    """One JSONL, CSV or TSV file."""

    path: Path
    form: Form

    @property
    def place(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def row_word(self) -> str:
        """Lines of JSONL, rows of a spreadsheet."""
        return "line" if self.form is Form.jsonl else "row"

    def rows(self) -> Iterator[RawRow]:
        """See `RowSource.rows`; a file is refused that is not UTF-8 or has no usable header."""
        settings = self.settings
        with text_lines(settings, self.place, open_packed(self.path)) as lines:
            if self.form is Form.jsonl:
                yield from json_rows(lines)
                return
            delimiter = "\t" if self.form is Form.tsv else ","
            cells = table_cells(settings, self.place, lines, delimiter)
            header = next(cells, None)
            if header is not None:
                check_columns(settings, self.place, header[1], "its first row must name the columns and names")
                yield from named_cells(header[1], cells)

    def checksum(self) -> str:
        """SHA-256 of the file, and how it is read."""
        return f"{self.form.value} {file_checksum(self.path)}"


@contextmanager
def open_packed(path: Path) -> Generator[IO[bytes]]:
    """Open a file for reading; its last ending says whether it is packed."""
    packings = {".gz": gzip.open, ".tgz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    opening: Any = packings.get(path.suffix.lower(), open)
    with opening(path, "rb") as stream:
        yield stream


@contextmanager
def text_lines(
    settings: DatasetSettings, place: str, opened: AbstractContextManager[Iterable[bytes]]
) -> Generator[Iterator[str]]:
    """The lines of a stream of UTF-8; damage becomes a `TextsError` that names the place."""
    try:
        with opened as stream:
            yield _decoded(settings, place, stream)
    except DAMAGE as error:
        raise TextsError(f"dataset {settings.name}: {place} cannot be read: {error}") from error


def _decoded(settings: DatasetSettings, place: str, stream: Iterable[bytes]) -> Iterator[str]:
    offset = 0
    for line in stream:
        mark = len(BYTE_ORDER_MARK) if offset == 0 and line.startswith(BYTE_ORDER_MARK) else 0
        try:
            yield line[mark:].decode("utf-8")
        except UnicodeDecodeError as error:
            where = offset + mark + error.start
            unpacked = " of its unpacked content" if place.lower().endswith((*PACKINGS, ".zip")) else ""
            raise TextsError(
                f"dataset {settings.name}: {place} is not UTF-8: byte {where}{unpacked} "
                f"(0x{error.object[error.start]:02x}) cannot be decoded; convert the file to UTF-8, "
                f"or give another as dataset.path"
            ) from error
        offset += len(line)


def json_rows(lines: Iterable[str]) -> Iterator[RawRow]:
    """JSON objects, one a line."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values: object = json.loads(line.rstrip())
        except json.JSONDecodeError as error:
            yield RawRow(number, {}, f"broken JSON at character {error.colno}: {error.msg}")
        except (ValueError, RecursionError) as error:
            yield RawRow(number, {}, f"broken JSON: {error}")
        else:
            if isinstance(values, dict):
                yield RawRow(number, values)
            else:
                yield RawRow(number, {}, f"{shown(values)} is no JSON object")


def table_cells(
    settings: DatasetSettings, place: str, lines: Iterable[str], delimiter: str
) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row of a table that is not blank, with the row's number from 1."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    number = 0
    while True:
        number += 1
        try:
            with _no_field_limit():
                cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise TextsError(
                f"dataset {settings.name}: {place}, row {number} (to line {reader.line_num}): {error}; "
                f'a cell with a quote must be quoted and its quotes doubled, as in "say ""no""": '
                f"write the file again, as JSONL perhaps, or give another as dataset.path"
            ) from error
        if cells:
            yield number, cells


def named_cells(header: list[str], rows: Iterable[tuple[int, list[str]]]) -> Iterator[RawRow]:
    """Rows of a table, their cells named by its header."""
    for number, cells in rows:
        if len(cells) != len(header):
            yield RawRow(number, {}, f"{len(cells)} cells where the header has {len(header)}")
        else:
            yield RawRow(number, dict(zip(header, cells, strict=True)))


def check_columns(settings: DatasetSettings, place: str, there: list[str], said: str) -> None:
    """Refuse a table without one column of texts and one of labels.

    Args:
        settings: the names of both.
        place: what messages call the table.
        there: the names of its columns.
        said: what comes before them in the message.

    Raises:
        TextsError: names the key to change.
    """
    for key, column in (("text_column", settings.text_column), ("label_column", settings.label_column)):
        if there.count(column) != 1:
            wrong = "no column" if column not in there else "more than one column"
            raise TextsError(
                f"dataset {settings.name}: {place} has {wrong} {column!r} (dataset.{key}); {said} "
                f"{', '.join(shown(name) for name in there)}: set dataset.{key} to one of them"
            )


@contextmanager
def _no_field_limit() -> Generator[None]:
    """Let cells be of any length; the limit belongs to the whole process, so it is put back at once."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def shown(value: object, limit: int = 60) -> str:
    """A value as messages show it: quoted, JSON's words for JSON's values, cut when long."""
    text = json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."

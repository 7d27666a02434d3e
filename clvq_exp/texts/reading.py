"""From a source to raw rows: where the files are, how they are packed, what a row holds.

Files are read as a stream of bytes and decoded line by line, so that a wrong encoding can be named by the
byte where it begins. JSONL rows are counted as lines, CSV and TSV rows as a spreadsheet counts them: the
header is row 1.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import importlib.metadata
import io
import json
import lzma
import sys
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from clvq_exp.settings import DatasetSettings

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
DEV_STEMS = ("dev", "validation", "val", "test")
"""Names under which a folder's dev file is looked for, the first that is there wins."""
PACKAGES_COMMAND = "pip install --no-deps -r assets.txt"


class TextsError(ValueError):
    """Texts that cannot be found or used; the message says what, where and which key to change."""


class Form(Enum):
    """How rows are written."""

    jsonl = "jsonl"
    csv = "csv"
    tsv = "tsv"


class DataFile(NamedTuple):
    """One file of rows."""

    path: Path
    form: Form

    @property
    def row_word(self) -> str:
        """What the number of a row counts."""
        return "line" if self.form is Form.jsonl else "row"


class Source(NamedTuple):
    """The files of a data set."""

    train: DataFile
    dev: DataFile | None
    """None: dev is drawn from `train`."""


class RawRow(NamedTuple):
    """One row, or why there is none."""

    number: int
    """Line of a JSONL file, row of a spreadsheet; from 1."""
    values: dict[str, Any]
    problem: str | None = None


FORMS = {".jsonl": Form.jsonl, ".ndjson": Form.jsonl, ".csv": Form.csv, ".tsv": Form.tsv}
PACKINGS = (".gz", ".bz2", ".xz")
KNOWN_ENDINGS = ", ".join(FORMS) + ", each also with " + ", ".join(PACKINGS)


def find_source(settings: DatasetSettings) -> Source:
    """Find the files of a data set.

    Args:
        settings: `path` wins over `package` and `package_file`.

    Returns:
        The training file and, where there is one, the dev file.

    Raises:
        TextsError: if nothing is there, with the key to give.
    """
    if settings.path:
        return _from_path(settings, Path(settings.path).expanduser())
    if settings.package:
        return _from_package(settings, settings.package)
    raise TextsError(
        f"dataset {settings.name} has no file here: give dataset.path=...; "
        f"what belongs there: {settings.what_belongs_there}"
    )


def _from_path(settings: DatasetSettings, path: Path) -> Source:
    if path.is_dir():
        return _from_folder(settings, path)
    if not path.exists():
        raise TextsError(
            f"dataset {settings.name}: dataset.path={path} does not exist (looked for {path.absolute()}); "
            f"what belongs there: {settings.what_belongs_there}"
        )
    return Source(_known_file(settings, path), None)


def _from_package(settings: DatasetSettings, package: str) -> Source:
    otherwise = f"or give dataset.path=...; what belongs there: {settings.what_belongs_there}"
    if not settings.package_file:
        raise TextsError(
            f"dataset {settings.name}: dataset.package={package} needs dataset.package_file, "
            f"the file inside that package; {otherwise}"
        )
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise TextsError(
            f"dataset {settings.name}: the package {package} is not installed: {PACKAGES_COMMAND}, {otherwise}"
        ) from error
    path = Path(str(distribution.locate_file(settings.package_file)))
    if not path.is_file():
        raise TextsError(
            f"dataset {settings.name}: {package} {distribution.version} is installed, but has no file "
            f"{settings.package_file} (dataset.package_file): {PACKAGES_COMMAND}, {otherwise}"
        )
    return Source(_known_file(settings, path), None)


def _from_folder(settings: DatasetSettings, folder: Path) -> Source:
    found: dict[str, list[DataFile]] = {}
    for path in sorted(folder.iterdir()):
        stem, form = _stem_and_form(path)
        if form is not None and path.is_file():
            found.setdefault(stem, []).append(DataFile(path, form))
    dev_stem = next((stem for stem in DEV_STEMS if stem in found), None)
    wanted = [found.get(stem, []) for stem in ("train", dev_stem) if stem is not None]
    if any(len(files) != 1 for files in wanted):
        names = ", ".join(path.name for path in sorted(folder.iterdir())) or "nothing"
        raise TextsError(
            f"dataset {settings.name}: the folder {folder} (dataset.path) must hold one train.* and "
            f"at most one dev.* (or else validation.*, val.*, test.*), written as {KNOWN_ENDINGS}; "
            f"found: {names}. Take the others out, or give one file as dataset.path"
        )
    return Source(wanted[0][0], wanted[1][0] if len(wanted) > 1 else None)


def _known_file(settings: DatasetSettings, path: Path) -> DataFile:
    form = _stem_and_form(path)[1]
    if form is None:
        raise TextsError(
            f"dataset {settings.name}: {path} (dataset.path) is of no known form; "
            f"its name must end with {KNOWN_ENDINGS}"
        )
    return DataFile(path, form)


def _stem_and_form(path: Path) -> tuple[str, Form | None]:
    name = Path(path.name.lower())
    if name.suffix in PACKINGS:
        name = name.with_suffix("")
    return name.stem, FORMS.get(name.suffix)


def read_rows(settings: DatasetSettings, file: DataFile) -> Iterator[RawRow]:
    """Read one file row by row, each value as it is written.

    Args:
        settings: names the data set and its columns in messages.
        file: what to read.

    Yields:
        Rows in order. A row that cannot be read carries its problem; blank rows are passed over.

    Raises:
        TextsError: if the file as a whole cannot be read: not UTF-8, damaged packing, no usable header.
    """
    try:
        with _open(file.path) as stream:
            lines = _decoded_lines(settings, file.path, stream)
            yield from _json_rows(lines) if file.form is Form.jsonl else _table_rows(settings, file, lines)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise TextsError(f"dataset {settings.name}: {file.path} cannot be read: {error}") from error


def _open(path: Path) -> io.BufferedIOBase:
    match path.suffix.lower():
        case ".gz":
            return gzip.open(path, "rb")
        case ".bz2":
            return bz2.open(path, "rb")
        case ".xz":
            return lzma.open(path, "rb")
        case _:
            return path.open("rb")


def _decoded_lines(settings: DatasetSettings, path: Path, stream: Iterable[bytes]) -> Iterator[str]:
    offset = 0
    for line in stream:
        mark = len(BYTE_ORDER_MARK) if offset == 0 and line.startswith(BYTE_ORDER_MARK) else 0
        try:
            yield line[mark:].decode("utf-8")
        except UnicodeDecodeError as error:
            where = offset + mark + error.start
            unpacked = " of its unpacked content" if path.suffix.lower() in PACKINGS else ""
            raise TextsError(
                f"dataset {settings.name}: {path} is not UTF-8: byte {where}{unpacked} "
                f"(0x{error.object[error.start]:02x}) cannot be decoded; convert the file to UTF-8, "
                f"or give another as dataset.path"
            ) from error
        offset += len(line)


def _json_rows(lines: Iterator[str]) -> Iterator[RawRow]:
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


def _table_rows(settings: DatasetSettings, file: DataFile, lines: Iterator[str]) -> Iterator[RawRow]:
    reader = csv.reader(lines, delimiter="\t" if file.form is Form.tsv else ",", strict=True)
    number = 0
    header: list[str] | None = None
    while True:
        number += 1
        try:
            with _no_field_limit():
                cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise TextsError(
                f"dataset {settings.name}: {file.path}, row {number} (to line {reader.line_num}): {error}; "
                f'a cell with a quote must be quoted and its quotes doubled, as in "say ""no""": '
                f"write the file again, as JSONL perhaps, or give another as dataset.path"
            ) from error
        if not cells:
            continue
        if header is None:
            header = _checked_header(settings, file, cells)
        elif len(cells) != len(header):
            yield RawRow(number, {}, f"{len(cells)} cells where the header has {len(header)}")
        else:
            yield RawRow(number, dict(zip(header, cells, strict=True)))


def _checked_header(settings: DatasetSettings, file: DataFile, header: list[str]) -> list[str]:
    for key, column in (("text_column", settings.text_column), ("label_column", settings.label_column)):
        if header.count(column) != 1:
            wrong = "no column" if column not in header else "more than one column"
            raise TextsError(
                f"dataset {settings.name}: {file.path} has {wrong} {column!r} (dataset.{key}); its first row "
                f"must name the columns and names {', '.join(shown(name) for name in header)}: "
                f"set dataset.{key} to one of them"
            )
    return header


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

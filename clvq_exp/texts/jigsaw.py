"""The Toxic Comment Classification Challenge as Kaggle gives it: `train.csv`, also in a zip file of its own.

Kaggle's `test.csv` beside it has no labels and is not read. A comment is toxic where `toxic` is 1; the other
five columns are kinds of toxicity.
"""

from __future__ import annotations

import zipfile
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from clvq_exp.artifacts import file_checksum
from clvq_exp.settings import DatasetSettings
from clvq_exp.texts.reading import (
    PACKINGS,
    RawRow,
    RowSource,
    Source,
    TextsError,
    named_cells,
    open_packed,
    shown,
    table_cells,
    text_lines,
)

TEXT, LABEL = "comment_text", "toxic"
UNPACKED_LIMIT = 2**29
"""Bytes; Kaggle's file has 69 million."""


@dataclass(frozen=True)
class KaggleFile(RowSource):
    """Kaggle's `train.csv`, packed or not."""

    path: Path

    @property
    def place(self) -> str:
        """The path."""
        return str(self.path)

    def rows(self) -> Iterator[RawRow]:
        """See `RowSource.rows`; values are `id`, `text` and `label`."""
        settings = self.settings
        with text_lines(settings, self.place, _opened(settings, self.path)) as lines:
            cells = table_cells(settings, self.place, lines, ",")
            _, header = next(cells)
            for row in named_cells(header, cells):
                yield row if row.problem else RawRow(row.number, _values(row))

    def checksum(self) -> str:
        """SHA-256 of the file, and how it is read."""
        return f"jigsaw {file_checksum(self.path)}"


def find_jigsaw(settings: DatasetSettings, path: Path) -> Source | None:
    """Kaggle's training comments, or None.

    Args:
        settings: names the data set in messages.
        path: the file, or a folder that holds it.

    Raises:
        TextsError: if a zip file cannot be used, or a file that may be Kaggle's cannot be read.
    """
    files = [path]
    if path.is_dir():
        files = [path / f"train.csv{ending}" for ending in ("", *PACKINGS, ".zip")]
    for file in files:
        if file.is_file() and _is_kaggle(settings, file):
            return Source(KaggleFile(settings, file), None)
    return None


def _is_kaggle(settings: DatasetSettings, path: Path) -> bool:
    unpacked = path.with_suffix("") if path.suffix.lower() in PACKINGS else path
    if unpacked.suffix.lower() not in (".csv", ".zip"):
        return False
    with text_lines(settings, str(path), _opened(settings, path)) as lines:
        _, header = next(table_cells(settings, str(path), lines, ","), (0, []))
    return {TEXT, LABEL} <= set(header)


def _values(row: RawRow) -> dict[str, object]:
    own = {"id": row.values["id"]} if "id" in row.values else {}
    return own | {"text": row.values[TEXT], "label": row.values[LABEL]}


def _opened(settings: DatasetSettings, path: Path) -> AbstractContextManager[IO[bytes]]:
    return _open_zip(settings, path) if path.suffix.lower() == ".zip" else open_packed(path)


@contextmanager
def _open_zip(settings: DatasetSettings, path: Path) -> Generator[IO[bytes]]:
    """The one member of a zip file; it is read as a stream and never longer than its declared size."""
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(path))
            stream = stack.enter_context(archive.open(_only_member(settings, path, archive)))
        except TextsError:
            raise
        except (RuntimeError, IndexError, ValueError) as error:  # encrypted, of another version, damaged
            raise TextsError(
                f"dataset {settings.name}: {path} (dataset.path) cannot be unpacked: {error}; unpack it first"
            ) from error
        yield stream


def _only_member(settings: DatasetSettings, path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    start = f"dataset {settings.name}: {path} (dataset.path)"
    members = [member for member in archive.infolist() if not member.is_dir()]
    names = [member.filename for member in members]
    if len(members) != 1 or not names[0].lower().endswith(".csv"):
        found = ", ".join(shown(name) for name in names[:5]) or "nothing"
        raise TextsError(f"{start} must hold one CSV file and nothing else; found: {found}. Unpack it first")
    if members[0].file_size > UNPACKED_LIMIT:
        raise TextsError(
            f"{start}: its member {shown(names[0])} says that it has {members[0].file_size} bytes, more than "
            f"the {UNPACKED_LIMIT} that are unpacked; give the unpacked file"
        )
    return members[0]

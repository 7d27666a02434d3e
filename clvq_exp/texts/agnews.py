r"""AG's corpus of news as its publisher wrote it: CSV without a header, of class 1 to 4, title, description.

The cells carry traces of the web pages that they were taken from. What becomes of them:

- `\$` is a dollar; every other backslash stood for a line break and becomes a space;
- an entity is a name or number with a semicolon. Its ampersand is there (`&lt;`), or a space took its place
  (`Johnson  amp; Johnson`, `it #39;s`), or it begins the cell (`quot;`): ampersand or space and all become
  the character. Without an ampersand only the names that occur in the corpus count, since others are words
  too (`the best of times;`). What an entity leaves is read again (` amp;amp;`);
- tags that were written as entities go (`&lt;b&gt;`): those that end a line leave a space, others nothing.
  A stock's symbol (`&lt;DELL.O&gt;`) is no tag and stays;
- white space becomes one space.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from clvq_exp.artifacts import file_checksum
from clvq_exp.settings import DatasetSettings
from clvq_exp.texts.reading import PACKINGS, RawRow, RowSource, Source, open_packed, table_cells, text_lines

CLASSES = ("1", "2", "3", "4")
HEADER = ["Class Index", "Title", "Description"]
"""The first row of a copy on Kaggle; the publisher's own files have none."""
CLEANING_VERSION = 1
"""Raised whenever a cell would be cleaned otherwise; part of the fingerprint."""

_BARE = "amp|apos|gt|hellip|ldquo|lsquo|lt|mdash|nbsp|ndash|quot|rdquo|rsquo|#(?:3[2-9]|[4-9][0-9]|[0-9]{3,5})"
_ENTITY = re.compile(rf"&(#?\w+);|(?: |^)({_BARE});")
_PASSES = 4  # what was escaped more often is damage
_END_OF_TAG = r"(?:[\s/][^<>]*)?>"
_BREAK = re.compile(rf"</?(?:br|div|hr|li|p|table|td|tr|ul){_END_OF_TAG}", re.IGNORECASE)
_TAG = re.compile(rf"</?(?:a|b|cite|em|font|i|img|nobr|span|strong|sub|sup|u){_END_OF_TAG}", re.IGNORECASE)


def cleaned(cell: str) -> str:
    """A title or a description without the traces of its web page; the rule stands at the top of this file."""
    text = cell.replace("\\$", "$").replace("\\", " ")
    for _ in range(_PASSES):
        text = _ENTITY.sub(lambda found: html.unescape(f"&{found[1] or found[2]};"), text)
    return " ".join(_TAG.sub("", _BREAK.sub(" ", text)).split())


def cleaned_rows(rows: Iterable[RawRow], column: str) -> Iterator[RawRow]:
    """Rows of the hub's copy, which holds the same cells, with their texts cleaned.

    Args:
        rows: as they are stored.
        column: that of the texts.
    """
    for row in rows:
        text = row.values.get(column)
        yield row._replace(values=row.values | {column: cleaned(text)}) if isinstance(text, str) else row


@dataclass(frozen=True)
class AgNewsFile(RowSource):
    """`train.csv` or `test.csv` of the corpus."""

    path: Path

    @property
    def place(self) -> str:
        """The path."""
        return str(self.path)

    def rows(self) -> Iterator[RawRow]:
        """See `RowSource.rows`; values are `text` and `label` (from 0)."""
        with text_lines(self.settings, self.place, open_packed(self.path)) as lines:
            for number, cells in table_cells(self.settings, self.place, lines, ","):
                if number > 1 or cells != HEADER:
                    yield _row(number, cells)

    def checksum(self) -> str:
        """SHA-256 of the file, and how it is read."""
        return f"agnews {CLEANING_VERSION} {file_checksum(self.path)}"


def find_agnews(settings: DatasetSettings, path: Path) -> Source | None:
    """The corpus in its publisher's own form, or None.

    Args:
        settings: names the data set in messages.
        path: one of the files, or a folder with `train.csv` and perhaps `test.csv`.

    Raises:
        TextsError: if a file that may be one of them cannot be read.
    """
    if not path.is_dir():
        return Source(AgNewsFile(settings, path), None) if _is_agnews(settings, path) else None
    named = [
        [file for ending in ("", *PACKINGS) if (file := path / f"{name}.csv{ending}").is_file()]
        for name in ("train", "test")
    ]
    files = [AgNewsFile(settings, files[0]) for files in named if files]
    if not named[0] or not all(_is_agnews(settings, file.path) for file in files):
        return None
    return Source(files[0], files[1] if len(files) > 1 else None)


def _is_agnews(settings: DatasetSettings, path: Path) -> bool:
    unpacked = path.with_suffix("") if path.suffix.lower() in PACKINGS else path
    if unpacked.suffix.lower() != ".csv":
        return False
    with text_lines(settings, str(path), open_packed(path)) as lines:
        _, first = next(table_cells(settings, str(path), lines, ","), (0, []))
    return first == HEADER or (len(first) == 3 and first[0] in CLASSES)


def _row(number: int, cells: list[str]) -> RawRow:
    if len(cells) != 3:
        return RawRow(number, {}, f"{len(cells)} cells where class, title and description belong")
    if cells[0] not in CLASSES:
        return RawRow(number, {}, f"the class {cells[0]!r} is none of {', '.join(CLASSES)}")
    text = f"{cleaned(cells[1])} {cleaned(cells[2])}".strip()
    return RawRow(number, {"text": text, "label": int(cells[0]) - 1})

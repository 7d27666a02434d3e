"""Rows as CSV that no spreadsheet computes."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

from clvq_exp.report.text_safety import visible

_FORMULA = ("=", "+", "-", "@")
"""Characters behind which a spreadsheet looks for a formula."""
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?(e[-+]?\d+)?")


def as_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A head and its rows; every row stands in one line.

    Args:
        columns: the head.
        rows: None becomes an empty field, numbers stand in full (also those that are text already), white space in
            a text becomes one blank, hidden characters are written out, and a text that a spreadsheet would
            compute gets an apostrophe before it.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_field(each) for each in row] for row in rows)
    return stream.getvalue()


def _field(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(float(value))
    text = visible(" ".join(str(value).split()))
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text

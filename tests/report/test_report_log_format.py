from __future__ import annotations

import logging
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clvq_exp.report.log_format import VisibleFormatter


def written(message: object, *arguments: object, **more: object) -> str:
    record = logging.LogRecord("clvq_exp", logging.INFO, "file.py", 1, message, arguments, None, **more)
    return VisibleFormatter("%(message)s").format(record)


@pytest.mark.parametrize(
    ("message", "arguments", "expected"),
    [
        ("plain %s", ("text",), "plain text"),
        ("first\n  - second", (), "first\n  - second"),
        ("label %s", ("\x1b[31mred\x1b]0;title\x07",), "label \\x1b[31mred\\x1b]0;title\\x07"),
        ("a\r\nb\rc\vd\fe\u2028f\x85g", (), "a\\x0d\nb\\x0dc\\x0bd\\x0ce\\u2028f\\x85g"),
        ("100 %s", ("%s %n %(message)s",), "100 %s %n %(message)s"),
        ("%s", ("\u202etxt.exe \ud800",), "\\u202etxt.exe \\ud800"),
    ],
)
def test_visible_formatter__messages(message: str, arguments: tuple[object, ...], expected: str) -> None:
    assert written(message, *arguments) == expected


@given(st.text(st.characters(exclude_categories=[])))
def test_visible_formatter__only_line_ends_of_one_kind_are_left(text: str) -> None:
    line = written("%s", text)
    left = {character for character in line if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")}
    assert left <= {"\n"}
    assert line.count("\n") == text.count("\n")


def test_visible_formatter__tracebacks_too() -> None:
    try:
        raise ValueError("unknown \x1b[2Jlabel")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "file.py", 1, "stopped", (), sys.exc_info())
    for _ in range(2):  # the second handler finds the traceback in the record
        lines = VisibleFormatter("%(message)s").format(record).splitlines()
        assert lines[0] == "stopped"
        assert lines[-1] == "ValueError: unknown \\x1b[2Jlabel"


def test_visible_formatter__credentials_by_name(monkeypatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "0123456789\x1babcdef")
    monkeypatch.setenv("SOME_WORD", "ordinary words")
    assert written("%s", "Bearer 0123456789\x1babcdef, ordinary words") == "Bearer <SOME_TOKEN>, ordinary words"

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clvq_exp.report.text_safety import shorten, visible


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text", "plain text"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\u202eb", "a\\u202eb"),
        ("\u2066\u2069\u200e\u200f\u061c", "\\u2066\\u2069\\u200e\\u200f\\u061c"),
        ("a\nb\tc\x00\x7f\x9b", "a\\x0ab\\x09c\\x00\\x7f\\x9b"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("שלום, naïve 日本 👩\u200d💻", "שלום, naïve 日本 👩\u200d💻"),
        (
            "می\u200cخواهم, क्\u200dष, ❤\ufe0f 1\ufe0f\u20e3 葛\U000e0100",
            "می\u200cخواهم, क्\u200dष, ❤\ufe0f 1\ufe0f\u20e3 葛\U000e0100",
        ),
        ("\u0600\u06dd\u070f", "\u0600\u06dd\u070f"),
        ("su\u00adperb in\u200bvis\u2060ible\ufeff", "su\\xadperb in\\u200bvis\\u2060ible\\ufeff"),
        ("\u034f\u115f\u3164\uffa0\u17b4", "\\u034f\\u115f\\u3164\\uffa0\\u17b4"),
        ("\ufe0f a\ufe0f\ufe01 \U000e0101", "\\ufe0f a\ufe0f\\ufe01 \\U000e0101"),
        ("\u200b\ufe0f\U0001d173\ufff0", "\\u200b\\ufe0f\\U0001d173\\ufff0"),
    ],
)
def test_visible(text: str, expected: str) -> None:
    assert visible(text) == expected


@given(st.text(st.characters(exclude_categories=[])))
def test_visible__nothing_that_acts_is_left(text: str) -> None:
    shown = visible(text)
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert not set(shown) & {
        chr(code) for code in [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F]
    }
    assert visible(shown) == shown


def test_visible__every_invisible_format_character_is_written_out() -> None:
    shaped = {0x200C, 0x200D, *range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
    formats = {code for code in range(0x110000) if unicodedata.category(chr(code)) == "Cf"}
    assert {code for code in formats if visible(f"a{chr(code)}b") == f"a{chr(code)}b"} == shaped & formats


def test_shorten__says_how_long_it_was() -> None:
    assert shorten("short", 5) == "short"
    assert shorten("a" * 10_000, 4) == "aaaa… (10,000 characters)"

"""A line for each row, numbers in full, and nothing that a spreadsheet computes."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from clvq_exp.report.csv_text import as_csv


def field(value: object) -> str:
    """What a reader of CSV finds of one value."""
    ((head,), (found,)) = csv.reader(io.StringIO(as_csv(["column"], [[value]])))
    assert head == "column"
    return found


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", ""),
        (True, "true"),
        (False, "false"),
        (3, "3"),
        (-0.1, "-0.1"),
        (1 / 3, "0.3333333333333333"),
        (np.float64(0.5), "0.5"),
        (1e-7, "1e-07"),
        ("-0.1540", "-0.1540"),
        ("+1.5e-3", "+1.5e-3"),
        ("a\nb\r\n c", "a b c"),
        ('said "no", twice', 'said "no", twice'),
        ("\u202edesrever", "\\u202edesrever"),
    ],
)
def test_field__stands_in_full_and_in_one_line(value: object, expected: str) -> None:
    assert field(value) == expected


def test_field__none_is_empty() -> None:
    assert as_csv(["a", "b"], [[None, 1]]) == "a,b\n,1\n"


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+cmd|' /C calc'!A0", "@sum(a1)", "\t=1", "-", "-1 or so"])
def test_text__that_a_spreadsheet_would_compute_is_a_text_for_it(text: str) -> None:
    assert field(text) == "'" + text.strip()

"""Pace and forms without a server."""

from __future__ import annotations

import time

import pytest

from clvq_exp.study.forms import read_form, token
from clvq_exp.study.pace import Pace


def test_pace__gives_back_what_time_brings() -> None:
    now = 0.0
    pace = Pace(burst=2, per_second=0.5, clock=lambda: now)
    assert [pace.wait(1), pace.wait(1), pace.wait(1)] == [0, 0, 2]
    now = 2.0
    assert [pace.wait(1), pace.wait(2)] == [0, 0]
    assert pace.wait(1) == pytest.approx(2)
    now = 1000.0
    assert [pace.wait(1) for _ in range(3)] == [0, 0, 2]


def test_token__is_of_one_annotator_and_one_place_and_carries_the_time() -> None:
    key, now = b"k" * 32, time.time() - 8
    body = f"place=3&token={token(key, 7, 3, now)}&label=1&confidence=10".encode()
    found = read_form(body, key, 7, 2)
    assert (found.place, found.label, found.confidence) == (3, 1, 10)
    assert 7.9 < found.seconds < 60
    for wrong in ((b"l" * 32, 7, body), (key, 8, body), (key, 7, body.replace(b"place=3", b"place=4"))):
        with pytest.raises(Exception, match="403"):
            read_form(wrong[2], wrong[0], wrong[1], 2)

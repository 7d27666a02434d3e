"""Answers and calls on the disk: nothing lost, nothing twice, never beyond the budget."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from clvq_exp.judging.ledger import Answer, Ledger, Spent, question_key


def ledger_of(folder: Path, name: str = "one") -> Ledger:
    return Ledger(name, folder)


ANSWER = Answer("text", False, "m", 10, 2, False, 0.5)


def test_ledger__threads_and_connections_never_exceed_the_budget(tmp_path: Path) -> None:
    ledgers = [ledger_of(tmp_path) for _ in range(3)]
    taken: list[int] = []

    def take(place: int) -> None:
        for number in range(10):
            call = ledgers[place % 3].begin(f"{place}-{number}", "a", 1.0, 25.0)
            if call is not None:
                taken.append(call)
                ledgers[place % 3].end(call, f"{place}-{number}", ANSWER._replace(cost=1.0))

    threads = [threading.Thread(target=take, args=(place,)) for place in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 25
    assert ledgers[0].spent().cost == pytest.approx(25.0)
    for each in ledgers:
        each.close()


def test_ledger__an_answer_that_comes_twice_is_kept_once_and_both_calls_are_counted(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path)
    for text in ("first", "second"):
        call = ledger.begin("key", "a", 1.0, None)
        assert call is not None
        ledger.end(call, "key", ANSWER._replace(text=text))
    kept = ledger.answer("key")
    assert kept is not None
    assert kept.text == "first"
    assert ledger.spent().cost == 1.0
    call = ledger.begin("other", "a", 1.0, None)
    assert call is not None
    ledger.fail(call, "late", charged=False)
    ledger.end(call, "other", ANSWER)
    assert ledger.spent().answered == 2, "a call ends once"
    ledger.close()


def test_ledger__evaluations_share_answers_and_not_costs(tmp_path: Path) -> None:
    first, second = ledger_of(tmp_path, "one"), ledger_of(tmp_path, "two")
    call = first.begin("key", "a", 1.0, None)
    assert call is not None
    first.end(call, "key", ANSWER)
    assert second.answer("key") == ANSWER
    assert second.spent() == Spent(0, 0, 0, 0, 0, 0, 0.0)
    first.close()
    second.close()


def test_ledger__is_for_its_owner_alone(tmp_path: Path) -> None:
    ledger_of(tmp_path / "new").close()
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0
    assert (tmp_path / "new" / "answers.sqlite").stat().st_mode & 0o077 == 0
    with sqlite3.connect(tmp_path / "new" / "answers.sqlite") as file:
        assert file.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_key__is_of_everything_that_is_asked() -> None:
    asked_for: dict[str, Any] = {"base_url": "u", "request": {"model": "m", "temperature": 0.0}, "messages": [1]}
    changes: Sequence[dict[str, Any]] = (
        {"base_url": "v"},
        {"request": {"model": "n", "temperature": 0.0}},
        {"request": {"model": "m", "temperature": 0.5}},
        {"messages": [2]},
        {"attempt": 1},
    )
    keys = {question_key(asked_for), *(question_key({**asked_for, **each}) for each in changes)}
    assert len(keys) == 1 + len(changes)
    assert question_key(json.loads(json.dumps(asked_for))) == question_key(asked_for)

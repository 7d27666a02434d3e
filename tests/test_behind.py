"""Steps are done in order, one at a time; a failing one is the last and is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest

from clvq_exp.behind import Behind


def test_steps__are_done_in_order_before_the_block_is_left() -> None:
    done: list[int] = []
    with Behind() as behind:
        for number in range(50):
            behind.give(done.append, number)
    assert done == list(range(50))


def test_caller__goes_on_while_a_step_is_done_and_waits_for_the_next() -> None:
    opened, given = threading.Event(), threading.Event()
    done: list[str] = []

    def first() -> None:
        assert opened.wait(30)
        done.append("first")

    def caller() -> None:
        with Behind() as behind:
            behind.give(first)
            done.append("the caller")
            behind.give(done.append, "second")
            given.set()

    thread = threading.Thread(target=caller)
    thread.start()
    assert not given.wait(0.2), "the second step was taken while the first was open"
    assert done == ["the caller"]
    opened.set()
    thread.join(30)
    assert done == ["the caller", "first", "second"]


def give_all(behind: Behind, *steps: Callable[[], object]) -> None:
    with behind:
        for step in steps:
            behind.give(step)


def fails() -> None:
    raise OSError("no space left")


def test_failing_step__is_the_last_and_is_raised_by_the_next_call() -> None:
    done: list[int] = []
    steps = [partial(done.append, 1), fails, partial(done.append, 2), partial(done.append, 3)]
    with pytest.raises(OSError, match="no space left"):
        give_all(Behind(), *steps)
    assert done == [1]


def test_failing_step__is_raised_at_the_latest_when_the_block_is_left() -> None:
    with pytest.raises(OSError, match="no space left"):
        give_all(Behind(), fails)


def test_failing_step__is_raised_again_where_its_error_was_caught() -> None:
    done: list[int] = []

    def block() -> None:
        with Behind() as behind:
            behind.give(fails)
            with suppress(OSError):
                behind.give(done.append, 1)
            behind.give(done.append, 2)

    with pytest.raises(OSError, match="no space left"):
        block()
    assert done == []


def test_error_of_the_block__goes_first_and_what_was_given_is_done() -> None:
    done: list[int] = []

    def block() -> None:
        with Behind() as behind:
            behind.give(done.append, 1)
            behind.give(fails)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        block()
    assert done == [1]

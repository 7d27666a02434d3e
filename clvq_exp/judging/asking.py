"""Asking all questions: several at once, again where it makes sense, never beyond the budget, nothing twice."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import NamedTuple

from clvq_exp.judging.ledger import Answer, Ledger, question_key
from clvq_exp.judging.records import Outcome, Question
from clvq_exp.judging.schema import read_answer
from clvq_exp.judging.settings import Judge, Panel
from clvq_exp.judging.speakers import AgainError, Message, Speaker, StoppedError, most_tokens

IN_A_ROW = 3
"""Questions without an answer in spite of all retries, after which a judge is given up."""
_LONGEST_WAIT = 60.0
_LONGEST_BAD = 4000
"""Characters of a bad answer that the judge is shown when it is asked again."""
_CORRECTION = (
    "This answer cannot be used: {problem}. Respond again with ONLY the JSON object in the exact format requested "
    "above, and nothing before or after it."
)


class Asked(NamedTuple):
    """What came of all questions."""

    outcomes: list[Outcome | None]
    """In the order of the questions; None where there is no answer yet."""
    unanswered: Mapping[str, str]
    """Judge -> why some of its questions have no answer."""
    out_of_budget: bool
    """Whether questions were left because of the budget."""


class _BudgetError(Exception):
    """The next call does not fit into the budget."""


class Asking:
    """Asks a panel.

    Args:
        panel: limits, retries, budget.
        speakers: of the panel's judges, in their order.
        ledger: where answers and calls are kept.
        told: called whenever a question is done.
    """

    def __init__(
        self, panel: Panel, speakers: Sequence[Speaker], ledger: Ledger, told: Callable[[], object] = lambda: None
    ) -> None:
        self._panel = panel
        self._speakers = speakers
        self._identities = [each.identity() for each in speakers]
        self._ledger = ledger
        self._told = told
        self._stop = threading.Event()
        self._under_way = 0
        self._changed = threading.Condition()
        self._reasons: dict[str, str] = {}
        self._given_up: set[int] = set()
        self._in_a_row = [0] * len(speakers)
        self._out_of_budget = False
        self._own: dict[str, threading.Lock] = {}
        """Of each request."""

    def run(self, questions: Sequence[Question]) -> Asked:
        """Ask what has no answer yet.

        Args:
            questions: all of them; those whose answers are kept cost nothing.
        """
        outcomes: list[Outcome | None] = [None] * len(questions)
        with (
            ThreadPoolExecutor(self._panel.concurrency) as far,
            ThreadPoolExecutor(1) as near,  # a local model has one question at a time
        ):
            futures: dict[Future[Outcome | None], int] = {}
            for place, question in enumerate(questions):
                pool = near if self._panel.judges[question.judge].is_local else far
                futures[pool.submit(self._question, question)] = place
            try:
                for future in as_completed(futures):
                    outcomes[futures[future]] = future.result()
                    self._told()
            except BaseException:
                self._stop.set()
                for future in futures:
                    future.cancel()
                for speaker in self._speakers:
                    speaker.close()
                raise
        return Asked(outcomes, dict(self._reasons), self._out_of_budget)

    def key_of(self, question: Question) -> str:
        """The name of a question's first request."""
        return self._key(question.judge, _first(question), 0)

    def _key(self, judge: int, messages: Sequence[Message], attempt: int) -> str:
        asked = {**self._identities[judge], "messages": [dict(each) for each in messages], "attempt": attempt}
        return question_key(asked)

    def _question(self, question: Question) -> Outcome | None:
        """The outcome of one question; None where the judge could not be reached."""
        if not question.arms:
            return Outcome({}, 0)
        try:
            outcome = self._until_it_fits(question)
        except _BudgetError:
            self._out_of_budget = True
        except StoppedError as error:
            self._given_up.add(question.judge)
            self._reasons.setdefault(self._judge(question).name, str(error))
        except AgainError as error:
            self._unanswered(question, str(error))
        else:
            self._in_a_row[question.judge] = 0
            return outcome
        return None

    def _unanswered(self, question: Question, reason: str) -> None:
        """All retries were in vain: after some questions in a row the judge is given up."""
        judge = question.judge
        with self._changed:
            self._in_a_row[judge] += 1
            self._reasons[self._judge(question).name] = reason
            if self._in_a_row[judge] >= IN_A_ROW:
                self._given_up.add(judge)

    def _until_it_fits(self, question: Question) -> Outcome:
        names = [arm.name for arm in question.arms]
        methods = {arm.name: arm.method for arm in question.arms}
        messages = _first(question)
        keys: list[str] = []
        problem = ""
        for attempt in range(self._panel.ask_again + 1):
            keys.append(self._key(question.judge, messages, attempt))
            answer = self._answer(question, keys[-1], messages)
            if answer.refused:
                return Outcome(None, len(keys), f"refused: {answer.text}", tuple(keys))
            read = read_answer(answer.text, names)
            if read.ratings is not None:
                rated = {methods[name]: value for name, value in read.ratings.items()}
                return Outcome(rated, len(keys), "", tuple(keys))
            problem = read.problem
            messages = [
                *_first(question),
                {"role": "assistant", "content": answer.text[:_LONGEST_BAD]},
                {"role": "user", "content": _CORRECTION.format(problem=problem)},
            ]
        return Outcome(None, len(keys), problem, tuple(keys))

    def _answer(self, question: Question, key: str, messages: Sequence[Message]) -> Answer:
        """The kept answer, or a new one, kept before it is used."""
        with self._changed:
            own = self._own.setdefault(key, threading.Lock())
        with own:  # a question that stands there twice is asked once
            return self._ledger.answer(key) or self._new_answer(question, key, messages)

    def _new_answer(self, question: Question, key: str, messages: Sequence[Message]) -> Answer:
        judge = self._judge(question)
        most = judge.cost(most_tokens([each["content"] for each in messages]), judge.max_tokens)
        last = AgainError("not asked")
        for tries in range(self._panel.retries + 1):
            if tries:
                self._wait(tries, last.wait)
            self._check(question.judge)
            call = self._begin(key, judge, most)
            try:
                answer = self._speakers[question.judge].ask(messages)
                self._ledger.end(call, key, answer)
                return answer
            except AgainError as error:
                self._ledger.fail(call, str(error), error.charged)
                last = error
            except StoppedError as error:
                self._ledger.fail(call, str(error), charged=False)
                raise
            finally:
                with self._changed:
                    self._under_way -= 1
                    self._changed.notify_all()
        raise last

    def _begin(self, key: str, judge: Judge, most: float) -> int:
        """Enter a call; where it does not fit, wait until those under way have come to less than they could."""
        with self._changed:
            while True:
                self._check(None)
                call = self._ledger.begin(key, judge.name, most, self._panel.budget)
                if call is not None:
                    self._under_way += 1
                    return call
                if not self._under_way:
                    raise _BudgetError
                self._changed.wait(1.0)

    def _check(self, judge: int | None) -> None:
        if self._stop.is_set():
            raise StoppedError("stopped")
        if judge in self._given_up:
            raise StoppedError("given up")

    def _wait(self, tries: int, asked_for: float | None) -> None:
        """Back-off, doubled each time and spread, so that questions do not all come back at once."""
        own = self._panel.first_wait * 2 ** (tries - 1) * random.uniform(0.75, 1.25)
        self._stop.wait(min(_LONGEST_WAIT, max(own, asked_for or 0.0)))

    def _judge(self, question: Question) -> Judge:
        return self._panel.judges[question.judge]


def _first(question: Question) -> list[Message]:
    return [{"role": "user", "content": question.prompt}]

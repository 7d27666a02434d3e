"""Judges behind a faulty endpoint: what is asked again, what is given up, and what it costs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from judging.asking_panels import panel
from judging.judged_runs import make_run, sentences
from judging.scripted_server import Reply, Request, Scripted, fitting, serving

from clvq_exp.judging.asking import IN_A_ROW, Asked, Asking
from clvq_exp.judging.endpoint import Endpoint
from clvq_exp.judging.evaluation import Evaluation, conclude, prepare
from clvq_exp.judging.ledger import Ledger, Spent
from clvq_exp.judging.records import JudgingError
from clvq_exp.judging.settings import Panel, Plan

GOOD = '{"Config_A": {"rating": 3, "reason": "r"}, "Config_B": {"rating": 1, "reason": ""}}'


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", rows=sentences(3), codes=[0, 1] * 6, beside={"x": [1, 0] * 6})


def asked(run: Path, used: Panel, home: Path) -> tuple[Evaluation, Asked, Spent]:
    """All questions about four sentences."""
    evaluation = prepare([run], used, Plan(instances=4, floor=None))
    ledger = Ledger(evaluation.name, home)
    speakers = [Endpoint(each, used.timeout) for each in used.judges]
    try:
        return evaluation, Asking(used, speakers, ledger).run(evaluation.questions), ledger.spent()
    finally:
        for each in speakers:
            each.close()
        ledger.close()


# ---------------------------------------------------------------- faults that pass


def once(*replies: Reply) -> Any:
    """Each body gets these replies first, then one that fits."""
    return lambda _request, before: replies[before] if before < len(replies) else Reply()


@pytest.mark.parametrize(
    "fault",
    [
        Reply(status=429),
        Reply(status=429, headers={"Retry-After": "0"}),
        Reply(status=429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        Reply(status=500),
        Reply(status=503),
        Reply(cut=True),
        Reply(raw=b'{"id": "1", "object": "chat.compl'),
        Reply(raw=b"<html>a proxy speaks</html>"),
        Reply(raw=b'{"id": "1", "object": "chat.completion", "choices": []}'),
        Reply(raw=b'{"id": "1", "object": "chat.completion", "choices": null}'),
    ],
    ids=["429", "429 with a wait", "429 with a date", "500", "503", "cut", "half JSON", "HTML", "empty", "null"],
)
def test_fault__is_asked_again_and_nothing_is_counted_twice(run: Path, tmp_path: Path, fault: Reply) -> None:
    with serving(once(fault, fault)) as server:
        _, found, spent = asked(run, panel(server.url), tmp_path / "kept")
        assert all(each is not None and each.ratings is not None and each.asked == 1 for each in found.outcomes)
        assert set(server.seen.values()) == {3}, "each question three times: two faults and an answer"
    assert (spent.calls, spent.answered, spent.failed, spent.unknown) == (36, 12, 24, 0)
    assert (spent.prompt_tokens, spent.completion_tokens) == (12_000, 1_200), "answers alone, each once"


def test_refusal_of_a_connection__costs_nothing(run: Path, tmp_path: Path) -> None:
    with serving() as server:
        gone = server.url
    _, found, spent = asked(run, panel(gone), tmp_path / "kept")
    assert found.outcomes == [None] * 12
    assert set(found.unanswered) == set("abc")
    assert spent.failed == spent.calls > 0
    assert spent.cost == 0


def test_silence__ends_by_the_timeout_and_counts_at_the_most_it_can_cost(run: Path, tmp_path: Path) -> None:
    with serving(once(Reply(hang=30))) as server:
        evaluation, found, spent = asked(run, panel(server.url, "a", timeout=0.5), tmp_path / "kept")
        assert all(each is not None and each.ratings for each in found.outcomes)
    assert (spent.answered, spent.failed) == (4, 4)
    assert spent.cost == pytest.approx(4 * 1.1 + evaluation.most()), "the provider may charge for what was lost"


def test_waits__follow_what_the_endpoint_asks_for(run: Path, tmp_path: Path) -> None:
    at: list[float] = []

    def script(request: Request, before: int) -> Reply:
        at.append(time.monotonic())
        return Reply(status=429, headers={"Retry-After": "0.4"}) if before == 0 else Reply()

    with serving(script) as server:
        asked(run, panel(server.url, "a", concurrency=1), tmp_path / "kept")
    assert all(later - earlier >= 0.4 for earlier, later in zip(at[::2], at[1::2], strict=True))


# ---------------------------------------------------------------- answers that do not fit


@pytest.mark.parametrize(
    "bad",
    [GOOD[:30], "I cannot rate this.", '{"Config_Z": {"rating": 1, "reason": ""}}', "{}", ""],
    ids=["half", "words", "keys", "nothing", "empty"],
)
def test_bad_answer__the_judge_is_told_and_asked_again(run: Path, tmp_path: Path, bad: str) -> None:
    def script(request: Request, before: int) -> Reply:
        return Reply(bad) if len(request.body["messages"]) == 1 else Reply()

    with serving(script) as server:
        _, found, spent = asked(run, panel(server.url), tmp_path / "kept")
        again = [each.body["messages"] for each in server.requests if len(each.body["messages"]) > 1]
    assert all(each is not None and each.ratings and each.asked == 2 for each in found.outcomes)
    assert (spent.answered, spent.failed) == (24, 0)
    assert len(again) == 12
    assert [each["role"] for each in again[0]] == ["user", "assistant", "user"]
    assert again[0][1]["content"] == bad
    assert "cannot be used" in again[0][2]["content"]


def test_bad_answers__are_asked_for_three_times_more_then_missing(run: Path, tmp_path: Path) -> None:
    def script(request: Request, before: int) -> Reply:
        if request.body["model"] != "model-c":
            return Reply()
        return Reply(fitting(request, lambda _name, _text: 7))

    with serving(script) as server:
        evaluation, found, spent = asked(run, panel(server.url), tmp_path / "kept")
        assert sum(each.body["model"] == "model-c" for each in server.requests) == 4 * 4
        kept = Ledger(evaluation.name, tmp_path / "kept")
        result = conclude(evaluation, found.outcomes, kept, accept_missing=False)
        kept.close()
    missing = [each for each in found.outcomes if each is not None and each.ratings is None]
    assert len(missing) == 4
    assert all(each.asked == 4 and "rating" in each.problem for each in missing)
    assert result.figures.configurations[0].missing == 4
    assert "all ratings of a and b and c are the same" in result.disagreement.why
    assert spent.answered == 8 + 16


def test_second_run__asks_nothing_again_not_even_for_bad_answers(run: Path, tmp_path: Path) -> None:
    def script(request: Request, before: int) -> Reply:
        return Reply("never JSON") if request.body["model"] == "model-c" else Reply()

    with serving(script) as server:
        _, first, before = asked(run, panel(server.url), tmp_path / "kept")
        n = len(server.requests)
        _, second, after = asked(run, panel(server.url), tmp_path / "kept")
        assert len(server.requests) == n
    assert second.outcomes == first.outcomes
    assert after == before


def test_rating__belongs_to_the_method_whatever_its_place(run: Path, tmp_path: Path) -> None:
    with serving(rate=lambda _name, text: 3 if "charming" in text else 1) as server:
        evaluation, found, _ = asked(run, panel(server.url), tmp_path / "kept")
    places = set()
    for question, outcome in zip(evaluation.questions, found.outcomes, strict=True):
        assert outcome is not None
        assert outcome.ratings is not None
        for place, arm in enumerate(question.arms):
            good = "charming" in arm.representation.words
            assert outcome.ratings[arm.method].rating == (3 if good else 1)
            places.add((arm.method, place))
    assert len(places) == 4, "both methods stood at both places"


# ---------------------------------------------------------------- judges that are given up


@pytest.mark.parametrize("status", [401, 403, 404])
def test_mistake_of_the_panel__stops_that_judge_and_no_other(run: Path, tmp_path: Path, status: int) -> None:
    def script(request: Request, before: int) -> Reply:
        return Reply("bad key sk-secret-0123456789", status) if request.body["model"] == "model-b" else Reply()

    with serving(script) as server:
        _, found, _ = asked(run, panel(server.url, concurrency=1), tmp_path / "kept")
        assert sum(each.body["model"] == "model-b" for each in server.requests) == 1
    assert set(found.unanswered) == {"b"}
    assert found.unanswered["b"].startswith(f"HTTP {status}")
    assert sum(each is None for each in found.outcomes) == 4


def test_dead_endpoint__is_given_up_after_some_questions(run: Path, tmp_path: Path) -> None:
    with serving(lambda _request, _before: Reply(status=500)) as server:
        used = panel(server.url, "a", retries=1, concurrency=1)
        _, found, _ = asked(run, used, tmp_path / "kept")
        assert len(server.requests) == 2 * IN_A_ROW
    assert found.outcomes == [None] * 4
    assert set(found.unanswered) == {"a"}
    assert found.unanswered["a"].startswith("HTTP 500")


def test_refused_question__is_missing_and_not_asked_again(run: Path, tmp_path: Path) -> None:
    with serving() as server:
        first = prepare([run], panel(server.url), Plan(instances=4, floor=None)).questions[0]
        wanted = (f"model-{'abc'[first.judge]}", first.prompt)  # another judge may see the same order

        def script(request: Request, before: int) -> Reply:
            refused = (request.body["model"], request.prompt) == wanted
            return Reply("against the rules", 400) if refused else Reply()

        server.script = script
        _, found, spent = asked(run, panel(server.url), tmp_path / "kept")
        n = len(server.requests)
        asked(run, panel(server.url), tmp_path / "kept")
        assert len(server.requests) == n
    (missing,) = [each for each in found.outcomes if each is None or each.ratings is None]
    assert missing is not None
    assert missing.problem.startswith("refused: HTTP 400")
    assert "against the rules" in missing.problem
    assert spent.prompt_tokens == 11_000


def test_judge_that_refuses_everything__is_no_result_and_is_asked_again(run: Path, tmp_path: Path) -> None:
    with serving(lambda _request, _before: Reply("no such model", 400)) as server:
        used = panel(server.url, "a")
        evaluation, found, _ = asked(run, used, tmp_path / "kept")
        ledger = Ledger(evaluation.name, tmp_path / "kept")
        with pytest.raises(JudgingError, match=r"judge a refused every question .*no such model"):
            conclude(evaluation, found.outcomes, ledger, accept_missing=False)
        ledger.close()
        server.script = lambda _request, _before: Reply()
        _, found, _ = asked(run, used, tmp_path / "kept")
    assert all(each is not None and each.ratings for each in found.outcomes)


# ---------------------------------------------------------------- limits


def test_concurrency__is_never_exceeded(run: Path, tmp_path: Path) -> None:
    with serving(lambda _request, _before: Reply(hang=0.05)) as server:
        asked(run, panel(server.url, concurrency=3), tmp_path / "kept")
        assert 1 < server.most_at_once <= 3


def test_budget__is_never_exceeded_and_a_larger_one_goes_on(run: Path, tmp_path: Path) -> None:
    # An answer costs 1.1 dollars; a call is entered at the most that it can cost, about 3.3.
    with serving(lambda _request, _before: Reply(hang=0.02)) as server:
        used = panel(server.url, budget=8.0)
        _, found, spent = asked(run, used, tmp_path / "kept")
        assert found.out_of_budget
        n = sum(each is not None for each in found.outcomes)
        assert 0 < n < 12
        assert spent.cost == pytest.approx(1.1 * n)
        assert spent.cost <= 8.0
        assert spent.answered == len(server.requests) == n
        _, found, spent = asked(run, panel(server.url, budget=100.0), tmp_path / "kept")
        assert not found.out_of_budget
        assert len(server.requests) == 12, "no answer is paid for twice"
        assert spent.cost == pytest.approx(1.1 * 12)
        assert set(server.seen.values()) == {1}


def test_budget__of_nothing_asks_nothing(run: Path, tmp_path: Path) -> None:
    with serving() as server:
        _, found, spent = asked(run, panel(server.url, budget=0.0), tmp_path / "kept")
        assert server.requests == []
    assert found.out_of_budget
    assert spent.calls == 0


def test_budget__counts_calls_of_killed_processes_at_the_most_they_can_cost(run: Path, tmp_path: Path) -> None:
    with serving() as server:
        evaluation = prepare([run], panel(server.url), Plan(instances=4, floor=None))
        ledger = Ledger(evaluation.name, tmp_path / "kept")
        assert ledger.begin("lost", "a", 5.0, None) is not None  # and its process is killed here
        ledger.close()
        _, found, spent = asked(run, panel(server.url, budget=9.0), tmp_path / "kept")
    assert found.out_of_budget
    assert spent.unknown == 1
    assert spent.cost <= 9.0


def test_tokens__that_an_endpoint_does_not_count_are_taken_at_their_upper_bound(run: Path, tmp_path: Path) -> None:
    with serving(lambda _request, _before: Reply(usage=False)) as server:
        evaluation, _, spent = asked(run, panel(server.url, "a"), tmp_path / "kept")
    bytes_asked = sum(len(each.prompt.encode()) for each in evaluation.questions)
    assert spent.prompt_tokens >= bytes_asked
    assert spent.cost > bytes_asked / 1000


def test_question_that_stands_there_twice__is_asked_once(run: Path, tmp_path: Path) -> None:
    with serving(lambda _request, _before: Reply(hang=0.05)) as server:
        used = panel(server.url, concurrency=8)
        evaluation = prepare([run], used, Plan(instances=4, floor=None))
        ledger = Ledger(evaluation.name, tmp_path / "kept")
        asking = Asking(used, [Endpoint(each, used.timeout) for each in used.judges], ledger)
        pairs = [each for question in evaluation.questions for each in (question, question)]
        found = asking.run(pairs).outcomes
        assert len(server.requests) == len(evaluation.questions) == ledger.spent().calls
        ledger.close()
    assert found[::2] == found[1::2]


def test_scripted_server__reads_what_a_judge_would(run: Path, tmp_path: Path) -> None:
    seen: list[Scripted] = []
    with serving() as server:
        evaluation, _, _ = asked(run, panel(server.url, "a"), tmp_path / "kept")
        seen.append(server)
        shown = [each.shown for each in server.requests]
    assert {tuple(each) for each in shown} == {("Config_A", "Config_B")}
    assert len(shown) == len(evaluation.questions) == 4

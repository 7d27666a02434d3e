"""The file of the answers: what it takes, what it refuses, and what a kill leaves of it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from study.made_studies import Made, kept, make, order_of

from clvq_exp.study import answers
from clvq_exp.study.answers import Answer
from clvq_exp.study.design import StudyError
from clvq_exp.study.folder import invite, open_study, replace_link
from clvq_exp.study.links import hashed
from clvq_exp.study.writer import AnswerWriter


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path)


def given(place: int, label: int = 0, confidence: int = 5, annotator: int = 1) -> Answer:
    return Answer(annotator, place, label, confidence, 1.5, "2026-01-01T00:00:00.000+00:00")


def test_record__answers_come_in_order_and_the_first_one_stands(made: Made) -> None:
    with answers.connected(made.study.answers) as connection:
        assert not answers.record(connection, given(1))  # not the next one
        assert answers.record(connection, given(0, label=1, confidence=7))
        assert not answers.record(connection, given(0, label=0, confidence=2))
        assert answers.record(connection, given(1))
        assert answers.answered(connection, 1) == 2
        assert answers.answered(connection, 2) == 0
    first, second = kept(made.study)
    assert (first.annotator, first.place, first.label, first.confidence) == ("a01", 0, 1, 7)
    assert second.item == order_of(made.study, "a01")[1]


def test_record__what_there_is_no_place_or_no_step_for_is_refused(made: Made) -> None:
    with answers.connected(made.study.answers) as connection:
        for confidence in (0, 11):
            with pytest.raises(sqlite3.IntegrityError):
                answers.record(connection, given(0, confidence=confidence))
        with pytest.raises(sqlite3.IntegrityError):
            answers.record(connection, given(0, annotator=99))
        for place in range(len(made.study.design.items)):
            assert answers.record(connection, given(place))
        with pytest.raises(sqlite3.IntegrityError):
            answers.record(connection, given(len(made.study.design.items)))
    assert len(kept(made.study)) == len(made.study.design.items)


def test_orders__hold_every_item_once_and_are_each_annotators_own(made: Made) -> None:
    orders = [order_of(made.study, name) for name in made.links]
    assert all(sorted(order) == list(range(len(made.study.design.items))) for order in orders)
    assert len({tuple(order) for order in orders}) == len(orders)


def test_file__holds_hashes_and_no_secret(made: Made) -> None:
    content = b"".join(
        path.read_bytes() for path in made.study.folder.rglob("*") if path.name != "links.txt" and path.is_file()
    )
    for link in made.links.values():
        secret = link.split("/")[2]
        assert len(secret) >= 43
        assert secret.encode() not in content
        assert hashed(secret) in content
    for name in ("answers.sqlite", "links.txt"):
        assert (made.study.folder / name).stat().st_mode & 0o777 == 0o600


def test_invite__lets_more_in_and_a_lost_link_is_replaced(made: Made) -> None:
    with answers.connected(made.study.answers) as connection:
        answers.record(connection, given(0))
    more = invite(made.study, 2, "https://study.example.org/words/")
    lines = more.read_text(encoding="utf-8").splitlines()
    assert [line.split("\t")[0] for line in lines] == ["a04", "a05"]
    assert all(line.split("\t")[1].startswith("https://study.example.org/words/s/") for line in lines)
    again = replace_link(made.study, "a01", "http://127.0.0.1:1")
    assert {path.name for path in made.study.folder.glob("links*")} == {"links.txt", "links_2.txt", "links_3.txt"}
    secret = again.read_text(encoding="utf-8").rstrip("\n").split("/s/")[1].rstrip("/")
    with answers.connected(made.study.answers) as connection:
        found = answers.find(connection, hashed(secret))
        assert found is not None
        assert found.name == "a01"
        assert answers.find(connection, hashed(made.links["a01"].split("/")[2])) is None
        assert answers.answered(connection, found.annotator) == 1
        assert len(answers.annotators(connection)) == 5
    with pytest.raises(StudyError, match="--again a09: the study has a01, a02, a03, a04, a05"):
        replace_link(made.study, "a09", "http://127.0.0.1:1")


def test_open__a_changed_design_and_another_studys_answers_are_refused(made: Made, tmp_path: Path) -> None:
    other = make(tmp_path / "other", seed=1)
    (made.study.folder / "answers.sqlite").replace(tmp_path / "kept.sqlite")
    (other.study.folder / "answers.sqlite").replace(made.study.folder / "answers.sqlite")
    with pytest.raises(StudyError, match="answers of another study"):
        open_study(made.study.folder)
    (made.study.folder / "answers.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises((StudyError, sqlite3.DatabaseError), match=r"does not hold|not a database"):
        open_study(made.study.folder)
    (made.study.folder / "answers.sqlite").unlink()
    with pytest.raises(StudyError, match="is missing"):
        open_study(made.study.folder)
    (tmp_path / "kept.sqlite").replace(made.study.folder / "answers.sqlite")
    open_study(made.study.folder)
    cloud = next(iter((made.study.folder / "clouds").iterdir()))
    cloud.write_bytes(cloud.read_bytes()[:-1])
    with pytest.raises(StudyError, match="is damaged"):
        open_study(made.study.folder)


def test_writer__keeps_each_of_many_at_once_and_one_that_is_refused_spoils_none(made: Made) -> None:
    writer = AnswerWriter(made.study.answers)
    n = len(made.study.design.items)
    results: dict[tuple[int, int], list[bool]] = {}

    def annotate(annotator: int) -> None:
        for place in range(n):
            twice = [writer.submit(given(place, annotator=annotator)) for _ in range(2)]
            bad = writer.submit(given(place + 1, annotator=annotator, confidence=99))
            results[annotator, place] = [future.result(30) for future in twice]
            with pytest.raises(sqlite3.IntegrityError):
                bad.result(30)

    threads = [threading.Thread(target=annotate, args=(each,)) for each in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert len(results) == 3 * n
    assert all(sorted(found) == [False, True] for found in results.values())
    assert [(each.annotator, each.place) for each in kept(made.study)] == [
        (name, place) for name in made.links for place in range(n)
    ]


def test_writer__says_no_answer_is_kept_that_is_not(made: Made) -> None:
    writer = AnswerWriter(made.study.answers)
    with answers.connected(made.study.answers) as connection:
        connection.execute("DROP TABLE answers")
    with pytest.raises(sqlite3.OperationalError):
        writer.submit(given(0)).result(30)
    writer.close()


KILLED = """
import sys
from pathlib import Path
from clvq_exp.study.answers import Answer
from clvq_exp.study.writer import AnswerWriter

writer = AnswerWriter(Path(sys.argv[1]))
for place in range(int(sys.argv[2])):
    for annotator in (1, 2, 3):
        answer = Answer(annotator, place, place % 2, 1 + place % 10, 1.0, "now")
        assert writer.submit(answer).result()
        print(annotator, place, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 20, 60])
def test_writer__every_answer_that_was_acknowledged_survives_a_kill(made: Made, after: int) -> None:
    n = len(made.study.design.items)
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(made.study.answers), str(n)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(after)]
        os.kill(process.pid, signal.SIGKILL)
        seen += process.stdout.readlines()
    told = {(int(line.split()[0]), int(line.split()[1])) for line in seen if line.endswith("\n")}
    found = [(int(each.annotator[1:]), each.place) for each in kept(made.study)]
    assert len(found) == len(set(found))
    assert told <= set(found)
    assert len(set(found) - told) <= 1  # on the disk, and killed before it could say so
    open_study(made.study.folder)

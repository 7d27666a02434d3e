"""The ledger of finished parts: what is entered is found again, and what changed since is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from clvq_exp.parts import LEDGER, Ledger


def test_ledger__finds_what_another_process_entered(tmp_path: Path) -> None:
    first = Ledger(tmp_path)
    assert not first.holds("0")
    first.enter("0", "aa")
    first.enter("1", "bb")
    again = Ledger(tmp_path)
    assert len(again) == 2
    assert again.holds("0")
    assert again.keeps("1", lambda: "bb")
    assert not again.keeps("2", lambda: "bb")


def test_ledgers__of_several_processes_are_read_together_and_closed_together(tmp_path: Path) -> None:
    mine, other = Ledger(tmp_path), Ledger(tmp_path, 1)
    mine.enter("0", "aa")
    other.enter("1", "bb")
    other.enter("2", "cc")
    assert not mine.holds("1"), "what others do is read when a ledger is opened"
    both = Ledger(tmp_path)
    assert both.keeps("0", lambda: "aa")
    assert both.keeps("1", lambda: "bb")
    assert not both.keeps("2", lambda: "xx")
    assert len(Ledger(tmp_path)) == 2, "a part that changed is forgotten, whoever entered it"
    both.close()
    assert not list(tmp_path.iterdir())


def test_ledger__a_part_that_changed_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger(tmp_path)
    ledger.enter("7", "aa")
    assert not ledger.keeps("7", lambda: "ab")
    assert caplog.messages == [
        f"{tmp_path / LEDGER}: part 7 is not what was written: its checksum differs; it is made again"
    ]


def test_ledger__knows_its_files_by_their_content(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "part"
    ledger = Ledger(tmp_path)
    path.write_bytes(b"content")
    assert not ledger.has_file(path), "nobody entered it: it may be half of a file"
    ledger.enter_file(path)
    assert Ledger(tmp_path).has_file(path)
    path.write_bytes(b"contenu")
    assert not Ledger(tmp_path).has_file(path)
    assert len(caplog.messages) == 1
    path.unlink()
    assert not Ledger(tmp_path).has_file(path)


@pytest.mark.parametrize("place", [0, 20, -3])
def test_ledger__one_changed_byte_and_all_parts_are_made_again(
    tmp_path: Path, place: int, caplog: pytest.LogCaptureFixture
) -> None:
    Ledger(tmp_path).enter("0", "aa")
    content = bytearray((tmp_path / LEDGER).read_bytes())
    content[place] ^= 1
    (tmp_path / LEDGER).write_bytes(content)
    damaged = Ledger(tmp_path)
    assert len(damaged) == 0
    assert caplog.messages[0].endswith("its parts are made again")
    damaged.enter("0", "cc")
    assert Ledger(tmp_path).keeps("0", lambda: "cc")


def test_ledger__is_gone_once_the_work_is_whole(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.close()
    ledger.enter("0", "aa")
    ledger.close()
    assert list(tmp_path.iterdir()) == []

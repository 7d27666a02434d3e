"""`clvq cache`: what is held and used, what is damaged, what goes, and what never goes."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from running import call, tiny_cell

from clvq_exp.artifacts import ArtifactCache
from clvq_exp.commands import main
from clvq_exp.inventory import CellRecorder, Choice, State, cell_entries, inventory, removable, remove

ALL = Choice(unused=True, unfinished=True, damaged=True)


class Filled:
    """A cache with a used and an unused artifact, and what a killed maker left."""

    def __init__(self, folder: Path) -> None:
        self.run = folder / "outputs" / "cell"
        self.run.mkdir(parents=True)
        self.cache = ArtifactCache(folder / "cache")
        self.unused = self.cache.get_or_make("stores", "unused", lambda out: write(out, b"12345"))
        self.cache.on_use = CellRecorder(self.cache.root, "minilm reviews", self.run)
        self.used = self.cache.get_or_make("models", "used", lambda out: write(out, b"123"))
        self.cache.on_use = None
        self.killed = self.cache.path("stores", "killed").with_suffix(".partial")
        write(self.killed, b"1")

    @property
    def root(self) -> Path:
        return self.cache.root


def write(folder: Path, content: bytes) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "a.bin").write_bytes(content)


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Filled:
    made = Filled(tmp_path)
    monkeypatch.setenv("CLVQ_EXP_CACHE", str(made.root))
    return made


def folders(found: list[Any]) -> set[Path]:
    return {each.folder for each, _ in found}


def told(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    assert main(["cache", *arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_inventory__tells_kind_state_size_and_cells(filled: Filled) -> None:
    held = {each.folder: each for each in inventory(filled.root)}
    assert set(held) == {filled.used, filled.unused, filled.killed}
    assert [cell.name for cell in held[filled.used].cells] == ["minilm reviews"]
    assert held[filled.used].is_used
    assert not held[filled.unused].is_used
    assert held[filled.killed].state is State.working
    assert held[filled.killed].size == 1
    assert held[filled.unused].size == 5 + (filled.unused / "manifest.json").stat().st_size


def test_inventory__nothing_where_there_is_no_cache(tmp_path: Path) -> None:
    assert inventory(tmp_path / "none") == []
    assert cell_entries(tmp_path / "none") == []


def test_unused__goes_and_the_used_stays_as_long_as_its_run_folder_is_there(filled: Filled) -> None:
    unused = Choice(unused=True, unfinished=False, damaged=False)
    assert folders(removable(inventory(filled.root), unused)) == {filled.unused}
    shutil.rmtree(filled.run)
    assert folders(removable(inventory(filled.root), unused)) == {filled.unused, filled.used}


def test_unused__a_cell_of_another_machine_counts_as_there(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(filled.run)
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    assert folders(removable(inventory(filled.root), ALL)) == {filled.unused, filled.killed}


def test_recorder__keeps_what_the_cell_used_before(filled: Filled) -> None:
    recorder = CellRecorder(filled.root, "minilm reviews", filled.run)
    recorder("stores", filled.unused.name)
    (entry,) = cell_entries(filled.root)
    assert entry.artifacts == {f"models/{filled.used.name}", f"stores/{filled.unused.name}"}
    assert entry.run_folder == filled.run


def test_entry_that_cannot_be_read__is_warned_of_and_written_again(
    filled: Filled, caplog: pytest.LogCaptureFixture
) -> None:
    (path,) = (filled.root / "cells").glob("*.json")
    path.write_text(path.read_text(encoding="utf-8").replace("minilm", "minimal"), encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert cell_entries(filled.root) == []
    assert str(path) in caplog.text
    CellRecorder(filled.root, "minilm reviews", filled.run)
    (entry,) = cell_entries(filled.root)
    assert entry.artifacts == frozenset()


def test_damaged__is_found_by_its_bytes_and_goes(filled: Filled, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "verify")["artifacts"]
    (filled.used / "a.bin").write_bytes(b"124")
    found = {each["folder"]: each["reason"] for each in told(capsys, "verify", code=1)["artifacts"]}
    assert "checksum" in found.pop(str(filled.used))
    assert set(found.values()) == {None}
    assert [each["folder"] for each in told(capsys, "prune", "--damaged")["artifacts"]] == [str(filled.used)]
    assert filled.used.exists(), "only --yes removes"
    told(capsys, "prune", "--damaged", "--yes")
    assert not filled.used.exists()
    assert filled.unused.exists()


def test_what_is_being_made__never_goes(filled: Filled) -> None:
    lock = FileLock(filled.killed.with_suffix(".lock"))
    with lock:
        (working,) = (each for each in inventory(filled.root) if each.state is State.working)
        assert working.is_being_made
        assert filled.killed not in folders(removable(inventory(filled.root), ALL))
        assert not remove(working)
        assert filled.killed.exists()
    assert filled.killed in folders(removable(inventory(filled.root), ALL))


def test_what_its_maker_moves_away_meanwhile__is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = tmp_path / "things" / "1.partial" / "inner"
    half.mkdir(parents=True)
    (half / "part").write_text("12345")
    own = os.scandir

    def scandir(path: str | Path | int = ".") -> Any:
        if path in (half, str(half)) and half.exists():
            shutil.rmtree(half)
        return own(path)

    monkeypatch.setattr(os, "scandir", scandir)
    (held,) = inventory(tmp_path)
    assert (held.state, held.size) == (State.working, 0)


def test_older_than__counts_days_since_the_last_change(filled: Filled) -> None:
    three_days_ago = time.time() - 3 * 86_400
    for path in (filled.unused, *filled.unused.iterdir()):
        os.utime(path, (three_days_ago, three_days_ago))
    held = inventory(filled.root)
    assert folders(removable(held, ALL._replace(older_than=2))) == {filled.unused}
    assert folders(removable(held, ALL._replace(older_than=4))) == set()


def test_prune__one_kind_alone(filled: Filled, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(filled.run)
    found = told(capsys, "prune", "--unused", "--unfinished", "--kind", "models", "--yes")
    assert [each["folder"] for each in found["artifacts"]] == [str(filled.used)]
    assert not filled.used.exists()
    assert filled.unused.exists()
    assert filled.killed.exists()
    assert cell_entries(filled.root) == [], "a cell that is gone is forgotten"


def test_prune__has_to_be_told_what_goes(filled: Filled, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "prune", "--yes"]) == 2
    assert "--unused" in capsys.readouterr().err
    assert filled.unused.exists()


@pytest.mark.parametrize("days", ["-1", "many", "inf"])
def test_older_than__what_is_no_number_of_days_is_refused(days: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["cache", "prune", "--unused", "--older-than", days])
    assert stopped.value.code == 2
    assert f"'{days}' is no number of days" in capsys.readouterr().err


def test_unknown_kind__is_told_the_kinds_that_there_are(
    filled: Filled, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache", "ls", "--kind", "model"]) == 1
    assert "holds models, stores" in capsys.readouterr().err


def test_list__names_size_and_cells(filled: Filled, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "ls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (used,) = (line for line in lines if filled.used.name in line)
    (killed,) = (line for line in lines if filled.killed.stem in line)
    assert "minilm reviews" in used
    assert "working folder" in killed


@pytest.mark.slow
def test_cell__enters_what_it_used_and_makes_again_what_was_pruned(
    tmp_path: Path, tiny_encoder: Path, reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*tiny_cell(tiny_encoder, reviews), "hydra.run.dir=run"]
    assert call(tmp_path, *arguments).code == 0
    monkeypatch.setenv("CLVQ_EXP_CACHE", str(tmp_path / "cache"))
    held = inventory(tmp_path / "cache")
    assert {each.kind for each in held} >= {"activations", "words", "attributions", "concept_models"}
    assert [each.kind for each in held if not each.is_used] == []
    metrics = (tmp_path / "run" / "metrics.json").read_bytes()
    shutil.rmtree(tmp_path / "run")
    assert main(["cache", "prune", "--unused", "--yes"]) == 0
    assert inventory(tmp_path / "cache") == []
    assert call(tmp_path, *arguments).code == 0
    assert (tmp_path / "run" / "metrics.json").read_bytes() == metrics

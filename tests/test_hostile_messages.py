"""Messages about hostile data: every error of `texts/` as the log writes it."""

from __future__ import annotations

import json
import logging
import subprocess
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from running import command, environment
from tiny import review

from clvq_exp.report.log_format import VisibleFormatter
from clvq_exp.settings import DatasetSettings
from clvq_exp.texts import TextsError, load_texts

ACT = "\x1b[31m\x1b]0;title\x07\u202e\u2066\u200b\x00\r\x9b"
"""Colours, sets the title, turns the direction, hides, ends, returns."""
LINES = f"{ACT}\nforged line"
HALF = "\ud800"
Row = dict[str, Any]


def rows(n: int = 20, **changed: Any) -> list[Row]:
    """Made-up reviews of both labels, with what a test changes in each."""
    found = []
    for index in range(n):
        text, label = review(index)
        found.append({"id": str(index), "text": f"{text} {index}", "label": label, **changed})
    return found


def jsonl(each: list[Row]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in each).encode()


def csv(header: str, *lines: str) -> bytes:
    return "\n".join((header, *lines, "")).encode()


def messages(settings: DatasetSettings, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What reading says, warnings first, as the log writes it."""
    try:
        load_texts(settings, remove_duplicates=settings.name == "without repeats")
    except TextsError as error:
        logging.getLogger("clvq_exp").error("%s", error)
    formatter = VisibleFormatter("%(message)s")
    return [formatter.format(record) for record in caplog.records]


def nothing_acts(text: str) -> bool:
    return not {unicodedata.category(character) for character in text.replace("\n", "")} & {
        "Cc",
        "Cf",
        "Cs",
        "Zl",
        "Zp",
    }


LABELLED = [{**row, "label": LINES if row["label"] else "1"} for row in rows()]
NAMED = {"label_names": [ACT, f"{ACT}2"], "label_meanings": ["", ""]}

CASES: dict[str, tuple[str, bytes, dict[str, Any], str]] = {
    "unknown label": ("jsonl", jsonl(LABELLED), {}, "unknown label"),
    "unknown label, half a character": ("jsonl", jsonl(rows(label=HALF)), {}, "unknown label"),
    "unknown label, nested": ("jsonl", jsonl(rows(label={LINES: [LINES]})), {}, "unknown label"),
    "unknown label, long": ("jsonl", jsonl(rows(label=ACT * 5000)), {}, "unknown label"),
    "known labels": ("jsonl", jsonl(rows()), {"label_values": {ACT: 0, f"{ACT}2": 1}}, "known labels are"),
    "no text column": (
        "jsonl",
        jsonl([{LINES: "x", HALF: "y"}]),
        {"text_column": ACT, "id_column": None},
        "no column",
    ),
    "no label column": ("jsonl", jsonl([{"text": "x", LINES: "y"}]), {"label_column": ACT}, "no column"),
    "text is no string": ("jsonl", jsonl(rows(text={LINES: HALF})), {}, "the text is no string"),
    "half a character": ("jsonl", jsonl(rows(text=f"{LINES}{HALF}")), {}, "half a surrogate pair"),
    "bad id": ("jsonl", jsonl(rows(id=[LINES])), {}, "is no name"),
    "bad id, half a character": ("jsonl", jsonl(rows(id=HALF)), {}, "is no name"),
    "repeated id": ("jsonl", jsonl(rows(id=LINES)), {}, "the id"),
    "no group column": ("jsonl", jsonl(rows(**{LINES: {LINES: 1}})), {"group_column": ACT}, "has no column"),
    "no JSON object": ("jsonl", json.dumps([LINES, HALF]).encode(), {}, "is no JSON object"),
    "broken JSON": ("jsonl", f'{{"text": "{ACT}'.encode(), {}, "broken JSON"),
    "not UTF-8": ("jsonl", jsonl(rows()) + b"\xff\x1b[31m", {}, "is not UTF-8"),
    "one label": ("jsonl", jsonl([{**row, "label": ACT} for row in rows()]), NAMED, "have the label"),
    "all left out": ("jsonl", jsonl(rows(label=LINES)), {"drop_labels": [LINES]}, "are left out"),
    "no dev file": ("jsonl", jsonl(rows()), {"name": ACT, "dev_size": 0}, "without a dev file"),
    "dev too large": ("jsonl", jsonl(rows()), {"name": ACT, "dev_size": 100}, "too few"),
    "rare label": (
        "jsonl",
        jsonl([{**row, "label": ACT if index else f"{ACT}2"} for index, row in enumerate(rows())]),
        {**NAMED, "dev_size": 10},
        "altogether",
    ),
    "a label without sentences": (
        "jsonl",
        jsonl(rows()),
        {"label_names": ["0", "1", ACT], "label_meanings": ["", "", ""], "dev_size": 6},
        "no training sentence is labelled",
    ),
    "header": ("csv", csv(f"a{ACT.replace(chr(13), '')},b", "1,2"), {"text_column": ACT}, "has no column"),
    "CSV cells": ("csv", csv("text,label", f"{ACT.replace(chr(13), '')},0,1"), {}, "cells where the header"),
    "CSV quotes": ("csv", csv("text,label", f'"a"{ACT.replace(chr(13), "")},0'), {}, "must be quoted"),
    "damaged packing": ("jsonl.gz", b"\x1b[31m", {}, "cannot be read"),
    "unknown form": (f"{ACT[:-4]}.txt", b"", {}, "of no known form"),
}


@pytest.mark.parametrize("case", CASES)
def test_messages_of_texts__nothing_acts(case: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ending, content, changed, expected = CASES[case]
    path = tmp_path / f"rows.{ending}".replace("\x00", "")
    path.write_bytes(content)
    given = {"name": "reviews", "label_names": ["0", "1"], "label_meanings": ["", ""], "dev_size": 6}
    found = messages(DatasetSettings(**{**given, "path": str(path), **changed}), caplog)
    assert expected in "\n".join(found)
    assert nothing_acts("\n".join(found))
    assert not [line for message in found for line in message.split("\n") if line.startswith("forged")]


@pytest.mark.parametrize(
    "names",
    [("train.jsonl", f"{ACT[:-4]}.jsonl", f"train{ACT[:-4]}.csv"), (f"train{ACT[:-4]}.jsonl",)],
)
def test_messages_about_folders__file_names_do_not_act(
    names: tuple[str, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in names:
        (tmp_path / name.replace("\x00", "")).write_bytes(b"")
    settings = DatasetSettings(ACT, ["0", "1"], ["", ""], path=str(tmp_path))
    assert nothing_acts("\n".join(messages(settings, caplog)))


@pytest.mark.parametrize("sweep", [False, True])
def test_command__error_about_hostile_data_does_not_act(sweep: bool, tmp_path: Path) -> None:
    path = tmp_path / f"{ACT[:5]}.jsonl"
    path.write_bytes(jsonl(LABELLED))
    own = ["-m", "hydra.sweep.dir=run"] if sweep else ["hydra.run.dir=run"]
    own += ["dataset=file", "dataset.dev_size=6", f"dataset.path='{path}'", "hydra.verbose=true"]
    done = subprocess.run(
        command(*own), cwd=tmp_path, env=environment(tmp_path / "cache"), capture_output=True, check=False
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == 1
    assert "unknown label '\\x1b[31m\\x1b]0;title\\x07\\u202e" in out
    assert nothing_acts(out)
    assert nothing_acts(err)
    (log,) = (tmp_path / "run").rglob("clvq_exp.log")
    assert "unknown label" in log.read_text()
    assert nothing_acts(log.read_bytes().decode())

"""`clvq compare` as a user calls it: formats, files, what is refused and how."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from comparing.made_pairs import (
    CODES,
    TEXTS,
    Code,
    compared,
    correct,
    make_run,
    method_figures,
    salient_rows,
    seal,
)

from clvq_exp.artifacts import read_json, write_json
from clvq_exp.commands import main
from clvq_exp.comparing.subjects import letter_of

HOSTILE = {"<script>alert(1)</script>": 9, "\x1b[31mred": 8, "a|b": 7, "{{7*7}}": 6, "\u202egnp": 5}
FORMATS = ("text", "markdown", "html", "json")


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two runs whose words and labels would act where they are shown."""
    codes = (Code((1.0, 0.0), HOSTILE), *CODES[1:])
    changed = {"dataset.name": "<b>|x\x1b[1m", "encoder.alpha": 0.5}
    base = make_run(tmp_path / "a", codes=(codes,), main=method_figures(0.8))
    other = make_run(
        tmp_path / "b",
        codes=(codes,),
        main=method_figures(0.2),
        outcomes=[correct(perturbed=[0, 0, 0, 0])],
        settings=changed,
    )
    return base, other


def shown(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What is printed; nothing is complained of."""
    assert main(["compare", *map(str, arguments)]) == 0
    found = capsys.readouterr()
    assert found.err == ""
    return found.out


class Elements(HTMLParser):
    """Names of a page's elements, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self.names.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_compare__text_says_what_differs(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, *pair)
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "A is the base; B stands beside it." in lines
    assert "Both runs evaluated the same 4 dev sentences: tests over sentences are paired." in out
    assert "encoder.alpha 0.1 0.1 0.5" in lines
    (perturbed,) = [line for line in lines if line.startswith("Concept removed")]
    assert perturbed.startswith("Concept removed 0.800 0.200 −1.000 −3.14 0.1")
    assert any(line.startswith("seeds 0 and 0 3 and 3 1.000") for line in lines)
    assert "Of 4 dev sentences in both, 100.0% have the same salient word" in out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert r"\x1b[31mred (8)" in " ".join(lines)


def test_compare__markdown_keeps_its_tables_whole(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = shown(capsys, *pair, "--format", "markdown")
    tables = [block.splitlines() for block in out.split("\n\n") if block.startswith("|")]
    for table in tables:
        columns = {line.replace(r"\|", "").count("|") for line in table}
        assert len(columns) == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt; (9)" in out
    assert "<script" not in out
    assert r"a\|b (7)" in out
    assert "| Concept removed | 0.800 [0.790, 0.810] | 0.200 [0.190, 0.210] | −1.000 [−1.000, −1.000] |" in out


def test_compare__html_runs_nothing(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, *pair, "--format", "html")
    page = Elements()
    page.feed(out)
    assert "script" not in page.names
    assert "b" not in page.names
    assert "script-src 'none'" in out
    assert "<script>alert(1)</script> (9)" in page.text
    assert "{{7*7}} (6)" in page.text
    assert "\x1b" not in out
    assert page.names.count("table") == 9


def test_compare__json_has_every_number_in_full(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(shown(capsys, *pair, "--format", "json"))
    assert content["format_version"] == 1
    assert [run["letter"] for run in content["runs"]] == ["A", "B"]
    assert content["runs"][1]["dataset"] == "<b>|x\x1b[1m"
    (alpha,) = [each for each in content["settings"] if each["key"] == "encoder.alpha"]
    assert alpha["values"] == {"A": "0.1", "B": "0.5"}
    assert alpha["is_default"] == {"A": True, "B": False}
    (found,) = content["comparisons"]
    assert found["sentences"] == {"base": 4, "other": 4, "shared": 4, "paired": True}
    figures = {each["key"]: each for each in found["parts"][0]["figures"]}
    assert figures["perturbed"]["base"] == {
        "mean": 0.8,
        "low": pytest.approx(0.79),
        "high": pytest.approx(0.81),
        "mark": None,
    }
    assert figures["perturbed"]["test"] == "paired over sentences"
    assert found["matching"]["by"] == "cosines"
    (fit,) = found["matching"]["fits"]
    assert fit["pairs"] == [[0, 0, pytest.approx(1)], [1, 1, pytest.approx(1)], [2, 2, pytest.approx(1)]]
    assert fit["best"][0]["base_words"][0] == {"word": "<script>alert(1)</script>", "count": 9}
    assert found["agreement"] == [{"seeds": [0, 0], "words": 10, "adjusted_mutual_information": 1.0}]
    assert found["salient_words"] == {"sentences": 4, "same_word": 4, "same_prediction": 4}


@pytest.mark.parametrize("form", FORMATS)
def test_compare__a_file_holds_what_is_printed(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str], form: str
) -> None:
    printed = shown(capsys, *pair, "--format", form)
    path = pair[0].parent / "new" / "file"
    assert shown(capsys, *pair, "--format", form, "--out", path) == ""
    written = path.read_text(encoding="utf-8")
    assert [line.rstrip() for line in written.splitlines()] == [line.rstrip() for line in printed.splitlines()]


def test_compare__three_runs_stand_beside_the_first(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    third = make_run(pair[0].parent / "c", seeds=(0, 1), settings={"quantizer.top_k": 1})
    out = shown(capsys, *pair, third)
    assert "A is the base; B and C stand beside it." in out
    assert out.index("\nB beside A") < out.index("\nC beside A")
    assert "for all runs beside A together" in " ".join(out.split())
    assert len(compared(*pair, third)) == 2
    assert [letter_of(place) for place in (0, 25, 26)] == ["A", "Z", "R27"]


def test_compare__says_that_documents_are_not_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main_figures = method_figures()
    main_figures["specificity"] |= {"documents": 2, "sentences": 4}
    run = make_run(tmp_path / "a", main=main_figures)
    said = "several sentences are of one document and its tables do not say which"
    assert said in " ".join(shown(capsys, run, run).split())
    known = make_run(
        tmp_path / "b",
        main=main_figures,
        salient=salient_rows(TEXTS, group=["x", "x", "y", "y"]),
        settings={"encoder.alpha": 0.5},
    )
    assert said not in " ".join(shown(capsys, known, known).split())


def test_compare__other_models_and_data_sets_say_what_is_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = make_run(tmp_path / "a")
    other = make_run(
        tmp_path / "b",
        "model=roberta",
        "dataset=eraser_movie",
        weights="others",
        salient=salient_rows(("p q", "r s")),
    )
    out = " ".join(shown(capsys, base, other).split())
    assert (
        "The dev sentences are not the same (0 are in both, of 4 and 2): tests over sentences are unpaired." in out
    )
    assert "Salient words are not compared: no dev sentence is known to be in both runs." in out
    assert "Vectors do not live in one space: the weights of their language models are not the same" in out
    assert "Agreement on words is not measured: no dev sentence is in both runs." in out
    assert "Tests: unpaired, over sentences" in out
    assert "mean share of the most frequent words that both hold" in out


def test_compare__what_is_no_finished_run_is_refused_in_one_line_each(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pair[0].parent
    killed = folder / "killed"
    (killed / ".hydra").mkdir(parents=True)
    (folder / "empty").mkdir()
    damaged = make_run(folder / "damaged", settings={"quantizer.top_k": 2})
    content = bytearray((damaged / "assignments.parquet").read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / "assignments.parquet").write_bytes(bytes(content))
    lines = refused(capsys, pair[0], killed, folder / "empty", damaged, folder / "no\x1bwhere", folder)
    assert lines[0] == f"{killed}: unfinished: the run has not come to its end"
    assert lines[1] == f"{folder / 'empty'}: no finished run is in it"
    assert "assignments.parquet is not what was written: its checksum differs" in lines[2]
    assert lines[3].endswith(r"no\x1bwhere: no such folder")
    assert "holds 3 finished runs (a, b, ...); name one of them" in lines[4]
    assert len(lines) == 5


def test_compare__a_damaged_table_or_newer_figures_are_refused(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (pair[1] / "sentences.parquet").write_bytes(b"no table")
    seal(pair[1])
    (line,) = refused(capsys, *pair)
    assert "sentences.parquet cannot be read" in line
    (pair[1] / "sentences.parquet").unlink()
    write_json(pair[1] / "metrics.json", {**read_json(pair[1] / "metrics.json"), "format_version": 99})
    seal(pair[1])
    (line,) = refused(capsys, *pair)
    assert "its figures have format 99" in line


def test_compare__one_run_alone_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["compare", "outputs"])
    assert stopped.value.code == 2
    assert "RUN" in capsys.readouterr().err


def test_compare__a_file_that_cannot_be_written_is_said(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = pair[0].parent / "file"
    blocked.write_text("")
    (line,) = refused(capsys, *pair, "--out", blocked / "inside")
    assert "file" in line


def test_compare__a_folder_that_holds_one_run_stands_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "outputs" / "minilm" / "run")
    content: Any = json.loads(shown(capsys, tmp_path / "outputs", run, "--format", "json"))
    assert [each["folder"] for each in content["runs"]] == [str(run)] * 2
    assert content["settings"] == []


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    """What stands on standard error, where nothing is printed and the exit code is 1."""
    assert main(["compare", *map(str, arguments)]) == 1
    found = capsys.readouterr()
    assert found.out == ""
    return found.err.splitlines()

"""`clvq clouds`: word clouds of a finished run as files."""

from __future__ import annotations

from pathlib import Path

import pytest
from collect.made_runs import write_run
from PIL import Image
from report.conftest import write_concepts, write_sentences

from clvq_exp.artifacts import write_manifest
from clvq_exp.commands import main


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A finished run whose concept 0 holds nothing and whose concept 6 holds sentence tokens only."""
    folder = write_run(tmp_path / "run")
    write_concepts(folder)
    write_sentences(folder)
    write_manifest(folder, {"cell": "0123456789abcdef"})
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_clouds__of_the_concepts_that_are_asked_for(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "out"
    asked = ["--concept", "1", "--concept", "2", "--concept", "0", "--concept", "6", "--concept", "1"]
    assert main(["clouds", str(finished), *asked, "--out", str(out)]) == 0
    assert names(out) == {"concept_1.svg", "concept_1.png", "concept_2.svg", "concept_2.png"}
    with Image.open(out / "concept_1.png") as image:
        assert image.size == (720, 360)
    assert "great" in (out / "concept_1.svg").read_text(encoding="utf-8")
    assert "<script>" not in (out / "concept_2.svg").read_text(encoding="utf-8")
    shown = capsys.readouterr()
    assert shown.out == f"2 clouds in {out}, each as SVG and PNG\n"
    assert shown.err.startswith("2 of the concepts hold no word")


def test_clouds__of_all_and_of_the_cases(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["clouds", str(finished), "--concept", "all", "--out", str(tmp_path / "all")]) == 0
    assert len(names(tmp_path / "all")) == 2 * 6
    monkeypatch.chdir(tmp_path)
    assert main(["clouds", str(finished)]) == 0
    assert names(tmp_path / "clouds") <= names(tmp_path / "all")
    assert 2 <= len(names(tmp_path / "clouds")) <= 2 * 4


@pytest.mark.parametrize("asked", ["8", "-1", "x", "1.0", "²", ""])
def test_clouds__an_unknown_concept_is_said_before_any_is_drawn(
    finished: Path, tmp_path: Path, asked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["clouds", str(finished), "--concept", "1", f"--concept={asked}", "--out", str(tmp_path / "o")]) == 1
    )
    assert capsys.readouterr().err == f"--concept {asked}: the run has concepts 0 to 7, or `all`\n"
    assert not (tmp_path / "o").exists()


def test_clouds__no_run_or_several_or_one_without_an_inventory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["clouds", str(tmp_path / "nowhere")]) == 1
    assert "no such folder" in capsys.readouterr().err
    write_run(tmp_path / "runs" / "a")
    write_run(tmp_path / "runs" / "b", "quantizer.codebook_size=50")
    assert main(["clouds", str(tmp_path / "runs")]) == 1
    assert "holds 2 finished runs: give the folder of one" in capsys.readouterr().err
    assert main(["clouds", str(tmp_path / "runs" / "a")]) == 1
    assert "has no inventory of concepts" in capsys.readouterr().err


def test_clouds__a_folder_that_cannot_be_written(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["clouds", str(finished), "--concept", "1", "--out", str(tmp_path / "file" / "x")]) == 1
    assert "--out" in capsys.readouterr().err

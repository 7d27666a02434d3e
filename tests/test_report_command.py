"""`clvq report` as a user calls it: folders, tables, formats, what is said and with which exit code."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import pytest
from collect.made_runs import DEMO_CELL, PAPER_CELL, block, history, write_run
from running import call, tiny_cell

from clvq_exp.artifacts import read_json
from clvq_exp.collect.catalogue import KEYS
from clvq_exp.collect.measures import MEASURES
from clvq_exp.collect.runs import find_runs
from clvq_exp.collect.units import pairs_of, units_of
from clvq_exp.commands import main


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """A sweep over K on the paper's cell, one over alpha on the demo's."""
    folder = tmp_path / "outputs"
    for size in (50, 400):
        settings = {"quantizer.codebook_size": size}
        write_run(folder / f"k{size}", *PAPER_CELL, settings=settings, main=block(0.06, [size / 2] * 3, size))
    for mode in ("adaptive", "adaptive_full"):
        curves = history("clvq_vae", {0: [2.0, 4.0]})
        write_run(folder / mode, *DEMO_CELL, settings={"encoder.alpha_mode": mode}, curves=curves)
    return folder


def test_report__every_table_under_its_key_and_title(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(outputs)]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert [line.split("`")[1] for line in shown.out.splitlines() if line.startswith("Key ")] == list(KEYS)
    assert "Ours are from 4 finished runs." in shown.out
    assert (
        "| roberta | eraser_movie | 8-12 | CLVQ-VAE | codebook_size=50 | Accuracy after removal |" not in shown.out
    )
    assert (
        "| codebook_size=50 | Accuracy after removal |  | 0.0600 [0.0500, 0.0700] | 0.0769 | −0.0169 | no |"
        in shown.out
    )


def test_report__the_tables_that_are_asked_for(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(outputs), "--table", "v1_table12", "--table", "v1_table08"]) == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith("## ")] == [
        "## Table 8: size K of the codebook",
        "## Table 12: strategies of alpha",
    ]


def test_report__refuses_a_table_that_is_none(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["report", str(outputs), "--table", "table8"])
    assert stopped.value.code == 2
    assert "v1_table08" in capsys.readouterr().err


def test_report__latex_and_csv_on_standard_output(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(outputs), "--format", "latex", "--table", "v1_table08"]) == 0
    assert r"\label{tab:v1_table08}" in capsys.readouterr().out
    assert main(["report", str(outputs), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["table"] for row in rows] == sorted((row["table"] for row in rows), key=KEYS.index)
    ours = [
        row for row in rows if row["table"] == "v1_table12" and row["figure"] == "perplexity_final" and row["ours"]
    ]
    assert [(row["setting"], row["ours"]) for row in ours] == [
        ("encoder.alpha_mode=adaptive", "4.0"),
        ("encoder.alpha_mode=adaptive_full", "4.0"),
    ]


@pytest.mark.parametrize(("form", "ending"), [("markdown", "md"), ("latex", "tex"), ("csv", "csv")])
def test_report__a_file_for_each_table_and_the_figures(
    outputs: Path, capsys: pytest.CaptureFixture[str], form: str, ending: str
) -> None:
    out = outputs.parent / "new" / "tables"
    assert main(["report", str(outputs), "--format", form, "--out", str(out)]) == 0
    names = {path.name for path in out.iterdir()}
    figures = {f"{key}.{kind}" for key in ("v1_table08", "v1_table12") for kind in ("svg", "png")}
    assert {*figures, *(f"{key}.{ending}" for key in KEYS)} <= names
    assert {name.rpartition(".")[2] for name in names} == {ending, "svg", "png"}
    assert not any(name.startswith(".") for name in names)
    assert capsys.readouterr().out == f"{len(names)} files in {out}\n"
    text = (out / f"v1_table08.{ending}").read_text(encoding="utf-8")
    assert ("v1_table08" if form == "csv" else "Table 8: size K of the codebook") in text


def test_report__one_page_with_all_tables_and_figures(outputs: Path) -> None:
    out = outputs.parent / "out"
    main(["report", str(outputs), "--format", "html", "--out", str(out)])
    text = (out / "tables.html").read_text(encoding="utf-8")
    assert all(f'<h2 id="{key}">' in text for key in KEYS)
    assert 'id="plot-v1_table08"' in text
    assert 'id="plot-v1_table12"' in text
    assert not list(out.glob("*.md"))


def test_report__names_what_it_leaves_out_and_goes_on(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (outputs / "k50" / "metrics.json").write_bytes(b"{}")
    (outputs / "killed" / ".hydra").mkdir(parents=True)
    shutil.copytree(outputs / "k400", outputs / "twice")
    write_run(outputs / "old", *DEMO_CELL, settings={"seeds": [5]}, format_version=0)
    assert main(["report", str(outputs), str(outputs.parent / "no\x1bwhere"), "--table", "v1_table08"]) == 0
    shown = capsys.readouterr()
    assert "codebook_size=400 | Accuracy after removal | 1 | 0.0600" in shown.out
    assert "codebook_size=50 | Accuracy after removal |  | –" in shown.out
    lines = shown.err.splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["left out"] * 4 + [str(outputs / "old")]
    assert "k50: damaged" in lines[0]
    assert lines[1].endswith("killed: unfinished: the run has not come to its end")
    assert lines[2].endswith(f"twice: the same cell as {outputs / 'k400'}")
    assert lines[3].endswith("no\\x1bwhere: no such folder")
    assert "its figures have format 0, this version writes 1" in lines[4]


def test_report__nothing_finished_is_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").mkdir()
    assert main(["report", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"no finished run below {tmp_path / 'a'}, {tmp_path / 'b'}: nothing to report" in shown.err


def test_report__a_folder_that_cannot_be_written_is_said(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = outputs.parent / "file"
    file.write_text("")
    assert main(["report", str(outputs), "--out", str(file / "tables")]) == 1
    assert "choose another by --out" in capsys.readouterr().err


def test_report__an_output_without_unicode_gets_escapes(outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    assert main(["report", str(outputs), "--table", "v1_table08"]) == 0
    stream.seek(0)
    assert "\\xb1" in stream.read()


@pytest.mark.slow
def test_report__of_two_real_cells(tiny_encoder: Path, reviews: Path, tmp_path: Path) -> None:
    """Two sizes of the codebook, as runs leave them; the figures are those of their metrics."""
    cell = [*tiny_cell(tiny_encoder, reviews), "specificity.shuffles=2"]
    done = call(tmp_path, *cell, "quantizer.codebook_size=10,20", "--multirun")
    assert done.code == 0, done.err
    folders = [path.parent for path in sorted((tmp_path / "outputs").rglob("metrics.json"))]
    assert len(folders) == 2
    out = tmp_path / "tables"
    assert main(["report", str(tmp_path / "outputs"), "--format", "csv", "--out", str(out)]) == 0
    rows = list(csv.DictReader(io.StringIO((out / "v1_table08.csv").read_text(encoding="utf-8"))))
    ours = {
        (row["method"], row["setting"].rpartition("=")[2], row["figure"]): float(row["ours"])
        for row in rows
        if row["ours"]
    }
    for folder in folders:
        metrics = read_json(folder / "metrics.json")
        size = str(metrics["cell"]["codebook_size"])
        for method, found in (("clvq_vae", metrics), ("kmeans_codes", metrics["beside"]["kmeans_codes"])):
            accuracy = found["faithfulness"]["concept"]["perturbed"]["mean"]
            assert ours[method, size, "perturbed"] == accuracy
            assert ours[method, size, "perplexity"] == pytest.approx(found["codebook"]["perplexity"])
    tests = {"difference", "p_value", "p_holm", "cohens_h"}
    later = {"perplexity_epoch_10", "perplexity_epoch_30"}  # it has three epochs
    between_seeds = {"agreement", "matched_cosine", "matched_noise"}  # it has one
    for run in find_runs([tmp_path / "outputs"]).runs:
        units = units_of(run)
        unknown = {name for name, measure in MEASURES.items() if measure.read(units[0]) is None}
        assert unknown == tests | later | between_seeds
        pairs = pairs_of(units)
        assert pairs
        for pair in pairs:
            known = {name for name, measure in MEASURES.items() if measure.read(pair) is not None}
            assert tests <= known
            assert not known & {"perturbed", "perplexity", "purity", "flips_all_words"}, (
                "of one method, not of two"
            )
    assert {row["departures"] != "" for row in rows if row["ours"]} == {True}
    assert (out / "v1_table08.png").stat().st_size > 1_000


@pytest.mark.slow
@pytest.mark.parametrize("width", [1300, 480])
def test_page__draws_its_figures_and_stays_within_its_width(outputs: Path, browser, width: int) -> None:
    out = outputs.parent / "out"
    main(["report", str(outputs), "--format", "html", "--out", str(out)])
    page = browser.new_page()
    messages: list[str] = []
    page.on("console", lambda line: messages.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.set_viewport_size({"width": width, "height": 1000})
    page.goto((out / "tables.html").as_uri())
    for key in ("v1_table08", "v1_table12"):
        page.wait_for_selector(f"#plot-{key} .main-svg")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert messages == []

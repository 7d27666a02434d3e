"""The same tables as Markdown, LaTeX, CSV and HTML: every text escaped, every note carried along."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest
from collect.made_runs import PAPER_CELL, block, gathered, history, write_run

from clvq_exp.collect import latex as tex
from clvq_exp.collect import markdown as md
from clvq_exp.collect.gather import Collected, gather
from clvq_exp.collect.latex import latex
from clvq_exp.collect.long_csv import COLUMNS, long_csv
from clvq_exp.collect.markdown import markdown
from clvq_exp.collect.page import page
from clvq_exp.collect.runs import find_runs

HOSTILE = "a|b_</script><script>alert(1)</script> $x$ \\end{table} [l](javascript:0) \x1b[31m\u202e%&#{}~^"
NOTE = "Table 14 prints a perplexity of 210.63"


@pytest.fixture
def table8(tmp_path: Path) -> Collected:
    write_run(tmp_path / "run", *PAPER_CELL, main=block(0.0656, [130.0, 140.0, 150.0], deviation=0.0021))
    return gathered(tmp_path, "v1_table08")


@pytest.fixture
def hostile(tmp_path: Path) -> list[Collected]:
    names = {"model.name": HOSTILE, "dataset.name": HOSTILE, "baseline.name": HOSTILE}
    for size in (20, 30):
        write_run(tmp_path / str(size), *PAPER_CELL, settings={**names, "quantizer.codebook_size": size})
    return gather(find_runs([tmp_path]).runs)


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def html(found: Collected) -> str:
    return page([found.sheet], [found.plot] if found.plot else [], [])


def visible_text(source: str) -> str:
    """A page without its scripts and tags."""
    without = re.sub(r"<(script|style)\b.*?</\1>", " ", source, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", without))


# ---------------------------------------------------------------- what stands there


def test_formats__the_papers_contradiction_stands_in_each(table8: Collected) -> None:
    assert f"- 1: Paper: {NOTE}" in markdown(table8.sheet)
    assert rf"\textsuperscript{{1}} Paper: {NOTE}" in latex(table8.sheet)
    assert f"<dt>1</dt><dd>Paper: {NOTE}" in html(table8)
    rows = [row for row in read_csv(long_csv([(table8.spec, table8.filled)])) if row["paper"]]
    noted = {row["setting"] for row in rows if NOTE in row["paper_note"]}
    assert noted == {"quantizer.codebook_size=400"}


def test_markdown__a_line_of_ours_beside_the_papers(table8: Collected) -> None:
    text = markdown(table8.sheet)
    assert text.startswith("## Table 8: size K of the codebook\n\nKey `v1_table08`.\n")
    assert "Model: roberta. Data set: eraser_movie. Layers: 8-12. Method: CLVQ-VAE." in text
    line = "| codebook_size=400 | Accuracy after removal | 1 | 0.0656 ± 0.0021 [0.0556, 0.0756] | 0.0606 "
    assert f"{line}| +0.0050 | yes |" in text
    # resamples of three seeds: the 2.5% point lies 0.65 of the way from 130 to 133.33
    assert "|  | Perplexity | 1 | 140.000 ± 10.000 [132.167, 147.833] | 139.208 | +0.792 | yes |" in text
    assert "| codebook_size=50 | Accuracy after removal |  | – | 0.0769 |  |  |" in text
    assert "Missing: 4 of the paper's 5 rows. What runs them:" in text


def test_latex__the_same_line_with_booktabs(table8: Collected) -> None:
    text = latex(table8.sheet)
    expected = (
        r"codebook\_size=400 & Accuracy after removal & \textsuperscript{1} & 0.0656 $\pm$ 0.0021 "
        r"{[}0.0556, 0.0756{]} & 0.0606 & +0.0050 & yes \\"
    )
    assert expected in text
    assert text.count(r"\toprule") == 2
    assert text.count(r"\begin{longtable}") == text.count(r"\end{longtable}") == 1
    rows = [line for line in text.splitlines() if line.endswith(r"\\") and "caption" not in line]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {6}
    assert r"\texttt{python -m clvq\_exp -{}-config-dir" in text


def test_csv__numbers_in_full(table8: Collected) -> None:
    rows = read_csv(long_csv([(table8.spec, table8.filled)]))
    assert tuple(rows[0]) == COLUMNS
    (found,) = [row for row in rows if row["ours"] and row["figure"] == "perturbed"]
    expected = {
        "table": "v1_table08",
        "model": "roberta",
        "dataset": "eraser_movie",
        "layers": "8-12",
        "method": "clvq_vae",
        "setting": "quantizer.codebook_size=400",
        "ours": "0.0656",
        "interval_over": "seeds and sentences",
        "deviation": "0.0021",
        "seeds": "3",
        "paper": "0.0606",
        "paper_in_interval": "true",
        "departures": "",
        "command": "",
    }
    assert {name: found[name] for name in expected} == expected
    assert float(found["difference"]) == pytest.approx(0.005)
    (missing,) = [row for row in rows if row["setting"].endswith("=50") and row["figure"] == "perplexity"]
    assert (missing["ours"], missing["runs"], missing["paper"]) == ("", "", "30.121")
    assert missing["command"].endswith("table08_codebook_size quantizer.codebook_size=50 dataset.path=FOLDER")


def test_csv__a_cell_without_figures_of_the_paper_stands_there_with_its_command(tmp_path: Path) -> None:
    write_run(tmp_path / "run", *PAPER_CELL)
    found = gathered(tmp_path, "v2_table10")
    rows = read_csv(long_csv([(found.spec, found.filled)]))
    assert len(rows) == 12
    assert {(row["figure"], row["ours"], row["paper"]) for row in rows} == {("", "", "")}
    assert "model=bert dataset=jigsaw" in rows[4]["command"]


def test_formats__a_demo_is_no_reproduction(tmp_path: Path) -> None:
    write_run(tmp_path / "run", *PAPER_CELL, settings={"trainer.max_epochs": 3})
    found = gathered(tmp_path, "v1_table08")
    said = "Rows with a letter are no reproduction of the paper"
    for text in (markdown(found.sheet), latex(found.sheet), html(found)):
        assert said in text
        assert "epochs=3, not 100" in text.replace(r"\_", "_")
    (row,) = [
        row
        for row in read_csv(long_csv([(found.spec, found.filled)]))
        if row["figure"] == "perturbed" and row["ours"]
    ]
    assert row["departures"] == "trainer.max_epochs=3, not 100"
    assert said not in markdown(gathered(tmp_path, "v1_table02").sheet)


def test_sheet__the_marks_of_many_departures_are_letters(tmp_path: Path) -> None:
    for epochs in range(1, 29):
        write_run(tmp_path / str(epochs), *PAPER_CELL, settings={"trainer.max_epochs": epochs})
    notes = [note.mark for note in gathered(tmp_path, "v1_table13").sheet.notes if note.mark.isalpha()]
    assert (notes[0], notes[25], notes[26], notes[27]) == ("a", "z", "aa", "ab")


def test_page__stands_alone_and_runs_no_script_but_its_own(table8: Collected) -> None:
    text = html(table8)
    outside = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", outside)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert "default-src 'none'" in policy.group(1)
    assert policy.group(1).count("'sha256-") == 2
    assert 'id="plot-v1_table08"' in text
    assert "0.0656 ± 0.0021 [0.0556, 0.0756]" in visible_text(text)
    plain = page([table8.sheet], [], [])
    assert "<script" not in plain
    assert "script-src 'none'" in plain


# ---------------------------------------------------------------- what must not act


def test_formats__a_hostile_name_shows_and_does_not_act(hostile: list[Collected]) -> None:
    for found in hostile:
        for text in (
            markdown(found.sheet),
            latex(found.sheet),
            long_csv([(found.spec, found.filled)]),
            html(found),
        ):
            assert "\x1b" not in text
            assert "\u202e" not in text
        assert "<script>alert" not in markdown(found.sheet)
        assert not re.search(r"(?<!\\)\]\(", markdown(found.sheet))
        assert r"\end{table}" not in latex(found.sheet)
        assert "<script>alert" not in html(found)
    shown = visible_text(html(next(each for each in hostile if each.spec.key == "v1_table08")))
    assert "&lt;/script&gt;" in shown


def test_csv__a_name_that_a_spreadsheet_would_compute_is_a_text(tmp_path: Path) -> None:
    for size in (20, 30):
        names = {"model.name": "=1+1", "dataset.name": "@sum(a1)", "quantizer.codebook_size": size}
        write_run(tmp_path / str(size), *PAPER_CELL, settings=names)
    found = gathered(tmp_path, "v1_table08")
    rows = [row for row in read_csv(long_csv([(found.spec, found.filled)])) if row["ours"]]
    assert {(row["model"], row["dataset"]) for row in rows} == {("'=1+1", "'@sum(a1)")}


def test_markdown__rows_of_a_hostile_name_have_as_many_cells_as_the_head(hostile: list[Collected]) -> None:
    (found,) = [each for each in hostile if each.spec.key == "v1_table08"]
    lines = [line for line in markdown(found.sheet).splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_latex__rows_of_a_hostile_name_have_as_many_cells_as_the_head(hostile: list[Collected]) -> None:
    (found,) = [each for each in hostile if each.spec.key == "v1_table08"]
    rows = [line for line in latex(found.sheet).splitlines() if line.endswith(r" \\")]
    assert len({len(re.findall(r"(?<!\\)&", line)) for line in rows}) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("eraser_movie", "eraser_movie"),
        ("_x_", r"\_x\_"),
        ("a*b`c|d", r"a\*b\`c\|d"),
        ("<b>&", "&lt;b&gt;&amp;"),
        ("[0.1, 0.2]", "[0.1, 0.2]"),
        ("[a](b)", r"[a\](b)"),
        ("![a]", r"\![a]"),
        ("a\nb", r"a\\x0ab"),
    ],
)
def test_markdown__escapes(text: str, expected: str) -> None:
    assert md.escaped(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b", r"a\_b"),
        ("50%", r"50\%"),
        ("\\x{}", r"\textbackslash{}x\{\}"),
        ("$a^2~b$", r"\$a\textasciicircum{}2\textasciitilde{}b\$"),
        ("−0.1 ± 2 – 3", r"$-$0.1 $\pm$ 2 -- 3"),
        ("[1]*", "{[}1{]}{*}"),
        ("#&<>|", r"\#\&\textless{}\textgreater{}\textbar{}"),
    ],
)
def test_latex__escapes(text: str, expected: str) -> None:
    assert tex.escaped(text) == expected


def test_page__hostile_names_of_lines_stay_data(tmp_path: Path) -> None:
    curves = history("clvq_vae", {0: [1.0, 2.0]})
    runs: list[dict[str, Any]] = [{"encoder.alpha_mode": "adaptive"}, {"encoder.alpha_mode": "adaptive_full"}]
    for number, settings in enumerate(runs):
        for name in ("a</script>", "$b$<i>"):
            given = {**settings, "model.name": name}
            write_run(tmp_path / f"{number}{len(name)}", *PAPER_CELL, settings=given, curves=curves)
    found = gathered(tmp_path, "v1_table12")
    assert found.plot is not None
    assert len(found.plot.panels) == 2
    text = html(found)
    data = re.search(r'id="figure-data">(.*?)</script>', text, flags=re.DOTALL)
    assert data is not None
    assert "<" not in data.group(1)
    assert "alt;/script" in data.group(1).replace("\\u0026", "")

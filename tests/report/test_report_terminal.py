from __future__ import annotations

import io

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from clvq_exp.report.terminal import print_summary


def printed(run, width: int = 100, **console) -> str:
    stream = io.StringIO()
    print_summary(run.folder, run.metrics, Console(file=stream, width=width, **console))
    return stream.getvalue()


def keep_only(run, sentence: int) -> None:
    path = run.folder / "salient_words.parquet"
    table = pq.read_table(path)
    pq.write_table(table.filter(pc.equal(table["sentence"], sentence)), path)


def test_print_summary__tables_fit_100_columns(run) -> None:
    text = printed(run)
    body = text.splitlines()[:-1]
    assert max(len(line) for line in body) <= 100
    assert "…" not in text.split("sentences and the concept")[0]
    assert "0.600 [0.580, 0.620]  (25.0%)" in text
    assert "inverted" in text
    assert "7.5% [5.5%, 9.5%]" in text
    assert "0.500 (40.0%)" in text
    assert "the decoder goes around the codebook" in " ".join(text.split())


def test_print_summary__narrow_terminal_splits_the_methods(run) -> None:
    text = printed(run, width=80)
    assert "0.640 [0.620, 0.660]  (20.0%)" in text
    assert max(len(line) for line in text.splitlines()[:-1]) <= 80


def test_print_summary__header_examples_and_path(run) -> None:
    text = printed(run)
    assert text.startswith("minilm · movie · layers 4-6 · CLVQ-VAE")
    assert text.count("predicted ") == 3
    assert "‘acting’ → concept 4: great, dull, acting, plot, and, the, film, scene, awful, charming" in text
    assert text.splitlines()[-1] == str(run.folder / "report.html")


def test_print_summary__hostile_text_does_nothing(run) -> None:
    keep_only(run, 0)
    run.metrics["cell"]["label_names"] = ["\x1b]0;title\x07", "[bold]b[/bold]"]
    text = printed(run)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\\x1b[31mred" in text
    assert "\\u202egnp.exe" in text
    assert "[red]markup[/red]" in text
    assert "[bold]b[/bold]" in text
    assert "A" * 61 not in text
    assert "(10,000" in text


def test_print_summary__colours_are_only_its_own(run) -> None:
    keep_only(run, 0)
    text = printed(run, force_terminal=True, color_system="truecolor")
    assert "\x1b[31m" not in text
    assert "[red]markup" in text


def test_print_summary__terminal_without_unicode(run) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print_summary(run.folder, run.metrics, Console(file=stream, width=100))
    stream.seek(0)
    assert "0.600 [0.580, 0.620]" in stream.read()


def test_print_summary__nothing_but_a_cell(run) -> None:
    for path in run.folder.glob("*.parquet"):
        path.unlink()
    run.metrics.update(dict.fromkeys(run.metrics.keys() - {"cell"}))
    assert printed(run).splitlines()[-1] == str(run.folder / "report.html")


def test_print_summary__default_console(run, capsys) -> None:
    print_summary(run.folder, run.metrics)
    assert "0.600 [0.580, 0.620]  (25.0%)  " in capsys.readouterr().out


@pytest.mark.parametrize("width", [100, 80])
def test_print_summary__nine_methods_fit(nine, width: int) -> None:
    text = printed(nine, width=width)
    body = text.splitlines()[:-1]
    assert max(len(line) for line in body) <= width
    assert len(body) < 150
    for shown in ("its top 10", "CLVQ-VAE − Sparse transcoder", "0.072", "63.0% (62.0%)", "71.0% (60.0%)"):
        assert shown in text
    assert "chosen L1 0.03, 0.045" in " ".join(text.split())
    assert "no more than with labels shuffled within words" in " ".join(text.split())


def test_print_summary__each_method_by_its_own_removal(nine) -> None:
    lines = printed(nine).splitlines()
    start = next(index for index, line in enumerate(lines) if "each method by its own removal" in line)
    shown = [line.split("  ")[0] for line in lines[start + 3 : start + 13] if line[0] != " "]
    assert shown[0] == "CLVQ-VAE"
    assert shown[-1] == "Sparse transcoder"
    sparse = next(line for line in lines[start:] if line.startswith("SAE 2048"))
    assert "its top 10 neurons" in sparse
    assert "0.600 (25.0%)" in sparse


def test_print_summary__no_specificity_no_heading(run) -> None:
    assert "Specificity of the codes" in printed(run)
    run.metrics["specificity"] = run.metrics["beside"]["kmeans_codes"]["specificity"] = None
    assert "Specificity of the codes" not in printed(run)

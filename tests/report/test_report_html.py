from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import plotly.graph_objects as go
import pytest
from report.nine_methods import HOSTILE_LABEL

from clvq_exp.report import html
from clvq_exp.report.figures import code_use_figure, faithfulness_figure
from clvq_exp.report.html import write_report
from clvq_exp.report.purity_figure import purity_figure
from clvq_exp.report.run_files import read_rows
from clvq_exp.report.tables import faithfulness_table
from clvq_exp.report.training_figures import training_figures

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Reader(HTMLParser):
    """Tags, attributes and the visible text of a page, as a parser sees them."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.articles: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")
        if tag == "article":
            self.articles.append("")

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if "script" in self.open:
            self.scripts[-1] += data
        elif "style" not in self.open:
            self.text.append(data)
            if "article" in self.open:
                self.articles[-1] += data


def read(run) -> Reader:
    path = write_report(run.folder, run.metrics, run.provenance)
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert reader.open == []
    return reader


def test_write_report__one_file_written_at_once(run) -> None:
    path = write_report(run.folder, run.metrics, run.provenance)
    assert path == run.folder / "report.html"
    assert not list(run.folder.glob(".*tmp"))
    before = path.read_bytes()
    assert write_report(run.folder, run.metrics, run.provenance).read_bytes() == before


def test_write_report__shows_the_figures(run) -> None:
    text = " ".join(" ".join(read(run).text).split())
    for expected in ("(25.0%)", "[0.580, 0.620]", "inverted", "goes around the codebook", "97.5%", "12.5%"):
        assert expected in text
    for expected in ("versions.torch", "2.13.0", "abc123", "2 min 36 s", "1.50 GiB"):
        assert expected in text


def test_write_report__no_network(run) -> None:
    reader = read(run)
    for _, attributes in reader.tags:
        for name in ("src", "href", "action", "srcset", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    policy = next(a["content"] for _, a in reader.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert any("showSendToCloud: false" in script for script in reader.scripts)


def test_write_report__policy_lets_only_its_own_scripts_run(run) -> None:
    reader = read(run)
    policy = next(a["content"] or "" for _, a in reader.tags if a.get("http-equiv"))
    script_rule = next(rule for rule in policy.split(";") if "script-src" in rule)
    assert "unsafe" not in script_rule
    kinds = [attributes.get("type") for tag, attributes in reader.tags if tag == "script"]
    assert kinds == ["application/json", None, None, "application/json", None]
    for script in (script for script, kind in zip(reader.scripts, kinds, strict=True) if kind is None):
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in script_rule


def test_write_report__hostile_text_does_nothing(run) -> None:
    run.metrics["cell"]["label_names"] = ['"><img src=x onerror=alert(1)>', "</script><script>"]
    run.metrics["cell"]["dataset"] = "</title><script>alert(2)</script>"
    run.metrics["beside"]["<img src=y>"] = run.metrics["beside"]["kmeans_codes"]
    reader = read(run)
    raw = (run.folder / "report.html").read_text(encoding="utf-8")
    page = raw.split('<script type="application/json"')[0]
    assert [tag for tag, _ in reader.tags].count("script") == 5
    images = [attributes for tag, attributes in reader.tags if tag == "img"]
    assert [each.get("class") for each in images] == ["cloud"] * 3  # the fourth holds nothing
    assert not [a for _, a in reader.tags if any(name.startswith("on") for name in a)]
    assert "\x1b" not in raw.replace(reader.scripts[1], "")
    assert "\u202e" not in page
    hostile = next(article for article in reader.articles if "movie-0" in article)
    for shown in (
        "<script>alert(1)</script>",
        "{{7*7}}",
        "\\x1b[31mred",
        "\\u202egnp.exe",
        "[red]markup[/red]",
    ):
        assert shown in hostile
    assert "49" not in hostile
    assert "A" * 61 not in hostile
    json.loads(reader.scripts[0])
    explored = json.loads(reader.scripts[3])
    assert "</script><script>" in explored["labels"]
    assert "\u202e" not in json.dumps(explored, ensure_ascii=False)
    assert "A" * 61 not in reader.scripts[3]


def test_write_report__words_may_run_right_to_left(run) -> None:
    raw = write_report(run.folder, run.metrics, run.provenance).read_text(encoding="utf-8")
    assert "<bdi>שלום</bdi>" in raw
    assert raw.count('class="sentence" dir="auto"') == 20 + 4  # and the cases


def test_write_report__accessible(run) -> None:
    reader = read(run)
    assert ("html", {"lang": "en"}) in reader.tags
    tags = [tag for tag, _ in reader.tags]
    assert tags.count("h1") == 1
    assert tags.count("table") == tags.count("caption")
    assert all(attributes.get("scope") for tag, attributes in reader.tags if tag == "th")
    plots = [attributes for _, attributes in reader.tags if attributes.get("class") == "plot"]
    assert len(plots) == 7
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in plots)
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_write_report__salient_word_is_marked_by_text(run) -> None:
    articles = read(run).articles
    assert len(articles) == 20
    assert all("salient" in article for article in articles)
    assert any("right" in article for article in articles)
    assert any("wrong" in article for article in articles)


def test_write_report__content_warning_and_number_of_examples_from_the_configuration(run) -> None:
    assert "Content warning." not in read(run).text
    (run.folder / "config.yaml").write_text(
        "dataset:\n  content_warning: Insults & <b>worse</b>.\nevaluation:\n  example_sentences: 4\n"
    )
    reader = read(run)
    assert "Insults & <b>worse</b>." in "".join(reader.text)
    assert len(reader.articles) == 4


def test_write_report__untrained_method(make_run) -> None:
    run = make_run("kmeans_codes")
    text = " ".join(read(run).text)
    assert "Nothing was trained" in text
    assert "k-means codes on minilm" in text


@pytest.mark.parametrize(
    "block",
    ["model", "attribution", "faithfulness", "intervention", "codebook", "specificity", "beside", "comparisons"],
)
@pytest.mark.parametrize("absent", [True, False])
def test_write_report__block_is_null_or_absent(run, block: str, absent: bool) -> None:
    run.metrics[block] = None
    if absent:
        del run.metrics[block]
    read(run)


def test_write_report__nothing_but_a_cell(run) -> None:
    for path in run.folder.glob("*.parquet"):
        path.unlink()
    run.metrics.update(dict.fromkeys(run.metrics.keys() - {"cell"}))
    reader = read(run._replace(provenance={}))
    assert reader.scripts == []


def test_write_report__entries_inside_are_null(run) -> None:
    block = run.metrics["faithfulness"]["concept"]
    for name in ("random_direction", "drop", "standard_deviation", "without_sentence_token", "inverted"):
        block[name] = None
    run.metrics["codebook"] = dict.fromkeys(run.metrics["codebook"])
    run.metrics["model"]["fine_tuning"] = None
    run.metrics["intervention"]["concept"]["all_words"] = None
    run.metrics["specificity"] |= dict.fromkeys(("purity", "overlap", "cosine", "stability", "seeds"))
    run.metrics["specificity"]["routing"] = dict.fromkeys(run.metrics["specificity"]["routing"])
    read(run)


def test_figures__are_valid_for_plotly(nine) -> None:
    plots = [
        faithfulness_figure(faithfulness_table(nine.metrics, ["concept"], ["clvq_vae"]), "accuracy", 0.5),
        faithfulness_figure(faithfulness_table(nine.metrics, "own"), "accuracy", 0.5),
        *training_figures(read_rows(nine.folder, "history"), nine.metrics),
        code_use_figure(read_rows(nine.folder, "concepts"), nine.metrics),
        purity_figure(nine.metrics),
    ]
    for plot in plots:
        assert plot is not None
        go.Figure(data=plot.data, layout=plot.layout)
        go.Figure(layout={**plot.layout, **(plot.narrow or {})})


def test_code_use_figure__sorted_and_says_what_is_unused(run) -> None:
    plot = code_use_figure(read_rows(run.folder, "concepts"), run.metrics)
    assert plot is not None
    assert plot.data[0]["y"] == [400, 150, 80, 41, 20, 9, 3]
    assert "1 (seed 0), 1 (seed 1)" in plot.caption


def test_import__is_light() -> None:
    modules = ", ".join(f"clvq_exp.report{name}" for name in ("", ".terminal", ".html", ".run_logger"))
    heavy = {"plotly", "jinja2", "wandb", "pytorch_lightning", "torch", "hydra"}
    code = f"import sys, {modules}; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_templates__take_nothing_from_elsewhere() -> None:
    for path in (Path(html.__file__).parent / "templates").iterdir():
        assert not re.search(r"https?://", path.read_text(encoding="utf-8"))


def test_write_report__nine_methods(nine) -> None:
    reader = read(nine)
    text = " ".join(" ".join(reader.text).split())
    for title in ("CLVQ-VAE, spherical k-means", "Sparse transcoder", "SAE 4096", "its top 10 neurons"):
        assert title in text
    assert "no more than with labels shuffled within words, 62.0% [60.0%, 64.0%]" in text
    assert "means little unless more words do so" in text
    for shown in ("<script>alert(1)</script>", HOSTILE_LABEL, "\\x1b[31mred", "\\u202egnp.exe"):
        assert shown in text
    assert "A" * 61 not in text
    tags = [tag for tag, _ in reader.tags]
    assert tags.count("img") == 3
    assert tags.count("script") == 5
    assert tags.count("table") == tags.count("caption")
    boxes = [attributes for tag, attributes in reader.tags if tag == "div" and attributes.get("class") == "scroll"]
    assert len(boxes) == tags.count("table")
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_write_report__rows_of_a_table_are_of_one_width(nine) -> None:
    raw = write_report(nine.folder, nine.metrics, nine.provenance).read_text(encoding="utf-8")
    tables = re.findall(r"<table>.*?</table>", raw, re.DOTALL)
    assert len(tables) > 30
    for table in tables:
        assert len(widths(table)) == 1, table[:300]


def span(cell: str, name: str) -> int:
    found = re.search(rf'{name}="(\d+)"', cell)
    return int(found[1]) if found else 1


def widths(table: str) -> set[int]:
    """Columns that each row covers, cells that reach down from a row above included."""
    found: set[int] = set()
    hanging: list[int] = []
    for row in re.findall(r"<tr.*?</tr>", table, re.DOTALL):
        cells = re.findall(r"<t[hd]\b([^>]*)>", row)
        found.add(sum(span(each, "colspan") for each in cells) + len(hanging))
        downs = [span(each, "rowspan") for each in cells]
        hanging = [left - 1 for left in [*hanging, *downs] if left > 1]
    return found


def test_write_report__does_not_hang_on_the_order_of_keys(nine) -> None:
    before = write_report(nine.folder, nine.metrics, nine.provenance).read_bytes()
    beside = dict(reversed(nine.metrics["beside"].items()))
    for block in beside.values():
        block["faithfulness"] = dict(reversed(block["faithfulness"].items()))
    changed = {**dict(reversed(nine.metrics.items())), "beside": beside}
    assert write_report(nine.folder, changed, nine.provenance).read_bytes() == before

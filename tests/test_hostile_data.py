"""A data set that attacks whoever looks at it: nothing of it acts in terminal, log, report or W&B."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import subprocess
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console
from running import command, environment, tiny_cell
from tiny import review

from clvq_exp.report.representation import shown
from clvq_exp.report.terminal import print_summary
from clvq_exp.report.text_safety import visible

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "attribute": "\"'><img src=x onerror=alert(2)>",
    "jinja": "{{ 7*7 }}{{7*7}}",
    "jinja block": "{% for x in 'ab' %}evaluated{% endfor %}",
    "look-up": "${jndi:ldap://x.invalid/a}",
    "format": "%s %n %(message)s {0.__class__}",
    "colour": "\x1b[31mred",
    "title": "\x1b]0;another title\x07",
    "clear": "\x1b[2J\x1b[H",
    "C1 control": "\x9b2J",
    "terminal link": "\x1b]8;;http://x.invalid\x1b\\click\x1b]8;;\x1b\\",
    "override": "\u202egnp.exe",
    "isolates": "\u2066\u2067\u2068hidden\u2069",
    "marks": "\u200e\u200f\u061c",
    "zero width": "in\u200bvis\u2060ible\ufeff",
    "tags": "".join(chr(0xE0000 + ord(letter)) for letter in "run"),
    "soft hyphen": "su\u00adperb",
    "NUL": "a\x00b",
    "line ends": "one\rtwo\r\nthree\vfour\ffive\u2028six\x85seven",
    "backspaces": "rm\b\b\b",
    "long": "A" * 5000,
    "markup": "[bold]x[/bold][/red]",
    "markup link": "[link=http://x.invalid]y[/link]",
    "formula": "=cmd()|' /C calc'!A0",
    "path": "../../x",
}
COLUMNS = {"text": "=te\x1b[31mxt", "label": "label\u202e", "id": "<script>id</script>", "group": "{{ group }}"}
LABELS = [HOSTILE["script"] + HOSTILE["colour"], HOSTILE["markup"] + HOSTILE["override"] + HOSTILE["look-up"]]
NAME = "".join(HOSTILE[key] for key in ("script", "jinja", "colour", "override", "markup"))
WARNING = HOSTILE["attribute"] + HOSTILE["clear"]
BAR = "\x1b[A"
"""Moves up a line: Lightning's bar over the steps is drawn on standard output."""


def write_hostile(folder: Path, train: int = 120, dev: int = 40) -> Path:
    """Reviews with a hostile string each in text, id and group, under hostile column names and labels."""
    folder.mkdir(parents=True)
    strings = list(HOSTILE.values())
    for name, start, n in (("train", 0, train), ("dev", 1000, dev)):
        lines: list[str] = []
        for index in range(start, start + n):
            text, label = review(index)
            hostile = strings[index % len(strings)]
            row = {
                COLUMNS["text"]: f"{hostile} {text} {hostile}",
                COLUMNS["label"]: LABELS[label],
                COLUMNS["id"]: f"{hostile}-{name}-{index}",
                COLUMNS["group"]: hostile,
                f"unused {hostile}": "\ud800",  # half a character, which JSON can write
            }
            lines.append(json.dumps(row))
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_configuration(folder: Path, data: Path) -> Path:
    """A configuration folder with the data set as `dataset=hostile`."""
    (folder / "dataset").mkdir(parents=True)
    values = {
        "defaults": ["file", "_self_"],
        "name": NAME,
        "path": str(data),
        "label_names": [label.replace("${", "\\${") for label in LABELS],
        "label_meanings": [HOSTILE["title"], HOSTILE["jinja block"]],
        "content_warning": WARNING,
        **{f"{column}_column": name for column, name in COLUMNS.items()},
    }
    (folder / "dataset" / "hostile.yaml").write_text(yaml.safe_dump(values))
    return folder


class Ended(NamedTuple):
    """A finished cell; its output with every line end as it was written."""

    folder: Path
    code: int
    out: str
    err: str

    def file(self, name: str) -> str:
        return (self.folder / name).read_bytes().decode()


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory, base_encoder: Path) -> Ended:
    """A whole cell on hostile data, fine-tuning and W&B too, at debug verbosity."""
    home = tmp_path_factory.mktemp("hostile")
    data = write_hostile(home / "data")
    own = [
        *("--config-dir", str(write_configuration(home / "conf", data)), "dataset=hostile", "hydra.run.dir=run"),
        *("logger=wandb", "hydra.verbose=true", "evaluation.example_sentences=40"),
    ]
    tiny = [each for each in tiny_cell(base_encoder, data) if not each.startswith("dataset")]
    variables = environment(home / "cache", WANDB_SILENT="false")
    done = subprocess.run(command(*own, *tiny), cwd=home, env=variables, capture_output=True, check=False)
    return Ended(home / "run", done.returncode, done.stdout.decode(), done.stderr.decode())


def acting(text: str, *allowed: str) -> set[str]:
    """The characters of a text that act or hide instead of showing, but for line ends and what is allowed."""
    for each in ("\n", *allowed):
        text = text.replace(each, "")
    kinds = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    return {f"U+{ord(character):04X}" for character in text if unicodedata.category(character) in kinds}


def squeezed(text: str) -> str:
    """A text without its white space: the terminal's tables break lines."""
    return "".join(text.split())


# ---------------------------------------------------------------- terminal and log


def test_cell__runs_to_its_end_and_keeps_the_texts_as_they_are(cell: Ended) -> None:
    assert cell.code == 0, cell.out[-3000:]
    rows = pq.read_table(cell.folder / "salient_words.parquet").to_pylist()
    dev = [row for row in rows if row["split"] == "dev"]
    strings = list(HOSTILE.values())
    assert len(dev) == 40
    for row in dev:
        index = int(row["id"].rpartition("-")[2])
        hostile = strings[index % len(strings)]
        assert row["id"] == f"{hostile}-dev-{index}"
        assert row["text"] == f"{hostile} {review(index)[0]} {hostile}"
    assert json.loads(cell.file("metrics.json"))["cell"]["label_names"] == LABELS


def test_cell__nothing_acts_on_the_screen_or_in_the_log(cell: Ended) -> None:
    assert acting(cell.out) == set()
    assert acting(cell.err, "\r") == set()
    assert acting(cell.file("clvq_exp.log")) == set()
    assert visible(NAME) in cell.file("clvq_exp.log")


def test_cell__summary_shows_markup_and_escapes_as_text(cell: Ended) -> None:
    out = squeezed(cell.out)
    assert squeezed(f"minilm · {visible(NAME)} · layers") in out
    for label in LABELS:
        assert squeezed(f"truth {shown(label)}: ") in out


def test_summary__on_a_terminal_only_its_own_styles(cell: Ended) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, color_system="truecolor", width=100)
    print_summary(cell.folder, json.loads(cell.file("metrics.json")), console)
    styles = re.compile(r"\x1b\[[0-9;]*m")
    assert acting(styles.sub("", screen.getvalue())) == set()
    assert set(styles.findall(screen.getvalue())) <= {
        f"\x1b[{style}m" for style in ("0", "1", "2", "3", "1;2", "1;7", "1;31")
    }
    assert squeezed(shown(LABELS[0])) in squeezed(styles.sub("", screen.getvalue()))


def test_wandb__nothing_acts_in_what_it_writes(cell: Ended) -> None:
    folder = cell.folder / "wandb"
    logs = sorted(path for path in folder.rglob("*.log") if not path.is_symlink())
    assert {path.name for path in logs} >= {"debug.log", "debug-internal.log", "output.log"}
    for path in [*logs, *folder.rglob("*.table.json")]:
        assert acting(path.read_bytes().decode(), BAR, "\r", "\t") == set(), path
    for path in folder.rglob("*.wandb"):
        content = path.read_bytes()
        assert b"\x1b[31m" not in content
        assert "\u202e".encode() not in content


# ---------------------------------------------------------------- report


class Reader(HTMLParser):
    """Tags, attributes, scripts and text of a page, as a parser sees them."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text: list[str] = []
        self.inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, _tag) -> None:
        self.inside = ""

    def handle_data(self, data) -> None:
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside != "style":
            self.text.append(data)


@pytest.fixture(scope="module")
def page(cell: Ended) -> Reader:
    return Reader(cell.file("report.html"))


def test_report__runs_its_own_scripts_only(page: Reader) -> None:
    policy = next(each["content"] or "" for _, each in page.tags if each.get("http-equiv"))
    kinds = [attributes.get("type") for tag, attributes in page.tags if tag == "script"]
    scripts = list(zip(kinds, page.scripts, strict=True))
    for _, data in (each for each in scripts if each[0] == "application/json"):
        json.loads(data)
    programs = [script for kind, script in scripts if kind is None]
    assert len(programs) == 3
    for program in programs:
        digest = base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert not {"iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("href", "src", "action", "srcset", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,", "data:image/svg+xml;base64,"))


def test_report__shows_every_hostile_string_as_text(cell: Ended, page: Reader) -> None:
    text = " ".join(page.text)
    for hostile in HOSTILE.values():
        for word in hostile.split():
            assert shown(word) in text, word
    assert all(shown(label) in text for label in LABELS)
    assert visible(WARNING) in text
    assert visible(NAME) in text
    assert "A" * 61 not in text
    assert "evaluatedevaluated" not in text


def test_report__no_character_acts(cell: Ended, page: Reader) -> None:
    raw = cell.file("report.html")
    for script in page.scripts[1:]:  # the libraries' own
        raw = raw.replace(script, "")
    assert acting(raw) == set()
    texts = [*page.text, *(value or "" for _, attributes in page.tags for value in attributes.values())]
    assert acting("".join(texts)) == set()


@pytest.mark.slow
def test_report__nothing_runs_in_a_browser(cell: Ended, page: Reader, browser) -> None:
    browser_page = browser.new_page()
    seen: list[str] = []

    def dialog(opened) -> None:
        seen.append(f"dialog {opened.message}")
        opened.dismiss()

    browser_page.on("dialog", dialog)
    browser_page.on("pageerror", lambda error: seen.append(f"error {error}"))
    browser_page.on("console", lambda line: seen.append(line.text) if line.type == "error" else None)
    browser_page.on(
        "request", lambda request: seen.append(request.url) if "report.html" not in request.url else None
    )
    browser_page.goto((cell.folder / "report.html").as_uri())
    browser_page.wait_for_selector(".js-plotly-plot .main-svg")
    assert seen == []
    assert visible(NAME) in browser_page.title()
    assert browser_page.locator("script").count() == 5
    assert browser_page.locator("img:not(.cloud), iframe").count() == 0
    handlers = (
        "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames()).filter(n => n.startsWith('on'))"
    )
    assert browser_page.evaluate(handlers) == []
    addresses = browser_page.evaluate(
        "JSON.parse(document.getElementById('explorer-data').textContent) && "
        "[...document.querySelectorAll('.list tbody a')].map(each => each.getAttribute('href'))"
    )
    assert len(addresses) > 20
    for address in addresses:  # every page that is opened puts texts of the data set in
        browser_page.evaluate("where => { window.location.hash = where; }", address)
        kind = address[1:].partition("-")[0]
        browser_page.locator(f"#{kind}-detail").wait_for(state="visible")
    assert browser_page.evaluate(handlers) == []
    assert seen == []
    body = browser_page.inner_text("body")
    assert shown(HOSTILE["script"]) in body
    assert "{{7*7}}" in body

"""`clvq study`: word clouds put before people, and what they make of them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from clvq_exp.artifacts import DamagedArtifactError, write_text
from clvq_exp.report.text_safety import visible
from clvq_exp.storage import StorageError, storage_errors
from clvq_exp.study.design import StudyError

if TYPE_CHECKING:
    from clvq_exp.study.answers import Rating
    from clvq_exp.study.design import Design
    from clvq_exp.study.scores import Scores

_LONGEST_INTRODUCTION = 20_000
"""Characters."""
_INSTALL = "serving a study needs Starlette and uvicorn: pip install 'clvq_exp[study]'"


def study(given: argparse.Namespace) -> int:
    """Draw, serve or score a study, or let annotators in; returns the exit code.

    Args:
        given: the parsed command line.
    """
    does: dict[str, Callable[[argparse.Namespace], int]] = {
        "new": _new,
        "invite": _invite,
        "serve": _serve,
        "score": _score,
    }
    try:
        return does[given.does](given)
    except (StudyError, DamagedArtifactError, StorageError) as error:
        return _refused([str(error)])


def _new(given: argparse.Namespace) -> int:
    from clvq_exp.comparing.subjects import open_runs
    from clvq_exp.study.folder import make_study, refuse_existing

    url, folder = _url(given.url), Path(given.out)
    introduction = _introduction(given.introduction)
    refuse_existing(folder)
    opened = open_runs([Path(each) for each in given.runs])
    if opened.problems:
        return _refused(opened.problems)
    from clvq_exp.study.making import Wishes, draw_study  # draws by torch's generators

    wishes = Wishes(given.sentences, given.methods or (), given.seed, given.labels or (), introduction)
    drawn = draw_study(opened.subjects, wishes)
    with storage_errors("the folder of the study", folder.parent, "choose another by --out"):
        links = make_study(folder, drawn, given.annotators, url)
    for note in drawn.notes:
        _say(note)
    design = drawn.design
    _say(f"{len(design.methods)} methods ({', '.join(each.name for each in design.methods)})")
    _say(f"{len(design.items)} word clouds for each of {given.annotators} annotators, in {folder}")
    _say_links(links)
    return 0


def _invite(given: argparse.Namespace) -> int:
    from clvq_exp.study.folder import invite, open_study, replace_link

    url = _url(given.url)
    opened = open_study(Path(given.study))
    with storage_errors("the folder of the study", opened.folder, "free space there"):
        if given.again is not None:
            links = replace_link(opened, given.again, url)
        else:
            links = invite(opened, given.annotators, url)
    _say_links(links)
    return 0


def _serve(given: argparse.Namespace) -> int:
    from importlib.util import find_spec

    from clvq_exp.study.folder import open_study
    from clvq_exp.study.serving import is_loopback, listen, serve

    if find_spec("uvicorn") is None or find_spec("starlette") is None:
        return _refused([_INSTALL])
    opened = open_study(Path(given.study))
    socket = listen(given.host, given.port)
    host = f"[{given.host}]" if ":" in given.host else given.host
    address = f"http://{host}:{socket.getsockname()[1]}"
    if not is_loopback(given.host):
        _tell([f"{given.host} is reached from outside without TLS: put a reverse proxy before it (docs/study.md)"])
    serve(
        opened,
        socket,
        lambda: _say(f"{given.study} is served at {address}; Ctrl-C ends it, and no answer is lost"),
    )
    return 0


def _score(given: argparse.Namespace) -> int:
    from clvq_exp.study import answers
    from clvq_exp.study.folder import open_study

    opened = open_study(Path(given.study))
    with answers.connected(opened.answers) as connection:
        who = [each.name for each in answers.annotators(connection)]
        ratings = answers.ratings(connection)
    from clvq_exp.study.scores import score  # needs torch

    scores = score(opened.design, who, ratings, given.seed)
    if given.out is None:
        _print(opened.design, scores, ratings, given.format)
        return 0
    folder = Path(given.out)
    names = {"score.md": "markdown", "score.html": "html", "score.json": "json", "answers.csv": "csv"}
    with storage_errors("the folder of the scores", folder, "choose another by --out"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, form in names.items():
            write_text(folder / name, _as(opened.design, scores, ratings, form))
        write_text(folder / "items.csv", _items(opened.design))
    _say(f"{len(names) + 1} files in {folder}")
    return 0


def _print(design: Design, scores: Scores, ratings: Sequence[Rating], form: str) -> None:
    """Print, whatever the encoding of the output."""
    if form == "text":
        from clvq_exp.comparing.text import print_document
        from clvq_exp.report.console import draw
        from clvq_exp.study.sheets import document

        shown = document(design, scores)
        draw(lambda console: print_document(shown, console))
        return
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(_as(design, scores, ratings, form).encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()


def _as(design: Design, scores: Scores, ratings: Sequence[Rating], form: str) -> str:
    """The scores, or the raw answers, as one text."""
    from clvq_exp.comparing.markdown import as_markdown
    from clvq_exp.comparing.page import as_page
    from clvq_exp.study.csv_files import answers_csv
    from clvq_exp.study.plain import as_json
    from clvq_exp.study.sheets import document

    if form == "json":
        return as_json(design, scores)
    if form == "csv":
        return answers_csv(design, ratings)
    return {"markdown": as_markdown, "html": as_page}[form](document(design, scores))


def _items(design: Design) -> str:
    from clvq_exp.study.csv_files import items_csv

    return items_csv(design)


def _url(text: str) -> str:
    """Where annotators reach the study."""
    try:
        parts = urlsplit(text)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
    except ValueError:
        whole = False
    if not whole or any(each.isspace() for each in text):
        raise StudyError(f"--url {text}: give an address like https://study.example.org")
    return text


def _introduction(path: str | None) -> str:
    """What annotators read first."""
    if path is None:
        return ""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"--introduction {path} cannot be read: {error}") from error
    if len(text) > _LONGEST_INTRODUCTION:
        raise StudyError(f"--introduction {path} has {len(text)} characters: {_LONGEST_INTRODUCTION} at most")
    return text


def _say_links(path: Path) -> None:
    _say(f"links in {path}, which nobody else can read; the study itself keeps only hashes of them")


def _say(line: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(visible(line).encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()


def _tell(lines: Sequence[str]) -> None:
    for line in lines:
        sys.stderr.write(visible(line) + "\n")


def _refused(lines: Sequence[str]) -> int:
    _tell(lines)
    return 1

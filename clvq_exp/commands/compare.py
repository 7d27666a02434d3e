"""`clvq compare`: finished runs side by side, the first as the base."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clvq_exp.artifacts import DamagedArtifactError, write_text
from clvq_exp.comparing.subjects import open_runs
from clvq_exp.report.console import draw
from clvq_exp.report.text_safety import visible
from clvq_exp.storage import StorageError, storage_errors

if TYPE_CHECKING:
    from clvq_exp.comparing.compare import Comparison


def compare(given: argparse.Namespace) -> int:
    """Print the comparison or write it into a file; returns the exit code.

    Args:
        given: the parsed command line.
    """
    opened = open_runs([Path(each) for each in (given.base, *given.others)])
    if opened.problems:
        return _refused(opened.problems)
    from clvq_exp.comparing.compare import compare as compared  # needs torch

    try:
        found = compared(opened.subjects)
    except DamagedArtifactError as error:
        return _refused([str(error)])
    if given.out is None:
        _print(found, given.format)
        return 0
    path = Path(given.out)
    try:
        with storage_errors("the folder of the comparison", path.parent, "choose another by --out"):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, _as(found, given.format))
    except (StorageError, OSError) as error:
        return _refused([str(error)])
    return 0


def _print(found: Comparison, form: str) -> None:
    """Print, whatever the encoding of the output."""
    if form == "text":
        from clvq_exp.comparing.sheets import document
        from clvq_exp.comparing.text import print_document

        shown = document(found)
        draw(lambda console: print_document(shown, console))
        return
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(_as(found, form).encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()


def _as(found: Comparison, form: str) -> str:
    """The whole comparison as one text."""
    from clvq_exp.comparing.markdown import as_markdown
    from clvq_exp.comparing.page import as_page
    from clvq_exp.comparing.plain import as_json
    from clvq_exp.comparing.sheets import document
    from clvq_exp.comparing.text import as_text

    if form == "json":
        return as_json(found)
    return {"markdown": as_markdown, "html": as_page, "text": as_text}[form](document(found))


def _refused(lines: Sequence[str]) -> int:
    for line in lines:
        sys.stderr.write(visible(line) + "\n")
    return 1

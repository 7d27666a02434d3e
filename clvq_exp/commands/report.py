"""`clvq report`: finished runs as the paper's tables, ours beside the paper's figures."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from clvq_exp.artifacts import write_text
from clvq_exp.collect.drawing import draw
from clvq_exp.collect.gather import Collected, gather
from clvq_exp.collect.latex import latex
from clvq_exp.collect.long_csv import long_csv
from clvq_exp.collect.markdown import markdown
from clvq_exp.collect.page import page
from clvq_exp.collect.runs import METRICS_FORMAT, Found, Run, find_runs
from clvq_exp.report.text_safety import visible
from clvq_exp.storage import StorageError, storage_errors

PAGE = "tables.html"
"""The page with all tables, in the folder that `--out` names."""
_ENDINGS = {"markdown": "md", "latex": "tex", "csv": "csv"}
FORMATS = (*_ENDINGS, "html")


def report(given: argparse.Namespace) -> int:
    """Print the tables or write them into a folder; returns the exit code.

    Args:
        given: the parsed command line.
    """
    found = find_runs([Path(each) for each in given.outputs])
    _tell(_left_out(found))
    if not found.runs:
        _tell([f"no finished run below {', '.join(given.outputs)}: nothing to report"])
        return 1
    collected = gather(found.runs, given.table or ())
    if given.out is None:
        _write_out(_whole(given.format, collected, found.runs))
        return 0
    try:
        return _into_folder(Path(given.out), given.format, collected, found.runs)
    except StorageError as error:
        _tell([str(error)])
        return 1


def _left_out(found: Found) -> list[str]:
    lines = [f"left out: {each.folder}: {each.reason}" for each in found.left_out]
    older = [run for run in found.runs if run.format_version < METRICS_FORMAT]
    return lines + [
        f"{run.folder}: its figures have format {run.format_version}, this version writes {METRICS_FORMAT}; what "
        "has another name now is missing"
        for run in older
    ]


def _facts(runs: Sequence[Run]) -> list[str]:
    """What the tables are made of."""
    n = len(runs)
    return [
        f"Ours are from {n} finished {'run' if n == 1 else 'runs'}. In brackets 95% bootstrap intervals over "
        "seeds and sentences, or over seeds where a figure has no sentences; ± is the standard deviation over "
        "seeds.",
    ]


def _whole(form: str, collected: Sequence[Collected], runs: Sequence[Run]) -> str:
    """All tables as one text."""
    if form == "html":
        plots = [each.plot for each in collected if each.plot is not None]
        return page([each.sheet for each in collected], plots, _facts(runs))
    if form == "csv":
        return long_csv((each.spec, each.filled) for each in collected)
    if form == "latex":
        return "\n".join(latex(each.sheet) for each in collected)
    return "\n".join(
        ["# The paper's tables and ours\n", *_facts(runs), "", *(markdown(each.sheet) for each in collected)]
    )


def _into_folder(folder: Path, form: str, collected: Sequence[Collected], runs: Sequence[Run]) -> int:
    plots = [each.plot for each in collected if each.plot is not None]
    n_files = 0
    with storage_errors("the folder of the tables", folder, "choose another by --out"):
        folder.mkdir(parents=True, exist_ok=True)
        if form == "html":
            write_text(folder / PAGE, _whole(form, collected, runs))
            n_files = 1
        else:
            for each in collected:
                write_text(folder / f"{each.spec.key}.{_ENDINGS[form]}", _of_one(form, each))
                n_files += 1
        for plot in plots:
            n_files += len(draw(plot, folder))
    _write_out(visible(f"{n_files} files in {folder}") + "\n")
    return 0


def _of_one(form: str, each: Collected) -> str:
    if form == "csv":
        return long_csv([(each.spec, each.filled)])
    return latex(each.sheet) if form == "latex" else markdown(each.sheet)


def _write_out(text: str) -> None:
    """Print, whatever the encoding of the output."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()


def _tell(lines: Sequence[str]) -> None:
    for line in lines:
        sys.stderr.write(visible(line) + "\n")

"""The end of a sweep: which cells have no result, why, and the command that runs each again."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clvq_exp.artifacts import MANIFEST, read_json, write_json
from clvq_exp.credentials import without_credentials
from clvq_exp.report.text_safety import visible

FAILURE = "failure.json"
"""Why the last run of a cell failed; gone as soon as it runs again."""
_KILLED = "it did not come to its end (killed, or never begun)"


class Unfinished(NamedTuple):
    """A cell of a sweep without a result."""

    told: tuple[str, ...]
    """What tells it from the other cells."""
    folder: Path
    reason: str
    command: str
    """Runs this cell alone, into the same folder."""


def note_failure(folder: Path, message: str) -> None:
    """Leave the reason in the run folder, where a sweep's end looks for it."""
    with contextlib.suppress(OSError):  # the log has it too
        write_json(folder / FAILURE, {"message": without_credentials(message)})


def forget_failure(folder: Path) -> None:
    """The cell runs again."""
    (folder / FAILURE).unlink(missing_ok=True)


def unfinished_cells(arguments: Sequence[str]) -> tuple[list[Unfinished], int]:
    """The cells of a sweep that have no result, and how many cells there are.

    Args:
        arguments: of the command line of the sweep.

    Raises:
        ConfigError: a command line that Hydra cannot read.
    """
    from clvq_exp.composing import compose_unchecked

    given = _parsed(arguments)
    cells = compose_unchecked(given.overrides, given.config_name or "config", given.config_dir)
    found: list[Unfinished] = []
    for cell in cells:
        if not (cell.run_folder / MANIFEST).is_file() or (cell.run_folder / FAILURE).exists():
            where = [*_option("--config-dir", given.config_dir), *_option("--config-name", given.config_name)]
            words = ["python", "-m", "clvq_exp", *where, "--multirun", *cell.overrides]
            found.append(Unfinished(cell.told, cell.run_folder, _reason(cell.run_folder), shlex.join(words)))
    return found, len(cells)


def tell_unfinished(arguments: Sequence[str]) -> None:
    """Say at the end of a sweep that failed what is missing and how to get it; nothing for a single run."""
    from clvq_exp.config import ConfigError

    try:
        found, of_all = unfinished_cells(arguments)
    except (ConfigError, SystemExit):
        return  # it never began, and Hydra has said why
    if of_all < 2 or not found:
        return
    lines = [f"{len(found)} of {of_all} cells have no result:"]
    for each in found:
        lines += [
            f"  {' '.join(each.told)}: {each.reason}",
            f"    in {each.folder}",
            f"    {each.command}",
        ]
    lines.append("The command of the sweep runs them again, and nothing that is finished.")
    sys.stderr.write("\n".join(visible(line) for line in lines) + "\n")


def _reason(folder: Path) -> str:
    try:
        message = str(read_json(folder / FAILURE)["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return _KILLED
    return " ".join(line.strip() for line in message.splitlines())


def _option(name: str, value: str | None) -> list[str]:
    return [] if value is None else [name, value]


def _parsed(arguments: Sequence[str]) -> Any:
    """What Hydra's command line holds, as far as it matters here."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("overrides", nargs="*")
    for names in (("--config-name", "-cn"), ("--config-dir", "-cd"), ("--config-path", "-cp"), ("--cfg", "-c")):
        parser.add_argument(*names)
    given, rest = parser.parse_known_args(arguments)
    given.overrides += [each for each in rest if not each.startswith("-")]
    return given

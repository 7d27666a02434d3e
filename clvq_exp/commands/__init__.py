"""`clvq`: commands beside a run. Heavy libraries are imported by the command that needs them."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import cast

from clvq_exp.commands.arguments import COMMANDS


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `clvq`; returns the exit code.

    Args:
        arguments: of the command line; None for those of the process.
    """
    parser = argparse.ArgumentParser(prog="clvq", description="Commands beside `python -m clvq_exp`.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, each in COMMANDS.items():
        of_its_own = commands.add_parser(
            name, help=each.help, description=each.description or each.help, epilog=each.epilog
        )
        each.add_arguments(of_its_own)
    given, rest = parser.parse_known_args(arguments)
    unknown = _unknown(rest, given.command)
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    # argparse takes only the first run of positional arguments; further ones may stand behind an option too.
    if given.command == "estimate":
        given.overrides = [*given.overrides, *rest]
    elif given.command == "explain":
        given.sentences = [*given.sentences, *(each for each in rest if each != "--")]
    module = importlib.import_module(f"clvq_exp.commands.{given.command}")
    return cast("Callable[[argparse.Namespace], int]", getattr(module, given.command))(given)


def _unknown(rest: Sequence[str], command: str) -> list[str]:
    """What argparse left over and is neither an override nor a sentence."""
    if command == "explain":
        before = rest[: rest.index("--")] if "--" in rest else rest
        return [each for each in before if each.startswith("-") and each != "-" and " " not in each]
    return [each for each in rest if each.startswith("-") or command != "estimate"]


def run() -> None:
    """The installed command."""
    sys.exit(main())

"""`clvq`: commands beside a run. Heavy libraries are imported by the command that needs them."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `clvq`; returns the exit code.

    Args:
        arguments: of the command line; None for those of the process.
    """
    parser = argparse.ArgumentParser(prog="clvq", description="Commands beside `python -m clvq_exp`.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_estimate(
        commands.add_parser(
            "estimate",
            help="time, memory and disk of a cell or a sweep",
            description="Time, memory and disk of a cell or a sweep: nothing is loaded and nothing is run.",
            epilog=_EPILOG,
        )
    )
    _add_cache(commands.add_parser("cache", help="what the cache holds, what is damaged, what can go"))
    _add_report(
        commands.add_parser(
            "report",
            help="finished runs as the paper's tables",
            description="Finished runs as the paper's tables: ours beside the paper's, and what is missing.",
        )
    )
    _add_dashboards(
        commands.add_parser(
            "dashboards",
            help="dashboards in Weights & Biases",
            description="Save a dashboard of the training curves and one for each table in Weights & Biases. One "
            "that was saved before is replaced, and what was changed in it by hand is lost.",
        )
    )
    _add_explain(
        commands.add_parser(
            "explain",
            help="what a finished run says of a sentence",
            description="What a finished run says of sentences: prediction, attributions, the salient word, its "
            "concept, and what changes when the concept is removed.",
        )
    )
    _add_compare(
        commands.add_parser(
            "compare",
            help="finished runs side by side",
            description="Finished runs side by side: settings, figures with tests, codebooks, salient words.",
        )
    )
    given, rest = parser.parse_known_args(arguments)
    unknown = _unknown(rest, given.command)
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if given.command == "compare":
        from clvq_exp.commands.compare import compare

        return compare(given)
    if given.command == "cache":
        from clvq_exp.commands.cache import cache

        return cache(given)
    if given.command == "report":
        from clvq_exp.commands.report import report

        return report(given)
    if given.command == "dashboards":
        from clvq_exp.commands.dashboards import dashboards

        return dashboards(given)
    if given.command == "explain":
        from clvq_exp.commands.explain import explain

        given.sentences = [*given.sentences, *(each for each in rest if each != "--")]
        return explain(given)
    from clvq_exp.commands.estimate import estimate

    # argparse takes only the first run of positional arguments; overrides may stand behind an option too.
    given.overrides = [*given.overrides, *rest]
    return estimate(given)


_EPILOG = (
    "Overrides are those of `python -m clvq_exp`: clvq estimate model=roberta dataset=jigsaw "
    "quantizer.codebook_size=50,100. For a sweep file: --config-dir multirun_sweeps --config-name NAME."
)


def _add_estimate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", help="key=value; values separated by commas make a sweep")
    parser.add_argument("--config-dir", metavar="DIR", help="a folder with further configurations")
    parser.add_argument("--config-name", metavar="NAME", default="config", help="a file in it, a sweep say")
    parser.add_argument("--json", action="store_true", help="print JSON: seconds and bytes")
    texts = parser.add_argument_group("where the texts are not there")
    texts.add_argument("--sentences", type=_whole, metavar="N", help="training sentences")
    texts.add_argument("--words-per-sentence", type=_whole, metavar="N", help="white-space words of each")
    model = parser.add_argument_group("where the model is not there; they win over what is found")
    model.add_argument("--parameters", type=_whole, metavar="N", help="weights, 6.7e9 say")
    model.add_argument("--layers", type=_whole, metavar="N", help="transformer blocks")
    model.add_argument("--width", type=_whole, metavar="N", help="width of a hidden state")
    model.add_argument("--vocabulary", type=_whole, metavar="N", help="sub-words in the vocabulary")


def _add_cache(parser: argparse.ArgumentParser) -> None:
    does = parser.add_subparsers(dest="does", required=True, metavar="WHAT")
    listing = does.add_parser("ls", help="every artifact: size, age, cells that use it")
    checking = does.add_parser(
        "verify", help="compare every file with its checksum; exit code 1 where one differs"
    )
    pruning = does.add_parser("prune", help="what can go; --yes removes it")
    for each in (listing, checking, pruning):
        each.add_argument("--kind", metavar="KIND", action="append", help="of this kind only, concept_models say")
        each.add_argument("--json", action="store_true", help="print JSON: bytes, seconds since 1970")
    what = pruning.add_argument_group("what goes, one of them at least")
    what.add_argument("--unused", action="store_true", help="artifacts whose cells' run folders are gone")
    what.add_argument("--unfinished", action="store_true", help="what killed processes left and would go on from")
    what.add_argument("--damaged", action="store_true", help="artifacts that are not what was written")
    pruning.add_argument(
        "--older-than",
        type=_days,
        metavar="DAYS",
        default=0.0,
        help="of that only what was not changed for so long",
    )
    pruning.add_argument("--yes", action="store_true", help="remove it; without this it is only listed")


def _add_report(parser: argparse.ArgumentParser) -> None:
    from clvq_exp.collect.catalogue import KEYS

    parser.add_argument("outputs", nargs="+", metavar="OUTPUTS", help="run folders, or folders that hold some")
    parser.add_argument(
        "--table", metavar="KEY", action="append", choices=KEYS, help=f"this table only: {', '.join(KEYS)}"
    )
    parser.add_argument(
        "--format",
        choices=("markdown", "latex", "csv", "html"),
        default="markdown",
        help="markdown where not given",
    )
    parser.add_argument("--out", metavar="FOLDER", help="a file for each table, and the figures as SVG and PNG")


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("base", metavar="RUN", help="a run folder: the base")
    parser.add_argument("others", nargs="+", metavar="RUN", help="run folders that stand beside it")
    parser.add_argument(
        "--format", choices=("text", "markdown", "json", "html"), default="text", help="text where not given"
    )
    parser.add_argument("--out", metavar="FILE", help="write it there; printed where not given")


def _add_dashboards(parser: argparse.ArgumentParser) -> None:
    whose = "user or team; where not given WANDB_ENTITY, or the account's own"
    parser.add_argument("--entity", metavar="E", help=whose)
    parser.add_argument("--project", metavar="P", default="clvq_exp", help="clvq_exp where not given")
    parser.add_argument("--dry-run", action="store_true", help="print what would be saved; needs no account")
    parser.add_argument("--only", metavar="KEY", nargs="+", help="these alone: training, or keys of tables")


def _add_explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="the folder of a finished run")
    parser.add_argument("sentences", nargs="*", metavar="SENTENCE", help="- for standard input, a sentence a line")
    parser.add_argument("--file", metavar="FILE", action="append", help="UTF-8, a sentence a line")
    parser.add_argument("--format", choices=("text", "json", "html"), default="text", help="text where not given")
    parser.add_argument("--seed", type=int, metavar="N", help="of the run; its first where not given")
    parser.add_argument("--removal", metavar="NAME", help="member_mean, say; the method's own where not given")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda; auto where not given")
    parser.add_argument("--model-path", metavar="FOLDER", help="where the run's language model lies now")
    parser.add_argument(
        "--trust", action="store_true", help="run code from outside of clvq_exp that the run names"
    )


def _unknown(rest: Sequence[str], command: str) -> list[str]:
    """What argparse left over and is neither an override nor a sentence."""
    if command == "explain":
        before = rest[: rest.index("--")] if "--" in rest else rest
        return [each for each in before if each.startswith("-") and each != "-" and " " not in each]
    return [each for each in rest if each.startswith("-") or command != "estimate"]


def _days(text: str) -> float:
    """A number of days of at least 0."""
    try:
        days = float(text)
    except ValueError:
        days = math.nan
    if not (math.isfinite(days) and days >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days")
    return days


def _whole(text: str) -> int:
    """A whole number above zero, `6.7e9` too."""
    try:
        value = float(text)
        number = int(value)
    except (ValueError, OverflowError):
        number, value = 0, 0.0
    if number < 1 or number != value:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return number


def run() -> None:
    """The installed command."""
    sys.exit(main())

"""What each command of `clvq` takes. Nothing heavy is imported for it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import NamedTuple


class Command(NamedTuple):
    """A command: `clvq_exp.commands.<name>` has a function of its name."""

    add_arguments: Callable[[argparse.ArgumentParser], None]
    help: str
    """A phrase in the list of all commands."""
    description: str | None = None
    """Over the command's own help; the phrase where there is none."""
    epilog: str | None = None


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


def _add_clouds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="the folder of a finished run")
    parser.add_argument(
        "--concept",
        metavar="N",
        action="append",
        help="a concept of the first seed, or `all`; those of the page's cases where none is given",
    )
    parser.add_argument("--out", metavar="FOLDER", default="clouds", help="`clouds` where not given")


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


COMMANDS = {
    "estimate": Command(
        _add_estimate,
        "time, memory and disk of a cell or a sweep",
        "Time, memory and disk of a cell or a sweep: nothing is loaded and nothing is run.",
        _EPILOG,
    ),
    "cache": Command(_add_cache, "what the cache holds, what is damaged, what can go"),
    "report": Command(
        _add_report,
        "finished runs as the paper's tables",
        "Finished runs as the paper's tables: ours beside the paper's, and what is missing.",
    ),
    "explain": Command(
        _add_explain,
        "what a finished run says of a sentence",
        "What a finished run says of sentences: prediction, attributions, the salient word, its concept, and what "
        "changes when the concept is removed.",
    ),
    "clouds": Command(
        _add_clouds,
        "word clouds of a run's concepts",
        "Word clouds of a run's concepts as SVG and PNG: words as large as they are frequent.",
    ),
    "compare": Command(
        _add_compare,
        "finished runs side by side",
        "Finished runs side by side: settings, figures with tests, codebooks, salient words.",
    ),
    "dashboards": Command(
        _add_dashboards,
        "dashboards in Weights & Biases",
        "Save a dashboard of the training curves and one for each table in Weights & Biases. One that was saved "
        "before is replaced, and what was changed in it by hand is lost.",
    ),
}
"""By name, in the order of the help."""

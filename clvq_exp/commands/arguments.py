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


def _add_study(parser: argparse.ArgumentParser) -> None:
    does = parser.add_subparsers(dest="does", required=True, metavar="WHAT")
    drawing = does.add_parser("new", help="draw sentences and word clouds from finished runs")
    drawing.add_argument(
        "runs", nargs="+", metavar="RUN", help="run folders of one language model, two methods in all"
    )
    drawing.add_argument("--out", metavar="FOLDER", default="study", help="`study` where not given")
    drawing.add_argument("--sentences", type=_whole, metavar="N", default=19, help="19 where not given")
    drawing.add_argument(
        "--methods", type=_names, metavar="NAME,NAME", help="those that are shown; all there are where not given"
    )
    drawing.add_argument("--labels", type=_names, metavar="TEXT,TEXT", help="classes as annotators read them")
    drawing.add_argument("--introduction", metavar="FILE", help="UTF-8, what annotators read first")
    drawing.add_argument("--seed", type=int, metavar="N", default=0, help="of the draw and the orders; 0")
    inviting = does.add_parser("invite", help="let further annotators in, or give one a new link")
    whom = inviting.add_mutually_exclusive_group()
    whom.add_argument("--again", metavar="NAME", help="this annotator's link is lost: a new one, the old one ends")
    serving = does.add_parser("serve", help="the web application, until Ctrl-C")
    serving.add_argument("--host", default="127.0.0.1", help="127.0.0.1 where not given: this machine alone")
    serving.add_argument("--port", type=_port, default=8765, help="8765 where not given; 0 for any that is free")
    scoring = does.add_parser("score", help="agreement, confidence and model alignment of each method")
    scoring.add_argument(
        "--format",
        choices=("text", "markdown", "html", "json", "csv"),
        default="text",
        help="text where not given; csv: the raw answers",
    )
    scoring.add_argument("--out", metavar="FOLDER", help="write all of them there; printed where not given")
    scoring.add_argument("--seed", type=int, metavar="N", default=0, help="of the intervals; 0")
    for each in (inviting, serving, scoring):
        each.add_argument("study", metavar="STUDY", help="the folder that `new` made")
    drawing.add_argument("--annotators", type=_whole, metavar="N", default=14, help="14 where not given")
    whom.add_argument("--annotators", type=_whole, metavar="N", default=1, help="1 where not given")
    for each in (drawing, inviting):
        each.add_argument(
            "--url",
            metavar="URL",
            default="http://127.0.0.1:8765",
            help="where annotators reach it, for their links",
        )


def _add_judge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders, or folders that hold some")
    parser.add_argument(
        "--panel",
        metavar="PANEL",
        default="paper",
        help="a YAML file, `paper` or `loopback`; `paper` if none",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the number of calls and the first prompt")
    parser.add_argument("--out", metavar="FOLDER", help="of the report; judged/<id> where not given")
    what = parser.add_argument_group("what is compared")
    what.add_argument("--table", choices=("2", "6"), help="the methods of this table of the paper")
    what.add_argument("--methods", metavar="NAME", nargs="+", help="methods by name; all common ones if not given")
    what.add_argument("--sae", metavar="NAME", default="sae_2048", help="the SAE of Table 2; sae_2048 if none")
    what.add_argument(
        "--instances", type=_whole, metavar="N", default=40, help="sentences per configuration; 40 where not given"
    )
    what.add_argument(
        "--floor",
        metavar="NAME",
        default="first",
        help="whose concept of another sentence is shown, or `none`",
    )
    what.add_argument(
        "--labels", choices=("names", "meanings"), default="names", help="class id and name, or name and meaning"
    )
    what.add_argument("--seed", type=int, metavar="N", default=1234, help="of sample, orders and intervals")
    limits = parser.add_argument_group("limits; they win over the panel's")
    limits.add_argument("--budget", type=_dollars, metavar="DOLLARS", help="what the evaluation may cost")
    limits.add_argument("--concurrency", type=_whole, metavar="N", help="questions under way at once")
    limits.add_argument("--accept-missing", action="store_true", help="count unanswered questions as missing")


def _dollars(text: str) -> float:
    """An amount of at least 0."""
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not (math.isfinite(amount) and amount >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no amount of dollars")
    return amount


def _days(text: str) -> float:
    """A number of days of at least 0."""
    try:
        days = float(text)
    except ValueError:
        days = math.nan
    if not (math.isfinite(days) and days >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days")
    return days


def _names(text: str) -> list[str]:
    """Names between commas."""
    names = [each.strip() for each in text.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of different names between commas")
    return names


def _port(text: str) -> int:
    """The number of a port."""
    if not text.isascii() or not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)


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
    "study": Command(
        _add_study,
        "word clouds put before people, and what they make of them",
        "The human study: word clouds of two methods or more, drawn from finished runs, put before annotators by "
        "a web application, and scored.",
    ),
    "judge": Command(
        _add_judge,
        "concepts before a panel of language models",
        "Concepts of finished runs rated by a panel of language models, one after another (section 4.2.1): the "
        "paper's Tables 2 and 3, or 6 and 7. Every answer is kept; the same command goes on where it stopped.",
    ),
    "dashboards": Command(
        _add_dashboards,
        "dashboards in Weights & Biases",
        "Save a dashboard of the training curves and one for each table in Weights & Biases. One that was saved "
        "before is replaced, and what was changed in it by hand is lost.",
    ),
}
"""By name, in the order of the help."""

"""`clvq explain`: what a finished run says of sentences of one's own."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clvq_exp.report.explanation import ExplainedBy, Explanation, as_json
from clvq_exp.report.explanation_page import explanation_page
from clvq_exp.report.explanation_text import print_explanations
from clvq_exp.report.text_safety import visible

if TYPE_CHECKING:
    from clvq_exp.explainer import Explainer

STANDARD_INPUT = "-"


def explain(given: argparse.Namespace) -> int:
    """Explain sentences and print it; returns the exit code.

    Args:
        given: the parsed command line.
    """
    try:
        texts = _texts(given)
    except (OSError, ValueError) as error:
        return _refuse(str(error))
    if not texts:
        return _refuse("no sentence: give some behind the run folder, by --file, or - for standard input", 2)
    from clvq_exp.explainer import SentenceError
    from clvq_exp.finished_run import RunError
    from clvq_exp.language_models.base import LanguageModelError

    try:
        explainer = _opened(given)
        explanations = explainer.explain(texts)
    except (RunError, LanguageModelError, SentenceError) as error:
        return _refuse(str(error))
    _show(given.format, explainer.by, explanations)
    return 0


def _texts(given: argparse.Namespace) -> list[str]:
    """The sentences of the command line, then those of files, in that order."""
    texts: list[str] = []
    for each in given.sentences:
        if each == STANDARD_INPUT:
            texts += _lines(sys.stdin.buffer.read(), "standard input")
        else:
            texts.append(each)
    for name in given.file or ():
        try:
            content = Path(name).read_bytes()
        except OSError as error:
            raise ValueError(f"--file {name}: {error.strerror}") from error
        texts += _lines(content, f"--file {name}")
    return texts


def _lines(content: bytes, where: str) -> list[str]:
    """A sentence a line; empty lines are passed over."""
    lines: list[str] = []
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            text = line.removesuffix(b"\r").decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{where}, line {number}: not UTF-8; write it as UTF-8") from error
        if text.strip():
            lines.append(text)
    return lines


def _opened(given: argparse.Namespace) -> Explainer:
    import transformers

    from clvq_exp.explainer import Explainer

    for name in ("pytorch_lightning", "faiss.loader", "transformers"):
        logging.getLogger(name).setLevel(logging.WARNING)
    transformers.logging.disable_progress_bar()
    return Explainer.load(
        given.run,
        seed=given.seed,
        removal=given.removal,
        device=given.device,
        model_path=given.model_path,
        trust=given.trust,
    )


def _show(form: str, by: ExplainedBy, explanations: Sequence[Explanation]) -> None:
    """Print; pages and JSON in ASCII, so that whatever they are redirected into holds them whole."""
    if form == "text":
        print_explanations(by, explanations)
        return
    if form == "html":
        text = explanation_page(by, explanations).encode("ascii", "xmlcharrefreplace").decode()
    else:
        text = json.dumps(as_json(by, explanations), indent=2, allow_nan=False) + "\n"
    sys.stdout.write(text)
    sys.stdout.flush()


def _refuse(message: str, code: int = 1) -> int:
    sys.stderr.write("\n".join(visible(line) for line in message.split("\n")) + "\n")
    return code

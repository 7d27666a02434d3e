"""Explanations in the terminal, for 100 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from clvq_exp.report.console import as_is, draw, simple_table
from clvq_exp.report.explanation import ExplainedBy, Explanation
from clvq_exp.report.explanation_words import ShownConcept, ShownExplanation, ShownOutcome, shown_explanation
from clvq_exp.report.formatting import count, decimal, percent

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text


def print_explanations(
    by: ExplainedBy, explanations: Sequence[Explanation], console: Console | None = None
) -> None:
    """Print what a run says of some sentences.

    Args:
        by: the run.
        explanations: of the sentences, in their order.
        console: where to print; None for standard output.
    """
    draw(lambda chosen: _print_all(by, explanations, chosen), console)


def _print_all(by: ExplainedBy, explanations: Sequence[Explanation], console: Console) -> None:
    console.print(as_is(by.title, "bold"))
    unit = "in logits" if by.attribution_unit == "logits" else "as shares of the norm over all sub-words"
    console.print(
        as_is(f"behind each word its attribution to the prediction, {unit}; the salient one in [ ]", "dim")
    )
    if by.probes > 1:
        console.print(as_is(f"the probe: mean probability over the {by.probes} probes of the folds of dev", "dim"))
    if by.content_warning:
        console.print(as_is(f"content warning: {by.content_warning}", "bold"))
    for each in explanations:
        _print_one(shown_explanation(each), console)


def _print_one(each: ShownExplanation, console: Console) -> None:
    console.print()
    console.print(_sentence(each))
    console.print(as_is(f"predicted {each.prediction} ({percent(each.confidence)})", "bold"))
    console.print(_concept(each.concept))
    for note in each.notes:
        console.print(as_is(f"note: {note}", "bold red"))
    console.print(_outcomes(each.outcomes))


def _sentence(each: ShownExplanation) -> Text:
    line = as_is("")
    for word in each.words:
        line.append_text(as_is(f"[{word.text}]", "bold reverse") if word.salient else as_is(word.text))
        line.append_text(as_is(f" {decimal(word.attribution)}  ", "dim"))
    return line


def _concept(concept: ShownConcept) -> Text:
    words = ", ".join(f"{word} ({count(times)})" for word, times in concept.words)
    code = "none" if concept.code is None else str(concept.code)
    found = as_is(f"‘{concept.word}’ → concept {code}{f': {words}' if words else ''}")
    if concept.labels is not None:
        found.append_text(as_is(f"\n{concept.labels}", "dim"))
    return found


def _outcomes(outcomes: Sequence[ShownOutcome]) -> Table:
    table = simple_table()
    table.add_column("Concept removed")
    for name in ("Before", "After", "Change of probability"):
        table.add_column(name, justify="right")
    table.add_column("")
    for row in outcomes:
        change = decimal(row.probability_change)
        table.add_row(
            as_is(row.name.title), as_is(row.before), as_is(row.after), change, "flips" if row.flips else ""
        )
    return table

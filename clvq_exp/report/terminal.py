"""The summary of a run in the terminal, for 100 columns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clvq_exp.report.access import Metrics, entry, interval, main_method, methods, number, seeds
from clvq_exp.report.codebook_tables import codebook_rows
from clvq_exp.report.console import as_is, draw
from clvq_exp.report.examples import Example, ExampleWord, read_examples
from clvq_exp.report.formatting import decimal, percent, with_bounds
from clvq_exp.report.method_tables import comparison_rows, overview_rows
from clvq_exp.report.names import method_title, removal_name
from clvq_exp.report.shuffles import described
from clvq_exp.report.specificity_reading import readings
from clvq_exp.report.tables import faithfulness_table, intervention_table, removals
from clvq_exp.report.terminal_tables import (
    codebook,
    comparisons,
    faithfulness,
    intervention,
    notes,
    overview,
    specificity,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

EXAMPLES = 3
FEW_METHODS = 3
"""Up to as many methods each has all its figures here."""
_CONTEXT = 14
"""Words shown on each side of the salient word."""


def print_summary(folder: Path, metrics: Metrics, console: Console | None = None) -> None:
    """Print what a run found.

    Args:
        folder: the run folder; three example sentences are read from it.
        metrics: the content of `metrics.json`.
        console: where to print; None for standard output.
    """
    draw(lambda chosen: _print_all(folder, metrics, chosen), console)


def _print_all(folder: Path, metrics: Metrics, console: Console) -> None:
    console.print(_header(metrics))
    if len(methods(metrics)) <= FEW_METHODS:
        _print_few(metrics, console)
    else:
        _print_many(metrics, console)
    rows = [row for row in comparison_rows(metrics) if row.with_main and row.own]
    if rows:
        console.print(as_is("\nDifference of the perturbed accuracies, each method by its own removal", "bold"))
        console.print(comparisons(rows))
    console.print()
    for row in codebook_rows(metrics):
        console.print(codebook(row))
    if described(metrics):
        console.print(as_is("\nSpecificity of the codes (under shuffled labels)", "bold"))
        console.print(specificity(metrics))
        for text in readings(metrics).values():
            console.print(as_is(text, "dim"))
    examples = read_examples(folder, metrics, EXAMPLES)
    if examples:
        console.print(as_is(f"\n{len(examples)} sentences and the concept of their most salient word", "bold"))
    for example in examples:
        console.print(_example(example))
    console.print()
    console.print(as_is(str(folder / "report.html")), soft_wrap=True)


def _print_few(metrics: Metrics, console: Console) -> None:
    """Every condition of every method and removal."""
    per_table = max(1, (console.width - 34) // 32)
    names = methods(metrics)
    groups = [names[start : start + per_table] for start in range(0, len(names), per_table)]
    for removal in removals(metrics):
        console.print(as_is(f"\nAccuracy of the probe (drop), removing {removal_name(removal).title}", "bold"))
        for group in groups:
            table = faithfulness_table(metrics, [removal], group)
            if table.columns:
                console.print(faithfulness(table))
    _print_notes(faithfulness_table(metrics).notes, console)
    for removal in removals(metrics, "intervention"):
        what = f"removing {removal_name(removal).title}"
        console.print(as_is(f"\nInside the live model: accuracy (predictions that flip), {what}", "bold"))
        console.print(intervention(intervention_table(metrics, [removal])))


def _print_many(metrics: Metrics, console: Console) -> None:
    """Every condition of the main method by its own removal, then a row for each method; the page has the rest."""
    main = [main_method(metrics)]
    table = faithfulness_table(metrics, "own", main)
    for column in table.columns:
        console.print(as_is(f"\nAccuracy of the probe (drop), removing {column.removal_title}", "bold"))
        console.print(faithfulness(table))
    rows = overview_rows(metrics)
    if rows:
        console.print(as_is("\nAccuracy of the probe (drop), each method by its own removal", "bold"))
        console.print(overview(rows))
    _print_notes(faithfulness_table(metrics, "own").notes, console)
    live = intervention_table(metrics, "own", main)
    for column in live.columns:
        what = f"removing {column.removal_title}"
        console.print(as_is(f"\nInside the live model: accuracy (predictions that flip), {what}", "bold"))
        console.print(intervention(live))


def _print_notes(shown: tuple[str, ...], console: Console) -> None:
    if shown:
        console.print(notes(shown))


def _header(metrics: Metrics) -> Text:
    cell = entry(metrics, "cell")
    parts = [
        str(cell.get("model", "?")),
        str(cell.get("dataset", "?")),
        f"layers {cell.get('layer_pair', '?')}",
        method_title(main_method(metrics)),
        f"init {cell.get('init', '?')}",
        f"protocol {cell.get('protocol', '?')}",
        f"{len(seeds(metrics))} seed{'' if len(seeds(metrics)) == 1 else 's'}",
    ]
    header = as_is(" · ".join(parts), "bold")
    accuracy = interval(entry(metrics, "model").get("accuracy"))
    majority = decimal(number(entry(metrics, "model").get("majority")))
    header.append_text(as_is(f"\nlanguage model {with_bounds(accuracy)}, majority class {majority}", "dim"))
    if entry(metrics, "model").get("above_majority") is False:
        header.append_text(as_is("\nthe language model is at chance: no drop can be read", "bold red"))
    return header


def _example(example: Example) -> Text:
    lines = as_is("\n")
    lines.append_text(_sentence(example.words))
    verdict = "right" if example.correct else "wrong"
    confidence = "" if example.confidence is None else f" ({percent(example.confidence)})"
    lines.append_text(
        as_is(f"\npredicted {example.prediction}{confidence}, truth {example.label}: {verdict}", "dim")
    )
    words = ", ".join(word for word, _ in example.concept_words) or "no training word"
    code = "none" if example.code is None else str(example.code)
    lines.append_text(as_is(f"\n‘{example.salient_word}’ → concept {code}: {words}"))
    return lines


def _sentence(words: tuple[ExampleWord, ...]) -> Text:
    """The words around the salient one, which stands in brackets and in colour."""
    from rich.text import Text

    centre = next((index for index, word in enumerate(words) if word.salient), 0)
    start, end = max(0, centre - _CONTEXT), centre + _CONTEXT + 1
    line = Text("… " if start else "")
    for word in words[start:end]:
        if word.salient:
            line.append_text(as_is(f"[{word.text}]", "bold reverse"))
        else:
            line.append_text(as_is(word.text))
        line.append(" ")
    if end < len(words):
        line.append("…")
    return line

"""The summary of a run in the terminal, for 100 columns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clvq_exp.report.access import Metrics, entry, interval, main_method, methods, number, seeds
from clvq_exp.report.console import as_is, draw, simple_table
from clvq_exp.report.examples import Example, ExampleWord, read_examples
from clvq_exp.report.formatting import (
    NOTHING,
    bounds,
    count,
    decimal,
    percent,
    percent_with_bounds,
    with_bounds,
)
from clvq_exp.report.names import CONDITIONS, in_order, method_title, place_name, removal_name
from clvq_exp.report.tables import (
    CodebookRow,
    FaithfulnessCell,
    FaithfulnessTable,
    InterventionCell,
    InterventionTable,
    codebook_rows,
    faithfulness_table,
    intervention_table,
    removals,
)
from clvq_exp.report.text_safety import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

EXAMPLES = 3
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
    per_table = max(1, (console.width - 34) // 32)
    names = methods(metrics)
    groups = [names[start : start + per_table] for start in range(0, len(names), per_table)]
    for removal in removals(metrics):
        console.print(as_is(f"\nAccuracy of the probe (drop), removing {removal_name(removal).title}", "bold"))
        for group in groups:
            table = faithfulness_table(metrics, [removal], group)
            if table.columns:
                console.print(_faithfulness(table))
    notes = faithfulness_table(metrics).notes
    if notes:
        console.print(_notes(notes))
    for removal in removals(metrics, "intervention"):
        what = f"removing {removal_name(removal).title}"
        console.print(as_is(f"\nInside the live model: accuracy (predictions that flip), {what}", "bold"))
        console.print(_intervention(intervention_table(metrics, [removal])))
    console.print()
    for row in codebook_rows(metrics):
        console.print(_codebook(row))
    examples = read_examples(folder, metrics, EXAMPLES)
    if examples:
        console.print(as_is(f"\n{len(examples)} sentences and the concept of their most salient word", "bold"))
    for example in examples:
        console.print(_example(example))
    console.print()
    console.print(as_is(str(folder / "report.html")), soft_wrap=True)


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


def _table(first: str, *others: str) -> Table:
    from rich.text import Text

    table = simple_table()
    for title in (first, *others):
        table.add_column(Text(title), no_wrap=True)
    return table


def _notes(notes: tuple[str, ...]) -> Table:
    from rich.table import Table

    table = Table.grid(padding=(0, 1))
    table.add_row()
    for note in notes:
        table.add_row(as_is("·", "dim"), as_is(note, "dim"))
    return table


def _faithfulness(shown: FaithfulnessTable) -> Table:
    table = _table("Condition", *(visible(column.title) for column in shown.columns))
    for row in shown.rows:
        style = "bold" if row.condition in ("original", "perturbed") else ""
        table.add_row(as_is(row.name.title, style), *(_accuracy(cell, style) for cell in row.cells))
    table.add_section()
    for drop in shown.drops:
        values = (percent_with_bounds(value) for value in drop.values)
        table.add_row(as_is(drop.name.title, "bold"), *(as_is(value) for value in values))
    return table


def _accuracy(cell: FaithfulnessCell | None, style: str) -> Text:
    if cell is None:
        return as_is(NOTHING)
    share = "" if cell.drop is None else f"({percent(cell.drop)})"
    text = as_is(f"{decimal(cell.accuracy.mean)} {bounds(cell.accuracy)} {share:>8}", style)
    if cell.inverted:
        text.append_text(as_is("\ninverted", "bold red"))
    return text


def _intervention(shown: InterventionTable) -> Table:
    """One row per method and place; one column per condition."""
    conditions = {row.condition: row.name for row in shown.rows}
    order = in_order(CONDITIONS, set(conditions))
    table = _table("Place", *(visible(conditions[name].title).replace(" ", "\n", 1) for name in order))
    for index, column in enumerate(shown.columns):
        table.add_row(as_is(column.title, "italic"))
        places = dict.fromkeys(row.place for row in shown.rows)
        for place in places:
            cells = {row.condition: row.cells[index] for row in shown.rows if row.place == place}
            if any(cells.values()):
                title = place_name(place).title
                table.add_row(as_is(f"  {title}"), *(_live(cells.get(name)) for name in order))
    return table


def _live(cell: InterventionCell | None) -> Text:
    if cell is None:
        return as_is(NOTHING)
    flips = "" if cell.flips is None else f" ({percent(cell.flips.mean)})"
    return as_is(f"{decimal(cell.accuracy.mean if cell.accuracy else None)}{flips}")


def _codebook(row: CodebookRow) -> Text:
    parts = [
        f"{count(row.codes_in_use)} of {count(row.size)} codes in use",
        f"perplexity {decimal(row.perplexity, 1)}",
    ]
    if row.alpha is not None:
        parts.append(f"alpha {decimal(row.alpha)}")
    if row.validation_loss is not None:
        parts.append(f"validation loss {decimal(row.validation_loss, 4)}")
    line = as_is(f"Codebook of {row.title}: {', '.join(parts)}")
    if row.reading:
        line.append_text(as_is(f"; {row.reading}"))
    return line


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

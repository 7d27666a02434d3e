"""The tables of the summary in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from clvq_exp.report.access import Metrics, block, entry, number
from clvq_exp.report.codebook_tables import CodebookRow
from clvq_exp.report.console import as_is, simple_table
from clvq_exp.report.formatting import (
    NOTHING,
    bounds,
    count,
    decimal,
    p_value,
    percent,
    percent_with_bounds,
    with_bounds,
)
from clvq_exp.report.method_tables import ComparisonRow, OverviewRow
from clvq_exp.report.names import CONDITIONS, in_order, method_title, place_name
from clvq_exp.report.shuffles import described, measured
from clvq_exp.report.specificity_reading import OF_SENTENCES, OF_WORDS, overlap_edge, strictest
from clvq_exp.report.tables import FaithfulnessCell, FaithfulnessTable, InterventionCell, InterventionTable
from clvq_exp.report.text_safety import visible

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


def _table(first: str, *others: str) -> Table:
    from rich.text import Text

    table = simple_table()
    for title in (first, *others):
        table.add_column(Text(title), no_wrap=True)
    return table


def notes(shown: tuple[str, ...]) -> Table:
    """What has to be known before a drop is read."""
    from rich.table import Table

    table = Table.grid(padding=(0, 1))
    table.add_row()
    for note in shown:
        table.add_row(as_is("·", "dim"), as_is(note, "dim"))
    return table


def faithfulness(shown: FaithfulnessTable) -> Table:
    """Conditions down, methods across."""
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


def intervention(shown: InterventionTable) -> Table:
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


def codebook(row: CodebookRow) -> Text:
    """One line on a codebook."""
    parts = [
        f"{count(row.codes_in_use)} of {count(row.size)} codes in use",
        f"perplexity {decimal(row.perplexity, 1)}",
    ]
    if row.alpha is not None:
        parts.append(f"alpha {decimal(row.alpha)}")
    if row.validation_loss is not None:
        parts.append(f"validation loss {decimal(row.validation_loss, 4)}")
    if row.variance_explained is not None:
        parts.append(f"variance explained {percent(row.variance_explained)}")
    if row.l0 is not None:
        parts.append(f"L0 {decimal(row.l0, 1)}")
    if row.dead_neurons is not None:
        parts.append(f"{count(row.dead_neurons)} dead neurons")
    if row.chosen:
        parts.append(f"chosen {row.chosen_text}")
    line = as_is(f"Codebook of {row.title}: {', '.join(parts)}")
    if row.reading:
        line.append_text(as_is(f"; {row.reading}"))
    return line


def _with_texts(texts: Sequence[str], *others: str) -> Table:
    """A table whose first columns break their lines where there is little room."""
    from rich.text import Text

    table = simple_table()
    for title in texts:
        table.add_column(Text(title), overflow="fold")
    for title in others:
        table.add_column(Text(title), no_wrap=True)
    return table


def overview(rows: Sequence[OverviewRow]) -> Table:
    """A row for each method, by its own removal."""
    table = _with_texts(("Method", "Removing"), "Original", "Concept removed", "Specific drop")
    for row in rows:
        original = as_is(decimal(row.original.mean if row.original else None))
        if not row.readable:
            original.append_text(as_is("\nnot readable", "bold red"))
        share = "" if row.drop is None else f" ({percent(row.drop.mean)})"
        perturbed = as_is(f"{decimal(row.perturbed.mean if row.perturbed else None)}{share}")
        if row.inverted:
            perturbed.append_text(as_is("\ninverted", "bold red"))
        table.add_row(
            as_is(row.column.title),
            as_is(row.column.removal_title),
            original,
            perturbed,
            as_is(percent_with_bounds(row.specific_drop)),
        )
    return table


def comparisons(rows: Sequence[ComparisonRow]) -> Table:
    """A row for each pair of methods."""
    table = _with_texts(("Methods",), "Difference", "Cohen’s h", "p (Holm)")
    for row in rows:
        table.add_row(
            as_is(f"{row.first} − {row.second}"),
            as_is(with_bounds(row.difference)),
            as_is(decimal(row.cohens_h, 2)),
            as_is(p_value(row.p_holm)),
        )
    return table


def specificity(metrics: Metrics) -> Table:
    """A row for each method: purity, routing, shared codes, cosine, agreement of the seeds."""
    edge = overlap_edge(metrics)
    table = _with_texts(
        ("Method",),
        "Label\npurity",
        "Words that\nchange code",
        "Shared codes,\none / two labels",
        "Mean\ncosine",
        "Seeds\nagree",
    )
    for name in described(metrics):
        values = block(metrics, name, "specificity")
        table.add_row(
            as_is(method_title(name)),
            as_is(_beside(metrics, name, ("purity",), "weighted_mean", OF_SENTENCES)),
            as_is(_beside(metrics, name, ("routing",), "differing_share", OF_WORDS)),
            as_is(_times(metrics, name, edge)),
            as_is(decimal(number(entry(values, "cosine").get("mean")))),
            as_is(decimal(number(entry(values, "stability").get("agreement")))),
        )
    return table


def _beside(metrics: Metrics, method: str, path: Sequence[str], measure: str, shuffles: Sequence[str]) -> str:
    """A share, and in brackets the same under the strictest shuffle."""
    found = measured(metrics, method, path, measure)
    shuffle = strictest(found, shuffles)
    value = found.shuffled.get(shuffle) if shuffle else None
    return percent(found.value) + (f" ({percent(value.mean)})" if value else "")


def _times(metrics: Metrics, method: str, edge: str | None) -> str:
    if edge is None:
        return NOTHING
    found = measured(metrics, method, ("overlap", "at_least", edge), "ratio")
    shuffle = strictest(found, OF_SENTENCES)
    value = found.shuffled.get(shuffle) if shuffle else None
    return decimal(found.value, 2) + (f" ({decimal(value.mean, 2)})" if value else "")

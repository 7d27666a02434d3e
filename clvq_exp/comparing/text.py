"""A comparison in the terminal, or as plain text."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

from clvq_exp.comparing.sheets import Document
from clvq_exp.report.console import WIDTH, as_is, simple_table
from clvq_exp.report.grid import Grid, GridCell
from clvq_exp.report.text_safety import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text


_NARROWEST = 8
"""Characters that a title keeps in one line."""


def print_document(shown: Document, console: Console) -> None:
    """Print a comparison.

    Args:
        shown: what is printed.
        console: where to.
    """
    for fact in shown.facts:
        console.print(as_is(fact))
    for section in shown.sections:
        console.print(as_is(f"\n\n{visible(section.title)}", "bold underline"))
        for note in section.notes:
            console.print(as_is(f"\n{visible(note)}"))
        for grid in section.grids:
            if grid.caption != section.title:
                console.print(as_is(f"\n{visible(grid.caption)}", "bold"))
            if grid.note:
                console.print(as_is(grid.note, "dim"))
            console.print(_table(grid))


def as_text(shown: Document, width: int = WIDTH) -> str:
    """A comparison as plain text.

    Args:
        shown: what is printed.
        width: of a line, in characters.
    """
    from rich.console import Console

    stream = StringIO()
    print_document(shown, Console(file=stream, width=width, color_system=None))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def _table(grid: Grid) -> Table:
    table = simple_table()
    for title in (grid.head, *(column.title for column in grid.columns)):
        table.add_column(as_is(title), overflow="fold", min_width=min(len(title), _NARROWEST))
    for row in grid.rows:
        table.add_row(as_is(row.title, "bold" * row.key), *(_cell(cell) for cell in row.cells))
    return table


def _cell(cell: GridCell) -> Text:
    text = as_is(cell.main)
    if cell.below:
        text.append_text(as_is(f"\n{visible(cell.below)}", "dim"))
    if cell.mark:
        text.append_text(as_is(f"\n{visible(cell.mark)}", "bold"))
    return text

"""Printing in the terminal: for 100 columns where it is none, and in any encoding."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from clvq_exp.report.text_safety import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

WIDTH = 100
"""Columns where the output is not a terminal."""


def draw(print_all: Callable[[Console], None], console: Console | None = None) -> None:
    """Print, whatever the encoding of the output: a terminal without Unicode gets escapes, not a crash at the end.

    Args:
        print_all: prints on the console that it is given.
        console: where to print; None for standard output.
    """
    from rich.console import Console

    if console is None:
        console = Console()
        if not console.is_terminal:
            console = Console(width=WIDTH)
    with console.capture() as captured:
        print_all(console)
    console.file.write(captured.get().encode(console.encoding, "backslashreplace").decode(console.encoding))
    console.file.flush()


def as_is(text: str, style: str = "") -> Text:
    """Text as it stands: no markup is read in it, and line ends are kept only at its start."""
    from rich.text import Text

    stripped = text.lstrip("\n")
    return Text("\n" * (len(text) - len(stripped)) + visible(stripped), style=style)


def simple_table() -> Table:
    """A table with one line, below its head; columns are still to be added."""
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), show_edge=False)

"""A comparison as Markdown."""

from __future__ import annotations

from clvq_exp.collect.markdown import escaped
from clvq_exp.comparing.sheets import Document
from clvq_exp.report.grid import Grid, GridCell


def as_markdown(shown: Document) -> str:
    """A comparison as Markdown; a table for each grid.

    Args:
        shown: what is written.
    """
    parts = [f"# {escaped(shown.title)}", *(escaped(fact) for fact in shown.facts)]
    for section in shown.sections:
        parts.append(f"## {escaped(section.title)}")
        if section.notes:
            parts.append("\n".join(f"- {escaped(note)}" for note in section.notes))
        for grid in section.grids:
            if grid.caption != section.title:
                parts.append(f"### {escaped(grid.caption)}")
            parts += [escaped(grid.note)] if grid.note else []
            parts.append(_table(grid))
    return "\n\n".join(parts) + "\n"


def _table(grid: Grid) -> str:
    lines = [_line([grid.head, *(column.title for column in grid.columns)])]
    lines.append("| " + " | ".join(["---"] * (len(grid.columns) + 1)) + " |")
    lines += [_line([row.title, *(_cell(cell) for cell in row.cells)]) for row in grid.rows]
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(escaped(cell) for cell in cells)} |"


def _cell(cell: GridCell) -> str:
    return " ".join(text for text in (cell.main, cell.below, cell.mark) if text)

"""A table as it is shown: titles, and texts in cells. How it looks is left to the page and the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class GridColumn(NamedTuple):
    """One column."""

    title: str
    group: str = ""
    """A title over neighbouring columns."""


class GridHead(NamedTuple):
    """A title in the upper row of a table's head."""

    title: str
    span: int
    """Columns below it."""
    is_group: bool
    """The titles of its columns stand below it."""


class GridCell(NamedTuple):
    """One figure."""

    main: str
    below: str = ""
    """Its interval, or whatever else belongs to it."""
    mark: str = ""
    """A word of warning."""


class GridRow(NamedTuple):
    """One row."""

    title: str
    cells: tuple[GridCell, ...]
    below: str = ""
    """Stands under the title."""
    key: bool = False
    """It is the row that the run is about."""


class Grid(NamedTuple):
    """A table; nothing in it is escaped."""

    caption: str
    note: str
    """What the figures are; empty where the caption says it."""
    head: str
    """Title of the column of row titles."""
    columns: tuple[GridColumn, ...]
    rows: tuple[GridRow, ...]

    @property
    def heads(self) -> tuple[GridHead, ...]:
        """The upper row of the head: group titles, and the titles of columns without a group."""
        found: list[GridHead] = []
        for column in self.columns:
            if column.group and found and found[-1].title == column.group and found[-1].is_group:
                found[-1] = found[-1]._replace(span=found[-1].span + 1)
            else:
                found.append(GridHead(column.group or column.title, 1, bool(column.group)))
        return tuple(found)

    @property
    def firsts(self) -> tuple[bool, ...]:
        """Of each column: it is the first under its group's title."""
        return tuple(
            bool(column.group) and (index == 0 or self.columns[index - 1].group != column.group)
            for index, column in enumerate(self.columns)
        )


def without_empty_columns(grid: Grid, nothing: str) -> Grid:
    """The grid without columns in which every cell shows nothing.

    Args:
        grid: any grid.
        nothing: what stands in a cell without a figure.
    """
    kept = [
        index for index in range(len(grid.columns)) if any(row.cells[index].main != nothing for row in grid.rows)
    ]
    return grid._replace(
        columns=tuple(grid.columns[index] for index in kept),
        rows=tuple(row._replace(cells=tuple(row.cells[index] for index in kept)) for row in grid.rows),
    )


def plain_cells(texts: Iterable[str]) -> tuple[GridCell, ...]:
    """Cells that hold a text each and nothing else."""
    return tuple(GridCell(text) for text in texts)


def plain_columns(titles: Sequence[str], group: str = "") -> tuple[GridColumn, ...]:
    """Columns by their titles, all under one group."""
    return tuple(GridColumn(title, group) for title in titles)

"""The figures that the paper prints, as `paper_figures.csv` holds them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

FIGURES = Path(__file__).parent / "paper_figures.csv"
LOWEST, HIGHEST = "_lowest", "_highest"
"""Endings of the two ends of a range that the paper prints in place of a figure."""


class PaperFigure(NamedTuple):
    """One figure of the paper, or a range of which it prints the ends."""

    printed: str
    """As it stands there."""
    value: float | None
    """None for a text, and for a range."""
    low: float | None = None
    """Lower end of a range."""
    high: float | None = None
    deviation: float | None = None
    """Standard deviation over seeds."""
    note: str = ""
    """Where the paper contradicts itself, or what the figure is over."""

    @property
    def digits(self) -> int:
        """Digits behind the point."""
        return len(self.printed.split(" ")[0].partition(".")[2])


class PaperRow(NamedTuple):
    """A row of one of its tables."""

    table: str
    model: str
    """As the configuration names it; empty where the row is of all."""
    dataset: str
    layers: str
    """`8-12`."""
    method: str
    """Empty for figures that hang on no method."""
    setting: tuple[tuple[str, str], ...]
    """Keys of the configuration and values, of what the table sweeps."""
    figures: Mapping[str, PaperFigure]

    @property
    def cell(self) -> tuple[str, str, str]:
        """Model, data set and layers."""
        return self.model, self.dataset, self.layers


def read_paper(path: Path = FIGURES) -> dict[str, list[PaperRow]]:
    """The rows of each table, in the paper's order.

    Args:
        path: a file with the columns of `paper_figures.csv`.

    Raises:
        ValueError: a figure stands there twice, or a range has one end only; names the line.
    """
    rows: dict[tuple[str, ...], dict[str, dict[str, str]]] = {}
    with path.open(encoding="utf-8", newline="") as stream:
        for number, line in enumerate(csv.DictReader(stream), 2):
            key = tuple(line[name] for name in ("table", "model", "dataset", "layers", "method", "setting"))
            figures = rows.setdefault(key, {})
            if line["figure"] in figures:
                raise ValueError(f"{path}, line {number}: {line['figure']} stands there twice for {key}")
            figures[line["figure"]] = line
    found: dict[str, list[PaperRow]] = {}
    for (table, model, dataset, layers, method, setting), lines in rows.items():
        pairs = tuple(_pair(each) for each in setting.split())
        row = PaperRow(table, model, dataset, layers, method, pairs, _figures(lines, path))
        found.setdefault(table, []).append(row)
    return found


@lru_cache
def paper() -> dict[str, list[PaperRow]]:
    """The paper's own rows, read once."""
    return read_paper()


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value


def _figures(lines: Mapping[str, Mapping[str, str]], path: Path) -> dict[str, PaperFigure]:
    found: dict[str, PaperFigure] = {}
    for name, line in lines.items():
        if name.endswith(LOWEST):
            stem = name.removesuffix(LOWEST)
            found[stem] = _range(lines, stem, path)
        elif name.endswith(HIGHEST):
            _range(lines, name.removesuffix(HIGHEST), path)
        else:
            found[name] = PaperFigure(
                line["value"], as_number(line["value"]), None, None, as_number(line["deviation"]), line["note"]
            )
    return found


def _range(lines: Mapping[str, Mapping[str, str]], stem: str, path: Path) -> PaperFigure:
    try:
        low, high = lines[stem + LOWEST], lines[stem + HIGHEST]
    except KeyError as error:
        raise ValueError(f"{path}: {stem} has one end of a range only; {error} is missing") from error
    printed = f"{low['value']} to {high['value']}"
    return PaperFigure(printed, None, float(low["value"]), float(high["value"]), None, low["note"])


def as_number(text: str) -> float | None:
    """The number that a text is, or None."""
    try:
        return float(text)
    except ValueError:
        return None


def cells_of(rows: Iterable[PaperRow]) -> list[tuple[str, str, str]]:
    """Model, data set and layers of rows, each once, in their order."""
    return list(dict.fromkeys(row.cell for row in rows))

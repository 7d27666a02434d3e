"""A filled table as text, before any format: its columns, what each line says, the notes below."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import NamedTuple

from clvq_exp.collect.catalogue import RowsOf, TableSpec
from clvq_exp.collect.measures import MEASURES, Ours, title_of
from clvq_exp.collect.missing import Missing
from clvq_exp.collect.paper import PaperFigure
from clvq_exp.collect.tables import Figure, Filled, Row
from clvq_exp.collect.units import BETWEEN
from clvq_exp.report.formatting import NOTHING, decimal
from clvq_exp.report.names import method_title

NAMES = ("Model", "Data set", "Layers", "Method", "Removal", "Setting")
NOTES = "Notes"
FIGURES = ("Figure", NOTES, "Ours, 95% interval", "Paper", "Ours − paper", "Paper in interval")
_ALL = ("all", "all", "all", "", "", "")
"""In place of an empty name beside others: the figure is over all of them."""
NO_REPRODUCTION = "Rows with a letter are no reproduction of the paper: their settings are not its own."


class Kind(Enum):
    """What the cells of a column are."""

    text = "text"
    marks = "marks"
    number = "number"


class Line(NamedTuple):
    """One figure of one row."""

    names: tuple[str, ...]
    """Of the row, one for each column of names; empty behind its first line."""
    figure: str
    marks: str
    """Of the notes, `a 1`."""
    ours: str
    paper: str
    difference: str
    inside: str
    starts: bool
    """Whether a row begins here."""

    @property
    def cells(self) -> tuple[str, ...]:
        """All of its cells."""
        return (*self.names, *self[1:7])


class WideLine(NamedTuple):
    """All figures of one row."""

    names: tuple[str, ...]
    marks: str
    figures: tuple[str, ...]
    starts: bool
    """Whether its first name differs from that of the line above."""

    @property
    def cells(self) -> tuple[str, ...]:
        """All of its cells."""
        return (*self.names, self.marks, *self.figures)


class Note(NamedTuple):
    """A note below a table."""

    mark: str
    text: str


class Sheet(NamedTuple):
    """A table as it is read."""

    key: str
    title: str
    remark: str
    same: str
    """What all rows share."""
    head: tuple[str, ...]
    kinds: tuple[Kind, ...]
    """Of the columns."""
    lines: tuple[Line, ...] | tuple[WideLine, ...]
    """One for each figure, or one for each row where the paper has no such table."""
    notes: tuple[Note, ...]
    """Where rows depart from the paper's settings (letters), and what the paper says twice (numbers)."""
    departs: bool
    """Whether any row of ours departs from the paper's settings."""
    missing: str
    """What no run fills; empty where nothing is missing."""
    commands: tuple[str, ...]


def sheet(spec: TableSpec, filled: Filled, missing: Missing) -> Sheet:
    """Put a filled table into words.

    Args:
        spec: the table.
        filled: its rows.
        missing: what no run fills.
    """
    names = [_names(row) for row in filled.rows]
    kept = [place for place in range(len(NAMES)) if len({each[place] for each in names}) > 1]
    same = [
        f"{NAMES[place]}: {names[0][place]}"
        for place in range(len(NAMES))
        if names and place not in kept and names[0][place]
    ]
    names = [tuple(own or _ALL[place] for place, own in enumerate(each)) for each in names]
    departures = _Marks(_letters)
    notes = _Marks(lambda place: str(place + 1))
    rows = [(row, tuple(own[place] for place in kept)) for row, own in zip(filled.rows, names, strict=True)]
    if spec.of_paper:
        figures, kinds = FIGURES, (Kind.text, Kind.marks, *[Kind.number] * 3, Kind.text)
        lines = tuple(line for row, own in rows for line in _lines(row, own, departures, notes))
    else:
        figures = (NOTES, *(short_title(name) for name in spec.figures))
        kinds = (Kind.marks, *[Kind.number] * len(spec.figures))
        lines = tuple(_wide_lines(spec, rows, departures))
    return Sheet(
        spec.key,
        spec.title,
        spec.remark,
        ". ".join(same),
        (*(NAMES[place] for place in kept), *figures),
        (*[Kind.text] * len(kept), *kinds),
        lines,
        (*departures.notes(), *notes.notes()),
        bool(departures.texts),
        _missing(spec, missing),
        missing.commands,
    )


class _Marks:
    """Marks for notes, the same for the same text."""

    def __init__(self, name: Callable[[int], str]) -> None:
        self._name = name
        self.texts: dict[str, str] = {}
        """Text -> mark."""

    def mark(self, text: str) -> str:
        return self.texts.setdefault(text, self._name(len(self.texts)))

    def notes(self) -> list[Note]:
        return [Note(mark, text) for text, mark in self.texts.items()]


def _letters(place: int) -> str:
    """a to z, then aa, ab and so on."""
    text = ""
    place += 1
    while place:
        place, rest = divmod(place - 1, 26)
        text = chr(ord("a") + rest) + text
    return text


def _names(row: Row) -> tuple[str, ...]:
    swept = [f"{key.rpartition('.')[2]}={value}" if value else key for key, value in row.setting]
    setting = "; ".join(filter(None, (" ".join(swept), ", ".join(row.apart))))
    return row.model, row.dataset, row.layers, title_of_method(row.method), row.removal, setting


def title_of_method(method: str) -> str:
    """The name of a method in front of a reader, with the start of its codebook where that is not k-means.

    Of a pair of methods, both names.
    """
    if BETWEEN in method:
        return " − ".join(title_of_method(each) for each in method.split(BETWEEN))
    for ending, start in (("_random", "random start"), ("_spherical_kmeans", "spherical k-means")):
        if method.endswith(ending):
            return f"{method_title(method.removesuffix(ending))}, {start}"
    return method_title(method) if method else ""


def _lines(row: Row, names: tuple[str, ...], departures: _Marks, notes: _Marks) -> Iterable[Line]:
    letter = [departures.mark("; ".join(row.departures))] if row.departures else []
    first = True
    for name, figure in row.figures.items():
        if figure.ours is None and figure.paper is None:
            continue
        printed = [notes.mark(f"Paper: {figure.paper.note}")] if figure.paper and figure.paper.note else []
        yield Line(
            names if first else ("",) * len(names),
            title_of(name),
            " ".join([*(letter if first else []), *printed]),
            ours_text(name, figure),
            _paper_text(figure.paper),
            _difference(name, figure),
            _inside(figure),
            first,
        )
        first = False


def _wide_lines(
    spec: TableSpec, rows: Iterable[tuple[Row, tuple[str, ...]]], departures: _Marks
) -> Iterable[WideLine]:
    above = ""
    for row, names in rows:
        first = names[0] if names else ""
        marks = departures.mark("; ".join(row.departures)) if row.departures else ""
        own = tuple(
            ours_text(name, row.figures[name]) if name in row.figures else NOTHING for name in spec.figures
        )
        yield WideLine(names, marks, own, first != above)
        above = first


def short_title(name: str) -> str:
    """The title of a figure beside others of its table, over a narrow column."""
    title = title_of(name)
    for shared in ("Accuracy, ", "Live model, "):
        title = title.removeprefix(shared)
    return title[:1].upper() + title[1:]


def digits_of(name: str, figure: Figure) -> int:
    """Digits behind the point: those of the figure, or the paper's where it prints more."""
    own = MEASURES[name].digits if name in MEASURES else 0
    return own if figure.paper is None else max(own, figure.paper.digits)


def ours_text(name: str, figure: Figure) -> str:
    """A figure of ours: `0.0612 ± 0.0020 [0.0580, 0.0650]`."""
    ours = figure.ours
    if ours is None:
        return NOTHING
    if ours.text or ours.mean is None:
        return ours.text
    digits = digits_of(name, figure)
    return " ".join(filter(None, (decimal(ours.mean, digits), _spread(ours, digits), _bounds(ours, digits))))


def _spread(ours: Ours, digits: int) -> str:
    return "" if ours.deviation is None else f"± {decimal(ours.deviation, digits)}"


def _bounds(ours: Ours, digits: int) -> str:
    if ours.low is None or ours.high is None:
        return ""
    return f"[{decimal(ours.low, digits)}, {decimal(ours.high, digits)}]"


def _paper_text(printed: PaperFigure | None) -> str:
    if printed is None:
        return NOTHING
    text = f"−{printed.printed[1:]}" if printed.printed.startswith("-") else printed.printed
    return text if printed.deviation is None else f"{text} ± {decimal(printed.deviation, printed.digits)}"


def _difference(name: str, figure: Figure) -> str:
    if figure.difference is None:
        return ""
    text = decimal(figure.difference, digits_of(name, figure))
    return text if text.startswith("−") else f"+{text}"


def _inside(figure: Figure) -> str:
    if figure.ours_in_range is not None:
        return "ours in range" if figure.ours_in_range else "ours outside"
    return {True: "yes", False: "no", None: ""}[figure.paper_in_interval]


def _missing(spec: TableSpec, missing: Missing) -> str:
    if not missing.rows:
        return ""
    what = "cells" if spec.on_grid or spec.rows is RowsOf.cells else "rows"
    if missing.rows == missing.expected:
        return f"Missing: all {missing.expected} of the paper's {what}. The sweep that fills them:"
    return f"Missing: {missing.rows} of the paper's {missing.expected} {what}. What runs them:"

"""The curves of the sweeps as plain numbers, for any drawing library."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple

from clvq_exp.collect.catalogue import LAYER_PAIR, TableSpec
from clvq_exp.collect.measures import MEASURES, curve
from clvq_exp.collect.paper import as_number
from clvq_exp.collect.selection import fixed
from clvq_exp.collect.sheets import title_of_method
from clvq_exp.collect.tables import Filled, Row, told_apart

INTERVALS = "Bars and bands: 95% intervals; none where there is a single seed and no interval over sentences."
NOT_THE_PAPERS = "Some or all of ours are no reproduction of the paper: their settings are not its own."
PAPER, OURS = "paper", "ours"


class Point(NamedTuple):
    """A value with the ends of its interval, None where there is none."""

    x: float | str
    y: float
    low: float | None = None
    high: float | None = None


class Series(NamedTuple):
    """One line of a panel."""

    name: str
    points: tuple[Point, ...]
    is_paper: bool = False


class Panel(NamedTuple):
    """One pair of axes."""

    title: str
    x_title: str
    y_title: str
    series: tuple[Series, ...]
    log_x: bool = False
    band: bool = False
    """Whether intervals are drawn as bands instead of bars."""


class Plot(NamedTuple):
    """The figure of a table."""

    key: str
    """Of the table; names the file too."""
    title: str
    caption: str
    panels: tuple[Panel, ...]


class _Axis(NamedTuple):
    """A panel: what is drawn against what, of which rows."""

    figure: str
    swept: str
    x_title: str
    log_x: bool = False
    fixed: tuple[tuple[str, str], ...] = ()
    """Other swept keys and the values that rows must have; named in the panel's title."""


_TAU, _K = "quantizer.temperature", "quantizer.top_k"
_AXES: dict[str, tuple[_Axis, ...]] = {
    "v1_table08": tuple(
        _Axis(figure, "quantizer.codebook_size", "codebook size K", log_x=True)
        for figure in ("perturbed", "perplexity", "utilisation_percent")
    ),
    "v1_table13": (_Axis("perplexity", "quantizer.commitment_weight", "commitment weight beta"),),
    "v1_table14": (
        _Axis("perplexity", _TAU, "temperature tau", fixed=((_K, "5"),)),
        _Axis("perplexity", _K, "top-k", log_x=True, fixed=((_TAU, "1.0"),)),
    ),
    "v1_table15": (
        _Axis("perturbed", _TAU, "temperature tau", fixed=((_K, "400"),)),
        _Axis("perturbed", _K, "top-k", log_x=True, fixed=((_TAU, "1.0"),)),
    ),
}


def plot_of(spec: TableSpec, filled: Filled) -> Plot | None:
    """The figure of a table; None where it has none, or where no run has a figure for it.

    Args:
        spec: the table.
        filled: its rows.
    """
    lines = _lines(spec, filled.rows)
    if not lines:
        return None
    if spec.key == "v1_table12":
        panels = _over_epochs(lines)
    elif spec.key == "v1_table16":
        panels = _over_layers(lines, filled.rows)
    else:
        panels = [_over_values(axis, lines, filled.rows) for axis in _AXES.get(spec.key, ())]
    kept = tuple(panel for panel in panels if any(not each.is_paper for each in panel.series))
    if not kept:
        return None
    departs = any(row.departures for line in lines for row in line.rows)
    return Plot(spec.key, spec.title, f"{INTERVALS} {NOT_THE_PAPERS}" if departs else INTERVALS, kept)


class _Line(NamedTuple):
    """Rows that differ in what the table sweeps and in nothing else."""

    parts: tuple[str, str, str, str]
    """Model, data set, layers (empty where they are swept) and method."""
    apart: tuple[str, ...]
    """What else tells it from other lines."""
    rows: tuple[Row, ...]


def _lines(spec: TableSpec, rows: Sequence[Row]) -> list[_Line]:
    """The lines of ours. Methods that read nothing of what is swept have none."""
    groups: dict[Hashable, list[Row]] = {}
    for row in rows:
        if row.unit is None or not row.method or (spec.swept_settings and not row.setting):
            continue
        members = groups.setdefault(fixed(row.unit, spec), [])
        same = [each for each in members if (each.setting, each.layers) == (row.setting, row.layers)]
        if same:  # another run of the same settings, with other figures
            groups.setdefault((fixed(row.unit, spec), row.apart), []).append(row)
        else:
            members.append(row)
    alike: dict[tuple[str, str, str, str], list[list[Row]]] = {}
    for members in groups.values():
        row = members[0]
        layers = "" if LAYER_PAIR in spec.swept else row.layers
        alike.setdefault((row.model, row.dataset, layers, title_of_method(row.method)), []).append(members)
    return [
        _Line(parts, apart, tuple(members))
        for parts, listed in alike.items()
        for members, apart in zip(listed, _apart(spec, listed), strict=True)
    ]


def _apart(spec: TableSpec, groups: Sequence[Sequence[Row]]) -> list[tuple[str, ...]]:
    """What tells lines of one model, data set and method apart; the run's folder where no setting does."""
    told = told_apart(spec, [rows[0].unit for rows in groups if rows[0].unit is not None])
    return [
        (*each, f"run={rows[0].unit.run.folder.name}") if told.count(each) > 1 and rows[0].unit else each
        for rows, each in zip(groups, told, strict=True)
    ]


def _names(lines: Sequence[_Line]) -> list[str]:
    """The names of lines: the parts in which they differ, and what else tells them apart."""
    kept = [place for place in range(4) if len({line.parts[place] for line in lines}) > 1]
    return [_joined(*(line.parts[place] for place in kept), *line.apart) for line in lines]


def _joined(*parts: str) -> str:
    return ", ".join(filter(None, parts))


def _over_values(axis: _Axis, lines: Sequence[_Line], rows: Sequence[Row]) -> Panel:
    """A figure against one swept setting."""

    def place(row: Row) -> float | None:
        setting = dict(row.setting)
        held = all(as_number(setting.get(key, "")) == as_number(value) for key, value in axis.fixed)
        return as_number(setting.get(axis.swept, "")) if held else None

    series = [
        Series(name or OURS, points)
        for line, name in zip(lines, _names(lines), strict=True)
        if (points := _points(line.rows, place, axis.figure))
    ]
    cells = list(dict.fromkeys(row.cell for line in lines for row in line.rows))
    for cell in cells:
        points = _printed([row for row in rows if row.cell == cell], place, axis.figure)
        if points:
            name = f"{PAPER}: {_joined(*cell[:2])}" if len(cells) > 1 else PAPER
            series.append(Series(name, points, is_paper=True))
    title = ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in axis.fixed)
    return Panel(title, axis.x_title, MEASURES[axis.figure].title, tuple(series), axis.log_x)


def _over_layers(lines: Sequence[_Line], rows: Sequence[Row]) -> list[Panel]:
    """Accuracies against the layer pair, a panel for each model and data set.

    What hangs on no method is drawn once, from the first line of the panel.
    """
    panels: list[Panel] = []
    for where in dict.fromkeys(line.parts[:2] for line in lines):
        own = [line for line in lines if line.parts[:2] == where]
        series = [
            Series(_joined(line.parts[3], *line.apart), points)
            for line in own
            if (points := _points(line.rows, _layers, "perturbed"))
        ]
        for figure in ("original", "random_direction"):
            series.append(Series(MEASURES[figure].title, _points(own[0].rows, _layers, figure)))
        same = [row for row in rows if (row.model, row.dataset) == where]
        for figure in ("perturbed", "original", "random_direction"):
            if points := _printed(same, _layers, figure):
                series.append(Series(f"{PAPER}: {MEASURES[figure].title}", points, is_paper=True))
        panels.append(Panel(_joined(*where), "layer pair", "accuracy", tuple(series)))
    return panels


def _layers(row: Row) -> str:
    return row.layers


def _over_epochs(lines: Sequence[_Line]) -> list[Panel]:
    """Perplexity against the epoch: a line for each strategy, a panel for each cell and method."""
    panels: list[Panel] = []
    for line, name in zip(lines, _names(lines), strict=True):
        curves = [(row, curve(row.unit)) for row in line.rows if row.unit is not None]
        series = [
            Series(
                " ".join(value for _, value in row.setting),
                tuple(
                    Point(float(each.epoch), each.value.mean, each.value.low, each.value.high)
                    for each in points
                    if each.value.mean is not None
                ),
            )
            for row, points in curves
            if points
        ]
        panels.append(Panel(name, "epoch", MEASURES["perplexity"].title, tuple(series), band=True))
    return panels


def _points(rows: Iterable[Row], place: Callable[[Row], float | str | None], figure: str) -> tuple[Point, ...]:
    """Ours, where a row has a place and the figure."""
    found: list[Point] = []
    for row in rows:
        x, entry = place(row), row.figures.get(figure)
        if x is not None and entry is not None and entry.ours is not None and entry.ours.mean is not None:
            found.append(Point(x, entry.ours.mean, entry.ours.low, entry.ours.high))
    return _ordered(found)


def _printed(rows: Iterable[Row], place: Callable[[Row], float | str | None], figure: str) -> tuple[Point, ...]:
    """The paper's, each place once."""
    found: dict[float | str, float] = {}
    for row in rows:
        x, entry = place(row), row.figures.get(figure)
        if x is not None and entry is not None and entry.paper is not None and entry.paper.value is not None:
            found[x] = entry.paper.value
    return _ordered(Point(x, y) for x, y in found.items())


def _ordered(points: Iterable[Point]) -> tuple[Point, ...]:
    """By number; layer pairs by their first layer."""

    def key(point: Point) -> tuple[float, str]:
        if isinstance(point.x, str):
            return as_number(point.x.partition("-")[0]) or 0.0, point.x
        return point.x, ""

    return tuple(sorted(points, key=key))

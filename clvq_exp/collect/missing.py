"""The commands that run what is missing: a sweep file, and the overrides that pick cells of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from clvq_exp.collect.catalogue import LAYER_PAIR, TableSpec
from clvq_exp.collect.tables import Filled, Row

_SWEEPS = ("python", "-m", "clvq_exp", "--config-dir", "multirun_sweeps", "--config-name")
_FOLDER = "FOLDER"
"""Stands for where the data set is."""


class Missing(NamedTuple):
    """What of the paper's table no run fills."""

    rows: int
    expected: int
    commands: tuple[str, ...]
    """A single one where everything is missing."""


def missing_of(spec: TableSpec, filled: Filled) -> Missing:
    """Say how much is missing and what runs it.

    Args:
        spec: the table.
        filled: its rows.
    """
    n = len(filled.missing)
    if not n or not spec.sweep:
        return Missing(n, filled.expected, ())
    commands = [whole_sweep(spec)] if n == filled.expected else [cell_command(spec, row) for row in filled.missing]
    return Missing(n, filled.expected, tuple(dict.fromkeys(commands)))


def whole_sweep(spec: TableSpec) -> str:
    """The command of the sweep that fills a table."""
    several = "dataset" in spec.overrides
    return _line(spec, [f"dataset.path={_FOLDER}" + ("/${dataset.name}" if several else "")])


def cell_command(spec: TableSpec, row: Row) -> str:
    """The command that runs the cell of one row of the paper: the sweep with all it varies given.

    Args:
        spec: the table; it has a sweep.
        row: of the paper, or a cell of its grid.
    """
    given = {"model": row.model, "dataset": row.dataset, LAYER_PAIR: row.layers, **dict(row.setting)}
    overrides = [each for key in spec.overrides if (each := _override(key, given))]
    several = "dataset" in spec.overrides and not row.dataset
    return _line(spec, [*overrides, f"dataset.path={_FOLDER}" + ("/${dataset.name}" if several else "")])


def _override(key: str, given: dict[str, str]) -> str:
    """`key=value`; where the sweep varies a whole section, `section={key:value}`."""
    if given.get(key):
        return f"{key}={given[key]}"
    inside = [f"{name.partition('.')[2]}:{value}" for name, value in given.items() if name.startswith(f"{key}.")]
    return f"{key}={{{','.join(inside)}}}" if inside else ""


def _line(spec: TableSpec, overrides: Sequence[str]) -> str:
    return join_words([*_SWEEPS, spec.sweep, *overrides])


def join_words(words: Iterable[str]) -> str:
    """A command line for a shell."""
    return shlex.join(words)

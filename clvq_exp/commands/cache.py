"""`clvq cache`: what the cache holds, what is damaged, what can go."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clvq_exp.artifacts import CACHE_VARIABLE, cache_root
from clvq_exp.inventory import (
    Choice,
    Held,
    State,
    damages,
    forget_gone_cells,
    inventory,
    removable,
    remove,
)
from clvq_exp.report.console import as_is, draw, simple_table
from clvq_exp.report.formatting import memory
from clvq_exp.report.text_safety import visible
from clvq_exp.storage import StorageError, storage_errors

if TYPE_CHECKING:
    from rich.console import Console

_SHOWN_CELLS = 2
FORMAT_VERSION = 1


def cache(given: argparse.Namespace) -> int:
    """List, verify or prune; returns the exit code.

    Args:
        given: the parsed command line.
    """
    root = cache_root()
    held = inventory(root)
    kinds = sorted({each.kind for each in held})
    unknown = sorted(set(given.kind or ()) - set(kinds))
    if unknown:
        said = f"holds {', '.join(kinds)}" if kinds else "is empty"
        sys.stderr.write(visible(f"--kind {' '.join(unknown)}: the cache {root} {said}") + "\n")
        return 1
    chosen = [each for each in held if not given.kind or each.kind in given.kind]
    return {"ls": _list, "verify": _verify, "prune": _prune}[given.does](given, root, chosen)


def _list(given: argparse.Namespace, root: Path, held: Sequence[Held]) -> int:
    if given.json:
        _write_json(root, held, {})
    else:
        draw(lambda console: _print_list(console, root, held))
    return 0


def _verify(given: argparse.Namespace, root: Path, held: Sequence[Held]) -> int:
    found = {each.folder: problem for each, problem in damages(held)}
    if given.json:
        _write_json(root, held, found)
    else:
        finished = sum(each.state is State.finished for each in held)
        lines = [*found.values(), f"{finished} artifacts looked at, {len(found)} damaged"]
        if found:
            lines.append("a damaged one is made again when a cell needs it; clvq cache prune --damaged removes it")
        draw(lambda console: _print_lines(console, lines))
    return int(bool(found))


def _prune(given: argparse.Namespace, root: Path, held: Sequence[Held]) -> int:
    choice = Choice(given.unused, given.unfinished, given.damaged, given.older_than)
    if not (choice.unused or choice.unfinished or choice.damaged):
        sys.stderr.write("say what goes: --unused, --unfinished or --damaged\n")
        return 2
    found = removable(held, choice)
    try:
        with storage_errors("the cache folder", root, "prune it as a user who may write there"):
            gone = [each for each, _ in found if given.yes and remove(each)]
            if given.yes and choice.unused:
                forget_gone_cells(root)
    except StorageError as error:
        sys.stderr.write(visible(str(error)) + "\n")
        return 1
    if given.json:
        reasons = {each.folder: reason for each, reason in found}
        _write_json(root, gone if given.yes else [each for each, _ in found], reasons)
        return 0
    size = memory(sum(each.size for each in gone) if given.yes else sum(each.size for each, _ in found))
    last = f"{len(gone)} removed, {size}" if given.yes else f"{len(found)} can go, {size}; --yes removes them"
    if len(gone) < len(found) and given.yes:
        last += f"; {len(found) - len(gone)} are being made again just now and stay"
    draw(lambda console: _print_found(console, found, last if found else "nothing can go"))
    return 0


def _print_list(console: Console, root: Path, held: Sequence[Held]) -> None:
    if not held:
        console.print(as_is(f"the cache {root} is empty; {CACHE_VARIABLE} names another"))
        return
    console.print(as_is(str(root)))
    _print_kinds(console, held)
    table = simple_table()
    for name in ("Artifact", "Size", "Changed", "Cells"):
        table.add_column(name, justify="right" if name == "Size" else "left", overflow="fold")
    for each in held:
        name = f"{each.kind}/{each.name}"
        table.add_row(as_is(name), memory(each.size), _date(each.changed), as_is(_cells(each)))
    console.print(table)


def _print_kinds(console: Console, held: Sequence[Held]) -> None:
    table = simple_table()
    for name in ("Kind", "Artifacts", "Size", "Of no cell that is there"):
        table.add_column(name, justify="left" if name == "Kind" else "right")
    for kind in sorted({each.kind for each in held}):
        own = [each for each in held if each.kind == kind]
        table.add_row(as_is(kind), str(len(own)), *_sizes(own))
    table.add_row("all", str(len(held)), *_sizes(held), style="bold")
    console.print(table)


def _sizes(held: Iterable[Held]) -> tuple[str, str]:
    listed = list(held)
    return memory(sum(each.size for each in listed)), memory(sum(each.size for each in listed if not each.is_used))


def _cells(held: Held) -> str:
    """What uses it, or why it is not whole."""
    if held.state is not State.finished:
        return f"{held.state.value}, being made" if held.is_being_made else held.state.value
    names = [cell.name if cell.is_there else f"{cell.name} (gone)" for cell in held.cells]
    more = [f"and {len(names) - _SHOWN_CELLS} more"] if len(names) > _SHOWN_CELLS else []
    return "; ".join([*names[:_SHOWN_CELLS], *more]) or "none"


def _print_found(console: Console, found: Sequence[tuple[Held, str]], last: str) -> None:
    for each, reason in found:
        console.print(as_is(f"{each.kind}/{each.name}  {memory(each.size)}  {_date(each.changed)}  {reason}"))
    console.print(as_is(last))


def _print_lines(console: Console, lines: Iterable[str]) -> None:
    for line in lines:
        console.print(as_is(line))


def _date(moment: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(moment))


def _write_json(root: Path, held: Iterable[Held], reasons: Mapping[Path, str]) -> None:
    entries: list[dict[str, Any]] = [
        {
            "kind": each.kind,
            "fingerprint": each.name,
            "folder": str(each.folder),
            "state": each.state.name,
            "bytes": each.size,
            "changed": each.changed,
            "cells": [
                {"name": cell.name, "run_folder": str(cell.run_folder), "is_there": cell.is_there}
                for cell in each.cells
            ],
            "reason": reasons.get(each.folder),
        }
        for each in held
    ]
    content = {"format_version": FORMAT_VERSION, "cache": str(root), "artifacts": entries}
    sys.stdout.write(json.dumps(content, indent=2, sort_keys=True) + "\n")

"""An estimate as a table in the terminal, and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clvq_exp.estimate.records import STEPS, StepMemory, largest
from clvq_exp.estimate.sweep import EstimatedCell, EstimatedSweep
from clvq_exp.report.formatting import NOTHING, memory, seconds
from clvq_exp.report.text_safety import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

FORMAT_VERSION = 1
WIDTH = 100
"""Columns where the output is not a terminal."""


def as_json(sweep: EstimatedSweep) -> dict[str, Any]:
    """All figures: seconds, bytes and FLOP/s."""
    return {
        "format_version": FORMAT_VERSION,
        "device": sweep.device,
        "threads": sweep.threads,
        "flops_per_second": sweep.rate,
        "seconds": sum(sweep.together.seconds.values()),
        "peak_memory_bytes": sweep.peak.host,
        "peak_gpu_memory_bytes": sweep.peak.gpu,
        "cache_bytes": sum(sweep.together.cache_bytes.values()),
        "working_bytes": sweep.together.working_bytes,
        "run_bytes": sweep.run_bytes,
        "cells": [_cell_as_json(cell) for cell in sweep.cells],
    }


def _cell_as_json(cell: EstimatedCell) -> dict[str, Any]:
    config, estimate = cell.asked.config, cell.estimate
    return {
        "overrides": list(cell.asked.overrides),
        "model": config.model.name,
        "dataset": config.dataset.name,
        "layer_pair": config.layer_pair.name,
        "method": config.baseline["name"],
        "seeds": list(config.seeds),
        "steps": {
            step: {
                "seconds": cell.alone.seconds[step],
                "peak_memory_bytes": estimate.memory[step].host,
                "peak_gpu_memory_bytes": estimate.memory[step].gpu,
                "cache_bytes": cell.alone.cache_bytes[step],
            }
            for step in STEPS
        },
        "seconds": sum(cell.alone.seconds.values()),
        "added_seconds": cell.added_seconds,
        "cache_bytes": sum(cell.alone.cache_bytes.values()),
        "added_cache_bytes": cell.added_cache_bytes,
        "store_bytes": estimate.store_bytes,
        "weights_bytes": max(estimate.weights),
        "run_bytes": estimate.run_bytes,
        "peak_memory_bytes": estimate.peak.host,
        "peak_gpu_memory_bytes": estimate.peak.gpu,
        "problems": list(cell.problems),
        "shortages": list(cell.shortages),
        "notes": list(cell.notes),
    }


def print_estimate(sweep: EstimatedSweep, console: Console | None = None) -> None:
    """Print an estimate.

    Args:
        sweep: one cell or several.
        console: where to print; None for standard output.
    """
    from rich.console import Console

    if console is None:
        console = Console()
        if not console.is_terminal:
            console = Console(width=WIDTH)
    with console.capture() as captured:
        _print_all(sweep, console)
    encoding = console.encoding  # a terminal without Unicode gets escapes
    console.file.write(captured.get().encode(encoding, "backslashreplace").decode(encoding))
    console.file.flush()


def _print_all(sweep: EstimatedSweep, console: Console) -> None:
    console.print(_text(_header(sweep), "bold"))
    console.print(_text(_machine(sweep), "dim"))
    console.print()
    console.print(_steps(sweep))
    if len(sweep.cells) > 1:
        console.print()
        console.print(_cells(sweep))
    lines = _distinct(sweep, "problems")
    if lines:
        console.print(_text("\nThis cannot run here:", "bold red"))
        _print_lines(lines, console)
    lines = _distinct(sweep, "shortages")
    if lines:
        console.print(_text("\nThis may not do:", "bold red"))
        _print_lines(lines, console)
    console.print()
    _print_lines([*_distinct(sweep, "notes"), _ABOUT], console, "dim")


_ABOUT = (
    "estimated from nothing: what the cache holds already takes neither time nor disk again; expect a factor of "
    "two either way in time"
)


def _distinct(sweep: EstimatedSweep, field: str) -> list[str]:
    return list(dict.fromkeys(line for cell in sweep.cells for line in getattr(cell, field)))


def _print_lines(lines: list[str], console: Console, style: str = "") -> None:
    from rich.table import Table

    table = Table.grid(padding=(0, 1))
    for line in lines:
        table.add_row(_text("·", style), _text(line, style))
    console.print(table)


def _text(text: str, style: str = "") -> Text:
    """Text as it stands: no markup is read in it, and line ends are kept only at its start."""
    from rich.text import Text

    stripped = text.lstrip("\n")
    return Text("\n" * (len(text) - len(stripped)) + visible(stripped), style=style)


def _header(sweep: EstimatedSweep) -> str:
    configs = [cell.asked.config for cell in sweep.cells]
    parts = [
        sorted({config.model.name for config in configs}),
        sorted({config.dataset.name for config in configs}),
        sorted({f"layers {config.layer_pair.name}" for config in configs}),
        sorted({str(config.baseline["name"]) for config in configs}),
    ]
    header = " · ".join(", ".join(names) for names in parts)
    seeds = len(configs[0].seeds)
    several = f" · {len(configs)} cells" if len(configs) > 1 else ""
    return f"{header} · {seeds} seed{'' if seeds == 1 else 's'}{several}"


def _machine(sweep: EstimatedSweep) -> str:
    threads = f"{sweep.threads} thread{'' if sweep.threads == 1 else 's'}"
    where = "the GPU" if sweep.device == "cuda" else threads
    return f"on {where}, where a matrix product runs at {sweep.rate / 1e9:,.0f} GFLOP/s"


def _table(first: str, *others: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), show_edge=False)
    table.add_column(_text(first), overflow="fold")
    for title in others:
        table.add_column(_text(title), no_wrap=True, justify="right")
    return table


def _steps(sweep: EstimatedSweep) -> Table:
    """One row per step: all cells together, what they share counted once."""
    gpu = sweep.device == "cuda"
    table = _table("Step", "Time", "Memory", *(["GPU memory"] if gpu else []), "Cache", "Run folder")
    summed = sweep.together
    for step in STEPS:
        peak = largest(cell.estimate.memory[step] for cell in sweep.cells)
        kept = summed.cache_bytes[step]
        table.add_row(
            _text(step.replace("_", " ").capitalize()),
            _text(seconds(summed.seconds[step])),
            *_memory(peak, gpu),
            _text(memory(kept) if kept else NOTHING),
            _text(memory(sweep.run_bytes) if step == STEPS[-1] else NOTHING),
        )
    table.add_section()
    table.add_row(
        _text("All", "bold"),
        _text(seconds(sum(summed.seconds.values())), "bold"),
        *_memory(sweep.peak, gpu, "bold"),
        _text(memory(sum(summed.cache_bytes.values())), "bold"),
        _text(memory(sweep.run_bytes), "bold"),
    )
    return table


def _memory(peak: StepMemory, gpu: bool, style: str = "") -> list[Text]:
    shown = [peak.host, peak.gpu] if gpu else [peak.host]
    return [_text(memory(value), style) for value in shown]


def _cells(sweep: EstimatedSweep) -> Table:
    """One row per cell: alone, and what it adds to the cells before it."""
    table = _table("Cell", "Alone", "Added", "Memory", "Cache added", "Run folder")
    for cell in sweep.cells:
        table.add_row(
            _text(" ".join(cell.asked.overrides) or "(the same)"),
            _text(seconds(sum(cell.alone.seconds.values()))),
            _text(seconds(cell.added_seconds)),
            _text(memory(cell.estimate.peak.host)),
            _text(memory(cell.added_cache_bytes)),
            _text(memory(cell.estimate.run_bytes)),
        )
    return table

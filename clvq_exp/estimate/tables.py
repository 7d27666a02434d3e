"""An estimate as a table in the terminal, and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clvq_exp.estimate.methods import is_known
from clvq_exp.estimate.records import CONCEPTS, STEPS, StepMemory, Total, largest, once, total
from clvq_exp.estimate.sweep import EstimatedCell, EstimatedSweep
from clvq_exp.report.console import as_is, draw, simple_table
from clvq_exp.report.formatting import NOTHING, memory, seconds

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

FORMAT_VERSION = 1


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
        "methods": _methods_as_json(cell),
        "seeds": list(config.seeds),
        "processes": config.trainer.devices,
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


def _methods_as_json(cell: EstimatedCell) -> dict[str, Any]:
    """What each method takes; what several share counts for the first of them."""
    of_methods = _by_method(cell)
    return {
        each.name: {
            "known": is_known(cell.asked.config.methods[each.name]) and each.problem is None,
            "concepts": each.concepts,
            "removals": list(each.removals),
            "model_bytes": each.model_bytes,
            "fit_memory_bytes": each.memory.fit + each.memory.fit_host,
            "seconds": of_methods[each.name].seconds,
            "cache_bytes": sum(of_methods[each.name].cache_bytes.values()),
        }
        for each in cell.estimate.methods
    }


def _by_method(cell: EstimatedCell) -> dict[str, Total]:
    kept = once(cell.estimate.parts)
    return {each.name: total(part for part in kept if part.method == each.name) for each in cell.estimate.methods}


def print_estimate(sweep: EstimatedSweep, console: Console | None = None) -> None:
    """Print an estimate.

    Args:
        sweep: one cell or several.
        console: where to print; None for standard output.
    """
    draw(lambda chosen: _print_all(sweep, chosen), console)


def _print_all(sweep: EstimatedSweep, console: Console) -> None:
    console.print(as_is(_header(sweep), "bold"))
    console.print(as_is(_machine(sweep), "dim"))
    console.print()
    console.print(_steps(sweep))
    first, *others = sweep.cells
    if others:
        console.print()
        console.print(_cells(sweep))
    elif len(first.estimate.methods) > 1:
        console.print()
        console.print(_methods(first))
    lines = _distinct(sweep, "problems")
    if lines:
        console.print(as_is("\nThis cannot run here:", "bold red"))
        _print_lines(lines, console)
    lines = _distinct(sweep, "shortages")
    if lines:
        console.print(as_is("\nThis may not do:", "bold red"))
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
        table.add_row(as_is("·", style), as_is(line, style))
    console.print(table)


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
    table = simple_table()
    table.add_column(as_is(first), overflow="fold")
    for title in others:
        table.add_column(as_is(title), no_wrap=True, justify="right")
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
            as_is(step.replace("_", " ").capitalize()),
            as_is(seconds(summed.seconds[step])),
            *_memory(peak, gpu),
            as_is(memory(kept) if kept else NOTHING),
            as_is(memory(sweep.run_bytes) if step == STEPS[-1] else NOTHING),
        )
    table.add_section()
    table.add_row(
        as_is("All", "bold"),
        as_is(seconds(sum(summed.seconds.values())), "bold"),
        *_memory(sweep.peak, gpu, "bold"),
        as_is(memory(sum(summed.cache_bytes.values())), "bold"),
        as_is(memory(sweep.run_bytes), "bold"),
    )
    return table


def _memory(peak: StepMemory, gpu: bool, style: str = "") -> list[Text]:
    shown = [peak.host, peak.gpu] if gpu else [peak.host]
    return [as_is(memory(value), style) for value in shown]


def _methods(cell: EstimatedCell) -> Table:
    """One row per method; what several share stands in the row of the first of them."""
    table = _table("Method", "Fit", "Evaluation", "Memory of a fit", "Cache", "Removals")
    for method, summed in zip(cell.estimate.methods, _by_method(cell).values(), strict=True):
        fit = summed.seconds[CONCEPTS]
        table.add_row(
            as_is(method.name),
            as_is(seconds(fit)),
            as_is(seconds(sum(summed.seconds.values()) - fit)),
            as_is(memory(method.memory.fit + method.memory.fit_host)),
            as_is(memory(sum(summed.cache_bytes.values()))),
            as_is(str(len(method.removals))),
        )
    return table


def _cells(sweep: EstimatedSweep) -> Table:
    """One row per cell: alone, and what it adds to the cells before it."""
    table = _table("Cell", "Alone", "Added", "Memory", "Cache added", "Run folder")
    for cell in sweep.cells:
        table.add_row(
            as_is(" ".join(cell.asked.overrides) or "(the same)"),
            as_is(seconds(sum(cell.alone.seconds.values()))),
            as_is(seconds(cell.added_seconds)),
            as_is(memory(cell.estimate.peak.host)),
            as_is(memory(cell.added_cache_bytes)),
            as_is(memory(cell.estimate.run_bytes)),
        )
    return table

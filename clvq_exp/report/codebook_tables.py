"""The codebooks of a run, method by method and seed by seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from clvq_exp.report import reading
from clvq_exp.report.access import Metrics, block, entry, methods, number
from clvq_exp.report.formatting import NOTHING, count, decimal, percent
from clvq_exp.report.grid import Grid, GridRow, plain_cells, plain_columns, without_empty_columns
from clvq_exp.report.names import method_title


class CodebookRow(NamedTuple):
    """The codebook of one method, over seeds or of one seed; None where the method has no such figure."""

    method: str
    seed: str | None
    """None: over all seeds."""
    chosen: tuple[tuple[str, tuple[float, ...]], ...]
    """Hyper-parameters that the fits chose, each with the values that were chosen, ascending."""
    size: float | None
    perplexity: float | None
    codes_in_use: float | None
    utilisation: float | None
    mean_cosine: float | None
    alpha: float | None
    validation_loss: float | None
    best_epoch: float | None
    variance_explained: float | None
    """Share of the variance of the validation targets."""
    l0: float | None
    """Mean number of active neurons of a word."""
    dead_neurons: float | None
    as_is: float | None
    permuted: float | None
    memory_zeroed: float | None
    mean_predictor: float | None

    @property
    def title(self) -> str:
        """The method's name for readers."""
        return method_title(self.method)

    @property
    def reading(self) -> str | None:
        """One line on whether the decoder needs the codes; None where there is no decoder."""
        return reading.bypass(self.as_is, self.permuted)

    @property
    def chosen_text(self) -> str:
        """What was chosen, for readers: `L1 0.03, 0.045`."""
        parts = (f"{_chosen_title(name)} {', '.join(map(_exactly, values))}" for name, values in self.chosen)
        return "; ".join(parts) or NOTHING


def _chosen_title(name: str) -> str:
    return "L1" if name == "l1" else name.replace("_", " ")


def _exactly(value: float) -> str:
    """A hyper-parameter as it would be set, unlike a measured figure."""
    return count(value) if value == int(value) else f"{value:g}"


def codebook_rows(metrics: Metrics, per_seed: bool = False) -> tuple[CodebookRow, ...]:
    """The codebooks of all methods, the main one first.

    Args:
        metrics: the content of `metrics.json`.
        per_seed: one row per seed instead of one per method.

    Returns:
        The rows; methods without a codebook are left out.
    """
    rows: list[CodebookRow] = []
    for method in methods(metrics):
        whole = block(metrics, method, "codebook")
        by_seed = entry(whole, "seeds")
        if per_seed:
            rows += [
                _row(method, seed, entry(by_seed, seed), [entry(by_seed, seed)])
                for seed in sorted(by_seed, key=seed_order)
            ]
        elif whole:
            rows.append(_row(method, None, whole, [entry(by_seed, seed) for seed in by_seed]))
    return tuple(rows)


def seed_order(seed: str) -> tuple[int, str]:
    """What seeds, as the keys of `metrics.json`, are sorted by."""
    return (int(seed), "") if seed.isdigit() else (0, seed)


def _row(
    method: str, seed: str | None, values: Mapping[str, Any], seeds: Iterable[Mapping[str, Any]]
) -> CodebookRow:
    flat = {**values, **entry(values, "bypass")}
    figures = {name: number(flat.get(name)) for name in CodebookRow._fields[3:]}
    return CodebookRow(method=method, seed=seed, chosen=_chosen(seeds), **figures)


def _chosen(seeds: Iterable[Mapping[str, Any]]) -> tuple[tuple[str, tuple[float, ...]], ...]:
    found: dict[str, set[float]] = {}
    for values in seeds:
        for name, value in entry(values, "chosen").items():
            known = number(value)
            if known is not None:
                found.setdefault(name, set()).add(known)
    return tuple((name, tuple(sorted(found[name]))) for name in sorted(found))


def codebook_grid(rows: Sequence[CodebookRow], caption: str) -> Grid:
    """Size, use and fit of each codebook; a column for every figure that any of them has.

    Args:
        rows: as `codebook_rows` gives them.
        caption: of the table.
    """
    figures = {
        "Seed": [row.seed or NOTHING for row in rows],
        "Size": [count(row.size) for row in rows],
        "In use": [count(row.codes_in_use) for row in rows],
        "Utilisation": [percent(row.utilisation) for row in rows],
        "Perplexity": [decimal(row.perplexity, 1) for row in rows],
        "Mean cosine": [decimal(row.mean_cosine) for row in rows],
        "Alpha": [decimal(row.alpha) for row in rows],
        "Validation loss": [decimal(row.validation_loss, 4) for row in rows],
        "Best epoch": [count(row.best_epoch) for row in rows],
        "Variance explained": [percent(row.variance_explained) for row in rows],
        "L0": [decimal(row.l0, 1) for row in rows],
        "Dead neurons": [count(row.dead_neurons) for row in rows],
        "Chosen": [row.chosen_text for row in rows],
    }
    lines = zip(*figures.values(), strict=True)
    grid = Grid(
        caption,
        _note(rows),
        "Method",
        plain_columns(list(figures)),
        tuple(GridRow(row.title, plain_cells(line)) for row, line in zip(rows, lines, strict=True)),
    )
    return without_empty_columns(grid, NOTHING)


def _note(rows: Sequence[CodebookRow]) -> str:
    parts = [
        (
            "variance_explained",
            "Variance explained: of the validation targets, by the reconstruction; below 0 it does worse than "
            "their mean.",
        ),
        ("l0", "L0: active neurons of a validation word, mean."),
        ("dead_neurons", "Dead neurons: active on no validation word."),
        ("chosen", "Chosen: by the fits of all seeds."),
    ]
    return " ".join(text for name, text in parts if any(getattr(row, name) not in (None, ()) for row in rows))


def bypass_grid(rows: Sequence[CodebookRow]) -> Grid | None:
    """The decoder's validation loss when its inputs are tampered with; None where no method has a decoder.

    Args:
        rows: as `codebook_rows` gives them.
    """
    found = [row for row in rows if row.as_is is not None]
    if not found:
        return None
    return Grid(
        "Validation loss under changed inputs of the decoder",
        "",
        "Method",
        plain_columns(["Codes as they are", "Codes permuted", "Memory zeroed", "Mean predictor"]),
        tuple(
            GridRow(
                row.title,
                plain_cells(
                    decimal(value, 4) for value in (row.as_is, row.permuted, row.memory_zeroed, row.mean_predictor)
                ),
            )
            for row in found
        ),
    )

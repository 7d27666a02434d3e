"""What the page shows on the specificity of the codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from clvq_exp.report.access import Metrics
from clvq_exp.report.grid import Grid
from clvq_exp.report.names import SHUFFLES, Name
from clvq_exp.report.routed import RoutedExamples, read_routed
from clvq_exp.report.shuffles import described, measured
from clvq_exp.report.specificity import (
    BANDS,
    cosine_grid,
    label_pairs_grid,
    overlap_grid,
    purity_grid,
    routing_grid,
    seeds_grid,
    stability_grid,
)
from clvq_exp.report.specificity_reading import ROUTING_CAUTION, counted, readings


class SpecificityBlock(NamedTuple):
    """The tables and sentences of the section; None where the run has no such figures."""

    counted: str | None
    shuffles: Sequence[Name]
    """Those that were drawn."""
    readings: Mapping[str, str]
    caution: str
    purity: Grid | None
    routing: Grid | None
    label_pairs: Grid | None
    routed: Sequence[RoutedExamples]
    overlap: Sequence[Grid]
    """In bands, then cumulative both ways."""
    cosine: Grid | None
    stability: Grid | None
    by_seed: Grid | None


def specificity_block(folder: Path, metrics: Metrics) -> SpecificityBlock | None:
    """Gather the section; None where nothing was measured.

    Args:
        folder: the run folder, with `routed_words`.
        metrics: the content of `metrics.json`.
    """
    names = described(metrics)
    if not names:
        return None
    drawn = [
        shuffle
        for key, shuffle in SHUFFLES.items()
        if any(
            measured(metrics, name, path, measure).shuffled.get(key)
            for name in names
            for path, measure in ((("purity",), "weighted_mean"), (("routing",), "differing_share"))
        )
    ]
    overlap = [overlap_grid(metrics, key) for key in BANDS]
    return SpecificityBlock(
        counted(metrics),
        drawn,
        readings(metrics),
        ROUTING_CAUTION,
        purity_grid(metrics),
        routing_grid(metrics),
        label_pairs_grid(metrics),
        read_routed(folder, metrics),
        [grid for grid in overlap if grid is not None],
        cosine_grid(metrics),
        stability_grid(metrics),
        seeds_grid(metrics),
    )

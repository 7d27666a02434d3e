"""What the page shows, gathered: every block is empty where the run has nothing for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clvq_exp.report import reading
from clvq_exp.report.access import Metrics, entry, main_method, number, own_removal
from clvq_exp.report.cases import POSITIVE, Case, read_cases
from clvq_exp.report.codebook_tables import bypass_grid, codebook_grid, codebook_rows
from clvq_exp.report.examples import Example, label_names, read_examples
from clvq_exp.report.facts import Fact, StepRow, attribution_facts, cell_facts, provenance_facts, step_rows
from clvq_exp.report.grid import Grid
from clvq_exp.report.method_tables import comparison_grid, comparison_rows, overview_grid
from clvq_exp.report.names import Name, method_title, removal_name
from clvq_exp.report.representation import ConceptFiles
from clvq_exp.report.run_files import read_config
from clvq_exp.report.specificity_page import SpecificityBlock, specificity_block
from clvq_exp.report.tables import (
    FaithfulnessTable,
    InterventionTable,
    faithfulness_table,
    intervention_table,
    own_columns,
    removals,
)

EXAMPLES = 20
"""Sentences shown where the configuration does not say."""
OWN = "own"
"""Key of the block that shows each method by its own removal."""


class RemovalBlock(NamedTuple):
    """The tables of one removal, or of each method by its own."""

    key: str
    name: Name
    faithfulness: FaithfulnessTable
    without_sentence_token: FaithfulnessTable
    intervention: InterventionTable
    first: bool
    """It is what the methods are held against each other by."""


class Codebooks(NamedTuple):
    """The codebooks of all methods."""

    whole: Grid
    by_seed: Grid | None
    bypass: Grid | None
    readings: Sequence[tuple[str, str]]
    """Method and what the bypass says of it."""


class Page(NamedTuple):
    """Everything that the template shows, beside the plots."""

    title: str
    content_warning: str | None
    summary: Sequence[str]
    facts: Sequence[Fact]
    notes: Sequence[str]
    overview: Grid | None
    comparisons: Sequence[Grid]
    """Those with the main method first."""
    blocks: Sequence[RemovalBlock]
    codebooks: Codebooks | None
    specificity: SpecificityBlock | None
    attribution: Sequence[Fact]
    cases: Sequence[Case]
    positive: str | None
    """Name of the class that counts as positive; None where there are more than two."""
    examples: Sequence[Example]
    steps: Sequence[StepRow]
    provenance: Sequence[Fact]


def page(folder: Path, metrics: Metrics, provenance: Mapping[str, Any], concepts: ConceptFiles) -> Page:
    """Gather what the page shows.

    Args:
        folder: the run folder.
        metrics: the content of `metrics.json`.
        provenance: the content of `provenance.json`.
        concepts: the inventory of the run.

    Returns:
        The content; nothing in it is escaped yet.
    """
    cell = entry(metrics, "cell")
    config = read_config(folder)
    warning = entry(config, "dataset").get("content_warning")
    wanted = number(entry(config, "evaluation").get("example_sentences"))
    return Page(
        title=f"{method_title(main_method(metrics))} on {cell.get('model', '?')}, {cell.get('dataset', '?')}",
        content_warning=str(warning) if warning else None,
        summary=reading.summary(metrics),
        facts=cell_facts(metrics),
        notes=faithfulness_table(metrics, OWN).notes,
        overview=overview_grid(metrics),
        comparisons=_comparisons(metrics),
        blocks=_blocks(metrics),
        codebooks=_codebooks(metrics),
        specificity=specificity_block(folder, metrics),
        attribution=attribution_facts(metrics),
        cases=read_cases(folder, metrics, concepts),
        positive=label_names(metrics)[POSITIVE] if len(label_names(metrics)) == 2 else None,
        examples=read_examples(folder, metrics, EXAMPLES if wanted is None else int(wanted)),
        steps=step_rows(provenance),
        provenance=provenance_facts(provenance),
    )


def _blocks(metrics: Metrics) -> list[RemovalBlock]:
    """What the methods are held against each other by, then each removal."""
    measured = removals(metrics)
    measured += [name for name in removals(metrics, "intervention") if name not in measured]
    own = {column.removal for column in own_columns(metrics)}
    if len(own) > 1:
        return [_block(metrics, OWN, True), *(_block(metrics, name, False) for name in measured)]
    first = own_removal(metrics, main_method(metrics))
    order = sorted(measured, key=lambda name: name != first)
    return [_block(metrics, name, index == 0) for index, name in enumerate(order)]


def _block(metrics: Metrics, key: str, first: bool) -> RemovalBlock:
    wanted = OWN if key == OWN else [key]
    own = Name(
        "the concept of each method in its own way",
        "each method is held to the removal that it names first: the vector itself or, for the sparse methods, "
        "what their most active neurons read",
    )
    return RemovalBlock(
        key,
        own if key == OWN else removal_name(key),
        faithfulness_table(metrics, wanted),
        faithfulness_table(metrics, wanted, without_sentence_token=True),
        intervention_table(metrics, wanted),
        first,
    )


def _comparisons(metrics: Metrics) -> list[Grid]:
    rows = comparison_rows(metrics)
    main = method_title(main_method(metrics))
    parts = {
        f"{main} and the others": [row for row in rows if row.with_main and row.own],
        "The other pairs": [row for row in rows if not row.with_main and row.own],
        "All pairs by the removals that both have": [row for row in rows if not row.own],
    }
    return [comparison_grid(found, caption) for caption, found in parts.items() if found]


def _codebooks(metrics: Metrics) -> Codebooks | None:
    rows = codebook_rows(metrics)
    if not rows:
        return None
    by_seed = codebook_rows(metrics, per_seed=True)
    return Codebooks(
        codebook_grid(rows, "Codebooks"),
        codebook_grid(by_seed, "Codebooks by seed") if by_seed else None,
        bypass_grid(rows),
        [(row.title, row.reading) for row in rows if row.reading],
    )

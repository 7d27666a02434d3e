"""What the page shows, gathered: every block is empty where the run has nothing for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from clvq_exp.report import reading
from clvq_exp.report.access import Metrics, entry, interval, main_method, mapping, number
from clvq_exp.report.examples import Example, read_examples
from clvq_exp.report.formatting import count, decimal, memory, percent, seconds, with_bounds
from clvq_exp.report.names import Name, method_title, removal_name
from clvq_exp.report.run_files import read_config
from clvq_exp.report.tables import (
    CodebookRow,
    ComparisonRow,
    FaithfulnessTable,
    InterventionTable,
    codebook_rows,
    comparison_rows,
    faithfulness_table,
    intervention_table,
    removals,
)

EXAMPLES = 20
"""Sentences shown where the configuration does not say."""

Fact = tuple[str, str]
"""A name and a value, both as they are shown."""


class RemovalBlock(NamedTuple):
    """The tables of one removal."""

    key: str
    name: Name
    faithfulness: FaithfulnessTable
    without_sentence_token: FaithfulnessTable
    intervention: InterventionTable


class StepRow(NamedTuple):
    """What one step of the run took."""

    step: str
    seconds: str
    peak_memory: str


class Page(NamedTuple):
    """Everything that the template shows, beside the plots."""

    title: str
    content_warning: str | None
    summary: Sequence[str]
    facts: Sequence[Fact]
    notes: Sequence[str]
    blocks: Sequence[RemovalBlock]
    comparisons: Sequence[ComparisonRow]
    codebooks: Sequence[CodebookRow]
    codebooks_by_seed: Sequence[CodebookRow]
    attribution: Sequence[Fact]
    examples: Sequence[Example]
    steps: Sequence[StepRow]
    provenance: Sequence[Fact]


def faithfulness(metrics: Metrics, removal: str) -> FaithfulnessTable:
    """The faithfulness table of one removal, all methods."""
    return faithfulness_table(metrics, [removal])


def page(folder: Path, metrics: Metrics, provenance: Mapping[str, Any]) -> Page:
    """Gather what the page shows.

    Args:
        folder: the run folder.
        metrics: the content of `metrics.json`.
        provenance: the content of `provenance.json`.

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
        notes=faithfulness_table(metrics).notes,
        blocks=[_block(metrics, removal) for removal in _all_removals(metrics)],
        comparisons=comparison_rows(metrics),
        codebooks=codebook_rows(metrics),
        codebooks_by_seed=codebook_rows(metrics, per_seed=True),
        attribution=attribution_facts(metrics),
        examples=read_examples(folder, metrics, EXAMPLES if wanted is None else int(wanted)),
        steps=step_rows(provenance),
        provenance=provenance_facts(provenance),
    )


def _all_removals(metrics: Metrics) -> list[str]:
    measured = removals(metrics)
    return measured + [name for name in removals(metrics, "intervention") if name not in measured]


def _block(metrics: Metrics, removal: str) -> RemovalBlock:
    return RemovalBlock(
        removal,
        removal_name(removal),
        faithfulness(metrics, removal),
        faithfulness_table(metrics, [removal], without_sentence_token=True),
        intervention_table(metrics, [removal]),
    )


def cell_facts(metrics: Metrics) -> list[Fact]:
    """Which model, data, layers and method the run is about, and how much of each.

    Args:
        metrics: the content of `metrics.json`.
    """
    cell, model = entry(metrics, "cell"), entry(metrics, "model")
    facts = [
        (title, str(cell[key]))
        for title, key in (("Model", "model"), ("Data set", "dataset"), ("Layers", "layer_pair"))
        if cell.get(key)
    ]
    facts.append(("Method", method_title(main_method(metrics))))
    facts += [
        (title, str(cell[key]))
        for title, key in (("Initialisation", "init"), ("Protocol", "protocol"), ("Trainer", "trainer"))
        if cell.get(key)
    ]
    facts.append(("Seeds", ", ".join(str(seed) for seed in cell.get("seeds") or []) or "–"))
    facts.append(("Codebook size", count(number(cell.get("codebook_size")))))
    facts.append(("Classes", ", ".join(str(name) for name in cell.get("label_names") or []) or "–"))
    for title, key in (("Sentences", "sentences"), ("Words", "words")):
        parts = [f"{count(number(value))} {name}" for name, value in entry(cell, key).items()]
        facts.append((title, ", ".join(parts) or "–"))
    facts.append(("Language model’s accuracy", with_bounds(interval(model.get("accuracy")))))
    facts.append(("Majority class", percent(number(model.get("majority")))))
    tuning = entry(model, "fine_tuning")
    if tuning:
        facts.append(
            (
                "Fine-tuning",
                f"{count(number(tuning.get('sentences')))} sentences, {count(number(tuning.get('epochs')))} "
                f"epochs, accuracy {decimal(number(tuning.get('accuracy')))}",
            )
        )
    facts.append(("Fingerprint", str(cell.get("fingerprint") or "–")))
    return facts


def attribution_facts(metrics: Metrics) -> list[Fact]:
    """How well the attribution converged.

    Args:
        metrics: the content of `metrics.json`.
    """
    values = entry(metrics, "attribution")
    if not values:
        return []
    return [
        ("Steps of the integral, mean", decimal(number(values.get("steps_mean")), 1)),
        ("Sentences within the tolerance", percent(number(values.get("converged_share")))),
        ("Tolerance (share of the logit’s change)", percent(number(values.get("tolerance")))),
        (
            "Median error (share of the logit’s change)",
            percent(number(values.get("median_relative_delta")), 3),
        ),
        ("Salient word is the sentence token", percent(number(values.get("sentence_token_share")))),
    ]


def step_rows(provenance: Mapping[str, Any]) -> list[StepRow]:
    """Seconds and peak memory of each step.

    Args:
        provenance: `seconds` and `peak_memory_bytes` by step, or `steps` with both for each step.
    """
    steps = entry(provenance, "steps")
    took = entry(provenance, "seconds") or {name: mapping(value).get("seconds") for name, value in steps.items()}
    peak = entry(provenance, "peak_memory_bytes") or {
        name: mapping(value).get("peak_memory_bytes") for name, value in steps.items()
    }
    return [
        StepRow(name.replace("_", " "), seconds(number(took.get(name))), memory(number(peak.get(name))))
        for name in dict.fromkeys([*took, *peak])
    ]


def provenance_facts(provenance: Mapping[str, Any]) -> list[Fact]:
    """Everything else of the provenance, flattened: `versions.torch`, value.

    Args:
        provenance: the content of `provenance.json`.
    """
    facts: list[Fact] = []
    for key, value in provenance.items():
        if key not in ("steps", "seconds", "peak_memory_bytes"):
            facts += _flatten(key, value)
    return facts


def _flatten(name: str, value: object) -> list[Fact]:
    if isinstance(value, Mapping):
        found: list[Fact] = []
        for key, item in cast("Mapping[str, object]", value).items():
            found += _flatten(f"{name}.{key}", item)
        return found
    if isinstance(value, list):
        return [(name, ", ".join(str(item) for item in cast("list[object]", value)) or "–")]
    return [(name, "–" if value is None else str(value))]

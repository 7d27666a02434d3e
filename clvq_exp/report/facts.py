"""Facts on a run as the page shows them: what it is about, how the attribution went, where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from clvq_exp.report import reading
from clvq_exp.report.access import Metrics, entry, interval, main_method, mapping, number
from clvq_exp.report.formatting import count, decimal, memory, percent, seconds, with_bounds
from clvq_exp.report.names import method_title

Fact = tuple[str, str]
"""A name and a value, both as they are shown."""
_COUNTED = ("train", "validation", "evaluation", "refit", "duplicates_removed", "stored", "vanished", "truncated")


class StepRow(NamedTuple):
    """What one step of the run took."""

    step: str
    seconds: str
    peak_memory: str


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
    facts.append(("Codebook size", count(reading.codebook_size(metrics))))
    facts.append(("Classes", ", ".join(str(name) for name in cell.get("label_names") or []) or "–"))
    for title, key in (("Sentences", "sentences"), ("Words", "words")):
        values = entry(cell, key)
        order = [name for name in _COUNTED if name in values] + sorted(values.keys() - set(_COUNTED))
        parts = [f"{count(number(values[name]))} {name.replace('_', ' ')}" for name in order]
        facts.append((title, ", ".join(parts) or "–"))
    facts.append(("Language model’s accuracy", with_bounds(interval(model.get("accuracy")))))
    facts.append(("Majority class", percent(number(model.get("majority")))))
    tuning = entry(model, "fine_tuning")
    if tuning:
        sentences, epochs = (number(tuning.get(key)) for key in ("sentences", "epochs"))
        facts.append(
            (
                "Fine-tuning",
                f"{count(sentences)} sentences, {count(epochs)} epoch{'' if epochs == 1 else 's'}, accuracy "
                f"{decimal(number(tuning.get('accuracy')))}",
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

"""The figures of a run that dashboards compare, each under one name that is also its path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from clvq_exp.report.access import Metrics, block, entry, interval, main_method, methods, number
from clvq_exp.report.text_safety import visible

CONDITIONS = (
    "original",
    "perturbed",
    "random_direction",
    "random_active_code",
    "random_active_code_norm_matched",
)
DROPS = ("drop", "specific_drop")
LOW, HIGH = "_low", "_high"
"""Endings of the two ends of a drop's interval."""
_CODEBOOK = (
    "perplexity",
    "utilisation",
    "codes_in_use",
    "mean_cosine",
    "alpha",
    "validation_loss",
    "variance_explained",
    "l0",
    "dead_neurons",
)
_BYPASS = ("as_is", "permuted", "memory_zeroed", "mean_predictor")
_SPECIFICITY: Mapping[str, tuple[str, ...]] = {
    "purity": ("purity", "weighted_mean"),
    "purity_shuffled": ("purity", "shuffled", "weighted_mean"),
    "pure_share": ("purity", "pure_share"),
    "differing_share": ("routing", "differing_share"),
    "divergence": ("routing", "divergence"),
}
_OVERLAPS = ("below", "at_least")

Figures = Iterator[tuple[str, float | None]]


def headline(metrics: Metrics) -> dict[str, float]:
    """The figures of a run that a dashboard compares.

    Those of the cell's own method stand under their paths, `faithfulness/concept/drop`; those of every method, the
    cell's own too, below `methods/<name>/`.

    Args:
        metrics: the content of `metrics.json`.

    Returns:
        Name -> value, shares as shares of 1; figures that are missing are left out.
    """
    found = dict(_of_cell(metrics))
    found.update(_of_method(metrics, main_method(metrics)))
    for name in methods(metrics):
        own = _of_method(metrics, name)
        found.update((f"methods/{visible(name)}/{figure}", value) for figure, value in own)
    return {name: value for name, value in found.items() if value is not None}


def _of_cell(metrics: Metrics) -> Figures:
    """What hangs on no method."""
    model = entry(metrics, "model")
    yield from ((f"model/{name}", number(model.get(name))) for name in ("accuracy", "majority"))
    sentences = entry(metrics, "cell", "sentences")
    parts = [number(sentences.get(name)) for name in ("train", "validation")]
    yield "texts/train_sentences", sum(part for part in parts if part is not None) if None not in parts else None
    yield "texts/dev_sentences", number(sentences.get("evaluation"))
    labels = entry(metrics, "cell").get("label_names")
    yield "texts/labels", float(len(labels)) if isinstance(labels, list) else None


def _of_method(metrics: Metrics, method: str) -> Figures:
    for removal, values in block(metrics, method, "faithfulness").items():
        yield from _of_removal(f"faithfulness/{visible(removal)}", values)
    for removal, places in block(metrics, method, "intervention").items():
        for place, conditions in places.items():
            at = f"intervention/{visible(removal)}/{visible(place)}"
            yield f"{at}/original", number(entry(conditions, "original").get("accuracy"))
            perturbed = entry(conditions, "perturbed")
            yield from ((f"{at}/{name}", number(perturbed.get(name))) for name in ("accuracy", "flips"))
    codebook = block(metrics, method, "codebook")
    yield from ((f"codebook/{name}", number(codebook.get(name))) for name in _CODEBOOK)
    yield from ((f"codebook/bypass/{name}", number(entry(codebook, "bypass").get(name))) for name in _BYPASS)
    specific = block(metrics, method, "specificity")
    for name, (*way, last) in _SPECIFICITY.items():
        yield f"specificity/{name}", number(entry(specific, *way).get(last))
    for reading in _OVERLAPS:
        for edge, pairs in entry(specific, "overlap", reading).items():
            yield f"specificity/{overlap_name(reading, edge)}", number(pairs.get("ratio"))


def _of_removal(at: str, values: Mapping[str, Any]) -> Figures:
    yield from ((f"{at}/{name}", number(values.get(name))) for name in CONDITIONS)
    for name in DROPS:
        yield f"{at}/{name}", number(values.get(name))
        ends = interval(values.get(name))
        if ends is not None:
            yield f"{at}/{name}{LOW}", ends.low
            yield f"{at}/{name}{HIGH}", ends.high


def overlap_name(reading: str, edge: str) -> str:
    """An overlap of sentence pairs, `overlap_ratio_below_0_1`: a dot in a name would lead W&B into a mapping.

    Args:
        reading: `below` or `at_least`.
        edge: TF-IDF cosine, as in `metrics.json`.
    """
    return f"overlap_ratio_{reading}_{edge}".replace(".", "_")

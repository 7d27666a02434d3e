"""Figures of two codebooks by themselves: how much of each is used, how pure and how alike its codes are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from clvq_exp.collect.measures import over_seeds
from clvq_exp.comparing.figures import Pair, Part, Row, Test, Unit, Value, row_of, value_of
from clvq_exp.comparing.subjects import Subject
from clvq_exp.report.access import block, entry, number


class _OfSeeds(NamedTuple):
    """A figure with one value for each seed."""

    title: str
    unit: Unit
    kind: str
    """Its block of the metrics."""
    path: tuple[str, ...]


_CODEBOOK: Mapping[str, _OfSeeds] = {
    "size": _OfSeeds("Codes", Unit.count, "codebook", ("size",)),
    "perplexity": _OfSeeds("Perplexity", Unit.number, "codebook", ("perplexity",)),
    "utilisation": _OfSeeds("Perplexity / codes", Unit.share, "codebook", ("utilisation",)),
    "codes_in_use": _OfSeeds("Codes in use", Unit.count, "codebook", ("codes_in_use",)),
    "mean_cosine": _OfSeeds("Mean cosine of two codes", Unit.number, "codebook", ("mean_cosine",)),
    "purity": _OfSeeds("Label purity, mean", Unit.number, "specificity", ("purity", "weighted_mean")),
    "pure_share": _OfSeeds("Codes of one label", Unit.share, "specificity", ("purity", "pure_share")),
}
_OF_RUNS: Mapping[str, _OfSeeds] = {
    "purity_shuffled": _OfSeeds(
        "Label purity, labels shuffled", Unit.number, "specificity", ("purity", "shuffled", "weighted_mean")
    ),
    "matched_cosine_of_seeds": _OfSeeds(
        "Matched cosine between its seeds", Unit.number, "specificity", ("stability", "matched_cosine_in_use")
    ),
    "agreement_of_seeds": _OfSeeds(
        "Agreement between its seeds", Unit.number, "specificity", ("stability", "agreement")
    ),
}
"""Figures without a value for each seed."""


def codebook_part(pair: Pair) -> Part:
    """Perplexity, use, cosines and purity of two runs' own methods.

    Args:
        pair: the runs.
    """
    rows = [_seed_row(pair, name, spec) for name, spec in _CODEBOOK.items()]
    for name, spec in _OF_RUNS.items():
        rows.append(row_of(name, spec.title, spec.unit, _of_run(pair.base, spec), _of_run(pair.other, spec)))
    shown = tuple(row for row in rows if row.base is not None or row.other is not None)
    note = "Intervals are over seeds; those of shuffled labels over the shuffles."
    return Part("codebook", "Codebooks", shown, (note,))


def _of_run(subject: Subject, spec: _OfSeeds) -> Value | None:
    return value_of(_at(block(subject.run.metrics, subject.method, spec.kind), spec.path))


def _over_seeds(subject: Subject, spec: _OfSeeds, values: Sequence[float]) -> Value | None:
    """Mean and interval over seeds; the mean that the metrics hold, where they hold no single seeds."""
    found = over_seeds(values)
    if found is None or found.mean is None:
        return _of_run(subject, spec)
    return Value(found.mean, found.low, found.high)


def _seed_row(pair: Pair, name: str, spec: _OfSeeds) -> Row:
    base, other = _of_seeds(pair.base, spec), _of_seeds(pair.other, spec)
    figures = _over_seeds(pair.base, spec, base), _over_seeds(pair.other, spec, other)
    return _tested_by_seeds(row_of(name, spec.title, spec.unit, *figures), base, other)


def _tested_by_seeds(row: Row, base: Sequence[float], other: Sequence[float]) -> Row:
    """With Welch's test, where both runs have two seeds or more that do not all give the same."""
    from scipy import stats

    if min(len(base), len(other)) < 2 or len({*base}) == len({*other}) == 1:
        return row
    found: Any = stats.ttest_ind(other, base, equal_var=False)
    ends = found.confidence_interval()
    gap = math.fsum(other) / len(other) - math.fsum(base) / len(base)
    return row._replace(
        difference=Value(gap, float(ends.low), float(ends.high)), p_value=float(found.pvalue), test=Test.seeds
    )


def _of_seeds(subject: Subject, spec: _OfSeeds) -> list[float]:
    whole = block(subject.run.metrics, subject.method, spec.kind)
    found = [number(_at(entry(whole, "seeds", seed), spec.path)) for seed in entry(whole, "seeds")]
    return [value for value in found if value is not None]


def _at(figures: Mapping[str, Any], path: Sequence[str]) -> object:
    *way, last = path
    return entry(figures, *way).get(last)

"""Accuracies of two runs: of the probe under each condition, and of the live model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from clvq_exp.comparing.figures import Pair, Part, Row, Test, Unit, Value, row_of, value_of
from clvq_exp.comparing.randomisation import (
    ORIGINAL,
    PERTURBED,
    SPECIFIC,
    Chance,
    Contrast,
    Sides,
    contrasts,
)
from clvq_exp.comparing.sentences import sentence_outcomes
from clvq_exp.evaluation.statistics import cohens_h
from clvq_exp.report.access import Interval, block, entry, own_removal
from clvq_exp.report.names import (
    CONDITIONS,
    DROPS,
    PLACES,
    condition_name,
    in_order,
    place_name,
    removal_name,
    removals_in_order,
)


def faithfulness_parts(pair: Pair, chance: Chance) -> list[Part]:
    """The accuracies of the probe, for each removal by which the two methods can be held against each other.

    Args:
        pair: the runs.
        chance: of the draws.
    """
    return [
        _faithfulness(pair, removals, chance, is_own=not place) for place, removals in enumerate(_removals(pair))
    ]


def _removals(pair: Pair) -> list[tuple[str, str]]:
    """By which removals the methods are held against each other: each by its own, then others that both have."""
    own = [own_removal(each.run.metrics, each.method) for each in (pair.base, pair.other)]
    if own[0] is None or own[1] is None:
        return []
    present = [set(block(each.run.metrics, each.method, "faithfulness")) for each in (pair.base, pair.other)]
    both = removals_in_order(present[0] & present[1])
    return [(own[0], own[1]), *((name, name) for name in both if (name, name) != (own[0], own[1]))]


def _faithfulness(pair: Pair, removals: tuple[str, str], chance: Chance, is_own: bool) -> Part:
    values = [
        entry(block(each.run.metrics, each.method, "faithfulness"), removal)
        for each, removal in zip((pair.base, pair.other), removals, strict=True)
    ]
    names = [name for name in in_order(CONDITIONS, set(values[0]) | set(values[1])) if name in CONDITIONS]
    tested = _contrasts(pair, removals, chance)
    kind = Test.paired if pair.paired else Test.unpaired
    rows: list[Row] = []
    for name in (*names, *DROPS):
        title = DROPS[name].title if name in DROPS else condition_name(name).title
        unit = Unit.share if name in DROPS else Unit.accuracy
        sides = [_marked(each, name) for each in values]
        contrast = tested.get(name)
        if sides[0] is None and sides[1] is None:
            continue
        row = row_of(name, title, unit, sides[0], sides[1])
        if contrast is not None and (is_own or name != ORIGINAL):  # nothing is removed there: one test is enough
            row = _with_contrast(row, contrast, kind)
        rows.append(row)
    title = removal_name(removals[0]).title
    if removals[0] != removals[1]:
        title += f" in {pair.base.letter}, {removal_name(removals[1]).title} in {pair.other.letter}"
    notes = () if tested else ("Not tested: outcomes of single sentences are not in both run folders.",)
    key = "own" if is_own else removals[0]
    return Part(f"faithfulness.{key}", f"Accuracy of the probe, removing {title}", tuple(rows), notes)


def _contrasts(pair: Pair, removals: tuple[str, str], chance: Chance) -> dict[str, Contrast]:
    if pair.base_sentences is None or pair.other_sentences is None or pair.shared is None:
        return {}
    base = sentence_outcomes(pair.base, removals[0], pair.base_sentences)
    other = sentence_outcomes(pair.other, removals[1], pair.other_sentences)
    groups = pair.base_sentences.groups
    if pair.paired:  # in the order of the base
        other = {name: each[:, pair.shared.other] for name, each in other.items()}
        return contrasts(Sides(base, other, groups, groups, True), chance)
    return contrasts(Sides(base, other, groups, pair.other_sentences.groups, False), chance)


def _with_contrast(row: Row, contrast: Contrast, kind: Test) -> Row:
    found = contrast.difference
    return row._replace(
        difference=Value(found.mean, found.low, found.high),
        cohens_h=contrast.cohens_h,
        p_value=contrast.p_value,
        test=kind,
    )


def _marked(values: Mapping[str, Any], name: str) -> Value | None:
    found = value_of(values.get(name))
    if found is None:
        return None
    inverted = values.get("inverted")
    if isinstance(inverted, list) and name in inverted:
        return found._replace(mark="inverted")
    if values.get("readable") is False and name in (ORIGINAL, PERTURBED, SPECIFIC, "drop"):
        return found._replace(mark="not readable")
    return found


_LIVE = (
    ("perturbed", "accuracy"),
    ("perturbed", "flips"),
    ("perturbed", "probability_change"),
    ("random_direction", "flips"),
    ("mean_direction", "flips"),
    ("other_word", "flips"),
)
_LIVE_NAMES = {"accuracy": "accuracy", "flips": "flips", "probability_change": "probability"}
_LIVE_UNITS = {"accuracy": Unit.accuracy, "flips": Unit.share, "probability_change": Unit.number}


def intervention_part(pair: Pair, chance: Chance) -> Part:
    """The live model; single sentences are in no table, so that only the intervals can be compared.

    Args:
        pair: the runs.
        chance: its confidence is that of the intervals.
    """
    sides = (pair.base, pair.other)
    removals = [own_removal(each.run.metrics, each.method, "intervention") for each in sides]
    places = [
        entry(block(each.run.metrics, each.method, "intervention"), removal or "")
        for each, removal in zip(sides, removals, strict=True)
    ]
    rows: list[Row] = []
    for place in in_order(PLACES, set(places[0]) | set(places[1])):
        for condition, name in _LIVE:
            values = [value_of(entry(each, place, condition).get(name)) for each in places]
            if values[0] is None and values[1] is None:
                continue
            title = f"{place_name(place).title}: {condition_name(condition).title}, {_LIVE_NAMES[name]}"
            row = row_of(f"{place}.{condition}.{name}", title, _LIVE_UNITS[name], values[0], values[1])
            rows.append(_tested_by_intervals(row, chance.confidence))
    note = (
        "Accuracy, share of predictions that flip, change of the probability of what was predicted before. "
        "Each interval is taken for that of a run of its own; over the same sentences this errs on the safe side."
    )
    return Part("intervention", "Inside the live model", tuple(rows), (note,))


def _tested_by_intervals(row: Row, confidence: float) -> Row:
    """With a test of the difference, as if both means were normal with the widths that their intervals say."""
    from scipy import stats

    whole = [Interval(each.mean, *ends) for each in (row.base, row.other) if each and (ends := _ends(each))]
    if len(whole) < 2:
        return row
    z = float(stats.norm.ppf((1 + confidence) / 2))
    error = math.hypot(*((each.high - each.low) / (2 * z) for each in whole))
    gap = whole[1].mean - whole[0].mean
    if error == 0 and gap != 0:
        return row  # nothing varied in either run: no scale to hold the difference against
    p_value = 1.0 if gap == 0 else float(2 * stats.norm.sf(abs(gap) / error))
    h = cohens_h(whole[1].mean, whole[0].mean) if row.unit in (Unit.accuracy, Unit.share) else None
    ends = Value(gap, gap - z * error, gap + z * error)
    return row._replace(difference=ends, cohens_h=h, p_value=p_value, test=Test.intervals)


def _ends(value: Value) -> tuple[float, float] | None:
    return None if value.low is None or value.high is None else (value.low, value.high)

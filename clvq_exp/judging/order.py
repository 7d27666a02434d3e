"""Ratings by the place at which they were shown."""

from __future__ import annotations

from collections import defaultdict

from clvq_exp.judging.evaluation import Result


def by_place(result: Result) -> list[tuple[int, tuple[float, int]]]:
    """Mean rating and number of ratings of each place, from 0, over all methods and judges."""
    given: dict[int, list[int]] = defaultdict(list)
    for question, outcome in zip(result.evaluation.questions, result.outcomes, strict=True):
        if outcome.ratings is None:
            continue
        for place, arm in enumerate(question.arms):
            given[place].append(outcome.ratings[arm.method].rating)
    return [(place, (sum(values) / len(values), len(values))) for place, values in sorted(given.items())]

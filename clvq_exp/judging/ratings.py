"""The ratings of an evaluation as arrays, the judge that is left out, and what their figures are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clvq_exp.judging.disagreement import Disagreement, disagreement
from clvq_exp.judging.records import FLOOR, Configuration, Outcome, Question
from clvq_exp.judging.sampling import Drawn

EMPTY_RATING = 1
"""Of an empty concept, without asking (section 4.2.1)."""


class Ratings(NamedTuple):
    """The ratings of one configuration."""

    values: NDArray[np.float64]
    """`[instances, judges, methods]`, 1 to 3; NaN where a judge's answer is missing."""
    given: NDArray[np.bool_]
    """The same shape: a judge gave it; False where it is missing, or of an empty concept."""
    floor: NDArray[np.float64]
    """`[instances, judges]`: of the concept of another sentence; NaN where there is none."""
    groups: NDArray[np.int64]
    """Document of each instance, `[instances]`, as a number from 0."""


def collect(
    configurations: Sequence[Configuration],
    drawn: Sequence[Drawn],
    n_judges: int,
    questions: Sequence[Question],
    outcomes: Sequence[Outcome],
) -> list[Ratings]:
    """Put the outcomes in their places.

    An answer that is missing is missing for all methods, those with an empty concept too, so that methods are
    always compared over the same answers.
    """
    found: list[Ratings] = []
    for configuration, sample in zip(configurations, drawn, strict=True):
        shape = (len(sample.instances), n_judges)
        names = sorted({each.group for each in sample.instances})
        number = {name: place for place, name in enumerate(names)}
        groups = np.array([number[each.group] for each in sample.instances], dtype=np.int64)
        values = np.full((*shape, len(configuration.methods)), np.nan)
        found.append(Ratings(values, np.zeros(values.shape, dtype=np.bool_), np.full(shape, np.nan), groups))
    for question, outcome in zip(questions, outcomes, strict=True):
        if outcome.ratings is None:
            continue
        place = found[question.configuration]
        at = (question.instance, question.judge)
        for number, method in enumerate(configurations[question.configuration].methods):
            rated = outcome.ratings.get(method)
            place.values[(*at, number)] = EMPTY_RATING if rated is None else rated.rating
            place.given[(*at, number)] = rated is not None
        if FLOOR in outcome.ratings:
            place.floor[at] = outcome.ratings[FLOOR].rating
    return found


def who_disagrees(ratings: Sequence[Ratings], names: Sequence[str]) -> Disagreement:
    """The judge that is left out, once, over all ratings that judges gave.

    Args:
        ratings: of all configurations.
        names: of the judges.
    """
    rows = [
        np.where(each.given, each.values, np.nan).transpose(0, 2, 1).reshape(-1, len(names)) for each in ratings
    ]
    return disagreement(np.concatenate(rows) if rows else np.empty((0, len(names))), names)


def of_judges(ratings: Ratings, kept: Sequence[int]) -> Ratings:
    """The ratings of some judges."""
    places = list(kept)
    return Ratings(ratings.values[:, places], ratings.given[:, places], ratings.floor[:, places], ratings.groups)

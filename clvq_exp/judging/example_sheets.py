"""Some sentences with the concepts that were shown, and what the judges said."""

from __future__ import annotations

from clvq_exp.collect.sheets import title_of_method
from clvq_exp.comparing.sheets import Section
from clvq_exp.judging.evaluation import Result
from clvq_exp.judging.records import FLOOR, Outcome, Question
from clvq_exp.judging.sampling import stratum
from clvq_exp.report.formatting import NOTHING
from clvq_exp.report.grid import Grid, GridCell, GridRow, plain_columns
from clvq_exp.report.text_safety import shorten, visible

SHOWN = 2
"""Sentences of each stratum of a configuration."""
_LONGEST = 400
_LONGEST_REASON = 200


def examples(result: Result) -> Section:
    """The first sentences of every stratum, with all methods and judges."""
    of_instance: dict[tuple[int, int], list[tuple[Question, Outcome]]] = {}
    for question, outcome in zip(result.evaluation.questions, result.outcomes, strict=True):
        of_instance.setdefault((question.configuration, question.instance), []).append((question, outcome))
    grids: list[Grid] = []
    seen: dict[tuple[int, str], int] = {}
    for (place, number), asked in of_instance.items():
        configuration = result.evaluation.configurations[place]
        instance = result.evaluation.drawn[place].instances[number]
        name = stratum(instance, len(configuration.label_names))
        seen[place, name] = seen.get((place, name), 0) + 1
        if seen[place, name] <= SHOWN:
            grids.append(_grid(result, place, number, name, asked))
    note = "The first sentences of each stratum; ratings.csv has all of them, with every reason."
    return Section("Examples", (note,), tuple(grids))


def _grid(result: Result, place: int, number: int, name: str, asked: list[tuple[Question, Outcome]]) -> Grid:
    configuration = result.evaluation.configurations[place]
    instance = result.evaluation.drawn[place].instances[number]
    predicted, gold = (configuration.label_names[each] for each in (instance.prediction, instance.label))
    floor = {
        arm.method: arm.representation for question, _ in asked for arm in question.arms if arm.method == FLOOR
    }
    shown = {method: configuration.shown(method, instance) for method in configuration.methods} | floor
    rows = [
        GridRow(
            "Another sentence’s concept" if method == FLOOR else title_of_method(method),
            (GridCell(each.text or "(empty: rated 1)"), *(_said(method, outcome) for _, outcome in asked)),
        )
        for method, each in shown.items()
    ]
    judges = [result.evaluation.panel.judges[question.judge].name for question, _ in asked]
    caption = f"{configuration.name}, {name}: {shorten(visible(' '.join(instance.text.split())), _LONGEST)}"
    note = f"Predicted {predicted}, truth {gold}; salient word ‘{shorten(visible(instance.word))}’."
    return Grid(caption, note, "Method", plain_columns(("Concept", *judges)), tuple(rows))


def _said(method: str, outcome: Outcome) -> GridCell:
    if outcome.ratings is None:
        return GridCell("missing", shorten(outcome.problem, _LONGEST_REASON))
    rated = outcome.ratings.get(method)
    if rated is None:
        return GridCell(NOTHING if method == FLOOR else "1")
    return GridCell(str(rated.rating), visible(shorten(" ".join(rated.reason.split()), _LONGEST_REASON)))

"""An explanation as it is shown: every text neutralised and cut, for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from clvq_exp.report.examples import STEPS, ExampleWord, shown
from clvq_exp.report.explanation import PROBE, Explanation, Outcome
from clvq_exp.report.formatting import count, percent
from clvq_exp.report.names import Name, place_name


class ShownOutcome(NamedTuple):
    """A row of what the removal changes."""

    name: Name
    before: str
    """Class and its probability."""
    after: str
    probability_change: float
    """Of the class predicted before."""
    flips: bool


class ShownConcept(NamedTuple):
    """The concept of the salient word."""

    code: int | None
    word: str
    """The salient word."""
    words: Sequence[tuple[str, int]]
    labels: str | None
    """What the training words stand under, in a line."""


class ShownExplanation(NamedTuple):
    """One sentence."""

    prediction: str
    confidence: float
    words: Sequence[ExampleWord]
    concept: ShownConcept
    outcomes: Sequence[ShownOutcome]
    """The probe first, then the places of the live model."""
    notes: Sequence[str]


def shown_explanation(each: Explanation) -> ShownExplanation:
    """What is shown of an explanation.

    Args:
        each: as it was found.
    """
    return ShownExplanation(
        shown(each.prediction.label),
        each.prediction.confidence,
        _words(each),
        _concept(each),
        [_outcome(outcome) for outcome in (each.probe, *each.live)],
        each.notes,
    )


def _words(each: Explanation) -> list[ExampleWord]:
    scores = [abs(word.attribution) for word in each.words if word.attribution is not None]
    largest = max(scores, default=0.0)
    return [
        ExampleWord(
            text=shown(word.text),
            attribution=word.attribution,
            shade=round(STEPS * (word.attribution or 0.0) / largest) if largest else 0,
            salient=word.position == each.salient.position,
            special=word.position < 0,
        )
        for word in each.words
    ]


def _concept(each: Explanation) -> ShownConcept:
    word, concept = shown(each.salient.text), each.concept
    if concept is None:
        return ShownConcept(None, word, [], None)
    words = [(shown(held.word), held.count) for held in concept.words]
    return ShownConcept(concept.code, word, words, _labels(concept.label_words))


def _labels(label_words: Mapping[str, int] | None) -> str | None:
    if label_words is None:
        return None
    total = sum(label_words.values())
    if not total:
        return "it holds no training word"
    parts = [f"{shown(label)} {percent(n / total)}" for label, n in label_words.items()]
    return f"its {count(total)} training words stand under {', '.join(parts)}"


def _outcome(outcome: Outcome) -> ShownOutcome:
    probe = Name("Probe", "the run's probe on the sentence representation, the concept projected out")
    before, after = (f"{shown(each.label)} {percent(each.confidence)}" for each in (outcome.before, outcome.after))
    name = probe if outcome.place == PROBE else place_name(outcome.place)
    return ShownOutcome(name, before, after, outcome.probability_change, outcome.flips)

"""What is said about a sentence by the concepts of a run: plain records, and their form as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from clvq_exp.report.names import method_title, removal_name

FORMAT_VERSION = 1
"""Of the JSON; raised when a key goes or changes its meaning."""
PROBE = "probe"
"""In the place of a place of the live model."""


@dataclass(frozen=True)
class ExplainedBy:
    """The run, and which of its models, that explain sentences."""

    run: str
    """The run folder, as it was given."""
    model: str
    dataset: str
    layer_pair: str
    """As `4-6`."""
    method: str
    seed: int
    removal: str
    label_names: tuple[str, ...]
    attribution_unit: str
    """`logits`, or `share` of the norm over all sub-words (`attribution.word_score=max_absolute`)."""
    probes: int
    """How many probes are read: 1, or one for each fold (`probe.trained_on=dev_folds`)."""
    content_warning: str | None

    @property
    def title(self) -> str:
        """The run in a line."""
        what = f"removing {removal_name(self.removal).title}"
        parts = (self.model, self.dataset, f"layers {self.layer_pair}", method_title(self.method))
        return " · ".join((*parts, f"seed {self.seed}", what))


class Prediction(NamedTuple):
    """What a classifier says."""

    label: str
    confidence: float
    """Probability of that class."""
    probabilities: tuple[float, ...]
    """Of all classes, in the order of `label_names`."""


class ExplainedWord(NamedTuple):
    """A white-space token of the sentence, or the sentence token."""

    position: int
    """Index among the white-space tokens; -1 for the sentence token."""
    text: str
    attribution: float | None
    """To the logit of the predicted class; None where the model reads nothing of the word."""
    concept: int | None
    """Its code; None where it has none."""


@dataclass(frozen=True)
class ConceptWord:
    """A word among those that a concept holds."""

    word: str
    """Case-folded."""
    count: int
    """Training words of this form that the concept holds."""


@dataclass(frozen=True)
class HeldConcept:
    """The concept of the salient word, and what it holds."""

    code: int
    words: tuple[ConceptWord, ...]
    """Its most frequent training words."""
    train_words: int | None
    """Training words that it holds, sentence tokens included; None where the run does not tell."""
    label_words: Mapping[str, int] | None
    """Label -> training words, sentence tokens left out, in sentences of that label; None as above."""


class Outcome(NamedTuple):
    """What becomes of a prediction when the concept is removed."""

    place: str
    """`probe`, or a place of the intervention in the live model."""
    before: Prediction
    after: Prediction
    probability_change: float
    """Of the class that was predicted before."""

    @property
    def flips(self) -> bool:
        """Whether another class is predicted."""
        return self.before.label != self.after.label


@dataclass(frozen=True)
class Explanation:
    """One sentence, explained."""

    text: str
    prediction: Prediction
    """Of the language model."""
    words: tuple[ExplainedWord, ...]
    """The sentence token first, where the model has one; then every white-space token of the text."""
    salient: ExplainedWord
    """The word whose concept is removed."""
    concept: HeldConcept | None
    """None where the salient word has no concept (no neuron is active on it)."""
    removed: tuple[int, ...]
    """The concepts whose directions are removed: one, or the top neurons of a sparse method."""
    removed_share: float
    """Share of the norm of the sentence representation h that is removed; 0 where there is nothing to remove."""
    probe: Outcome
    """By the run's probe, from h with the directions projected out."""
    live: tuple[Outcome, ...]
    """By the language model itself, with the directions projected out of its layer l at each place."""
    steps: int
    """Of the attribution's integral."""
    convergence_delta: float
    """What the attributions of all sub-words add up to, minus the logit's change."""
    truncated: int
    """Words that lie behind the model's longest input and were not read."""
    vanished: int
    """Words that the tokenizer drops whole."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What has to be known before the figures are read, a sentence each."""
        notes: list[str] = []
        if self.truncated:
            end = "word was" if self.truncated == 1 else "words were"
            notes.append(f"the sentence is longer than the model reads: its last {self.truncated:,} {end} cut off")
        if self.vanished:
            dropped = "1 word is" if self.vanished == 1 else f"{self.vanished:,} words are"
            notes.append(f"{dropped} dropped by the model's tokenizer")
        if self.concept is None:
            notes.append("the salient word has no concept, so nothing is removed")
        elif self.removed_share == 0:
            notes.append("the concept has no direction to remove, so nothing changes")
        return tuple(notes)


def as_json(by: ExplainedBy, explanations: Sequence[Explanation]) -> dict[str, Any]:
    """The form of `clvq explain --format json`; docs/explain.md lists its keys.

    Args:
        by: the run.
        explanations: of its sentences, in their order.
    """
    return {
        "format_version": FORMAT_VERSION,
        "explained_by": {**asdict(by), "label_names": list(by.label_names)},
        "explanations": [_explanation(each, by.label_names) for each in explanations],
    }


def _explanation(each: Explanation, labels: Sequence[str]) -> dict[str, Any]:
    concept = each.concept
    return {
        "text": each.text,
        "prediction": _prediction(each.prediction, labels),
        "words": [word._asdict() for word in each.words],
        "salient": each.salient._asdict(),
        "concept": None
        if concept is None
        else {
            "code": concept.code,
            "words": [asdict(word) for word in concept.words],
            "train_words": concept.train_words,
            "label_words": None if concept.label_words is None else dict(concept.label_words),
        },
        "removed": list(each.removed),
        "removed_share": each.removed_share,
        "probe": {"before": _prediction(each.probe.before, labels), **_outcome(each.probe, labels)},
        "live": {outcome.place: _outcome(outcome, labels) for outcome in each.live},
        "attribution": {"steps": each.steps, "convergence_delta": each.convergence_delta},
        "truncated": each.truncated,
        "vanished": each.vanished,
        "notes": list(each.notes),
    }


def _prediction(prediction: Prediction, labels: Sequence[str]) -> dict[str, Any]:
    probabilities = dict(zip(labels, prediction.probabilities, strict=True))
    return {"label": prediction.label, "confidence": prediction.confidence, "probabilities": probabilities}


def _outcome(outcome: Outcome, labels: Sequence[str]) -> dict[str, Any]:
    return {
        "after": _prediction(outcome.after, labels),
        "flips": outcome.flips,
        "probability_change": outcome.probability_change,
    }

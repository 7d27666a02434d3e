"""Sentences of the dev split with their salient word and its concept, chosen by rule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clvq_exp.report.access import Metrics, entry, number
from clvq_exp.report.representation import WORDS, read_words, shown
from clvq_exp.report.run_files import Row, read_rows

STEPS = 5
"""Shades of each colour of the attribution."""


@dataclass(frozen=True)
class ExampleWord:
    """A word as it is shown: neutralised and cut."""

    text: str
    attribution: float | None
    """Share of the logit's change; None where the word has none (not stored)."""
    shade: int
    """-5 (against the prediction) to 5 (for it), relative to the strongest word of the sentence."""
    salient: bool
    special: bool
    """The sentence token."""


@dataclass(frozen=True)
class Example:
    """One sentence, its prediction and the concept of its salient word. All texts are neutralised."""

    sentence: int
    """Row of the store."""
    id: str
    words: tuple[ExampleWord, ...]
    salient_word: str
    label: str
    prediction: str
    correct: bool
    confidence: float | None
    code: int | None
    concept_words: tuple[tuple[str, int], ...]
    """The ten most frequent training words of the concept, with counts."""


def choose(rows: Sequence[Row], wanted: int) -> list[Row]:
    """Pick sentences evenly over class and right or wrong, evenly spaced within each.

    Args:
        rows: rows of `salient_words`.
        wanted: how many to pick at most.

    Returns:
        The picked rows in their order. The same rows give the same choice.
    """
    strata: dict[tuple[int, bool], list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        strata[row["label"], row["label"] == row["prediction"]].append(index)
    quota = dict.fromkeys(sorted(strata), 0)
    while sum(quota.values()) < min(wanted, len(rows)):
        for key in quota:
            if quota[key] < len(strata[key]) and sum(quota.values()) < wanted:
                quota[key] += 1
    picked: list[int] = []
    for key, size in quota.items():
        members = strata[key]
        picked += [members[(2 * step + 1) * len(members) // (2 * size)] for step in range(size)]
    return [rows[index] for index in sorted(picked)]


def read_examples(folder: Path, metrics: Metrics, wanted: int) -> list[Example]:
    """The chosen dev sentences of a run.

    Args:
        folder: the run folder, with `salient_words`, `attributions` and `concept_words`.
        metrics: the content of `metrics.json`.
        wanted: how many sentences at most.

    Returns:
        The examples, ordered as the sentences are stored; none where nothing was attributed.
    """
    chosen = choose(read_rows(folder, "salient_words", split="dev"), wanted)
    return examples_of(chosen, folder, read_words(folder, metrics), label_names(metrics))


def label_names(metrics: Metrics) -> list[str]:
    """Names of the classes, neutralised."""
    return [shown(str(name)) for name in entry(metrics, "cell").get("label_names") or []]


def examples_of(
    rows: Sequence[Row], folder: Path, words: Mapping[int, tuple[tuple[str, int], ...]], labels: Sequence[str]
) -> list[Example]:
    """Sentences with their attributions and concepts, in the order of their rows.

    Args:
        rows: rows of `salient_words`.
        folder: the run folder, with `attributions`.
        words: of each concept, neutralised, with their counts.
        labels: names of the classes, neutralised.
    """
    if not rows:
        return []
    scores = _attributions(folder, {int(row["sentence"]) for row in rows})
    return [_example(row, scores.get(int(row["sentence"]), []), words, labels) for row in rows]


def _attributions(folder: Path, sentences: set[int]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = defaultdict(list)
    for row in read_rows(folder, "attributions"):
        if row["sentence"] in sentences:
            found[row["sentence"]].append(row)
    return found


def _example(
    row: Row,
    scores: Sequence[Row],
    concepts: Mapping[int, tuple[tuple[str, int], ...]],
    labels: Sequence[str],
) -> Example:
    code = number(row["code"])
    return Example(
        sentence=int(row["sentence"]),
        id=shown(str(row["id"])),
        words=_words(row, scores),
        salient_word=shown(row["word"]),
        label=_label(labels, row["label"]),
        prediction=_label(labels, row["prediction"]),
        correct=row["label"] == row["prediction"],
        confidence=number(row["confidence"]),
        code=None if code is None else int(code),
        concept_words=() if code is None else concepts.get(int(code), ())[:WORDS],
    )


def _label(labels: Sequence[str], label: int) -> str:
    return labels[label] if 0 <= label < len(labels) else str(label)


def _words(row: Row, scores: Sequence[Row]) -> tuple[ExampleWord, ...]:
    """Every word of the text in order; the sentence token first, where it was attributed."""
    by_position = {int(each["position"]): each for each in scores}
    texts = dict(enumerate(row["text"].split()))
    texts |= {position: each["word"] for position, each in by_position.items()}
    texts.setdefault(int(row["position"]), row["word"])
    values = {position: number(each["attribution"]) for position, each in by_position.items()}
    largest = max((abs(value) for value in values.values() if value is not None), default=0.0)
    words: list[ExampleWord] = []
    for position in sorted(texts):
        value = values.get(position)
        share = 0.0 if value is None or largest == 0 else value / largest
        words.append(
            ExampleWord(
                text=shown(texts[position]),
                attribution=value,
                shade=round(share * STEPS),
                salient=position == int(row["position"]),
                special=position < 0,
            )
        )
    return tuple(words)

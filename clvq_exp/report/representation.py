"""How a concept is put before a reader: by words, by sentences, or not at all (section 4.2.1)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clvq_exp.report.access import Metrics, main_method, number, seeds
from clvq_exp.report.run_files import Row, read_rows
from clvq_exp.report.text_safety import shorten, visible

WORD_LIMIT = 60
"""Longest word, in characters, that is shown whole."""
WORDS = 10
"""Most frequent words that stand for a concept."""


_COLUMNS = (
    *(
        "concept",
        "train_words",
        "dev_words",
        "sentence_tokens",
        "train_sentences",
        "forms",
        "label_words",
        "label",
    ),
    *("purity", "nearest", "x", "y"),
)
"""Of `concepts`; the vectors are large, and read where they are needed."""


class Representation(NamedTuple):
    """What stands for a concept; both are empty for one that holds no training word."""

    words: tuple[tuple[str, int], ...]
    """Its most frequent training words with their counts."""
    sentences: tuple[str, ...]
    """Up to five sentences, where more than half of what it holds are sentence tokens."""


class ConceptRow(NamedTuple):
    """One concept of the inventory."""

    concept: int
    train_words: int
    dev_words: int
    sentence_tokens: int
    train_sentences: int
    forms: int
    label_words: tuple[int, ...]
    label: str | None
    """Neutralised."""
    purity: float | None
    nearest: tuple[tuple[int, float], ...]
    place: tuple[float, float] | None
    """On the map."""


class ConceptFiles(NamedTuple):
    """The inventory of the main method's first seed; every text is neutralised."""

    rows: tuple[ConceptRow, ...]
    words: Mapping[int, tuple[tuple[str, int], ...]]
    """Concept -> its most frequent words with counts."""
    examples: Mapping[int, tuple[Row, ...]]
    """Concept -> words and sentence tokens that were drawn; texts as they are in the data set."""

    def representation(self, concept: int, wanted: int = WORDS) -> Representation:
        """What stands for a concept.

        Args:
            concept: its number.
            wanted: words at most.
        """
        row = next((each for each in self.rows if each.concept == concept), None)
        if row is not None and 2 * row.sentence_tokens > row.train_words:
            drawn = [each for each in self.examples.get(concept, ()) if each["special"]]
            if drawn:
                return Representation((), tuple(visible(str(each["after"])) for each in drawn))
        return Representation(self.words.get(concept, ())[:wanted], ())


def shown(text: str) -> str:
    """A word of the data set as it may be shown."""
    return visible(shorten(text, WORD_LIMIT))


def read_words(folder: Path, metrics: Metrics) -> dict[int, tuple[tuple[str, int], ...]]:
    """The most frequent words of the concepts of the main method's first seed, by concept.

    Args:
        folder: the run folder, with `concept_words`.
        metrics: the content of `metrics.json`.
    """
    found: dict[int, list[tuple[str, int]]] = defaultdict(list)
    rows = read_rows(folder, "concept_words", **first_model(metrics))
    for row in sorted(rows, key=lambda each: (each["concept"], each["rank"])):
        found[int(row["concept"])].append((shown(str(row["word"])), int(row["count"])))
    return {concept: tuple(words) for concept, words in found.items()}


def read_concepts(folder: Path, metrics: Metrics) -> ConceptFiles:
    """The inventory of a run.

    Args:
        folder: the run folder, with `concepts`, `concept_words` and `concept_examples`.
        metrics: the content of `metrics.json`.

    Returns:
        Nothing in it where the run has no such files.
    """
    rows = read_rows(folder, "concepts", _COLUMNS, **first_model(metrics))
    examples: dict[int, list[Row]] = defaultdict(list)
    for row in read_rows(folder, "concept_examples", **first_model(metrics)):
        examples[int(row["concept"])].append(row)
    return ConceptFiles(
        tuple(_row(row) for row in rows),
        read_words(folder, metrics),
        {concept: tuple(drawn) for concept, drawn in examples.items()},
    )


def first_model(metrics: Metrics) -> dict[str, Any]:
    """Method and seed of the rows that the codes in `salient_words` are of."""
    first = seeds(metrics)[:1]
    return {"method": main_method(metrics), **({"seed": first[0]} if first else {})}


def salient_counts(rows: Sequence[Row]) -> Counter[int]:
    """In how many sentences the salient word is of each concept.

    Args:
        rows: rows of `salient_words`.
    """
    return Counter(int(row["code"]) for row in rows)


def _row(row: Row) -> ConceptRow:
    place = [number(row["x"]), number(row["y"])]
    nearest: Sequence[Mapping[str, Any]] = row["nearest"]
    return ConceptRow(
        concept=int(row["concept"]),
        train_words=int(row["train_words"]),
        dev_words=int(row["dev_words"]),
        sentence_tokens=int(row["sentence_tokens"]),
        train_sentences=int(row["train_sentences"]),
        forms=int(row["forms"]),
        label_words=tuple(int(words) for words in row["label_words"]),
        label=None if row["label"] is None else shown(str(row["label"])),
        purity=number(row["purity"]),
        nearest=tuple((int(each["concept"]), float(each["cosine"])) for each in nearest),
        place=None if place[0] is None or place[1] is None else (place[0], place[1]),
    )

"""The raw answers of a study as CSV, and what they are answers to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from clvq_exp.report.csv_text import as_csv
from clvq_exp.study.answers import Rating
from clvq_exp.study.design import Design

ANSWERS = (
    *("annotator", "place", "item", "method", "sentence", "stratum", "concept", "gold", "prediction"),
    *("answer", "aligned", "confidence", "seconds", "answered_at"),
)
ITEMS = (
    *("item", "method", "sentence", "id", "document", "stratum", "gold", "prediction", "concept"),
    *("cloud", "words", "text"),
)


def answers_csv(design: Design, ratings: Iterable[Rating]) -> str:
    """A row for each answer, in the order in which each annotator gave them (docs/study.md lists the columns)."""
    rows: list[Sequence[object]] = []
    for each in ratings:
        item = design.items[each.item]
        sentence = design.sentences[item.sentence]
        rows.append(
            (
                *(each.annotator, each.place + 1, each.item, design.methods[item.method].name, item.sentence),
                *(sentence.stratum, item.concept, _label(design, sentence.label)),
                *(_label(design, sentence.prediction), _label(design, each.label)),
                *(
                    int(each.label == sentence.prediction),
                    each.confidence,
                    round(each.seconds, 3),
                    each.answered_at,
                ),
            )
        )
    return as_csv(ANSWERS, rows)


def items_csv(design: Design) -> str:
    """A row for each word cloud, with the sentence that annotators did not see."""
    rows: list[Sequence[object]] = []
    for number, item in enumerate(design.items):
        sentence = design.sentences[item.sentence]
        rows.append(
            (
                *(number, design.methods[item.method].name, item.sentence, sentence.id, sentence.group),
                *(sentence.stratum, _label(design, sentence.label), _label(design, sentence.prediction)),
                *(item.concept, item.cloud, item.words, sentence.text),
            )
        )
    return as_csv(ITEMS, rows)


def _label(design: Design, label: int) -> str:
    return design.labels[label].name

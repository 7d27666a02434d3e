"""What the page knows of every concept and sentence: it shows them when they are asked for.

All texts in it are neutralised; the page puts them in as text, never as markup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clvq_exp.report.access import Metrics, main_method, own_removal, seeds
from clvq_exp.report.cases import BINARY, OTHERWISE, kind_of
from clvq_exp.report.examples import Example, choose, examples_of, label_names
from clvq_exp.report.names import removal_name
from clvq_exp.report.representation import ConceptFiles, ConceptRow, salient_counts, shown
from clvq_exp.report.run_files import Row, read_rows
from clvq_exp.report.text_safety import shorten, visible

MOST_CONCEPTS = 1000
MOST_SENTENCES = 1000
WORDS_SHOWN = 30
"""Words of a concept."""
_MOST_WORDS = 100_000
"""Words of all sentences together: what keeps the page small where texts are long."""
_LONGEST = 400
"""Words of a sentence that are shown."""
_CONTEXT_LIMIT = 200
"""Characters on either side of an example."""


def explorer(folder: Path, metrics: Metrics, concepts: ConceptFiles) -> dict[str, Any] | None:
    """The concepts and dev sentences of a run, as the page's script reads them.

    Args:
        folder: the run folder, with `salient_words`, `attributions` and `sentences`.
        metrics: the content of `metrics.json`.
        concepts: the inventory.

    Returns:
        None where the run has no inventory.
    """
    if not concepts.rows:
        return None
    labels = label_names(metrics)
    all_rows = read_rows(folder, "salient_words", split="dev")
    rows = choose(all_rows, _affordable(all_rows))
    sentences = examples_of(rows, folder, concepts.words, labels)
    salient = salient_counts(all_rows)
    known = {each.sentence for each in sentences}
    held = [row for row in concepts.rows if row.train_words or row.dev_words or row.concept in salient]
    held.sort(key=lambda row: (-salient[row.concept], -row.train_words, row.concept))
    outcomes = _outcomes(folder, metrics)
    method = own_removal(metrics, main_method(metrics))
    return {
        "labels": labels,
        "kinds": list(BINARY if len(labels) == 2 else OTHERWISE),
        "removal": None if method is None else removal_name(method).title,
        "empty": len(concepts.rows) - len(held),
        "left_out": {
            "concepts": max(0, len(held) - MOST_CONCEPTS),
            "sentences": len(all_rows) - len(sentences),
        },
        "concepts": [_concept(row, concepts, salient[row.concept], known, labels) for row in held[:MOST_CONCEPTS]],
        "sentences": [
            _sentence(each, row, outcomes, len(labels)) for each, row in zip(sentences, rows, strict=True)
        ],
    }


def _affordable(rows: Sequence[Row]) -> int:
    """Sentences that are shown at most."""
    words = sum(min(_LONGEST, str(row["text"]).count(" ") + 1) for row in rows)
    return min(MOST_SENTENCES, len(rows) if words <= _MOST_WORDS else len(rows) * _MOST_WORDS // words)


def _concept(
    row: ConceptRow, concepts: ConceptFiles, salient: int, known: set[int], labels: Sequence[str]
) -> dict[str, Any]:
    return {
        "concept": row.concept,
        "words": [list(each) for each in concepts.words.get(row.concept, ())[:WORDS_SHOWN]],
        "forms": row.forms,
        "train": row.train_words,
        "dev": row.dev_words,
        "tokens": row.sentence_tokens,
        "train_sentences": row.train_sentences,
        "salient": salient,
        "label": row.label,
        "purity": None if row.purity is None else round(row.purity, 4),
        "label_words": list(row.label_words),
        "nearest": [[concept, round(cosine, 3)] for concept, cosine in row.nearest],
        "examples": [_example(each, known, labels) for each in concepts.examples.get(row.concept, ())],
    }


def _example(row: Row, known: set[int], labels: Sequence[str]) -> dict[str, Any]:
    label = int(row["label"])
    return {
        "split": str(row["split"]),
        "sentence": int(row["sentence"]) if int(row["sentence"]) in known else None,
        "label": labels[label] if 0 <= label < len(labels) else str(label),
        "before": _context(str(row["before"]), from_end=True),
        "word": shown(str(row["word"])),
        "after": _context(str(row["after"])),
    }


def _context(text: str, from_end: bool = False) -> str:
    if len(text) <= _CONTEXT_LIMIT:
        return visible(text)
    return f"…{visible(text[-_CONTEXT_LIMIT:])}" if from_end else visible(shorten(text, _CONTEXT_LIMIT))


def _sentence(
    example: Example, row: Row, outcomes: Mapping[int, Mapping[str, bool]], n_classes: int
) -> dict[str, Any]:
    of_probe = outcomes.get(example.sentence, {})
    return {
        "sentence": example.sentence,
        "id": example.id,
        "label": example.label,
        "prediction": example.prediction,
        "confidence": None if example.confidence is None else round(example.confidence, 4),
        "kind": kind_of(int(row["label"]), int(row["prediction"]), n_classes),
        "concept": example.code,
        "salient_word": example.salient_word,
        "words": [
            [
                each.text,
                None if each.attribution is None else round(each.attribution, 3),
                each.shade,
                int(each.salient) + 2 * int(each.special),
            ]
            for each in example.words[:_LONGEST]
        ],
        "more_words": max(0, len(example.words) - _LONGEST),
        "probe": [of_probe.get("original"), of_probe.get("perturbed")],
    }


def _outcomes(folder: Path, metrics: Metrics) -> dict[int, dict[str, bool]]:
    """Sentence -> whether the probe is right before and after the main method's own removal, first seed."""
    main, first = main_method(metrics), seeds(metrics)[:1]
    removal = own_removal(metrics, main)
    found: dict[int, dict[str, bool]] = {}
    if removal is None or not first:
        return found
    for condition in ("original", "perturbed"):
        named = {"method": main, "removal": removal, "condition": condition}
        for row in read_rows(folder, "sentences", ("sentence", "correct"), seed=first[0], **named):
            found.setdefault(int(row["sentence"]), {})[condition] = bool(row["correct"])
    return found

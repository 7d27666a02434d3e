"""What a concept holds: the most frequent words among its training words."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import ConceptModel
from clvq_exp.settings import Split

WORDS_SHOWN = 10


class ConceptWord(NamedTuple):
    """One of the most frequent words of a concept."""

    concept: int
    rank: int
    """0 for the most frequent."""
    word: str
    """Case-folded."""
    n_words: int
    """Training words of this form that the concept holds."""


def concept_words(
    model: ConceptModel, store: ActivationStore, layer: int, shown: int = WORDS_SHOWN
) -> list[ConceptWord]:
    """The most frequent words of every concept, by the nearest code of every training word.

    Args:
        model: a fitted concept model.
        store: whose training words are counted.
        layer: layer l.
        shown: words per concept at most; ties go to the word that sorts first.
    """
    counts: list[Counter[str]] = [Counter() for _ in range(model.n_concepts)]
    words = store.word_column("word")
    for start, block in store.iterate_words(layer, (Split.train,)):
        codes = model.assign(block)[:, 0].tolist()
        texts = words.slice(start, len(block)).to_pylist()
        for code, text in zip(codes, texts, strict=True):
            counts[code][text.casefold()] += 1
    return [
        ConceptWord(concept, rank, word, count)
        for concept, counter in enumerate(counts)
        for rank, (word, count) in enumerate(sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:shown])
    ]

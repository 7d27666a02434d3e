"""The words whose concepts are counted: those of a split without sentence tokens, and which are content words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import ConceptModel, split_concepts
from clvq_exp.settings import Split

ROWS_AT_ONCE = 2**16
"""Words that are in memory as text at once."""
TEXTS_AT_ONCE = 4096
"""Sentences whose texts are in memory at once."""


class TrainingWords(NamedTuple):
    """The training words without sentence tokens; 9 bytes a word."""

    counted: NDArray[np.bool_]
    """Of every stored training word: it is no sentence token. All other columns have the counted words only."""
    sentence: NDArray[np.int32]
    """Position of its sentence among the training sentences."""
    form: NDArray[np.int32]
    """Number of its form in `forms`."""
    forms: tuple[str, ...]
    """All different stored words, case-folded, in alphabetical order."""
    content: NDArray[np.bool_]
    """Of each form: it is a content word."""


def training_words(store: ActivationStore, at_once: int = ROWS_AT_ONCE) -> TrainingWords:
    """Read the training words.

    Content words are alphabetic and no stop word (`ENGLISH_STOP_WORDS` of scikit-learn).

    Args:
        store: of the activations.
        at_once: words that are in memory as text at once.
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    counted = counted_words(store, Split.train, at_once)
    sentences = store.sentence_ids(Split.train)
    sentence = np.repeat(np.arange(len(sentences), dtype=np.int32), store.sentences.n_words[sentences])[counted]
    numbers: dict[str, int] = {}
    form = np.empty(len(counted), dtype=np.int32)
    start, end = store.word_range(Split.train)
    for rows in _blocks(start, end, at_once):
        encoded = store.word_column("word", rows).dictionary_encode()
        number_of = [numbers.setdefault(word.casefold(), len(numbers)) for word in encoded.dictionary.to_pylist()]
        form[rows - start] = np.array(number_of, dtype=np.int32)[encoded.indices.to_numpy()]
    forms = sorted(numbers)
    rank = np.empty(len(forms), dtype=np.int32)
    rank[[numbers[each] for each in forms]] = np.arange(len(forms))
    content = np.array([each.isalpha() and each not in ENGLISH_STOP_WORDS for each in forms], dtype=np.bool_)
    return TrainingWords(counted, sentence, rank[form[counted]], tuple(forms), content)


def counted_words(store: ActivationStore, split: Split, at_once: int = ROWS_AT_ONCE) -> NDArray[np.bool_]:
    """Which stored words of a split are no sentence tokens, `[words]`.

    Args:
        store: of the activations.
        split: whose words are meant.
        at_once: words that are read at once.
    """
    start, end = store.word_range(split)
    counted = np.empty(end - start, dtype=np.bool_)
    for rows in _blocks(start, end, at_once):
        counted[rows - start] = ~store.word_column("special", rows).to_numpy(zero_copy_only=False)
    return counted


def first_concepts(
    model: ConceptModel, store: ActivationStore, layer: int, split: Split, counted: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """The first concept of each counted word of a split, `[words]`; -1 where a word has none.

    Args:
        model: a fitted concept model.
        store: of the activations.
        layer: layer l.
        split: whose words are meant.
        counted: of every stored word of the split.
    """
    codes = [block.numpy().astype(np.int32) for block in split_concepts(model, store, layer, split)]
    return np.concatenate([np.empty(0, dtype=np.int32), *codes])[counted]


def training_texts(
    store: ActivationStore, positions: NDArray[np.int64], at_once: int = TEXTS_AT_ONCE
) -> Iterator[str]:
    """Texts of some training sentences, in the order asked for.

    Args:
        store: of the activations.
        positions: among the training sentences.
        at_once: texts that are in memory at once.
    """
    rows = store.sentence_ids(Split.train)[positions]
    for start in range(0, len(rows), at_once):
        yield from store.sentence_column("text", rows[start : start + at_once]).to_pylist()


def _blocks(start: int, end: int, at_once: int) -> Iterator[NDArray[np.int64]]:
    for first in range(start, end, at_once):
        yield np.arange(first, min(first + at_once, end))

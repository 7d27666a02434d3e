"""Examples of what a concept holds, drawn by lot: every word has the same chance, whatever the blocks are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from clvq_exp.activations.store import ActivationStore
from clvq_exp.seeding import hashed_uniform

TRAIN_WORDS = 10
"""Training words of a concept that are drawn."""
DEV_WORDS = 5
"""Words of dev that are drawn."""
SENTENCES = 5
"""Sentence tokens of the training sentences that are drawn: a concept that holds mostly such is shown by these."""
SHORTEST, LONGEST = 5, 30
"""Words of a sentence that is drawn by its token (section 4.2.1)."""


class Drawn(NamedTuple):
    """What was drawn, in order of concept, then train before dev, words before sentence tokens, then the lot."""

    concept: NDArray[np.int64]
    row: NDArray[np.int64]
    """Of the word in the store."""


class _Lot:
    """The words of each concept with the smallest random numbers."""

    def __init__(self, wanted: int, *name: int | str) -> None:
        self._wanted = wanted
        self._name = name
        self.concept = np.empty(0, dtype=np.int64)
        self.row = np.empty(0, dtype=np.int64)
        self._number = np.empty(0, dtype=np.float64)

    def draw(self, rows: NDArray[np.int64], codes: NDArray[np.int64]) -> None:
        """Let some words take part; -1 is no concept."""
        rows, codes = rows[codes >= 0], codes[codes >= 0]
        number = hashed_uniform(torch.from_numpy(rows), *self._name).numpy()
        concept = np.concatenate([self.concept, codes])
        row = np.concatenate([self.row, rows])
        number = np.concatenate([self._number, number])
        order = np.lexsort((number, concept))
        first = np.searchsorted(concept[order], concept[order], side="left")
        order = order[np.arange(len(order)) - first < self._wanted]
        self.concept, self.row, self._number = concept[order], row[order], number[order]


class Lots:
    """Draws the examples of all concepts while the words go by.

    Args:
        store: whose words they are.
        seed: of the draw.
    """

    def __init__(self, store: ActivationStore, seed: int) -> None:
        self._n_words = store.sentences.n_words
        self._words = _Lot(TRAIN_WORDS, seed, "examples of a concept, train")
        self._sentences = _Lot(SENTENCES, seed, "examples of a concept, sentences")
        self._dev = _Lot(DEV_WORDS, seed, "examples of a concept, dev")

    def draw_training(
        self,
        rows: NDArray[np.int64],
        codes: NDArray[np.int64],
        special: NDArray[np.bool_],
        sentence: NDArray[np.int64],
    ) -> None:
        """A block of training words: rows in the store, concepts, sentence tokens, sentences."""
        self._words.draw(rows[~special], codes[~special])
        length = self._n_words[sentence] - 1
        fits = special & (length >= SHORTEST) & (length <= LONGEST)
        self._sentences.draw(rows[fits], codes[fits])

    def draw_dev(self, rows: NDArray[np.int64], codes: NDArray[np.int64], special: NDArray[np.bool_]) -> None:
        """A block of words of dev."""
        self._dev.draw(rows[~special], codes[~special])

    def drawn(self) -> Drawn:
        """All that were drawn."""
        lots = (self._words, self._sentences, self._dev)
        concept = np.concatenate([lot.concept for lot in lots])
        row = np.concatenate([lot.row for lot in lots])
        order = np.argsort(concept, kind="stable")
        return Drawn(concept[order], row[order])

"""Activations with planted concepts: what a method finds can be held against what is there."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from stores import MadeSentence, write_store

from clvq_exp.activations.store import ActivationStore
from clvq_exp.settings import LayerPair, Split

N_CONCEPTS, WIDTH, LENGTH, NOISE = 20, 32, 5, 0.1
LENGTH_OF_CONCEPT = 4
"""Norm of a word without its noise."""
TELLING = (0, 1, 2)
"""Concepts that the label hangs on: label 1 has a word of one of them, label 0 has none."""
PAIR = LayerPair(1, 2)


class Planted(NamedTuple):
    """A store and what was planted in it."""

    store: ActivationStore
    directions: NDArray[np.float64]
    """Orthonormal directions at the lower layer, concepts x d."""
    concepts: NDArray[np.int64]
    """Concept of every stored word."""
    telling_rows: NDArray[np.int64]
    """Of each dev sentence: the row of its telling word, or of its first word where it has none."""


def plant(folder: Path, sentences: int = 600, seed: int = 0) -> Planted:
    """Words are one of 20 directions, all of one length, and noise; the upper layer is the lower one, turned."""
    random = np.random.default_rng(seed)
    directions = np.linalg.qr(random.normal(size=(WIDTH, N_CONCEPTS)))[0].T
    rotation, _ = np.linalg.qr(random.normal(size=(WIDTH, WIDTH)))
    sizes = {Split.train: sentences, Split.validation: sentences // 5, Split.dev: sentences // 5}
    splits: dict[Split, list[MadeSentence]] = {}
    concepts: list[NDArray[np.int64]] = []
    rows: list[int] = []
    start = 0
    for split in Split:
        splits[split] = []
        for index in range(sizes[split]):
            label = index % 2
            own = random.integers(len(TELLING), N_CONCEPTS, LENGTH)
            place = int(random.integers(LENGTH))
            if label:
                own[place] = random.choice(TELLING)
            lower = LENGTH_OF_CONCEPT * directions[own] + NOISE * random.normal(size=(LENGTH, WIDTH))
            layers = {PAIR.lower: lower, PAIR.upper: lower @ rotation}
            splits[split].append(MadeSentence(layers, label, [f"c{concept}" for concept in own]))
            concepts.append(own)
            if split is Split.dev:
                rows.append(start + (place if label else 0))
            start += LENGTH
    store = write_store(folder, splits, sentence_token=False)
    return Planted(store, directions, np.concatenate(concepts), np.asarray(rows, dtype=np.int64))

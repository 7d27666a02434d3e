"""Training words of types that occur often enough, and not all of those that occur very often.

Works that cluster activations do so before they cluster, and the `reference` protocol before it trains.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from clvq_exp.activations.store import ActivationStore
from clvq_exp.seeding import hashed_uniform
from clvq_exp.settings import Split, TrainedWords

AT_LEAST = 5
"""Occurrences of a word type that is kept."""
AT_MOST = 20
"""Words that are kept of a type."""
_BLOCK = 16_384
"""Words that are read at once."""


def trained_words(store: ActivationStore, which: TrainedWords, seed: int) -> NDArray[np.int64] | None:
    """Rows of the training words that a codebook is made of; None for all."""
    return None if which is TrainedWords.all else frequent_words(store, seed)


def filter_identity(which: TrainedWords) -> list[int] | None:
    """What of the filter can change a fit."""
    return None if which is TrainedWords.all else [AT_LEAST, AT_MOST]


def frequent_words(
    store: ActivationStore, seed: int, at_least: int = AT_LEAST, at_most: int = AT_MOST
) -> NDArray[np.int64]:
    """Training words of the types that occur often, a few of each type.

    A word type is a white-space token as it is spelt: those works count it so, and a model that tells cases apart
    gives 'Good' and 'good' other activations. Sentence tokens are all kept and not counted. Besides the rows only
    the counts of the types are held.

    Args:
        store: whose training words are filtered.
        seed: of the draw among the words of a type.
        at_least: occurrences among the training words that a type must have.
        at_most: words of a type that are kept; each is as likely as any other of its type.

    Returns:
        Rows of the kept words, ascending.
    """
    counts: Counter[str] = Counter()
    for _, words, special in _blocks(store):
        counts.update(word for word, exempt in zip(words, special, strict=True) if not exempt)
    unseen = {word: count for word, count in counts.items() if count >= at_least}
    wanted = {word: min(count, at_most) for word, count in unseen.items()}

    def take(word: str, number: float) -> bool:
        """Selection sampling: exactly as many words of a type as are wanted."""
        if word not in unseen:
            return False
        taken = number * unseen[word] < wanted[word]
        unseen[word] -= 1
        wanted[word] -= taken
        return taken

    kept = [np.zeros(0, dtype=np.int64)]
    for start, words, special in _blocks(store):
        numbers = hashed_uniform(torch.arange(start, start + len(words)), seed, "frequent words").tolist()
        chosen = [
            exempt or take(word, number) for word, exempt, number in zip(words, special, numbers, strict=True)
        ]
        kept.append(start + np.flatnonzero(chosen))
    return np.concatenate(kept)


def _blocks(store: ActivationStore) -> Iterator[tuple[int, list[str], list[bool]]]:
    """The training words in blocks: the first row, the words, and which of them are sentence tokens."""
    start, end = store.word_range(Split.train)
    for row in range(start, end, _BLOCK):
        rows = np.arange(row, min(row + _BLOCK, end))
        yield (
            row,
            store.word_column("word", rows).to_pylist(),
            store.word_column("special", rows).to_pylist(),
        )

"""The salient word of each sentence."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clvq_exp.activations.store import ActivationStore
from clvq_exp.explanations.word_attributions import WordAttributions
from clvq_exp.settings import SalientBy


class SalientWords(NamedTuple):
    """The salient word of each attributed sentence."""

    sentences: NDArray[np.int64]
    """Rows of the sentences in the store."""
    word_rows: NDArray[np.int64]
    """Row of each sentence's salient word in the store."""
    scores: NDArray[np.float32]
    """Its attribution, in logits or as a share (`attribution.word_score`)."""
    special: NDArray[np.bool_]
    """Whether it is the sentence token."""


def choose_salient_words(
    attributions: WordAttributions,
    store: ActivationStore,
    sentence_token_allowed: bool,
    by: SalientBy = SalientBy.score,
) -> SalientWords:
    """The salient word of each sentence (section 4.1.1).

    Args:
        attributions: scores of all stored words of the sentences.
        store: where the words are.
        sentence_token_allowed: whether [CLS] may be chosen. Where a sentence has no other word, it is chosen
            all the same.
        by: what the salient word is highest in: its score, or the score's absolute value. The first of several.
    """
    special = store.word_column("special").to_numpy(zero_copy_only=False)[attributions.word_rows]
    lengths = store.sentences.n_words[attributions.sentences]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    chosen: list[int] = []
    for start, end in pairwise(starts):
        of_sentence = slice(int(start), int(end))
        word = salient_word(attributions.scores[of_sentence], special[of_sentence], sentence_token_allowed, by)
        chosen.append(int(start) + word)
    picked = np.asarray(chosen, dtype=np.int64)
    return SalientWords(
        attributions.sentences,
        attributions.word_rows[picked],
        attributions.scores[picked],
        special[picked],
    )


def salient_word(
    scores: NDArray[np.float32], special: NDArray[np.bool_], sentence_token_allowed: bool, by: SalientBy
) -> int:
    """Which word of a sentence is the salient one.

    Args:
        scores: of its words, one at least.
        special: which of them are the sentence token.
        sentence_token_allowed: see `choose_salient_words`.
        by: see there.
    """
    compared = scores.astype(np.float64)
    if by is SalientBy.absolute_score:
        compared = np.abs(compared)
    if not sentence_token_allowed and not special.all():
        compared[special] = -np.inf
    return int(np.argmax(compared))

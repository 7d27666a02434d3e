"""What each concept holds: its words, its sentence tokens, its labels, and some of its words where they stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int32
from numpy.typing import NDArray
from torch import Tensor

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import ConceptModel, unit_rows
from clvq_exp.explanations.examples import Drawn, Lots
from clvq_exp.settings import Split

WORDS_KEPT = 100
"""Most frequent words of a concept that are kept."""
NEIGHBOURS = 10
"""Nearest concepts that are kept."""
_BLOCK = 1024
"""Concepts whose cosines with all others are in memory at once."""


class ConceptWord(NamedTuple):
    """One of the most frequent words of a concept."""

    concept: int
    rank: int
    """0 for the most frequent."""
    word: str
    """Case-folded."""
    n_words: int
    """Training words of this form that the concept holds."""


class Neighbours(NamedTuple):
    """The nearest concepts that hold a training word, the nearest first; a concept is not its own neighbour."""

    concepts: NDArray[np.int64]
    """`[K, n]`."""
    cosines: NDArray[np.float64]
    """`[K, n]`, between vectors."""


class Inventory(NamedTuple):
    """What the concepts of a model hold. Sentence tokens are no words."""

    train_words: NDArray[np.int64]
    """Stored training words of each concept, sentence tokens included, `[K]`."""
    dev_words: NDArray[np.int64]
    """The same in dev, `[K]`."""
    sentence_tokens: NDArray[np.int64]
    """Those of `train_words` that are sentence tokens, `[K]`."""
    train_sentences: NDArray[np.int64]
    """Training sentences that have a word or the token in the concept, `[K]`."""
    forms: NDArray[np.int64]
    """Different words, case-folded, `[K]`."""
    label_words: NDArray[np.int64]
    """Training words under each gold label of their sentence, `[K, labels]`."""
    words: list[ConceptWord]
    """The most frequent words of every concept, in order of concept and rank."""
    drawn: Drawn
    """Words and sentence tokens drawn as examples."""

    @property
    def label(self) -> NDArray[np.int64]:
        """The commonest label of each concept, of equally common ones the first, `[K]`; -1 without words."""
        return np.where(self.label_words.any(1), self.label_words.argmax(1), -1)

    @property
    def purity(self) -> NDArray[np.float64]:
        """Share of a concept's words that stand under its commonest label, `[K]`; NaN without words."""
        total = self.label_words.sum(1)
        return np.where(total > 0, self.label_words.max(1, initial=0) / np.maximum(total, 1), np.nan)


@runtime_checkable
class KeepsSampledCodes(Protocol):
    """A concept model that may know which code was sampled for a word in training."""

    @property
    def sampled_codes(self) -> Int32[Tensor, " words"] | None:
        """Code last sampled for each training word, by its row, -1 where none was; None where not kept."""


def take_inventory(
    model: ConceptModel, store: ActivationStore, layer: int, n_labels: int, seed: int, kept: int = WORDS_KEPT
) -> Inventory:
    """What every concept holds, in one pass over the training words and one over those of dev.

    A training word belongs to its nearest code; where the model kept them, to the code that was sampled for it in
    training, and to none if it was not trained on. Words of dev belong to their nearest.

    Args:
        model: a fitted concept model.
        store: whose words are counted.
        layer: layer l.
        n_labels: number of classes.
        seed: examples are drawn by it.
        kept: words per concept at most; ties go to the word that sorts first.
    """
    k = model.n_concepts
    counting, lots = _Counting(k, n_labels), Lots(store, seed)
    for start, codes in _codes(model, store, layer):
        rows = np.arange(start, start + len(codes))
        special = store.word_column("special", rows).to_numpy(zero_copy_only=False)
        sentence = store.word_column("sentence", rows).to_numpy().astype(np.int64)
        counting.add(codes, special, sentence, store.sentences.label[sentence])
        counting.add_forms(codes[~special], store.word_column("word", rows[~special]).to_pylist())
        lots.draw_training(rows, codes, special, sentence)
    for start, block in store.iterate_words(layer, (Split.dev,)):
        rows = np.arange(start, start + len(block))
        codes = model.assign(block)[:, 0].cpu().numpy()
        special = store.word_column("special", rows).to_numpy(zero_copy_only=False)
        counting.dev_words += np.bincount(codes[codes >= 0], minlength=k)
        lots.draw_dev(rows, codes, special)
    return Inventory(
        counting.train_words,
        counting.dev_words,
        counting.sentence_tokens,
        counting.train_sentences,
        np.array([len(each) for each in counting.forms], dtype=np.int64),
        counting.label_words,
        counting.words(kept),
        lots.drawn(),
    )


def nearest_concepts(
    vectors: Float[Tensor, "K d"], holds: NDArray[np.bool_], wanted: int = NEIGHBOURS
) -> Neighbours:
    """The nearest concepts of each, by cosine; those that hold nothing are nobody's neighbours.

    Args:
        vectors: one for each concept.
        holds: of each concept: it holds a training word.
        wanted: neighbours of a concept at most.
    """
    unit = unit_rows(vectors.double().cpu())
    k = len(unit)
    others = torch.from_numpy(holds).clone()
    wanted = max(0, min(wanted, int(others.sum()) - 1))
    concepts = np.empty((k, wanted), dtype=np.int64)
    cosines = np.empty((k, wanted), dtype=np.float64)
    for start in range(0, k, _BLOCK):
        block = unit[start : start + _BLOCK] @ unit.T
        block[:, ~others] = -torch.inf
        own = torch.arange(len(block))
        block[own, own + start] = -torch.inf
        top = block.topk(wanted, dim=1)
        concepts[start : start + len(block)] = top.indices.numpy()
        cosines[start : start + len(block)] = top.values.numpy()
    return Neighbours(concepts, cosines)


class _Counting:
    """Sums over blocks of training words; a block may end within a sentence."""

    def __init__(self, k: int, n_labels: int) -> None:
        self.train_words = np.zeros(k, dtype=np.int64)
        self.dev_words = np.zeros(k, dtype=np.int64)
        self.sentence_tokens = np.zeros(k, dtype=np.int64)
        self.train_sentences = np.zeros(k, dtype=np.int64)
        self.label_words = np.zeros((k, n_labels), dtype=np.int64)
        self.forms: list[Counter[str]] = [Counter() for _ in range(k)]
        self._open_sentence = -1
        """That in which the last block ended."""
        self._open_concepts = np.empty(0, dtype=np.int64)
        """For which it was counted."""

    def add(
        self,
        codes: NDArray[np.int64],
        special: NDArray[np.bool_],
        sentence: NDArray[np.int64],
        label: NDArray[np.int64],
    ) -> None:
        """Count a block of words; -1 is no concept."""
        k, n_labels = self.label_words.shape
        held, word = codes >= 0, (codes >= 0) & ~special
        self.train_words += np.bincount(codes[held], minlength=k)
        self.sentence_tokens += np.bincount(codes[held & special], minlength=k)
        cells = np.bincount(codes[word] * n_labels + label[word], minlength=k * n_labels)
        self.label_words += cells.reshape(k, n_labels)
        pairs = np.unique(np.stack([sentence[held], codes[held]], axis=1), axis=0)
        again = (pairs[:, 0] == self._open_sentence) & np.isin(pairs[:, 1], self._open_concepts)
        self.train_sentences += np.bincount(pairs[~again, 1], minlength=k)
        if len(sentence):
            last = pairs[pairs[:, 0] == sentence[-1], 1]
            goes_on = sentence[-1] == self._open_sentence
            self._open_concepts = np.concatenate([self._open_concepts, last]) if goes_on else last
            self._open_sentence = int(sentence[-1])

    def add_forms(self, codes: NDArray[np.int64], words: list[str]) -> None:
        """Count the words themselves, without sentence tokens."""
        for code, word in zip(codes.tolist(), words, strict=True):
            if code >= 0:
                self.forms[code][word.casefold()] += 1

    def words(self, kept: int) -> list[ConceptWord]:
        return [
            ConceptWord(concept, rank, word, count)
            for concept, counter in enumerate(self.forms)
            for rank, (word, count) in enumerate(
                sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:kept]
            )
        ]


def _codes(model: ConceptModel, store: ActivationStore, layer: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """The code of every training word, a block at a time, with the row of the block's first word."""
    sampled = model.sampled_codes if isinstance(model, KeepsSampledCodes) else None
    for start, block in store.iterate_words(layer, (Split.train,)):
        codes = model.assign(block)[:, 0] if sampled is None else sampled[start : start + len(block)]
        yield start, codes.cpu().numpy().astype(np.int64)

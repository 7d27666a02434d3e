"""Training on some of the training words: the others are left out, and the gaps are closed."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from clvq_exp.activations.datamodule import ActivationDataModule, ActivationPairs, BatchKey, RandomBatches
from clvq_exp.records import ActivationBatch, MicroBatch
from clvq_exp.settings import Split


class ChosenPairs(ActivationPairs):
    """Batches in which a sentence is those of its words that were chosen, one behind the other.

    A word keeps the name that its noise hangs on: its row in the store.

    Args:
        pairs: batches of all words.
        words: rows of the chosen words, ascending.
    """

    def __init__(self, pairs: ActivationPairs, words: NDArray[np.int64]) -> None:
        super().__init__(pairs._store, *pairs._layers, pairs._budget, batch_cost=pairs._batch_cost)
        self._resident = pairs._resident
        table = self._store.sentences
        self._words = words
        self._first = np.searchsorted(words, table.first_word)
        self.n_words = np.searchsorted(words, table.first_word + table.n_words) - self._first
        """Chosen words of each sentence of the store."""

    def __getitem__(self, key: BatchKey) -> ActivationBatch:
        """The batch of this key, in micro-batches of like length."""
        return self._batch(key, self.n_words)

    def _micro_batch(self, sentences: NDArray[np.int64], lengths: NDArray[np.int64]) -> MicroBatch:
        columns = np.arange(int(lengths.max()))
        there = columns[None, :] < lengths[:, None]
        places = np.where(there, self._first[sentences][:, None] + columns[None, :], 0)
        word_ids = torch.from_numpy(np.where(there, self._words[places], -1))
        real = torch.from_numpy(there)
        return self._read(word_ids, real)


class ChosenWords(ActivationDataModule):
    """Training batches of chosen words; a sentence without any is left out. Other splits are read whole."""

    def choose(self, words: NDArray[np.int64]) -> None:
        """Train on these words.

        Args:
            words: rows of training words, ascending.
        """
        _, end = self.store.word_range(Split.train)
        pairs = ChosenPairs(self.pairs, np.concatenate([words, np.arange(end, self.store.n_words)]))
        sentences = self.store.sentence_ids(Split.train)
        self._sentences = sentences[pairs.n_words[sentences] > 0]
        self.pairs = pairs

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one epoch."""
        return -(-len(self._sentences) // self._batch_size)

    def train_dataloader(self) -> DataLoader[ActivationBatch]:
        """Random batches of training sentences."""
        return self._loader(RandomBatches(self._sentences, self._batch_size, self._seed))

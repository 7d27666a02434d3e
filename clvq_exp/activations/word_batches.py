"""What methods that look at one word at a time train on: batches of (source word, target word) pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from clvq_exp.activations.datamodule import whole_batches
from clvq_exp.activations.resident import resident_device, sent, whole_layers
from clvq_exp.activations.store import ActivationStore
from clvq_exp.ranks import ranks
from clvq_exp.seeding import numpy_generator
from clvq_exp.settings import Split

BUFFER_WORDS = 16_384
"""Words that are read at once and mixed with each other."""


class WordBatch(NamedTuple):
    """One optimizer step."""

    source: Float[Tensor, "n d"]
    """Layer l."""
    target: Float[Tensor, "n d"]
    """The layer to rebuild."""
    n_words: int
    """Words of the whole batch; more than there are here where several processes share it."""
    epoch: int
    step: int
    """Position of the batch in its epoch."""


class StepKey(NamedTuple):
    """Names one batch; (seed, epoch, step) says which words it has."""

    epoch: int
    step: int


class Steps(Sampler[StepKey]):
    """The batches of an epoch, one after another."""

    def __init__(self, n_steps: int) -> None:
        self._n_steps = n_steps
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; Lightning calls it at the start of every epoch, resumed ones too."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._n_steps

    def __iter__(self) -> Iterator[StepKey]:
        return (StepKey(self._epoch, step) for step in range(self._n_steps))


class _Order(NamedTuple):
    """The words of an epoch: its sentences in their order."""

    epoch: int
    first_word: NDArray[np.int64]
    """Row of each sentence's first word."""
    ends: NDArray[np.int64]
    """Words up to each sentence's end."""


class _Buffer(NamedTuple):
    """Words that were read together."""

    epoch: int
    number: int
    """Its place in the epoch."""
    order: NDArray[np.int64]
    """In which order they are handed out."""
    layers: tuple[Tensor, Tensor]
    """`[n, d]` each, in the store's number format."""


class WordPairs(Dataset[WordBatch]):
    """Batches of the words of a split, made from a `StepKey`.

    The sentences of an epoch follow each other in a random order; some thousand words of theirs are read at once,
    mixed, and handed out. So a batch has words of many sentences, the file is read a sentence at a time and not a
    word at a time, and memory holds one buffer. Each word comes once in an epoch.

    Args:
        store: the activations.
        source_layer: layer l.
        target_layer: the layer to rebuild.
        split: whose words.
        batch_words: words of a batch; the last one of an epoch may have fewer.
        seed: of the order; None hands the words out as they are stored.
        buffer_words: words that are read at once, rounded up to whole batches.
        resident: layers that are in memory whole; others are read from the store.
    """

    def __init__(
        self,
        store: ActivationStore,
        source_layer: int,
        target_layer: int,
        split: Split,
        batch_words: int,
        seed: int | None = None,
        buffer_words: int = BUFFER_WORDS,
        resident: Mapping[int, Tensor] | None = None,
    ) -> None:
        self._store = store
        self._layers = (source_layer, target_layer)
        self._sentences = store.sentence_ids(split)
        self._batch_words = batch_words
        self._seed = seed
        self._buffer_words = batch_words * max(1, -(-buffer_words // batch_words))
        self._n_words = int(store.sentences.n_words[self._sentences].sum())
        self._order: _Order | None = None
        self._buffer: _Buffer | None = None
        self._resident = resident or {}
        self._ranks = ranks()  # here, since processes that read for this one know of no others

    @property
    def n_steps(self) -> int:
        """Batches of one epoch."""
        return -(-self._n_words // self._batch_words)

    def __getitem__(self, key: StepKey) -> WordBatch:
        """The batch of this key, in float32."""
        start = key.step * self._batch_words
        number, offset = divmod(start, self._buffer_words)
        buffer = self._buffer_of(key.epoch, number)
        words = buffer.order[offset : offset + self._batch_words]
        rows = torch.from_numpy(np.ascontiguousarray(self._ranks.share(words)))
        source, target = (layer[sent(rows, layer.device)].float() for layer in buffer.layers)
        return WordBatch(source, target, len(words), key.epoch, key.step)

    def _buffer_of(self, epoch: int, number: int) -> _Buffer:
        if self._buffer is None or (self._buffer.epoch, self._buffer.number) != (epoch, number):
            self._buffer = None  # two of them need not be in memory at once
            self._buffer = self._filled(epoch, number)
        return self._buffer

    def _filled(self, epoch: int, number: int) -> _Buffer:
        rows = np.sort(self._rows(self._order_of(epoch), number))
        order = np.arange(len(rows))
        if self._seed is not None:
            order = numpy_generator(self._seed, "words", epoch, number).permutation(order)
        read = {layer: self._read(layer, rows) for layer in set(self._layers)}
        source, target = (read[layer] for layer in self._layers)
        return _Buffer(epoch, number, order, (source, target))

    def _rows(self, order: _Order, number: int) -> NDArray[np.int64]:
        """Rows in the store of the words of one buffer."""
        start = number * self._buffer_words
        wanted = np.arange(start, min(start + self._buffer_words, self._n_words))
        sentence = np.searchsorted(order.ends, wanted, side="right")
        begins = np.concatenate([[0], order.ends[:-1]])
        return order.first_word[sentence] + wanted - begins[sentence]

    def _order_of(self, epoch: int) -> _Order:
        if self._order is None or self._order.epoch != epoch:
            sentences = self._sentences
            if self._seed is not None:
                sentences = numpy_generator(self._seed, "order", epoch).permutation(sentences)
            table = self._store.sentences
            self._order = _Order(epoch, table.first_word[sentences], np.cumsum(table.n_words[sentences]))
        return self._order

    def _read(self, layer: int, rows: NDArray[np.int64]) -> Tensor:
        kept = self._resident.get(layer)
        if kept is not None:
            return kept[sent(torch.from_numpy(rows), kept.device)]
        return self._store.word_file(layer)[rows]


class WordDataModule(pl.LightningDataModule):
    """Training and validation batches of one layer pair, word by word.

    Args:
        store: the activations.
        source_layer: layer l.
        target_layer: the layer to rebuild.
        batch_words: words per optimizer step.
        seed: seeds the order of every epoch.
        num_workers: processes that read the store, each with a buffer of its own; 0 reads in the training process.
        resident_gib: keep both layers on `device`, a GPU, when they take no more than this, in GiB.
        device: where training runs.
    """

    def __init__(
        self,
        store: ActivationStore,
        source_layer: int,
        target_layer: int,
        batch_words: int,
        seed: int,
        num_workers: int = 0,
        resident_gib: float = 4.0,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        self._workers = num_workers
        layers = (source_layer, target_layer)
        keeper = None
        if num_workers == 0 and device is not None:
            keeper = resident_device(store, layers, device, resident_gib)
        resident = whole_layers(store, layers, keeper) if keeper is not None else None
        self._pinned = device is not None and device.type == "cuda" and resident is None
        self.training = WordPairs(store, *layers, Split.train, batch_words, seed, resident=resident)
        self.validation = WordPairs(store, *layers, Split.validation, batch_words, resident=resident)

    def train_dataloader(self) -> DataLoader[WordBatch]:
        """Random batches of training words."""
        return self._loader(self.training)

    def val_dataloader(self) -> DataLoader[WordBatch]:
        """The validation words once, as they are stored."""
        return self._loader(self.validation)

    def _loader(self, pairs: WordPairs) -> DataLoader[WordBatch]:
        return whole_batches(pairs, Steps(pairs.n_steps), self._workers, self._pinned)

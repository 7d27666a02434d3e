"""What training reads: random batches of sentences, run as length-sorted micro-batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from clvq_exp.activations.batching import tight_batches
from clvq_exp.activations.resident import resident_device, sent, whole_layers
from clvq_exp.activations.store import ActivationStore
from clvq_exp.ranks import Ranks, ranks
from clvq_exp.records import ActivationBatch, MicroBatch
from clvq_exp.seeding import numpy_generator
from clvq_exp.settings import Split

Batch = TypeVar("Batch")
FEWEST = 1 << 20
"""Of a micro-batch, in padded words: more than any padding, so that there are as few as fit."""


class BatchKey(NamedTuple):
    """Names one batch: its place in training and its sentences (rows of the store)."""

    epoch: int
    step: int
    sentences: tuple[int, ...]


class RandomBatches(Sampler[BatchKey]):
    """Batches of random sentences; each epoch's order hangs on (seed, epoch) alone."""

    def __init__(self, sentences: NDArray[np.int64], batch_size: int, seed: int) -> None:
        self._sentences = sentences
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order; Lightning calls it at the start of every epoch, resumed ones too."""
        self._epoch = epoch

    def __len__(self) -> int:
        return -(-len(self._sentences) // self._batch_size)

    def __iter__(self) -> Iterator[BatchKey]:
        order = numpy_generator(self._seed, "order", self._epoch).permutation(self._sentences)
        for step in range(len(self)):
            chosen = order[step * self._batch_size : (step + 1) * self._batch_size]
            yield BatchKey(self._epoch, step, tuple(int(row) for row in chosen))


class OrderedBatches(Sampler[BatchKey]):
    """All sentences once, in order of length."""

    def __init__(self, sentences: NDArray[np.int64], lengths: NDArray[np.int64], batch_size: int) -> None:
        self._sentences = sentences[np.argsort(-lengths[sentences], kind="stable")]
        self._batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._sentences) // self._batch_size)

    def __iter__(self) -> Iterator[BatchKey]:
        for step in range(len(self)):
            chosen = self._sentences[step * self._batch_size : (step + 1) * self._batch_size]
            yield BatchKey(0, step, tuple(int(row) for row in chosen))


class ActivationPairs(Dataset[ActivationBatch]):
    """Batches of (layer l, target layer) activations, made from a `BatchKey`.

    Where several processes train together, each gets its share of the batch's sentences.

    Args:
        store: the activations.
        source_layer: layer l.
        target_layer: the layer to rebuild.
        micro_batch_words: padded words of a micro-batch at most.
        resident: device on which to keep the activations of both layers, or None to read the store batch by batch.
        batch_cost: padded words that are worth a micro-batch less.
    """

    def __init__(
        self,
        store: ActivationStore,
        source_layer: int,
        target_layer: int,
        micro_batch_words: int,
        resident: torch.device | None = None,
        batch_cost: int = FEWEST,
    ) -> None:
        self._store = store
        self._layers = (source_layer, target_layer)
        self._budget = micro_batch_words
        self._batch_cost = batch_cost
        self._ranks = ranks()  # here, since processes that read for this one know of no others
        self._resident: dict[int, Tensor] = {}
        if resident is not None:
            self._resident = whole_layers(store, self._layers, resident)

    def read_alone(self) -> None:
        """From now on make whole batches."""
        self._ranks = Ranks()

    def __getitem__(self, key: BatchKey) -> ActivationBatch:
        """The batch of this key, in micro-batches of like length."""
        return self._batch(key, self._store.sentences.n_words)

    def _batch(self, key: BatchKey, words_of: NDArray[np.int64]) -> ActivationBatch:
        """This process's share of a batch.

        Args:
            key: names the batch.
            words_of: words of each sentence of the store that take part.
        """
        sentences = np.asarray(key.sentences, dtype=np.int64)
        own = self._ranks.share(sentences)
        lengths = words_of[own]
        micro_batches = tuple(
            self._micro_batch(own[members], lengths[members])
            for members in tight_batches(lengths, self._budget, self._batch_cost)
        )
        return ActivationBatch(micro_batches, int(words_of[sentences].sum()), key.epoch, key.step)

    def _micro_batch(self, sentences: NDArray[np.int64], lengths: NDArray[np.int64]) -> MicroBatch:
        width = int(lengths.max())
        columns = np.arange(width)
        real = torch.from_numpy(columns[None, :] < lengths[:, None])
        first = self._store.sentences.first_word[sentences]
        word_ids = torch.from_numpy(np.where(real.numpy(), first[:, None] + columns[None, :], -1))
        return self._read(word_ids, real)

    def _read(
        self, word_ids: Int64[Tensor, "sentences words"], real: Bool[Tensor, "sentences words"]
    ) -> MicroBatch:
        """The micro-batch of some rows of the store, on the device that keeps the layers, if one does."""
        kept = self._resident.get(self._layers[0])
        if kept is not None:
            word_ids, real = sent(word_ids, kept.device), sent(real, kept.device)
        source, target = (self._padded(layer, word_ids, real) for layer in self._layers)
        return MicroBatch(source, target, real, word_ids)

    def _padded(
        self, layer: int, word_ids: Int64[Tensor, "sentences words"], real: Bool[Tensor, "sentences words"]
    ) -> Float[Tensor, "sentences words d"]:
        kept = self._resident.get(layer)
        if kept is not None:
            return kept[word_ids.clamp(min=0)].float() * real[..., None]
        padded = torch.zeros((*real.shape, self._store.width))
        padded[real] = self._store.gather_words(layer, word_ids[real])
        return padded


def whole_batches(
    data: Dataset[Batch], sampler: Sampler[Any], workers: int, pinned: bool = False
) -> DataLoader[Batch]:
    """A loader over data whose keys stand for whole batches.

    Args:
        data: gives the batch of a key.
        sampler: the keys.
        workers: processes that read; 0 reads in this one.
        pinned: put batches where a GPU can fetch them while the host goes on.
    """
    return DataLoader(
        data,
        batch_size=None,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pinned,
    )


class ActivationDataModule(pl.LightningDataModule):
    """Training and validation batches of one layer pair.

    Args:
        store: the activations.
        source_layer: layer l.
        target_layer: the layer to rebuild.
        batch_size: sentences per optimizer step.
        micro_batch_words: padded words per forward and backward pass.
        seed: seeds the order of every epoch.
        num_workers: processes that read the store; 0 reads in the training process.
        resident_gib: keep both layers on `device`, a GPU, when they take no more than this, in GiB.
        device: where training runs.
        batch_cost: padded words that are worth a pass less.
    """

    def __init__(
        self,
        store: ActivationStore,
        source_layer: int,
        target_layer: int,
        batch_size: int,
        micro_batch_words: int,
        seed: int,
        num_workers: int = 0,
        resident_gib: float = 4.0,
        device: torch.device | None = None,
        batch_cost: int = FEWEST,
    ) -> None:
        super().__init__()
        self.store = store
        self._batch_size = batch_size
        self._seed = seed
        self._workers = num_workers
        resident = None
        if num_workers == 0 and device is not None:
            resident = resident_device(store, (source_layer, target_layer), device, resident_gib)
        self._pinned = device is not None and device.type == "cuda" and resident is None
        self.pairs = ActivationPairs(store, source_layer, target_layer, micro_batch_words, resident, batch_cost)

    def read_alone(self) -> None:
        """From now on give whole batches, also where several processes shared them."""
        self.pairs.read_alone()

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one epoch."""
        return -(-len(self.store.sentence_ids(Split.train)) // self._batch_size)

    def train_dataloader(self) -> DataLoader[ActivationBatch]:
        """Random batches of training sentences."""
        sampler = RandomBatches(self.store.sentence_ids(Split.train), self._batch_size, self._seed)
        return self._loader(sampler)

    def val_dataloader(self) -> DataLoader[ActivationBatch]:
        """The validation sentences once."""
        return self.ordered(Split.validation)

    def ordered(self, split: Split) -> DataLoader[ActivationBatch]:
        """The sentences of a split once, in order of length."""
        return self._loader(
            OrderedBatches(self.store.sentence_ids(split), self.store.sentences.n_words, self._batch_size)
        )

    def _loader(self, sampler: Sampler[BatchKey]) -> DataLoader[ActivationBatch]:
        return whole_batches(self.pairs, sampler, self._workers, self._pinned)

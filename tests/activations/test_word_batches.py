"""Batches of word pairs: each word once, mixed by seed and epoch, read some sentences at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clvq_exp.activations.row_file import RowFile
from clvq_exp.activations.store import ActivationStore
from clvq_exp.activations.word_batches import StepKey, WordBatch, WordDataModule, WordPairs, whole_layers
from clvq_exp.settings import Split

LAYERS = (1, 3)
CPU = torch.device("cpu")


def epoch_of(pairs: WordPairs, epoch: int = 0) -> list[WordBatch]:
    return [pairs[StepKey(epoch, step)] for step in range(pairs.n_steps)]


def pairs_of(store: ActivationStore, words: int = 16, seed: int | None = 0, **changed: Any) -> WordPairs:
    return WordPairs(store, *LAYERS, Split.train, words, seed, **changed)


def rows_of(store: ActivationStore, batch: WordBatch) -> list[int]:
    """Rows in the store of a batch's words; words of the same form may share an activation."""
    start, end = store.word_range(Split.train)
    distance = torch.cdist(batch.source.double(), store.words(1)[start:end].double())
    assert distance.min(1).values.max() < 1e-6
    return (distance.argmin(1) + start).tolist()


def sorted_rows(tensor: torch.Tensor) -> np.ndarray:
    rows = tensor.numpy()
    return rows[np.lexsort(rows.T)]


def test_epoch__has_each_word_once_beside_its_own_target(store: ActivationStore) -> None:
    start, end = store.word_range(Split.train)
    batches = epoch_of(pairs_of(store, buffer_words=48))
    assert [len(batch.source) for batch in batches[:-1]] == [16] * (len(batches) - 1)
    assert len(batches[-1].source) == (end - start) % 16
    assert [(batch.epoch, batch.step) for batch in batches] == [(0, step) for step in range(len(batches))]
    found = torch.cat([torch.cat([batch.source, batch.target], 1) for batch in batches])
    stored = torch.cat([store.words(layer)[start:end] for layer in LAYERS], 1)
    assert np.array_equal(sorted_rows(found), sorted_rows(stored))


def test_order__hangs_on_seed_and_epoch_alone(store: ActivationStore) -> None:
    def order(pairs: WordPairs, epoch: int) -> torch.Tensor:
        return torch.cat([batch.source for batch in epoch_of(pairs, epoch)])

    pairs = pairs_of(store)
    first, second = order(pairs, 0), order(pairs, 1)
    assert torch.equal(order(pairs, 0), first), "asked for again, after another epoch"
    assert not torch.equal(second, first)
    assert not torch.equal(order(pairs_of(store, seed=1), 0), first)


def test_order__other_sentences_come_first_in_another_epoch(store: ActivationStore) -> None:
    pairs = pairs_of(store, buffer_words=32)
    first, second = (
        {row for step in (0, 1) for row in rows_of(store, pairs[StepKey(epoch, step)])} for epoch in (0, 1)
    )
    assert len(first & second) < len(first) / 2


def test_batch__is_the_same_whatever_was_asked_for_before(store: ActivationStore) -> None:
    in_order = epoch_of(pairs_of(store, buffer_words=32), 3)
    alone = pairs_of(store, buffer_words=32)
    for step in (5, 0, 2):
        assert torch.equal(alone[StepKey(3, step)].target, in_order[step].target)


def test_batch__has_words_of_many_sentences(store: ActivationStore) -> None:
    sentence_of = store.word_column("sentence").to_numpy()
    mixed = {int(sentence_of[row]) for row in rows_of(store, pairs_of(store)[StepKey(0, 0)])}
    as_stored = {int(sentence_of[row]) for row in rows_of(store, pairs_of(store, seed=None)[StepKey(0, 0)])}
    assert len(as_stored) <= 4
    assert len(mixed) >= 8


def test_reading__takes_no_more_than_a_buffer_at_once(
    store: ActivationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    read = RowFile.__getitem__

    def counted(self: RowFile, rows: Any) -> torch.Tensor:
        found = read(self, rows)
        asked.append(len(found))
        return found

    monkeypatch.setattr(RowFile, "__getitem__", counted)
    pairs = pairs_of(store, words=10, buffer_words=25)
    epoch_of(pairs)
    start, end = store.word_range(Split.train)
    assert max(asked) == 30, "rounded up to whole batches"
    assert sum(asked) == 2 * (end - start), "each layer once"


def test_one_layer__is_read_once_for_source_and_target(
    store: ActivationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    read = RowFile.__getitem__
    monkeypatch.setattr(RowFile, "__getitem__", lambda self, rows: (asked.append(1), read(self, rows))[1])
    batch = WordPairs(store, 1, 1, Split.train, 16, 0)[StepKey(0, 0)]
    assert torch.equal(batch.source, batch.target)
    assert len(asked) == 1


def test_layers_kept_whole__give_the_same_bits(store: ActivationStore, monkeypatch: pytest.MonkeyPatch) -> None:
    resident = whole_layers(store, LAYERS, CPU)
    assert {layer: len(words) for layer, words in resident.items()} == dict.fromkeys(LAYERS, store.n_words)
    read = epoch_of(pairs_of(store))
    kept = pairs_of(store, resident=resident)
    monkeypatch.setattr(RowFile, "__getitem__", pytest.fail)
    for one, other in zip(epoch_of(kept), read, strict=True):
        assert torch.equal(one.source, other.source)
        assert torch.equal(one.target, other.target)


def test_data_module__validation_is_in_the_order_of_the_store(store: ActivationStore) -> None:
    data = WordDataModule(store, *LAYERS, batch_words=7, seed=0, device=CPU)
    start, end = store.word_range(Split.validation)
    source = torch.cat([batch.source for batch in data.val_dataloader()])
    assert torch.equal(source, store.words(1)[start:end])


def test_data_module__epochs_differ_and_workers_change_nothing(store: ActivationStore) -> None:
    alone, helped = (WordDataModule(store, *LAYERS, 16, seed=0, num_workers=n) for n in (0, 1))
    loader, other = alone.train_dataloader(), helped.train_dataloader()
    first = [batch.target for batch in loader]
    assert len(first) == len(loader)
    for sampler in (loader.sampler, other.sampler):
        sampler.set_epoch(2)
    third = [batch for batch in loader]
    assert {batch.epoch for batch in third} == {2}
    assert not torch.equal(third[0].target, first[0])
    for batch, of_worker in zip(third, other, strict=True):
        assert torch.equal(batch.target, of_worker.target)

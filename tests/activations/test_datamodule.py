"""Batches are named by (seed, epoch, step), hold each sentence once, and are the same wherever they are read."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from clvq_exp.activations.datamodule import (
    ActivationDataModule,
    ActivationPairs,
    BatchKey,
    OrderedBatches,
    RandomBatches,
    resident_device,
)
from clvq_exp.activations.extraction import extract
from clvq_exp.activations.store import ActivationStore
from clvq_exp.records import ActivationBatch
from clvq_exp.settings import ActivationSettings, Split, StoreDtype

BATCH = 8


@pytest.fixture(scope="session")
def module(store: ActivationStore) -> Callable[..., ActivationDataModule]:
    def module(**changed: Any) -> ActivationDataModule:
        given: dict[str, Any] = {
            "store": store,
            "source_layer": 1,
            "target_layer": 3,
            "batch_size": BATCH,
            "micro_batch_words": 64,
            "seed": 5,
        }
        return ActivationDataModule(**(given | changed))

    return module


def epoch(data: ActivationDataModule, number: int = 0) -> list[ActivationBatch]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)
    return list(loader)


def assert_same(first: list[ActivationBatch], second: list[ActivationBatch]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one[1:] == other[1:]
        assert len(one.micro_batches) == len(other.micro_batches)
        for mine, theirs in zip(one.micro_batches, other.micro_batches, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def words_of(batch: ActivationBatch) -> list[int]:
    return sorted(int(row) for micro in batch.micro_batches for row in micro.word_ids[micro.real])


def orders(sampler: RandomBatches, number: int) -> list[BatchKey]:
    sampler.set_epoch(number)
    return list(sampler)


# --- order


def test_random_batches__the_same_seed_and_epoch_give_the_same_order():
    rows = np.arange(30)
    first, second = RandomBatches(rows, 7, seed=1), RandomBatches(rows, 7, seed=1)
    orders(second, 9)  # what was read before does not matter
    assert orders(first, 4) == orders(second, 4) == orders(first, 4)


def test_random_batches__another_epoch_or_seed_gives_another_order():
    rows = np.arange(30)
    sampler = RandomBatches(rows, 7, seed=1)
    sentences = [[key.sentences for key in orders(sampler, number)] for number in (0, 1)]
    assert sentences[0] != sentences[1]
    other = [key.sentences for key in orders(RandomBatches(rows, 7, seed=2), 0)]
    assert sentences[0] != other


@pytest.mark.parametrize("size", [1, 7, 30, 100])
def test_random_batches__every_sentence_once_and_steps_in_order(size: int):
    rows = np.arange(100, 130)
    sampler = RandomBatches(rows, size, seed=1)
    keys = orders(sampler, 3)
    assert len(keys) == len(sampler) == -(-30 // size)
    assert sorted(row for key in keys for row in key.sentences) == rows.tolist()
    assert [(key.epoch, key.step) for key in keys] == [(3, step) for step in range(len(keys))]
    assert all(len(key.sentences) == min(size, 30) for key in keys[:-1])


def test_ordered_batches__go_from_long_to_short():
    lengths = np.array([3, 9, 4, 9, 1])
    keys = list(OrderedBatches(np.array([0, 1, 3, 4]), lengths, 3))
    assert [key.sentences for key in keys] == [(1, 3, 0), (4,)]


# --- batches


def test_batches__hold_exactly_the_words_of_their_sentences(
    module: Callable[..., ActivationDataModule], store: ActivationStore
):
    sentence = np.asarray(store.word_column("sentence"))
    loader = module().train_dataloader()
    for key, batch in zip(list(loader.sampler), loader, strict=True):
        expected = np.flatnonzero(np.isin(sentence, key.sentences)).tolist()
        assert words_of(batch) == expected
        assert batch.n_words == len(expected)
        assert (batch.epoch, batch.step) == (key.epoch, key.step)


def test_batches__an_epoch_holds_every_training_word_once(
    module: Callable[..., ActivationDataModule], store: ActivationStore
):
    start, end = store.word_range(Split.train)
    batches = epoch(module(), 2)
    assert sorted(row for batch in batches for row in words_of(batch)) == list(range(start, end))
    assert len(batches) == module().steps_per_epoch == 5
    assert sum(batch.n_words for batch in batches) == end - start


def test_batches__real_words_are_the_store_s_and_padding_is_zero(
    module: Callable[..., ActivationDataModule], store: ActivationStore
):
    some_padding = False
    for batch in epoch(module()):
        for micro in batch.micro_batches:
            assert micro.real.dtype == torch.bool
            assert micro.source.shape == micro.target.shape == (*micro.real.shape, store.width)
            assert micro.source.dtype == micro.target.dtype == torch.float32
            rows = micro.word_ids[micro.real]
            assert torch.equal(micro.source[micro.real], store.gather_words(1, rows))
            assert torch.equal(micro.target[micro.real], store.gather_words(3, rows))
            assert bool((micro.word_ids[~micro.real] == -1).all())
            assert not micro.source[~micro.real].any()
            assert not micro.target[~micro.real].any()
            some_padding = some_padding or not bool(micro.real.all())
    assert some_padding


def test_batches__words_of_a_sentence_lie_in_order_from_the_left(module: Callable[..., ActivationDataModule]):
    for batch in epoch(module()):
        for micro in batch.micro_batches:
            for real, rows in zip(micro.real, micro.word_ids, strict=True):
                n = int(real.sum())
                assert bool(real[:n].all())
                assert torch.equal(rows[:n], torch.arange(int(rows[0]), int(rows[0]) + n))


@pytest.mark.parametrize("budget", [1, 20, 64, 10_000])
def test_batches__micro_batches_stay_within_their_budget(module: Callable[..., ActivationDataModule], budget: int):
    batches = epoch(module(micro_batch_words=budget))
    for batch in batches:
        assert all(len(micro.real) == 1 or micro.real.numel() <= budget for micro in batch.micro_batches)
        assert sum(len(micro.real) for micro in batch.micro_batches) <= BATCH
    whole = epoch(module(micro_batch_words=10_000))
    assert [words_of(batch) for batch in batches] == [words_of(batch) for batch in whole]
    assert all(len(batch.micro_batches) == 1 for batch in whole)


def test_batches__one_layer_can_be_source_and_target(module: Callable[..., ActivationDataModule]):
    for batch in epoch(module(target_layer=1)):
        assert all(torch.equal(micro.source, micro.target) for micro in batch.micro_batches)


# --- where they are read


def is_resident(data: ActivationDataModule) -> bool:
    return bool(data.pairs._resident)


def resident_pairs(store: ActivationStore) -> ActivationPairs:
    return ActivationPairs(store, 1, 3, 64, resident=torch.device("cpu"))


def read_by(pairs: ActivationPairs, keys: list[BatchKey]) -> list[ActivationBatch]:
    return [pairs[key] for key in keys]


def test_resident__batches_equal_those_read_from_the_store(store: ActivationStore):
    keys = orders(RandomBatches(store.sentence_ids(Split.train), BATCH, 5), 1)
    assert_same(read_by(resident_pairs(store), keys), read_by(ActivationPairs(store, 1, 3, 64), keys))


def test_resident__only_on_a_gpu_that_has_room_for_both_layers(store: ActivationStore):
    one, gpu = store.n_words * store.width * 4 / 2**30, torch.device("cuda")
    assert resident_device(store, [1, 3], gpu, 1.99 * one) is None
    assert resident_device(store, [1, 3], gpu, 2 * one) == gpu
    assert resident_device(store, [1, 1], gpu, one) == gpu
    assert resident_device(store, [1, 3], torch.device("cpu"), 4.0) is None


def test_resident__not_on_the_cpu_whatever_the_room(module: Callable[..., ActivationDataModule]):
    assert not is_resident(module(resident_gib=4.0))
    assert not is_resident(module(resident_gib=4.0, device=torch.device("cpu")))


@pytest.mark.parametrize("dtype", list(StoreDtype))
def test_resident__keeps_the_store_s_format_and_gives_float32(
    cache: Any, model: Any, splits: Any, dtype: StoreDtype
):
    settings = ActivationSettings(batch_tokens=256, dtype=dtype)
    short = extract(cache, model, splits, [1, 3], settings, model.max_length)
    resident, read = resident_pairs(short), ActivationPairs(short, 1, 3, 64)
    assert torch.equal(resident._resident[1], short.words(1))
    assert resident._resident[1].dtype == short.words(1).dtype
    keys = orders(RandomBatches(short.sentence_ids(Split.train), BATCH, 5), 0)
    assert_same(read_by(resident, keys), read_by(read, keys))
    assert {each.source.dtype for each in resident[keys[0]].micro_batches} == {torch.float32}
    room = 2 * short.n_words * short.width * short.words(1).element_size() / 2**30
    assert resident_device(short, [1, 3], torch.device("cuda"), room) == torch.device("cuda")
    assert resident_device(short, [1, 3], torch.device("cuda"), 0.99 * room) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_resident__batches_lie_on_the_gpu_and_are_the_same(module: Callable[..., ActivationDataModule]):
    on_gpu = epoch(module(device=torch.device("cuda")))
    assert all(each.device.type == "cuda" for each in on_gpu[0].micro_batches[0])
    moved = [
        batch._replace(micro_batches=tuple(type(m)(*(each.cpu() for each in m)) for m in batch.micro_batches))
        for batch in on_gpu
    ]
    assert_same(moved, epoch(module()))


def test_workers__read_the_same_batches_in_the_same_order(module: Callable[..., ActivationDataModule]):
    with_workers = module(num_workers=2)
    assert not is_resident(with_workers)  # a copy in every process is what nobody wants
    loader = with_workers.train_dataloader()
    for number in (0, 3):  # workers persist; the order is still that of the epoch
        loader.sampler.set_epoch(number)
        assert_same(list(loader), epoch(module(), number))


# --- validation and other splits


@pytest.mark.parametrize("split", list(Split))
def test_ordered__gives_every_word_of_a_split_once(
    module: Callable[..., ActivationDataModule], store: ActivationStore, split: Split
):
    start, end = store.word_range(split)
    batches = list(module().ordered(split))
    assert sorted(row for batch in batches for row in words_of(batch)) == list(range(start, end))
    assert sum(batch.n_words for batch in batches) == end - start


def test_val_dataloader__is_the_validation_split_and_never_changes(
    module: Callable[..., ActivationDataModule], store: ActivationStore
):
    data = module()
    loader = data.val_dataloader()
    assert_same(list(loader), list(loader))
    rows = {row for batch in loader for row in words_of(batch)}
    assert rows == set(range(*store.word_range(Split.validation)))


def test_ordered__an_empty_split_gives_no_batches(
    module: Callable[..., ActivationDataModule], store: ActivationStore, monkeypatch: pytest.MonkeyPatch
):
    train_only = store.sentences._replace
    monkeypatch.setattr(store, "sentences", train_only(split=np.zeros(store.n_sentences, dtype=np.int8)))
    assert list(module().val_dataloader()) == []


# --- with Lightning


class Recorder(pl.LightningModule):
    """Learns nothing, and writes down which batches it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[int, int, tuple[int, ...]]] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def validation_step(self, batch: ActivationBatch) -> None:
        pass

    def training_step(self, batch: ActivationBatch) -> torch.Tensor:
        self.seen.append((batch.epoch, batch.step, tuple(words_of(batch))))
        return self.weight.sum()


def trainer(epochs: int, **changed: Any) -> pl.Trainer:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    return pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **changed,
    )


@pytest.mark.parametrize("num_workers", [0, 2])
def test_lightning__sets_the_epoch_of_the_order(module: Callable[..., ActivationDataModule], num_workers: int):
    recorder = Recorder()
    trainer(3, enable_checkpointing=False).fit(recorder, datamodule=module(num_workers=num_workers))
    expected = [
        (batch.epoch, batch.step, tuple(words_of(batch)))
        for number in range(3)
        for batch in epoch(module(), number)
    ]
    assert recorder.seen == expected


def test_lightning__a_resumed_run_sees_the_batches_that_were_left(
    module: Callable[..., ActivationDataModule], tmp_path: Path
):
    whole, first, second = Recorder(), Recorder(), Recorder()
    trainer(3, enable_checkpointing=False).fit(whole, datamodule=module())
    half = trainer(1, enable_checkpointing=False)
    half.fit(first, datamodule=module())
    half.save_checkpoint(tmp_path / "half.ckpt")
    trainer(3, enable_checkpointing=False).fit(
        second, datamodule=module(), ckpt_path=tmp_path / "half.ckpt", weights_only=True
    )
    assert first.seen + second.seen == whole.seen

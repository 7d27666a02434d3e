"""The store is read lazily, by rows, and travels to other processes as a few paths."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from clvq_exp.activations.datamodule import ActivationPairs, BatchKey
from clvq_exp.activations.store import ActivationStore, create_activations, open_activations
from clvq_exp.settings import Split, StoreDtype


class Rows(Dataset[torch.Tensor]):
    def __init__(self, store: ActivationStore) -> None:
        self.store = store

    def __len__(self) -> int:
        return self.store.n_words

    def __getitem__(self, row: int) -> torch.Tensor:
        return self.store.gather_words(3, torch.tensor([row]))[0]


def test_store__knows_its_shape(store: ActivationStore, splits: dict[Split, list]):
    assert store.layers == (1, 3)
    assert store.width == 32
    assert store.n_sentences == sum(len(each) for each in splits.values())
    assert store.words(1).shape == (store.n_words, 32)
    assert store.dtype(1) is StoreDtype.float32
    assert store.after_final_norm(3) is False


def test_store__sentences_lie_side_by_side_without_a_gap(store: ActivationStore):
    table = store.sentences
    ends = table.first_word + table.n_words
    assert table.first_word[0] == 0
    assert np.array_equal(table.first_word[1:], ends[:-1])
    assert ends[-1] == store.n_words
    assert np.all(np.diff(table.split) >= 0)


def test_word_range__covers_just_the_words_of_its_splits(store: ActivationStore):
    sentence = np.asarray(store.word_column("sentence"))
    ends = [0]
    for split in Split:
        start, end = store.word_range(split)
        assert start == ends[-1]
        assert set(sentence[start:end]) == set(store.sentence_ids(split))
        ends.append(end)
    assert ends[-1] == store.n_words
    assert store.word_range(Split.train, Split.validation) == (0, ends[2])
    assert store.word_range(*Split) == (0, store.n_words)


@pytest.mark.parametrize("chunk", [1, 7, 100_000])
@pytest.mark.parametrize("chosen", [(Split.train,), (Split.dev,), (Split.train, Split.validation)])
def test_iterate_words__gives_every_row_once_with_its_number(
    store: ActivationStore, chunk: int, chosen: tuple[Split, ...]
):
    start, end = store.word_range(*chosen)
    expected = start
    blocks = []
    for row, block in store.iterate_words(1, chosen, chunk):
        assert row == expected
        assert 1 <= len(block) <= chunk
        expected += len(block)
        blocks.append(block)
    assert expected == end
    together = torch.cat(blocks)
    assert together.dtype == torch.float32
    assert torch.equal(together, store.words(1)[start:end])
    assert torch.equal(together, store.gather_words(1, torch.arange(start, end)))


def test_gather_words__takes_rows_in_any_order_and_more_than_once(store: ActivationStore):
    rows = torch.tensor([5, 0, 5, store.n_words - 1])
    assert torch.equal(store.gather_words(3, rows), store.words(3)[rows])
    assert store.gather_words(3, rows[:0]).shape == (0, store.width)


def test_sentence_representations__of_the_sentence_token_are_its_word(store: ActivationStore):
    for split in Split:
        first = torch.from_numpy(store.sentences.first_word[store.sentence_ids(split)])
        assert torch.equal(store.sentence_representations(3, split), store.gather_words(3, first))


def test_words__a_layer_that_is_not_held_names_those_that_are(store: ActivationStore):
    with pytest.raises(KeyError, match=r"layers \[1, 3\], not 2.*activations\.layers"):
        store.words(2)


def test_words__what_is_written_into_them_never_reaches_the_file(store: ActivationStore):
    file = store.layer_folders[1] / "words.bin"
    before = file.read_bytes()
    fresh = ActivationStore(store.tables, store.layer_folders)
    fresh.words(1)[0] = 77.0
    assert file.read_bytes() == before
    assert not torch.equal(fresh.words(1)[0], ActivationStore(store.tables, store.layer_folders).words(1)[0])


def test_words__are_mapped_when_they_are_asked_for(store: ActivationStore):
    lazy = ActivationStore(store.tables, store.layer_folders)
    assert lazy._maps == {}
    lazy.words(3)
    assert set(lazy._maps) == {3}
    assert lazy.words(3) is lazy.words(3)


def test_store__pickles_small_and_works_afterwards(store: ActivationStore):
    store.words(1)
    packed = pickle.dumps(store)
    assert len(packed) < 20_000 < store.words(1).numel() * 4
    unpacked = pickle.loads(packed)
    assert unpacked._maps == {}
    assert torch.equal(unpacked.words(1), store.words(1))
    assert unpacked.word_range(Split.dev) == store.word_range(Split.dev)
    assert store._maps != {}


def test_store__is_opened_by_worker_processes(store: ActivationStore):
    store.words(3)
    loader = DataLoader(Rows(store), batch_size=64, num_workers=2)
    assert torch.equal(torch.cat(list(loader)), store.words(3))


@pytest.mark.slow
def test_store__is_opened_by_processes_that_share_nothing(store: ActivationStore):
    keys = [BatchKey(0, step, (2 * step, 2 * step + 1)) for step in range(6)]
    pairs = ActivationPairs(store, 1, 3, micro_batch_words=10_000)
    loader = DataLoader(pairs, batch_size=None, sampler=keys, num_workers=2, multiprocessing_context="spawn")
    for key, batch in zip(keys, loader, strict=True):
        for found, expected in zip(batch.micro_batches, pairs[key].micro_batches, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("dtype", list(StoreDtype))
def test_activations__come_back_from_the_file_as_they_went_in(tmp_path, dtype: StoreDtype):
    values = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).to(getattr(torch, dtype.value))
    file = create_activations(tmp_path / "a.bin", 5, 3, dtype)
    file[torch.arange(5)] = values
    assert file.dtype == values.dtype
    assert (tmp_path / "a.bin").stat().st_size == values.numel() * values.element_size()
    assert torch.equal(open_activations(tmp_path / "a.bin", 5, 3, dtype), values)


def test_create_activations__takes_its_final_size_at_once(tmp_path):
    create_activations(tmp_path / "a.bin", 1000, 8, StoreDtype.float32)
    assert (tmp_path / "a.bin").stat().st_size == 1000 * 8 * 4


@pytest.mark.parametrize("dtype", list(StoreDtype))
def test_activations__no_rows_can_be_written_and_read(tmp_path, dtype: StoreDtype):
    assert create_activations(tmp_path / "a.bin", 0, 3, dtype).shape == (0, 3)
    empty = open_activations(tmp_path / "a.bin", 0, 3, dtype)
    assert empty.shape == (0, 3)
    assert empty.dtype == getattr(torch, dtype.value)


def test_word_range__of_splits_with_another_between_them_is_refused(store: ActivationStore):
    with pytest.raises(ValueError, match="do not lie side by side"):
        store.word_range(Split.train, Split.dev)

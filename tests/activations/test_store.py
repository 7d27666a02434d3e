"""The store is read lazily, by rows, and travels to other processes as a few paths."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies
from torch.utils.data import DataLoader, Dataset

from clvq_exp.activations.datamodule import ActivationPairs, BatchKey
from clvq_exp.activations.row_file import TORCH_TYPES, RowFile
from clvq_exp.activations.store import SENTENCES_TABLE, WORDS_TABLE, ActivationStore
from clvq_exp.artifacts import DamagedArtifactError
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


def test_gather_sentences__takes_rows_of_the_store_in_any_order(store: ActivationStore):
    dev = store.sentence_ids(Split.dev)
    rows = dev[[2, 0, 2]]
    assert torch.equal(store.gather_sentences(3, rows), store.sentence_representations(3, Split.dev)[[2, 0, 2]])
    assert store.gather_sentences(3, rows[:0]).shape == (0, store.width)


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


# --- rows of a file


def row_file(folder: Path, dtype: StoreDtype, rows: int = 23, width: int = 5) -> RowFile:
    """A file of random rows, written as raw memory."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn((rows, width), generator=generator).to(TORCH_TYPES[dtype])
    (folder / "words.bin").write_bytes(values.view(torch.uint8).numpy().tobytes())
    return RowFile(folder / "words.bin", rows, width, dtype)


def mapped(file: RowFile) -> torch.Tensor:
    """The same rows through a memory map."""
    bits = np.int32 if file.dtype is torch.float32 else np.int16
    array = np.memmap(file.path, dtype=bits, mode="r", shape=(file.rows, file.width))
    return torch.from_numpy(np.array(array)).view(file.dtype)


@pytest.mark.parametrize("dtype", list(StoreDtype))
@pytest.mark.parametrize(
    "rows",
    [
        [4],
        [0, 1, 2, 3],
        [22],
        [7, 3, 3, 22, 0],
        [5, 6, 7, 1, 2, 20, 21, 22],
        [9, 8, 7],
        list(range(23)),
        [],
    ],
    ids=str,
)
def test_rows__are_those_of_a_memory_map(tmp_path: Path, dtype: StoreDtype, rows: list[int]):
    file = row_file(tmp_path, dtype)
    chosen = torch.tensor(rows, dtype=torch.int64)
    expected = mapped(file)[chosen]
    for asked in (chosen, chosen.numpy()):
        found = file[asked]
        assert found.dtype == file.dtype
        assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", list(StoreDtype))
def test_rows__slices_are_those_of_a_memory_map(tmp_path: Path, dtype: StoreDtype):
    file = row_file(tmp_path, dtype)
    for rows in (slice(0, 23), slice(5, 9), slice(20, 40), slice(3, 3), slice(None), slice(9, 2)):
        assert torch.equal(file[rows], mapped(file)[rows])


@given(rows=strategies.lists(strategies.integers(0, 22), max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_rows__any_choice_in_any_order(tmp_path: Path, rows: list[int]):
    file = row_file(tmp_path, StoreDtype.float16)
    chosen = np.array(rows, dtype=np.int64)
    assert torch.equal(file[chosen], mapped(file)[torch.from_numpy(chosen)])


def test_rows__what_is_read_is_the_reader_s_own(tmp_path: Path):
    file = row_file(tmp_path, StoreDtype.float32)
    before = file.path.read_bytes()
    file[0:3].zero_()
    assert file.path.read_bytes() == before


@pytest.mark.parametrize("row", [-1, 23])
def test_rows__that_are_not_there_are_refused(tmp_path: Path, row: int):
    file = row_file(tmp_path, StoreDtype.float32)
    with pytest.raises(IndexError, match="23"):
        file[np.array([0, row])]
    with pytest.raises(IndexError, match="no step"):
        file[::2]


def test_rows__of_a_file_that_was_cut_name_it(tmp_path: Path):
    file = row_file(tmp_path, StoreDtype.float32)
    file.path.write_bytes(file.path.read_bytes()[:-4])
    assert torch.equal(file[0:22], mapped(RowFile(file.path, 22, 5, StoreDtype.float32)))
    with pytest.raises(DamagedArtifactError, match=r"words\.bin ends before its 23 rows of 20 bytes"):
        file[20:23]


def test_rows__no_rows_need_no_file(tmp_path: Path):
    file = RowFile(tmp_path / "absent.bin", 0, 3, StoreDtype.bfloat16)
    assert file[0:0].shape == file[torch.zeros(0, dtype=torch.int64)].shape == (0, 3)


# --- columns of the tables


@pytest.mark.parametrize("group_size", [1, 5, 1000])
@pytest.mark.parametrize("rows", [[0], [3, 4, 5], [11, 2, 2, 40, 0], []], ids=str)
def test_columns__of_some_rows_are_those_rows_of_the_whole(
    store: ActivationStore, tmp_path: Path, group_size: int, rows: list[int]
):
    for name in (WORDS_TABLE, SENTENCES_TABLE):
        pq.write_table(pq.read_table(store.tables / name), tmp_path / name, row_group_size=group_size)
    cut = ActivationStore.__new__(ActivationStore)  # the layers are of no interest here
    cut.tables = tmp_path
    chosen = np.array(rows, dtype=np.int64)
    for name in ("sentence", "position", "word", "special"):
        whole = store.word_column(name).to_pylist()
        assert cut.word_column(name).to_pylist() == whole
        assert cut.word_column(name, chosen).to_pylist() == [whole[row] for row in rows]
        assert cut.word_column(name, chosen).type == store.word_column(name).type
    for name in ("id", "text", "label"):
        whole = store.sentence_column(name).to_pylist()
        assert cut.sentence_column(name, chosen).to_pylist() == [whole[row] for row in rows]


def test_word_range__of_splits_with_another_between_them_is_refused(store: ActivationStore):
    with pytest.raises(ValueError, match="do not lie side by side"):
        store.word_range(Split.train, Split.dev)

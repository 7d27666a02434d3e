"""The store of activations: tables of words and sentences, and one flat file per layer.

Tables and layers are artifacts of their own, so that a layer asked for later is added by one further pass and
the layers that are there never run the model again. Activations are memory-mapped and opened lazily: a store
can be handed to worker processes, which open the files themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from clvq_exp.artifacts import read_json
from clvq_exp.settings import Split, StoreDtype

WORDS_TABLE = "words.parquet"
SENTENCES_TABLE = "sentences.parquet"
WORD_ACTIVATIONS = "words.bin"
SENTENCE_REPRESENTATIONS = "sentences.bin"
LOGITS = "logits.bin"
LAYER_FACTS = "layer.json"

_NUMPY_TYPES: dict[StoreDtype, type[np.generic]] = {
    StoreDtype.float32: np.float32,
    StoreDtype.float16: np.float16,
    StoreDtype.bfloat16: np.uint16,  # numpy has no bfloat16: the bits are kept and viewed by torch
}
_SPLITS = tuple(Split)


class SentenceTable(NamedTuple):
    """Columns of the sentence table, one entry per sentence, ordered by split."""

    split: NDArray[np.int8]
    """Position in `Split`."""
    label: NDArray[np.int64]
    first_word: NDArray[np.int64]
    """Row of the sentence's first word."""
    n_words: NDArray[np.int64]
    """Stored words, the sentence token included."""
    n_tokens: NDArray[np.int64]
    """Sub-words, special tokens included."""


class ActivationStore:
    """Activations of the words and sentences of a data set at some layers.

    Args:
        tables: folder with the tables of words and sentences.
        layers: folder of each layer.
    """

    def __init__(self, tables: Path, layers: Mapping[int, Path]) -> None:
        self.tables = tables
        self.layer_folders = dict(layers)
        facts = read_json(next(iter(layers.values())) / LAYER_FACTS) if layers else {"width": 0}
        self.width: int = facts["width"]
        self.sentences = read_sentence_table(tables)
        self.n_sentences = len(self.sentences.label)
        self.n_words = int(self.sentences.n_words.sum())
        self._maps: dict[int, Tensor] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Pickle paths only: a pickled memory map would carry its data."""
        return {**self.__dict__, "_maps": {}}

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that the store holds."""
        return tuple(sorted(self.layer_folders))

    def words(self, layer: int) -> Float[Tensor, "n_words d"]:
        """The memory-mapped activations of all words at a layer, in the store's number format."""
        if layer not in self._maps:
            self._maps[layer] = open_activations(
                self._folder(layer) / WORD_ACTIVATIONS, self.n_words, self.width, self.dtype(layer)
            )
        return self._maps[layer]

    def layer_fingerprint(self, layer: int) -> str:
        """Names exactly what the layer's activations were made of."""
        return self._folder(layer).name

    def dtype(self, layer: int) -> StoreDtype:
        """Number format of a layer on disk."""
        return StoreDtype(read_json(self._folder(layer) / LAYER_FACTS)["dtype"])

    def after_final_norm(self, layer: int) -> bool:
        """Whether the layer's states have passed the model's final norm."""
        return bool(read_json(self._folder(layer) / LAYER_FACTS)["after_final_norm"])

    def sentence_ids(self, split: Split) -> NDArray[np.int64]:
        """Rows of the sentences of one split."""
        return np.flatnonzero(self.sentences.split == _SPLITS.index(split))

    def word_range(self, *splits: Split) -> tuple[int, int]:
        """Rows [start, end) of the words of one split, or of several that lie side by side.

        Raises:
            ValueError: splits with another one between them.
        """
        rows = np.concatenate([self.sentence_ids(split) for split in splits])
        if not len(rows):
            return 0, 0
        first, last = rows.min(), rows.max()
        if last - first + 1 != len(rows):
            raise ValueError(f"the splits {[split.value for split in splits]} do not lie side by side")
        return int(self.sentences.first_word[first]), int(
            self.sentences.first_word[last] + self.sentences.n_words[last]
        )

    def iterate_words(
        self, layer: int, splits: tuple[Split, ...] = (Split.train,), chunk: int = 16_384
    ) -> Iterator[tuple[int, Float[Tensor, "n d"]]]:
        """Blocks of word activations in float32, with the row of each block's first word."""
        start, end = self.word_range(*splits)
        for row in range(start, end, chunk):
            yield row, self.words(layer)[row : min(row + chunk, end)].float()

    def gather_words(self, layer: int, rows: Int64[Tensor, " n"]) -> Float[Tensor, "n d"]:
        """Activations of some words, in float32."""
        return self.words(layer)[rows].float()

    def sentence_representations(self, layer: int, split: Split) -> Float[Tensor, "n d"]:
        """Representations h of the sentences of one split at a layer, in float32."""
        everything = open_activations(
            self._folder(layer) / SENTENCE_REPRESENTATIONS, self.n_sentences, self.width, StoreDtype.float32
        )
        return everything[torch.from_numpy(self.sentence_ids(split))].clone()

    def logits(self, split: Split) -> Float[Tensor, "n classes"]:
        """The language model's class logits for the sentences of one split."""
        folder = next(iter(self.layer_folders.values()))
        flat = np.fromfile(folder / LOGITS, dtype=np.float32).reshape(max(self.n_sentences, 1), -1)
        return torch.from_numpy(flat[self.sentence_ids(split)])

    def labels(self, split: Split) -> Int64[Tensor, " n"]:
        """Gold classes of the sentences of one split."""
        return torch.from_numpy(self.sentences.label[self.sentence_ids(split)])

    def word_column(self, name: str) -> Any:
        """One column of the word table, as an Arrow array: `sentence`, `position`, `word` or `special`."""
        return pq.read_table(self.tables / WORDS_TABLE, columns=[name]).column(0).combine_chunks()

    def sentence_column(self, name: str) -> Any:
        """One column of the sentence table, as an Arrow array: `id`, `text`, `group`, ..."""
        return pq.read_table(self.tables / SENTENCES_TABLE, columns=[name]).column(0).combine_chunks()

    def _folder(self, layer: int) -> Path:
        try:
            return self.layer_folders[layer]
        except KeyError as error:
            raise KeyError(
                f"the store holds layers {list(self.layers)}, not {layer}: add it to activations.layers"
            ) from error


def read_sentence_table(tables: Path) -> SentenceTable:
    """Read the numeric columns of a sentence table."""
    table = pq.read_table(tables / SENTENCES_TABLE, columns=list(SentenceTable._fields))
    return SentenceTable(*(table.column(name).to_numpy() for name in SentenceTable._fields))


def create_activations(path: Path, rows: int, width: int, dtype: StoreDtype) -> Tensor:
    """A new file of the final size, mapped for writing."""
    map_ = np.memmap(path, dtype=_NUMPY_TYPES[dtype], mode="w+", shape=(max(rows, 1), width))
    return _as_tensor(map_, dtype)[:rows]


def open_activations(path: Path, rows: int, width: int, dtype: StoreDtype) -> Tensor:
    """Map a finished file for reading.

    The mapping is copy-on-write: what a caller writes into the tensor never reaches the file.
    """
    if rows == 0:
        return torch.zeros((0, width), dtype=_torch_type(dtype))
    return _as_tensor(np.memmap(path, dtype=_NUMPY_TYPES[dtype], mode="c", shape=(rows, width)), dtype)


def _as_tensor(map_: Any, dtype: StoreDtype) -> Tensor:
    tensor = torch.from_numpy(map_)
    return tensor.view(torch.bfloat16) if dtype is StoreDtype.bfloat16 else tensor


def _torch_type(dtype: StoreDtype) -> torch.dtype:
    return {
        StoreDtype.float32: torch.float32,
        StoreDtype.float16: torch.float16,
        StoreDtype.bfloat16: torch.bfloat16,
    }[dtype]

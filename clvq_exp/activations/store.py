"""The store of activations: tables of words and sentences, and one flat file per layer.

Tables and layers are artifacts of their own, so that a layer asked for later is added by one further pass and
the layers that are there never run the model again. Rows of activations and of tables are read when they are
asked for, a block at a time: memory does not grow with the store. A store can be handed to worker processes,
which open the files themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from clvq_exp.activations.row_file import TORCH_TYPES, RowFile
from clvq_exp.artifacts import read_json
from clvq_exp.settings import Split, StoreDtype

WORDS_TABLE = "words.parquet"
SENTENCES_TABLE = "sentences.parquet"
WORD_ACTIVATIONS = "words.bin"
SENTENCE_REPRESENTATIONS = "sentences.bin"
LAYER_FACTS = "layer.json"

_NUMPY_TYPES: dict[StoreDtype, type[np.generic]] = {
    StoreDtype.float32: np.float32,
    StoreDtype.float16: np.float16,
    StoreDtype.bfloat16: np.uint16,  # numpy has no bfloat16: the bits are kept and viewed by torch
}
BLOCK = 4096
"""Words that a pass over a layer holds at once."""
_SPLITS = tuple(Split)


class StoreError(ValueError):
    """Layers and tables that do not belong together; the message names both."""


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

    Raises:
        StoreError: layers that were made of other texts or by another model than the tables, or than each other.
    """

    def __init__(self, tables: Path, layers: Mapping[int, Path]) -> None:
        self.tables = tables
        self.layer_folders = dict(layers)
        self.sentences = read_sentence_table(tables)
        self.n_sentences = len(self.sentences.label)
        self.n_words = int(self.sentences.n_words.sum())
        self.width = self._checked_width()
        self._files: dict[int, RowFile] = {}
        self._maps: dict[int, Tensor] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Pickle paths only: a pickled memory map would carry its data."""
        return {**self.__dict__, "_maps": {}}

    def _checked_width(self) -> int:
        """The width that all layers share, once each is known to belong to the tables."""
        widths: dict[int, Path] = {}
        for layer, folder in self.layer_folders.items():
            facts: dict[str, Any] = read_json(folder / LAYER_FACTS)
            problems = list(self._layer_problems(layer, folder, facts))
            if problems:
                raise StoreError(
                    f"the layer in {folder} does not belong to the tables in {self.tables}: "
                    f"{', '.join(problems)}; open layers with the tables that they were made of, or delete the "
                    "layer's folder, and it is made again"
                )
            widths.setdefault(facts["width"], folder)
        if len(widths) > 1:
            (width, folder), (other_width, other) = list(widths.items())[:2]
            raise StoreError(
                f"the layer in {folder} is {width} wide, the one in {other} {other_width}: they are of two "
                "models, and a store holds layers of one"
            )
        return next(iter(widths), 0)

    def _layer_problems(self, layer: int, folder: Path, facts: dict[str, Any]) -> Iterator[str]:
        expected = {
            "layer": (layer, "it is layer {}, not {}"),
            "tables": (self.tables.name, "it was made of the tables {}, these are {}"),
            "n_words": (self.n_words, "it has {} words, they have {}"),
        }
        for key, (value, sentence) in expected.items():
            found = facts.get(key, value)  # what the facts do not say is left to the size of the files
            if found != value:
                yield sentence.format(found, value)
        word_bytes = facts["width"] * TORCH_TYPES[StoreDtype(facts["dtype"])].itemsize
        for name, rows, row_bytes in (
            (WORD_ACTIVATIONS, self.n_words, word_bytes),
            (SENTENCE_REPRESENTATIONS, self.n_sentences, 4 * facts["width"]),
        ):
            size = (folder / name).stat().st_size if (folder / name).is_file() else 0
            if rows and size != rows * row_bytes:
                yield f"its {name} has {size} bytes, {rows} rows of {row_bytes} bytes are needed"

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that the store holds."""
        return tuple(sorted(self.layer_folders))

    def words(self, layer: int) -> Float[Tensor, "n_words d"]:
        """All words of a layer as one memory-mapped tensor, in the store's number format.

        For a look at them. Pages of the map that were touched stay in memory: a pass over many words uses
        `iterate_words` or `gather_words`.
        """
        if layer not in self._maps:
            path = self._folder(layer) / WORD_ACTIVATIONS
            self._maps[layer] = _mapped(path, self.n_words, self.width, self.dtype(layer))
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
        self, layer: int, splits: tuple[Split, ...] = (Split.train,), chunk: int = BLOCK
    ) -> Iterator[tuple[int, Float[Tensor, "n d"]]]:
        """Blocks of word activations in float32, with the row of each block's first word."""
        start, end = self.word_range(*splits)
        file = self.word_file(layer)
        for row in range(start, end, chunk):
            yield row, file[row : min(row + chunk, end)].float()

    def gather_words(self, layer: int, rows: Int64[Tensor, " n"]) -> Float[Tensor, "n d"]:
        """Activations of some words, in float32."""
        return self.word_file(layer)[rows].float()

    def gather_sentences(self, layer: int, sentences: NDArray[np.int64]) -> Float[Tensor, "n d"]:
        """Representations h of some sentences, by their rows in the store, in float32."""
        path = self._folder(layer) / SENTENCE_REPRESENTATIONS
        return RowFile(path, self.n_sentences, self.width, StoreDtype.float32)[sentences]

    def sentence_representations(self, layer: int, split: Split) -> Float[Tensor, "n d"]:
        """Representations h of the sentences of one split at a layer, in float32."""
        return self.gather_sentences(layer, self.sentence_ids(split))

    def word_file(self, layer: int) -> RowFile:
        """The file of a layer's words, read by rows, in the store's number format."""
        if layer not in self._files:
            path = self._folder(layer) / WORD_ACTIVATIONS
            self._files[layer] = RowFile(path, self.n_words, self.width, self.dtype(layer))
        return self._files[layer]

    def labels(self, split: Split) -> Int64[Tensor, " n"]:
        """Gold classes of the sentences of one split."""
        return torch.from_numpy(self.sentences.label[self.sentence_ids(split)])

    def word_column(self, name: str, rows: NDArray[np.int64] | None = None) -> Any:
        """One column of the word table, as an Arrow array: `sentence`, `position`, `word` or `special`.

        Args:
            name: of the column.
            rows: words wanted, in any order; None for all of them.
        """
        return _read_column(self.tables / WORDS_TABLE, name, rows)

    def sentence_column(self, name: str, rows: NDArray[np.int64] | None = None) -> Any:
        """One column of the sentence table, as an Arrow array: `id`, `text`, `group`, ...

        Args:
            name: of the column.
            rows: sentences wanted, in any order; None for all of them.
        """
        return _read_column(self.tables / SENTENCES_TABLE, name, rows)

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


def _read_column(path: Path, name: str, rows: NDArray[np.int64] | None) -> Any:
    """A column, or some rows of it, a row group of the file at a time.

    Few rows are read each time: threads would not make it faster, and each keeps memory of its own.
    """
    with pq.ParquetFile(path) as file:
        if rows is None:
            return file.read([name], use_threads=False).column(0).combine_chunks()
        order = np.argsort(rows, kind="stable")
        ascending = rows[order]
        ends = np.cumsum([file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)])
        group_of = np.searchsorted(ends, ascending, side="right")
        parts = [
            file.read_row_group(int(group), [name], use_threads=False)
            .column(0)
            .take(pa.array(ascending[group_of == group] - (ends[group - 1] if group else 0)))
            for group in np.unique(group_of)
        ]
        found = pa.chunked_array(
            [chunk for part in parts for chunk in part.chunks], file.schema_arrow.field(name).type
        )
        return found.combine_chunks().take(pa.array(np.argsort(order)))


def _mapped(path: Path, rows: int, width: int, dtype: StoreDtype) -> Tensor:
    """A file as one tensor. The mapping is copy-on-write: what is written into it never reaches the file."""
    if rows == 0:
        return torch.zeros((0, width), dtype=TORCH_TYPES[dtype])
    tensor = torch.from_numpy(np.memmap(path, dtype=_NUMPY_TYPES[dtype], mode="c", shape=(rows, width)))
    return tensor.view(torch.bfloat16) if dtype is StoreDtype.bfloat16 else tensor

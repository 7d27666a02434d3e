"""The files of a layer while they are written: rows go to their places, and can be read back."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from clvq_exp.activations.row_file import TORCH_TYPES
from clvq_exp.activations.store import SENTENCE_REPRESENTATIONS, WORD_ACTIVATIONS, SentenceTable
from clvq_exp.settings import StoreDtype


class LayerOutput(NamedTuple):
    """What a layer file gets of one batch of sentences."""

    words: Float[Tensor, "words d"]
    """Activations of the sentences' words, one sentence after the other, in the store's number format."""
    sentences: Float[Tensor, "batch d"]


class LayerFiles:
    """Words and sentence representations of one layer, written in any order of sentences.

    Written by position instead of through a memory map: a full disk is then an error and not the end of the
    process, and what was written does not count as this process's memory.

    Args:
        folder: the layer's working folder; files that are there already keep their content.
        table: where each sentence's words lie.
        width: d.
        dtype: number format of the words.
    """

    def __init__(self, folder: Path, table: SentenceTable, width: int, dtype: StoreDtype) -> None:
        self.dtype = TORCH_TYPES[dtype]
        self._table = table
        self._word_bytes = width * self.dtype.itemsize
        n_sentences = max(1, len(table.n_words))
        n_words = max(1, int(table.n_words.sum()))
        self._words = _open(folder / WORD_ACTIVATIONS, n_words * self._word_bytes)
        self._sentence_bytes = 4 * width
        self._sentences = _open(folder / SENTENCE_REPRESENTATIONS, n_sentences * self._sentence_bytes)

    def write(self, rows: NDArray[np.int64], output: LayerOutput) -> None:
        """Put the sentences `rows` in their places."""
        words, start = _bytes(output.words), 0
        sentences = _bytes(output.sentences)
        for index, row in enumerate(rows.tolist()):
            offset, size = self._span(row)
            _write(self._words, words[start : start + size], offset)
            start += size
            _write(self._sentences, _row(sentences, index, self._sentence_bytes), row * self._sentence_bytes)

    def checksum(self, rows: NDArray[np.int64]) -> str:
        """SHA-256 of all that the files hold of the sentences `rows`."""
        digest = hashlib.sha256()
        for row in rows.tolist():
            offset, size = self._span(row)
            digest.update(os.pread(self._words, size, offset))
            digest.update(os.pread(self._sentences, self._sentence_bytes, row * self._sentence_bytes))
        return digest.hexdigest()

    def flush(self) -> None:
        """Wait until everything is on the disk."""
        for file in self._files():
            os.fsync(file)

    def close(self) -> None:
        """Close the files."""
        for file in self._files():
            os.close(file)

    def _files(self) -> Iterator[int]:
        yield from (self._words, self._sentences)

    def _span(self, row: int) -> tuple[int, int]:
        """Offset and size of a sentence's words, in bytes."""
        return (
            int(self._table.first_word[row]) * self._word_bytes,
            int(self._table.n_words[row]) * self._word_bytes,
        )


def _open(path: Path, size: int) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    os.ftruncate(file, size)
    return file


def _bytes(values: Tensor) -> memoryview:
    """The values' memory, row after row."""
    flat: Any = values.detach().cpu().contiguous().view(torch.uint8).numpy()
    return memoryview(flat).cast("B")


def _row(data: memoryview, index: int, size: int) -> memoryview:
    return data[index * size : (index + 1) * size]


def _write(file: int, data: memoryview, offset: int) -> None:
    while len(data):  # a disk that runs full takes a part first, and says so at the next call
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written

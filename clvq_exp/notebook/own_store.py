"""The caller's activations as a store, as extraction writes those of a language model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from clvq_exp.activations.layer_files import LayerFiles, LayerOutput
from clvq_exp.activations.store import (
    BLOCK,
    LAYER_FACTS,
    SENTENCES_TABLE,
    WORDS_TABLE,
    ActivationStore,
    read_sentence_table,
)
from clvq_exp.activations.tables import SENTENCES_SCHEMA, WORDS_SCHEMA
from clvq_exp.artifacts import ArtifactCache, write_json
from clvq_exp.notebook.given import OwnActivations
from clvq_exp.notebook.rows import NotebookError, Rows
from clvq_exp.settings import LayerPair, Split, StoreDtype

_DTYPE = StoreDtype.float32


def write_store(cache: ArtifactCache, given: OwnActivations, pair: LayerPair) -> ActivationStore:
    """Write a store as artifacts; what is there already, of the same bytes, is not written again.

    The activations are read twice, a block at a time: once to look at every value, once to write them.

    Args:
        cache: where tables and layers lie.
        given: what was checked.
        pair: numbers of the layers; the same one twice where there is one layer.

    Raises:
        NotebookError: an activation that is not finite, or a word that is none.
        StorageError: a full disk or a folder that cannot be written.
    """
    layers = (
        {pair.lower: given.lower} if given.upper is None else {pair.lower: given.lower, pair.upper: given.upper}
    )
    digests = {layer: _digest(rows) for layer, rows in layers.items()}
    tables = cache.get_or_make("words", _table_inputs(given), lambda out: _write_tables(out, given))
    folders = {
        layer: cache.get_or_make(
            "activations",
            {"own": digests[layer], "tables": tables.name, "dtype": _DTYPE, "layer": layer},
            lambda out, layer=layer, rows=rows: _write_layer(out, tables, given, layer, rows),
        )
        for layer, rows in layers.items()
    }
    return ActivationStore(tables, folders)


def _digest(rows: Rows) -> str:
    """SHA-256 of all values; each is looked at."""
    digest = hashlib.sha256()
    for _, block in rows.blocks():
        digest.update(block.numpy().data)
    return f"{digest.hexdigest()}, {rows.n} x {rows.width}"


def _table_inputs(given: OwnActivations) -> dict[str, Any]:
    """All that the tables are made of."""
    digest = hashlib.sha256()
    for start in range(0, given.lower.n, BLOCK):
        words = given.words[start : start + BLOCK] if given.words is not None else None
        digest.update(json.dumps(None if words is None else [str(word) for word in words]).encode() + b"\n")
    digest.update(json.dumps(given.ids).encode())
    for values in (given.first, given.validation, given.special, given.labels):
        digest.update(b"-" if values is None else np.ascontiguousarray(values).tobytes())
    return {"own": digest.hexdigest()}


def _blocks(given: OwnActivations) -> Iterator[NDArray[np.int64]]:
    """The caller's sentences in the order of the store, in blocks of about as many words as a store reads."""
    order = given.order
    ends = np.cumsum(given.lengths[order])
    start = 0
    while start < len(order):
        before = int(ends[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + BLOCK, side="right")))
        yield order[start:end]
        start = end


def _rows_of(given: OwnActivations, sentences: NDArray[np.int64]) -> NDArray[np.int64]:
    """The caller's rows of some sentences, one sentence after the other."""
    lengths = given.lengths[sentences]
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.repeat(given.first[sentences], lengths) + within


def _write_tables(out: Path, given: OwnActivations) -> None:
    n_sentences = n_words = 0
    with (
        pq.ParquetWriter(out / WORDS_TABLE, WORDS_SCHEMA) as words,
        pq.ParquetWriter(out / SENTENCES_TABLE, SENTENCES_SCHEMA) as table,
    ):
        for sentences in _blocks(given):
            rows, lengths = _rows_of(given, sentences), given.lengths[sentences]
            texts = _texts(given, rows)
            special = given.special[rows]
            counted = np.repeat(n_sentences + np.arange(len(sentences)), lengths)
            position = rows - np.repeat(given.first[sentences], lengths)
            columns = [counted, np.where(special, -1, position), texts, special]
            words.write_table(_table(columns, WORDS_SCHEMA))
            table.write_table(_sentence_rows(given, sentences, texts, n_words))
            n_sentences += len(sentences)
            n_words += len(rows)


def _sentence_rows(
    given: OwnActivations, sentences: NDArray[np.int64], words: list[str], n_before: int
) -> pa.Table:
    """Rows of the sentence table.

    Args:
        given: what the caller gave.
        sentences: the caller's.
        words: of all of them.
        n_before: words of the sentences before.
    """
    lengths = given.lengths[sentences]
    ends = np.cumsum(lengths)
    spans = zip((ends - lengths).tolist(), ends.tolist(), strict=True)
    ids = [given.ids[each] for each in sentences.tolist()]
    labels = np.zeros(len(sentences), np.int64) if given.labels is None else given.labels[sentences]
    splits = np.where(
        given.validation[sentences], *(tuple(Split).index(s) for s in (Split.validation, Split.train))
    )
    nothing = np.zeros(len(sentences), np.int64)
    texts = [" ".join(filter(None, words[start:end])) for start, end in spans]
    columns = [ids, texts, ids, labels, splits, n_before + ends - lengths, lengths, lengths, nothing, nothing]
    return _table(columns, SENTENCES_SCHEMA)


def _texts(given: OwnActivations, rows: NDArray[np.int64]) -> list[str]:
    """Words of some rows; empty where the caller gave none."""
    if given.words is None:
        return [""] * len(rows)
    words: list[object] = [given.words[row] for row in rows.tolist()]
    for row, word in zip(rows.tolist(), words, strict=True):
        if not isinstance(word, str) or not _is_unicode(word):
            raise NotebookError(f"words[{row}] is {word!r}: give text without lone surrogates")
    return [str(word) for word in words]


def _is_unicode(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _table(columns: Sequence[Any], schema: pa.Schema) -> pa.Table:
    return pa.table(
        [pa.array(each, field.type) for each, field in zip(columns, schema, strict=True)], schema=schema
    )


def _write_layer(out: Path, tables: Path, given: OwnActivations, layer: int, rows: Rows) -> None:
    """Words of a layer, and the mean over the words of each sentence."""
    table = read_sentence_table(tables)
    files = LayerFiles(out, table, rows.width, _DTYPE)
    n_sentences = 0
    try:
        for sentences in _blocks(given):
            words = rows[_rows_of(given, sentences)]
            lengths = torch.from_numpy(given.lengths[sentences])
            owner = torch.repeat_interleave(torch.arange(len(sentences)), lengths)
            sums = torch.zeros(len(sentences), rows.width).index_add_(0, owner, words)
            stored = n_sentences + np.arange(len(sentences))
            files.write(stored, LayerOutput(words, sums / lengths[:, None]))
            n_sentences += len(sentences)
        files.flush()
    finally:
        files.close()
    facts = {
        "layer": layer,
        "width": rows.width,
        "dtype": _DTYPE,
        "n_words": rows.n,
        "after_final_norm": False,
        "tables": tables.name,
    }
    write_json(out / LAYER_FACTS, facts)

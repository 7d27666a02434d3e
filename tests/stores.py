"""Stores of made-up activations, written without a language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clvq_exp.activations.store import (
    LAYER_FACTS,
    SENTENCE_REPRESENTATIONS,
    SENTENCES_TABLE,
    WORD_ACTIVATIONS,
    WORDS_TABLE,
    ActivationStore,
)
from clvq_exp.artifacts import write_json
from clvq_exp.settings import Split


class MadeSentence(NamedTuple):
    """A sentence of a store."""

    layers: Mapping[int, NDArray[np.float32]]
    """Layer -> the activation of each word, words x d; the first word is the sentence token where there is one."""
    label: int
    words: Sequence[str] | None = None
    """w0, w1, ... where they do not matter."""
    group: str | None = None
    """Its document; a sentence stands for itself otherwise."""


def cut_sentences(
    lengths: Mapping[str, Sequence[int]], layers: Mapping[int, NDArray[np.floating]]
) -> dict[Split, list[MadeSentence]]:
    """Sentences whose words lie one behind the other; labels take turns, and there are seven word types.

    Args:
        lengths: words of each sentence, by the name of its split.
        layers: layer -> the activation of every word, words x d.
    """
    splits: dict[Split, list[MadeSentence]] = {split: [] for split in Split}
    index = start = 0
    for split in Split:
        for n in lengths.get(split.value, ()):
            rows = {layer: words[start : start + n] for layer, words in layers.items()}
            types = [f"w{row % 7}" for row in range(start + 1, start + n)]
            splits[split].append(MadeSentence(rows, index % 2, types))
            index, start = index + 1, start + n
    assert all(len(words) == start for words in layers.values()), "every word belongs to a sentence"
    return splits


def write_store(
    folder: Path,
    splits: Mapping[Split, Sequence[MadeSentence]],
    sentence_token: bool = True,
    row_group: int | None = None,
) -> ActivationStore:
    """A store as extraction leaves it.

    Args:
        folder: where it is written.
        splits: sentences of each split.
        sentence_token: whether the first word of each sentence is its sentence token, which then represents it;
            otherwise the mean of its words does.
        row_group: rows of a group of the tables' files; as many as there are otherwise.
    """
    made = [(split, sentence) for split in Split for sentence in splits.get(split, ())]
    layers = list(made[0][1].layers)
    lengths = [len(sentence.layers[layers[0]]) for _, sentence in made]
    first = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    texts = [_words(sentence, n, sentence_token) for (_, sentence), n in zip(made, lengths, strict=True)]
    tables = folder / "tables"
    tables.mkdir(parents=True)
    skipped = int(sentence_token)
    sentences = {
        "id": [f"s{row}" for row in range(len(made))],
        "text": [" ".join(words[skipped:]) for words in texts],
        "group": [sentence.group or f"g{row}" for row, (_, sentence) in enumerate(made)],
        "label": pa.array([sentence.label for _, sentence in made], pa.int64()),
        "split": pa.array([tuple(Split).index(split) for split, _ in made], pa.int8()),
        "first_word": pa.array(first, pa.int64()),
        "n_words": pa.array(lengths, pa.int64()),
        "n_tokens": pa.array(lengths, pa.int64()),
        "vanished": pa.array([0] * len(made), pa.int32()),
        "truncated": pa.array([0] * len(made), pa.int32()),
    }
    pq.write_table(pa.table(sentences), tables / SENTENCES_TABLE, row_group)
    words = {
        "sentence": pa.array(np.repeat(np.arange(len(made)), lengths), pa.int32()),
        "position": pa.array(np.concatenate([np.arange(n) - skipped for n in lengths]), pa.int32()),
        "word": [word for each in texts for word in each],
        "special": pa.array(np.concatenate([np.arange(n) < skipped for n in lengths])),
    }
    pq.write_table(pa.table(words), tables / WORDS_TABLE, row_group)
    folders: dict[int, Path] = {}
    for layer in layers:
        each = [np.asarray(sentence.layers[layer], np.float32) for _, sentence in made]
        out = folder / f"layer{layer}"
        out.mkdir()
        np.concatenate(each).tofile(out / WORD_ACTIVATIONS)
        np.stack([_represented(rows[:1] if sentence_token else rows) for rows in each]).tofile(
            out / SENTENCE_REPRESENTATIONS
        )
        facts = {"layer": layer, "width": each[0].shape[1], "dtype": "float32", "after_final_norm": False}
        write_json(out / LAYER_FACTS, facts)
        folders[layer] = out
    return ActivationStore(tables, folders)


def _words(sentence: MadeSentence, n: int, sentence_token: bool) -> list[str]:
    own = n - int(sentence_token)
    words = [f"w{index}" for index in range(own)] if sentence.words is None else list(sentence.words)
    return ["[CLS]", *words] if sentence_token and n else words


def _represented(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean; zeros for a sentence without words."""
    return rows.mean(0) if len(rows) else np.zeros(rows.shape[1], np.float32)

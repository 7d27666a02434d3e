"""The tables of a store: its words and its sentences, written a block at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clvq_exp.activations.alignment import align
from clvq_exp.activations.store import SENTENCES_TABLE, WORDS_TABLE
from clvq_exp.language_models.base import LanguageModel
from clvq_exp.records import Alignment, EncodedText, Sentence
from clvq_exp.settings import SentencePooling, Split

TABLE_CHUNK = 1024
WORDS_SCHEMA = pa.schema(
    [("sentence", pa.int32()), ("position", pa.int32()), ("word", pa.string()), ("special", pa.bool_())]
)
SENTENCES_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("group", pa.string()),
        ("label", pa.int64()),
        ("split", pa.int8()),
        ("first_word", pa.int64()),
        ("n_words", pa.int64()),
        ("n_tokens", pa.int64()),
        ("vanished", pa.int32()),
        ("truncated", pa.int32()),
    ]
)


class ActivationError(ValueError):
    """Activations that cannot be stored; the message says which key to change."""


def write_tables(out: Path, model: LanguageModel, sentences: Sequence[tuple[Split, Sentence]]) -> None:
    """Tokenise all texts, a block at a time, and write both tables as it goes.

    Args:
        out: gets `words.parquet` and `sentences.parquet`.
        model: whose tokenizer is meant.
        sentences: all sentences with their splits, in the order of the store.

    Raises:
        ActivationError: a model without a sentence token where one is asked for, or a text without words.
    """
    first_word = 0
    with (
        pq.ParquetWriter(out / WORDS_TABLE, WORDS_SCHEMA) as words,
        pq.ParquetWriter(out / SENTENCES_TABLE, SENTENCES_SCHEMA) as rows,
    ):
        for start in range(0, len(sentences), TABLE_CHUNK):
            block = sentences[start : start + TABLE_CHUNK]
            encoded = model.encode([sentence.text for _, sentence in block])
            word_columns: dict[str, list[Any]] = {name: [] for name in WORDS_SCHEMA.names}
            row_columns: dict[str, list[Any]] = {name: [] for name in SENTENCES_SCHEMA.names}
            for offset, ((split, sentence), each) in enumerate(zip(block, encoded, strict=True)):
                if each.sentence_token is None and model.pooling is SentencePooling.cls:
                    raise ActivationError(
                        f"model {model.name} puts no special token before a text, so it has no sentence token: "
                        "set model.sentence_pooling=mean"
                    )
                alignment = align(sentence.text, each)
                if not alignment.words:
                    raise ActivationError(
                        f"sentence {sentence.id!r} has no word that the tokenizer of {model.name} keeps within "
                        "its limit: take it out of the data set, or raise model.max_length"
                    )
                _add_words(word_columns, start + offset, alignment)
                _add_sentence(row_columns, split, sentence, each, alignment, first_word)
                first_word += len(alignment.words)
            words.write_table(pa.table(word_columns, schema=WORDS_SCHEMA))
            rows.write_table(pa.table(row_columns, schema=SENTENCES_SCHEMA))


def _add_words(columns: dict[str, list[Any]], sentence: int, alignment: Alignment) -> None:
    for word in alignment.words:
        columns["sentence"].append(sentence)
        columns["position"].append(word.position)
        columns["word"].append(word.text)
        columns["special"].append(word.special)


def _add_sentence(
    columns: dict[str, list[Any]],
    split: Split,
    sentence: Sentence,
    encoded: EncodedText,
    alignment: Alignment,
    first_word: int,
) -> None:
    values = {
        "id": sentence.id,
        "text": sentence.text,
        "group": sentence.group,
        "label": sentence.label,
        "split": tuple(Split).index(split),
        "first_word": first_word,
        "n_words": len(alignment.words),
        "n_tokens": len(encoded.input_ids),
        "vanished": len(alignment.vanished),
        "truncated": len(alignment.truncated),
    }
    for name, value in values.items():
        columns[name].append(value)

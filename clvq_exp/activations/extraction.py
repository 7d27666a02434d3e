"""From texts to a store: one pass of the language model for all layers that are missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from clvq_exp.activations.alignment import align
from clvq_exp.activations.batching import length_sorted_batches
from clvq_exp.activations.store import (
    LAYER_FACTS,
    LOGITS,
    SENTENCE_REPRESENTATIONS,
    SENTENCES_TABLE,
    WORD_ACTIVATIONS,
    WORDS_TABLE,
    ActivationStore,
    create_activations,
    read_sentence_table,
)
from clvq_exp.artifacts import ArtifactCache, fingerprint, write_json
from clvq_exp.language_models.base import LanguageModel
from clvq_exp.records import Alignment, EncodedText, LanguageModelOutput, Sentence
from clvq_exp.settings import ActivationSettings, SentencePooling, Split, StoreDtype, SubWord

TABLE_CHUNK = 1024
_WORDS_SCHEMA = pa.schema(
    [("sentence", pa.int32()), ("position", pa.int32()), ("word", pa.string()), ("special", pa.bool_())]
)
_SENTENCES_SCHEMA = pa.schema(
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


class StoreInputs(NamedTuple):
    """All that a store is made of; its fingerprint."""

    model: str
    """Fingerprint of the language model."""
    max_length: int
    pooling: SentencePooling
    sub_word: SubWord
    dtype: StoreDtype
    batch_tokens: int
    """Another batch changes the last bits, and so does another kind of device."""
    device: str
    sentences: str
    """Fingerprint of the sentences of all splits, in order."""


def extract(
    cache: ArtifactCache,
    model: LanguageModel,
    splits: Mapping[Split, Sequence[Sentence]],
    layers: Sequence[int],
    settings: ActivationSettings,
    max_length: int,
) -> ActivationStore:
    """The store of these sentences at these layers; only what is missing is computed.

    Args:
        cache: where tables and layers lie as artifacts.
        model: the language model.
        splits: sentences of each split.
        layers: layers to hold, 0 to the model's last.
        settings: sub-word, number format and batch size.
        max_length: the model's limit, part of the fingerprint.

    Raises:
        ActivationError: activations that are not finite or do not fit the number format.
    """
    sentences = [(split, sentence) for split in Split for sentence in splits.get(split, ())]
    inputs = StoreInputs(
        model.fingerprint,
        max_length,
        model.pooling,
        settings.sub_word,
        settings.dtype,
        settings.batch_tokens,
        model.device.type,
        fingerprint([[split.value, list(sentence)] for split, sentence in sentences]),
    )
    table_inputs = {"model": inputs.model, "max_length": max_length, "sentences": inputs.sentences}
    tables = cache.get_or_make("words", table_inputs, lambda out: _write_tables(out, model, sentences))
    wanted = sorted(set(layers))
    folders = cache.get_or_make_many(
        "activations",
        [{**inputs._asdict(), "layer": layer} for layer in wanted],
        lambda missing: _run_model(
            {wanted[index]: out for index, out in missing.items()}, tables, model, sentences, settings
        ),
    )
    return ActivationStore(tables, dict(zip(wanted, folders, strict=True)))


def _write_tables(out: Path, model: LanguageModel, sentences: Sequence[tuple[Split, Sentence]]) -> None:
    """Tokenise all texts, a block at a time, and write both tables as it goes."""
    first_word = 0
    with (
        pq.ParquetWriter(out / WORDS_TABLE, _WORDS_SCHEMA) as words,
        pq.ParquetWriter(out / SENTENCES_TABLE, _SENTENCES_SCHEMA) as rows,
    ):
        for start in range(0, len(sentences), TABLE_CHUNK):
            block = sentences[start : start + TABLE_CHUNK]
            encoded = model.encode([sentence.text for _, sentence in block])
            word_columns: dict[str, list[Any]] = {name: [] for name in _WORDS_SCHEMA.names}
            row_columns: dict[str, list[Any]] = {name: [] for name in _SENTENCES_SCHEMA.names}
            for offset, ((split, sentence), each) in enumerate(zip(block, encoded, strict=True)):
                if each.sentence_token is None and model.pooling is SentencePooling.cls:
                    raise ActivationError(
                        f"model {model.name} puts no special token before a text, so it has no sentence token: "
                        "set model.sentence_pooling=mean"
                    )
                alignment = align(sentence.text, each)
                _add_words(word_columns, start + offset, alignment)
                _add_sentence(row_columns, split, sentence, each, alignment, first_word)
                first_word += len(alignment.words)
            words.write_table(pa.table(word_columns, schema=_WORDS_SCHEMA))
            rows.write_table(pa.table(row_columns, schema=_SENTENCES_SCHEMA))


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


class _LayerFile(NamedTuple):
    words: Tensor
    sentences: Tensor
    logits: Tensor


def _run_model(
    folders: Mapping[int, Path],
    tables: Path,
    model: LanguageModel,
    sentences: Sequence[tuple[Split, Sentence]],
    settings: ActivationSettings,
) -> None:
    """One pass over all sentences, in batches of like length, writing each layer as it goes."""
    table = read_sentence_table(tables)
    n_words = int(table.n_words.sum())
    files = {
        layer: _LayerFile(
            create_activations(out / WORD_ACTIVATIONS, n_words, model.width, settings.dtype),
            create_activations(out / SENTENCE_REPRESENTATIONS, len(sentences), model.width, StoreDtype.float32),
            create_activations(out / LOGITS, len(sentences), model.n_classes, StoreDtype.float32),
        )
        for layer, out in folders.items()
    }
    batches = length_sorted_batches(table.n_tokens, settings.batch_tokens)
    with tqdm(total=len(sentences), desc="activations", unit="sentence") as progress:
        for rows in batches:
            _write_batch(files, rows, table.first_word, model, sentences, settings)
            progress.update(len(rows))
    for layer, out in folders.items():
        facts = {
            "layer": layer,
            "width": model.width,
            "dtype": settings.dtype,
            "n_words": n_words,
            "after_final_norm": model.after_final_norm(layer),
        }
        write_json(out / LAYER_FACTS, facts)


def _write_batch(
    files: Mapping[int, _LayerFile],
    rows: NDArray[np.int64],
    first_word: NDArray[np.int64],
    model: LanguageModel,
    sentences: Sequence[tuple[Split, Sentence]],
    settings: ActivationSettings,
) -> None:
    texts = [sentences[row][1].text for row in rows]
    encoded = model.encode(texts)
    alignments = [align(text, each) for text, each in zip(texts, encoded, strict=True)]
    output = model.run(model.pad(encoded), list(files))
    target = torch.from_numpy(
        np.concatenate(
            [
                int(first_word[row]) + np.arange(len(alignment.words))
                for row, alignment in zip(rows, alignments, strict=True)
            ]
        )
    )
    pooling = _WordPooling(alignments, output, settings.sub_word)
    for layer, file in files.items():
        words = pooling.words(output.hidden[layer])
        stored = words.to(file.words.dtype)
        if not torch.isfinite(stored).all():
            advice = (
                "use activations.dtype=bfloat16 or float32"
                if torch.isfinite(words).all()
                else f"the model itself gives them, for sentence {sentences[rows[0]][1].id!r} or one near it"
            )
            raise ActivationError(
                f"layer {layer} of {model.name} has activations that are not finite as {settings.dtype.value}: "
                + advice
            )
        file.words[target] = stored.cpu()
        file.sentences[torch.from_numpy(rows)] = (
            pooling.sentences(output.hidden[layer], words, model.pooling).float().cpu()
        )
        file.logits[torch.from_numpy(rows)] = output.logits.cpu()


class _WordPooling:
    """Index arithmetic from padded sub-words to the words of a batch; the same for every layer."""

    def __init__(self, alignments: Sequence[Alignment], output: LanguageModelOutput, sub_word: SubWord) -> None:
        hidden = next(iter(output.hidden.values()))
        _, tokens, _ = hidden.shape
        device = hidden.device
        self._mean = sub_word is SubWord.mean
        pieces = list(self._pieces(alignments, tokens, sub_word))
        self._piece = torch.tensor([piece for piece, _ in pieces], dtype=torch.int64, device=device)
        self._word = torch.tensor([word for _, word in pieces], dtype=torch.int64, device=device)
        self._n_words = sum(len(alignment.words) for alignment in alignments)
        owner = [row for row, alignment in enumerate(alignments) for _ in alignment.words]
        special = [word.special for alignment in alignments for word in alignment.words]
        self._owner = torch.tensor(owner, dtype=torch.int64, device=device)
        self._special = torch.tensor(special, dtype=torch.bool, device=device)

    @staticmethod
    def _pieces(alignments: Sequence[Alignment], tokens: int, sub_word: SubWord) -> Iterator[tuple[int, int]]:
        word_index = 0
        for row, alignment in enumerate(alignments):
            for word in alignment.words:
                chosen = {
                    SubWord.last: word.sub_words[-1:],
                    SubWord.first: word.sub_words[:1],
                    SubWord.mean: word.sub_words,
                }[sub_word]
                for piece in chosen:
                    yield row * tokens + piece, word_index
                word_index += 1

    def words(self, hidden: Float[Tensor, "batch tokens d"]) -> Float[Tensor, "words d"]:
        """Activations of the batch's words, in order."""
        pieces = hidden.reshape(-1, hidden.shape[-1])[self._piece]
        if not self._mean:
            return pieces
        return _group_means(pieces.float(), self._word, self._n_words)

    def sentences(
        self,
        hidden: Float[Tensor, "batch tokens d"],
        words: Float[Tensor, "words d"],
        pooling: SentencePooling,
    ) -> Float[Tensor, "batch d"]:
        """Sentence representations h: the sentence token, or the mean over the sentence's own words."""
        if pooling is SentencePooling.cls:
            return hidden[:, 0]
        own = ~self._special
        return _group_means(words[own].float(), self._owner[own], hidden.shape[0])


def _group_means(values: Float[Tensor, "n d"], groups: Tensor, n_groups: int) -> Float[Tensor, "groups d"]:
    sums = values.new_zeros((n_groups, values.shape[1])).index_add_(0, groups, values)
    counts = torch.bincount(groups, minlength=n_groups).clamp(min=1)
    return sums / counts[:, None]

"""The salient word of each sentence: attribution as an artifact, and the choice."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clvq_exp.activations.store import ActivationStore
from clvq_exp.artifacts import ArtifactCache
from clvq_exp.explanations.attribution import attribute
from clvq_exp.language_models.base import LanguageModel
from clvq_exp.settings import AttributionSettings

_WORDS = "words.parquet"
_SENTENCES = "sentences.parquet"


class WordAttributions(NamedTuple):
    """Attribution of some sentences of a store, one entry per stored word of them."""

    sentences: NDArray[np.int64]
    """Rows of the attributed sentences in the store, ascending."""
    word_rows: NDArray[np.int64]
    """Rows of their words in the store."""
    scores: NDArray[np.float32]
    """Score of each of those words, in logits."""
    prediction: NDArray[np.int64]
    """Per sentence: the class that is explained."""
    logit_change: NDArray[np.float64]
    convergence_delta: NDArray[np.float64]
    steps: NDArray[np.int64]


class SalientWords(NamedTuple):
    """The salient word of each attributed sentence."""

    sentences: NDArray[np.int64]
    """Rows of the sentences in the store."""
    word_rows: NDArray[np.int64]
    """Row of each sentence's salient word in the store."""
    scores: NDArray[np.float32]
    """Its attribution, in logits."""
    special: NDArray[np.bool_]
    """Whether it is the sentence token."""


def attribute_sentences(
    cache: ArtifactCache,
    model: LanguageModel,
    store: ActivationStore,
    sentences: NDArray[np.int64],
    settings: AttributionSettings,
) -> WordAttributions:
    """Attributions of some sentences of a store, made once.

    Args:
        cache: where they are kept.
        model: the language model of the store.
        store: whose texts and words are meant.
        sentences: rows of the sentences, ascending.
        settings: steps and tolerance.
    """
    inputs = {
        "store": store.tables.name,
        "sentences": [int(row) for row in sentences],
        "steps": settings.steps,
        "adaptive": [settings.max_steps, settings.tolerance] if settings.adaptive else None,
        "batch_tokens": settings.batch_tokens,
        "device": model.device.type,
    }
    folder = cache.get_or_make("attributions", inputs, lambda out: _write(out, model, store, sentences, settings))
    words = pq.read_table(folder / _WORDS)
    rows = pq.read_table(folder / _SENTENCES)
    return WordAttributions(
        sentences,
        words.column("word_row").to_numpy(),
        words.column("score").to_numpy(),
        *(rows.column(name).to_numpy() for name in WordAttributions._fields[3:]),
    )


def _write(
    out: Path,
    model: LanguageModel,
    store: ActivationStore,
    sentences: NDArray[np.int64],
    settings: AttributionSettings,
) -> None:
    texts: Sequence[str] = store.sentence_column("text").take(pa.array(sentences)).to_pylist()
    results = attribute(model, texts, settings)
    table = store.sentences
    word_rows = [
        int(table.first_word[row]) + np.arange(len(result.words))
        for row, result in zip(sentences, results, strict=True)
    ]
    scores = [result.words for result in results]
    empty = np.zeros(0)
    pq.write_table(
        pa.table(
            {
                "word_row": pa.array(np.concatenate([empty, *word_rows]), pa.int64()),
                "score": pa.array(np.concatenate([empty, *scores]), pa.float32()),
            }
        ),
        out / _WORDS,
    )
    columns = {
        "prediction": pa.array([result.prediction for result in results], pa.int64()),
        "logit_change": pa.array([result.logit_change for result in results], pa.float64()),
        "convergence_delta": pa.array([result.convergence_delta for result in results], pa.float64()),
        "steps": pa.array([result.steps for result in results], pa.int64()),
    }
    pq.write_table(pa.table(columns), out / _SENTENCES)


def choose_salient_words(
    attributions: WordAttributions, store: ActivationStore, sentence_token_allowed: bool
) -> SalientWords:
    """The word of highest score of each sentence (section 4.1.1).

    Args:
        attributions: scores of all stored words of the sentences.
        store: where the words are.
        sentence_token_allowed: whether [CLS] may be chosen. Where a sentence has no other word, it is chosen
            all the same.
    """
    special = store.word_column("special").to_numpy(zero_copy_only=False)[attributions.word_rows]
    lengths = store.sentences.n_words[attributions.sentences]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    chosen: list[int] = []
    for start, end in pairwise(starts):
        scores = attributions.scores[start:end].astype(np.float64)
        if not sentence_token_allowed and not special[start:end].all():
            scores[special[start:end]] = -np.inf
        chosen.append(int(start) + int(np.argmax(scores)))
    picked = np.asarray(chosen, dtype=np.int64)
    return SalientWords(
        attributions.sentences,
        attributions.word_rows[picked],
        attributions.scores[picked],
        special[picked],
    )

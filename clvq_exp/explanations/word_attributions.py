"""Attributions of the sentences of a store: an artifact, made in parts."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm import tqdm

from clvq_exp.activations.store import ActivationStore
from clvq_exp.artifacts import ArtifactCache
from clvq_exp.explanations.attribution import SentenceAttribution, attribute, attributed_layer
from clvq_exp.explanations.path_rule import NESTED
from clvq_exp.language_models.base import LanguageModel
from clvq_exp.language_models.recipe import ALONE, ModelProcesses
from clvq_exp.parts import ATTRIBUTED, Ledger
from clvq_exp.ranks import Ranks
from clvq_exp.settings import AttributionSettings

PART = ATTRIBUTED
_WORDS = "words.parquet"
_SENTENCES = "sentences.parquet"
_WORDS_SCHEMA = pa.schema([("word_row", pa.int64()), ("score", pa.float32())])
_SENTENCES_SCHEMA = pa.schema(
    [
        ("logits", pa.list_(pa.float32())),
        ("prediction", pa.int64()),
        ("logit_change", pa.float64()),
        ("convergence_delta", pa.float64()),
        ("steps", pa.int64()),
    ]
)

log = logging.getLogger(__name__)


class WordAttributions(NamedTuple):
    """Attribution of some sentences of a store, one entry per stored word of them."""

    sentences: NDArray[np.int64]
    """Rows of the attributed sentences in the store, ascending."""
    word_rows: NDArray[np.int64]
    """Rows of their words in the store."""
    scores: NDArray[np.float32]
    """Score of each of those words, in logits or as a share (`attribution.word_score`)."""
    logits: NDArray[np.float32]
    """Per sentence: the class logits, n x classes."""
    prediction: NDArray[np.int64]
    """Per sentence: the class that is explained."""
    logit_change: NDArray[np.float64]
    convergence_delta: NDArray[np.float64]
    steps: NDArray[np.int64]


def attribute_sentences(
    cache: ArtifactCache,
    model: LanguageModel,
    store: ActivationStore,
    sentences: NDArray[np.int64],
    settings: AttributionSettings,
    layer: int = 0,
    processes: ModelProcesses = ALONE,
) -> WordAttributions:
    """Attributions of some sentences of a store, made once; a killed run goes on behind its last part.

    Args:
        cache: where they are kept.
        model: the language model of the store.
        store: whose texts and words are meant.
        sentences: rows of the sentences, ascending.
        settings: path, steps and tolerance, how words are scored.
        layer: layer l, where the path leads if `settings.at` asks for it.
        processes: those that share the work; the attributions are the same, however many.

    Raises:
        RankError: of several processes, one died.
    """
    inputs = {
        "store": store.tables.name,
        "sentences": hashlib.sha256(sentences.astype("<i8").tobytes()).hexdigest(),
        "steps": settings.steps,
        "adaptive": [settings.max_steps, settings.tolerance, NESTED] if settings.adaptive else None,
        "path": [attributed_layer(settings, layer), settings.baseline],
        "word_score": settings.word_score,
        "batch_tokens": settings.batch_tokens,
        "part": PART,
        "device": model.device.type,
    }
    folder = cache.get_or_make(
        "attributions",
        inputs,
        lambda out: _make(model, _Work(out, store, sentences, settings, layer), processes),
        resumable=True,
    )
    words = pq.read_table(folder / _WORDS)
    rows = pq.read_table(folder / _SENTENCES)
    numbers = {name: rows.column(name).to_numpy() for name in _SENTENCES_SCHEMA.names}
    numbers["logits"] = np.stack(numbers["logits"]) if len(sentences) else np.zeros((0, 0), dtype=np.float32)
    found = WordAttributions(
        sentences, *(words.column(name).to_numpy() for name in _WORDS_SCHEMA.names), **numbers
    )
    _warn(found, settings)
    return found


class _Part(NamedTuple):
    words: Path
    rows: Path
    sentences: NDArray[np.int64]


class _Work(NamedTuple):
    out: Path
    store: ActivationStore
    sentences: NDArray[np.int64]
    settings: AttributionSettings
    layer: int

    def parts(self) -> list[_Part]:
        found: list[_Part] = []
        for number, start in enumerate(range(0, len(self.sentences), PART)):
            words, rows = (self.out / f"part-{number:06d}-{name}" for name in (_WORDS, _SENTENCES))
            found.append(_Part(words, rows, self.sentences[start : start + PART]))
        return found


def _make(model: LanguageModel, work: _Work, processes: ModelProcesses) -> None:
    ledger, parts = Ledger(work.out), work.parts()
    missing = [part for part in parts if not (ledger.has_file(part.words) and ledger.has_file(part.rows))]
    processes.share(model, missing, fill_parts, work)
    _join([part.words for part in parts], work.out / _WORDS, _WORDS_SCHEMA)
    _join([part.rows for part in parts], work.out / _SENTENCES, _SENTENCES_SCHEMA)
    for part in parts:
        part.words.unlink()
        part.rows.unlink()
    ledger.close()


def fill_parts(model: LanguageModel, parts: Sequence[_Part], who: Ranks, work: _Work) -> None:
    """Attribute some parts and enter each once it is whole; each process has a ledger of its own."""
    ledger = Ledger(work.out, who.rank)
    total = sum(len(part.sentences) for part in parts)
    with tqdm(total=total, desc=who.title("attribution"), unit="sentence", disable=who.rank > 0) as progress:
        for part in parts:
            _make_part(part, model, work)
            ledger.enter_file(part.words)
            ledger.enter_file(part.rows)
            progress.update(len(part.sentences))


def _make_part(part: _Part, model: LanguageModel, work: _Work) -> None:
    store = work.store
    texts: Sequence[str] = store.sentence_column("text").take(pa.array(part.sentences)).to_pylist()
    results = attribute(model, texts, work.settings, work.layer)
    first_word = store.sentences.first_word[part.sentences]
    rows = [start + np.arange(len(result.words)) for start, result in zip(first_word, results, strict=True)]
    words = {"word_row": np.concatenate(rows), "score": np.concatenate([result.words for result in results])}
    _write(part.words, words, _WORDS_SCHEMA)
    _write(part.rows, _columns(results), _SENTENCES_SCHEMA)


def _columns(results: Sequence[SentenceAttribution]) -> dict[str, list[Any]]:
    return {name: [getattr(result, name) for result in results] for name in _SENTENCES_SCHEMA.names}


def _write(path: Path, columns: Mapping[str, Any], schema: pa.Schema) -> None:
    arrays = [pa.array(columns[name], schema.field(name).type) for name in schema.names]
    pq.write_table(pa.table(arrays, schema=schema), path)


def _join(parts: Sequence[Path], path: Path, schema: pa.Schema) -> None:
    with pq.ParquetWriter(path, schema) as writer:
        for part in parts:
            writer.write_table(pq.read_table(part))


def _warn(found: WordAttributions, settings: AttributionSettings) -> None:
    off = int((np.abs(found.convergence_delta) > settings.tolerance * np.abs(found.logit_change)).sum())
    if off:
        fixed = "raise attribution.steps, or set attribution.adaptive=true"
        log.warning(
            "%d of %d attributions have a convergence delta above %.3g of the logit's change; %s",
            off,
            len(found.sentences),
            settings.tolerance,
            "raise attribution.max_steps" if settings.adaptive else fixed,
        )

"""From texts to a store: one pass of the language model for all layers that are missing."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from clvq_exp.activations.layer_pass import LayerWork, run_layers
from clvq_exp.activations.store import ActivationStore
from clvq_exp.activations.tables import write_tables
from clvq_exp.artifacts import ArtifactCache
from clvq_exp.language_models.base import LanguageModel
from clvq_exp.language_models.recipe import ALONE, ModelProcesses
from clvq_exp.records import Sentence
from clvq_exp.settings import ActivationSettings, SentencePooling, Split, StoreDtype, SubWord

log = logging.getLogger(__name__)


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
    processes: ModelProcesses = ALONE,
) -> ActivationStore:
    """The store of these sentences at these layers; only what is missing is computed.

    A run that is killed goes on behind its last finished part.

    Args:
        cache: where tables and layers lie as artifacts.
        model: the language model.
        splits: sentences of each split.
        layers: layers to hold, 0 to the model's last.
        settings: sub-word, number format and batch size.
        max_length: the model's limit, part of the fingerprint.
        processes: those that share the pass; the store is the same, however many.

    Raises:
        ActivationError: activations that are not finite or do not fit the number format.
        RankError: of several processes, one died.
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
        _sentences_fingerprint(sentences),
    )
    table_inputs = {"model": inputs.model, "max_length": max_length, "sentences": inputs.sentences}
    tables = cache.get_or_make("words", table_inputs, lambda out: write_tables(out, model, sentences))
    wanted = sorted(set(layers))
    folders = cache.get_or_make_many(
        "activations",
        [{**inputs._asdict(), "layer": layer} for layer in wanted],
        lambda missing: run_layers(
            model,
            LayerWork(
                {wanted[index]: out for index, out in missing.items()}, tables, sentences, settings, model.width
            ),
            processes,
        ),
        resumable=True,
    )
    store = ActivationStore(tables, dict(zip(wanted, folders, strict=True)))
    _warn_of_cut_texts(store, model.name)
    return store


def _warn_of_cut_texts(store: ActivationStore, name: str) -> None:
    truncated = store.sentence_column("truncated").to_numpy()
    if truncated.any():
        log.warning(
            "%s cuts %d of %d texts at its limit (model.max_length, or its own): %d words have no activation",
            name,
            (truncated > 0).sum(),
            len(truncated),
            truncated.sum(),
        )


def _sentences_fingerprint(sentences: Sequence[tuple[Split, Sentence]]) -> str:
    """One digest of all sentences, fed one at a time: their texts are never put together."""
    digest = hashlib.sha256()
    for split, sentence in sentences:
        digest.update(json.dumps([split.value, *sentence]).encode() + b"\n")
    return digest.hexdigest()

"""One pass of the language model that fills the files of all asked layers, part by part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from clvq_exp.activations.alignment import align
from clvq_exp.activations.batching import length_sorted_batches
from clvq_exp.activations.layer_files import LayerFiles, LayerOutput
from clvq_exp.activations.pooling import WordPooling
from clvq_exp.activations.store import LAYER_FACTS, read_sentence_table
from clvq_exp.activations.tables import ActivationError
from clvq_exp.artifacts import write_json
from clvq_exp.language_models.base import LanguageModel
from clvq_exp.memory import give_back
from clvq_exp.parts import Ledger
from clvq_exp.records import Sentence
from clvq_exp.settings import ActivationSettings, Split

PART = 1024
"""Sentences of a part, at least: what a killed run does again at most."""

Batches = list[NDArray[np.int64]]


def run_layers(
    folders: Mapping[int, Path],
    tables: Path,
    model: LanguageModel,
    sentences: Sequence[tuple[Split, Sentence]],
    settings: ActivationSettings,
) -> None:
    """Run all sentences in batches of like length and write each layer as it goes.

    Args:
        folders: working folder of each layer; parts that an earlier run finished there are kept.
        tables: the store's tables.
        model: the language model.
        sentences: all sentences, in the order of the store.
        settings: sub-word, number format and batch size.

    Raises:
        ActivationError: activations that are not finite or do not fit the number format.
    """
    table = read_sentence_table(tables)
    files = {layer: LayerFiles(out, table, model.width, settings.dtype) for layer, out in folders.items()}
    ledgers = {layer: Ledger(out) for layer, out in folders.items()}
    with tqdm(total=len(sentences), desc="activations", unit="sentence") as progress:
        for number, part in enumerate(_parts(length_sorted_batches(table.n_tokens, settings.batch_tokens))):
            name, rows = f"{number:06d}", np.concatenate(part)
            if not all(_is_done(ledgers[layer], name, files[layer], rows) for layer in folders):
                for batch in part:
                    _run_batch(files, batch, model, sentences, settings)
                    give_back(model.device)
                for layer, out in files.items():
                    out.flush()
                    ledgers[layer].enter(name, out.checksum(rows))
            progress.update(len(rows))
    for layer, out in folders.items():
        files[layer].close()
        facts = {
            "layer": layer,
            "width": model.width,
            "dtype": settings.dtype,
            "n_words": int(table.n_words.sum()),
            "after_final_norm": model.after_final_norm(layer),
            "tables": tables.name,
        }
        write_json(out / LAYER_FACTS, facts)
        ledgers[layer].close()


def _parts(batches: Batches) -> Iterator[Batches]:
    part: Batches = []
    for batch in batches:
        part.append(batch)
        if sum(map(len, part)) >= PART:
            yield part
            part = []
    if part:
        yield part


def _is_done(ledger: Ledger, name: str, files: LayerFiles, rows: NDArray[np.int64]) -> bool:
    return ledger.holds(name) and ledger.is_intact(name, files.checksum(rows))


def _run_batch(
    files: Mapping[int, LayerFiles],
    rows: NDArray[np.int64],
    model: LanguageModel,
    sentences: Sequence[tuple[Split, Sentence]],
    settings: ActivationSettings,
) -> None:
    texts = [sentences[row][1].text for row in rows]
    encoded = model.encode(texts)
    alignments = [align(text, each) for text, each in zip(texts, encoded, strict=True)]
    hidden = model.states(model.pad(encoded), list(files))
    pooling = WordPooling(alignments, next(iter(hidden.values())), settings.sub_word)
    for layer, out in files.items():
        words = pooling.words(hidden[layer])
        stored = words.to(out.dtype)
        if not torch.isfinite(stored).all():
            first = rows[int((~pooling.finite(stored)).nonzero()[0])]
            raise _not_finite(model, layer, sentences[first][1].id, words, settings)
        representations = pooling.sentences(hidden[layer], words, model.pooling).float()
        out.write(rows, LayerOutput(stored, representations))


def _not_finite(
    model: LanguageModel, layer: int, sentence: str, words: Float[Tensor, "words d"], settings: ActivationSettings
) -> ActivationError:
    advice = (
        "use activations.dtype=bfloat16 or float32"
        if torch.isfinite(words).all()
        else "the model itself gives them: check its weights, or try another checkpoint"
    )
    return ActivationError(
        f"layer {layer} of {model.name} has activations that are not finite as {settings.dtype.value}, first in "
        f"sentence {sentence!r}: {advice}"
    )

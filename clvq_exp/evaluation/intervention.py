"""The same directions, removed inside the live model: no probe takes part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from clvq_exp.activations.alignment import align
from clvq_exp.activations.batching import length_sorted_batches
from clvq_exp.evaluation.statistics import Outcomes
from clvq_exp.language_models.base import LanguageModel
from clvq_exp.memory import give_back
from clvq_exp.records import Alignment, EncodedText

SENTENCE_TOKEN = "sentence_token"
SALIENT_WORD = "salient_word"
ALL_WORDS = "all_words"
ANSWER_POSITION = "answer_position"

Bases = Mapping[str, Mapping[int, Float[Tensor, "n r d"]]]
"""condition -> seed -> what each sentence loses."""
Found = dict[str, dict[str, "LiveOutcomes"]]
"""place -> condition -> outcomes."""


class Sentences(NamedTuple):
    """Some sentences with what is known about them."""

    texts: Sequence[str]
    labels: NDArray[np.int64]
    """Gold classes."""
    salient_positions: NDArray[np.int64]
    """Position of each salient word among the white-space tokens; -1 the sentence token."""


class LiveOutcomes(NamedTuple):
    """What the model does under one condition, per seed and sentence."""

    correct: Outcomes
    flips: Outcomes
    """1 where the prediction is another than without intervention."""
    probability_change: Outcomes
    """Change of the probability of the class predicted without intervention."""


class _Batch(NamedTuple):
    rows: NDArray[np.int64]
    encoded: list[EncodedText]
    alignments: list[Alignment]


def project_out(
    hidden: Float[Tensor, "batch tokens d"],
    basis: Float[Tensor, "batch r d"],
    where: Bool[Tensor, "batch tokens"],
) -> Float[Tensor, "batch tokens d"]:
    """Hidden states without their projection on a basis, at some tokens.

    Args:
        hidden: states of a layer.
        basis: orthonormal, one per sentence.
        where: tokens to change.
    """
    directions = basis.to(hidden.dtype)
    coefficients = torch.einsum("btd,brd->btr", hidden, directions)
    return hidden - torch.einsum("btr,brd->btd", coefficients, directions) * where[..., None]


def places(model: LanguageModel) -> tuple[str, ...]:
    """Where directions are removed: at words, and where the model reads the label, if that is at a token."""
    if model.answers_at_end:
        return (ANSWER_POSITION, SALIENT_WORD, ALL_WORDS)
    has_token = model.encode(["a"])[0].sentence_token is not None
    return (SENTENCE_TOKEN, SALIENT_WORD, ALL_WORDS) if has_token else (SALIENT_WORD, ALL_WORDS)


@torch.no_grad()
def intervene(
    model: LanguageModel, layer: int, sentences: Sentences, bases: Bases, batch_tokens: int, progress: Any = None
) -> Found:
    """Run sentences through the model with directions removed at layer l.

    Args:
        model: the language model.
        layer: layer l.
        sentences: all of them are tokenised at once.
        bases: what is removed.
        batch_tokens: sub-words of one pass.
        progress: a progress bar over sentences, or None.
    """
    n = len(sentences.texts)
    found = {
        place: {name: _no_outcomes(len(of_seeds), n) for name, of_seeds in bases.items()}
        for place in places(model)
    }
    for batch in _batches(model, sentences.texts, batch_tokens):
        _run_batch(model, layer, batch, sentences, bases, found)
        if progress is not None:
            progress.update(len(batch.rows))
    return found


def _no_outcomes(n_seeds: int, n: int) -> LiveOutcomes:
    shape = (n_seeds, n)
    return LiveOutcomes(np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_), np.zeros(shape))


def _run_batch(
    model: LanguageModel, layer: int, batch: _Batch, sentences: Sentences, bases: Bases, found: Found
) -> None:
    tokens = model.pad(batch.encoded)
    untouched = model.run(tokens, [layer])
    before = torch.softmax(untouched.logits, 1).double()
    predicted = before.argmax(1)
    row = torch.arange(len(batch.rows), device=before.device)
    gold = torch.from_numpy(sentences.labels[batch.rows]).to(before.device)
    rows = torch.from_numpy(batch.rows)
    for place, conditions in found.items():
        positions = sentences.salient_positions[batch.rows]
        mask = _mask(place, batch, positions, tokens.input_ids.shape[1]).to(model.device)
        for name, outcomes in conditions.items():
            for index, basis in enumerate(bases[name].values()):
                states = project_out(untouched.hidden[layer], basis[rows].to(model.device), mask)
                with model.replacing(layer, states):
                    after = torch.softmax(model.class_logits(*tokens), 1).double()
                classes = after.argmax(1)
                outcomes.correct[index, batch.rows] = (classes == gold).cpu().numpy()
                outcomes.flips[index, batch.rows] = (classes != predicted).cpu().numpy()
                change = after[row, predicted] - before[row, predicted]
                outcomes.probability_change[index, batch.rows] = change.cpu().numpy()
            give_back(model.device)


def _batches(model: LanguageModel, texts: Sequence[str], budget: int) -> Iterator[_Batch]:
    encoded = model.encode(texts)
    for rows in length_sorted_batches([len(each.input_ids) for each in encoded], budget):
        chosen = [encoded[int(row)] for row in rows]
        yield _Batch(rows, chosen, [align(texts[int(row)], encoded[int(row)]) for row in rows])


def _mask(
    place: str, batch: _Batch, salient_positions: NDArray[np.int64], width: int
) -> Bool[Tensor, "batch tokens"]:
    mask = torch.zeros((len(batch.rows), width), dtype=torch.bool)
    for row, (encoded, alignment) in enumerate(zip(batch.encoded, batch.alignments, strict=True)):
        mask[row, tokens_at(place, encoded, alignment, int(salient_positions[row]))] = True
    return mask


def tokens_at(place: str, encoded: EncodedText, alignment: Alignment, salient_position: int) -> list[int]:
    """The sub-words of a sentence that a place means.

    Args:
        place: one of `places`.
        encoded: the sentence.
        alignment: its words.
        salient_position: of its salient word among the white-space tokens; -1 the sentence token.
    """
    if place == ANSWER_POSITION:
        return [len(encoded.input_ids) - 1]
    return [
        sub_word
        for word in alignment.words
        if place == ALL_WORDS
        or (place == SENTENCE_TOKEN and word.special)
        or (place == SALIENT_WORD and word.position == salient_position)
        for sub_word in word.sub_words
    ]

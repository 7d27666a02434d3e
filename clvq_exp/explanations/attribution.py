"""Layer Integrated Gradients of the predicted class's logit, back to embeddings (appendix A.7) or layer l."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from clvq_exp.activations.alignment import align
from clvq_exp.activations.batching import length_sorted_batches
from clvq_exp.language_models.base import LanguageModel
from clvq_exp.memory import give_back
from clvq_exp.records import Alignment, EncodedText, TokenBatch
from clvq_exp.settings import AttributionAt, AttributionBaseline, AttributionSettings, WordScore


class SentenceAttribution(NamedTuple):
    """Scores of the words of one sentence."""

    words: NDArray[np.float32]
    """Score of each aligned word: by `word_score` in logits, or a share of the L2 norm over all sub-words."""
    logits: NDArray[np.float32]
    """The model's class logits."""
    prediction: int
    """Class whose logit is explained."""
    logit_change: float
    """Logit of the sentence minus that of the baseline: what the scores should add up to."""
    convergence_delta: float
    """What the scores of all sub-words add up to, minus that."""
    steps: int
    """Steps of the integral."""

    def converged(self, tolerance: float) -> bool:
        """Whether |delta| is at most this share of the change of the logit."""
        return abs(self.convergence_delta) <= tolerance * abs(self.logit_change)


class _TokenScores(NamedTuple):
    scores: Float[Tensor, "batch tokens"]
    logits: Float[Tensor, "batch classes"]
    predictions: Tensor
    logit_changes: Tensor
    deltas: Tensor


def attribute(
    model: LanguageModel, texts: Sequence[str], settings: AttributionSettings, layer: int = 0
) -> list[SentenceAttribution]:
    """Attribute the predicted class's logit of each text to its words.

    The path goes from a baseline (the text's sub-words as pad ids or zero embeddings, all else kept; or token id 0
    everywhere) to the text, at the output of the embeddings or of layer l. When adaptive, the steps of a sentence
    are doubled until its convergence delta is small.

    Args:
        model: the language model.
        texts: sentences.
        settings: path, steps, tolerance, how words are scored, sub-words of one internal batch.
        layer: layer l, where the path leads if `settings.at` asks for it.

    Returns:
        One record per text, in order; `converged` tells which add up.
    """
    results: list[SentenceAttribution | None] = [None] * len(texts)
    pending = np.arange(len(texts))
    steps = settings.steps
    while len(pending):
        for index, result in _attribute_all(model, texts, pending, steps, settings, layer):
            results[index] = result
        steps *= 2
        if not settings.adaptive or steps > settings.max_steps:
            break
        pending = np.array(
            [i for i in pending if not _done(results[i]).converged(settings.tolerance)], dtype=np.int64
        )
    return [_done(result) for result in results]


def attributed_layer(settings: AttributionSettings, layer: int) -> int:
    """The layer where the path leads: 0 the embeddings, or layer l."""
    return layer if settings.at is AttributionAt.lower_layer else 0


def _done(result: SentenceAttribution | None) -> SentenceAttribution:
    assert result is not None
    return result


def _attribute_all(
    model: LanguageModel,
    texts: Sequence[str],
    chosen: NDArray[np.int64],
    steps: int,
    settings: AttributionSettings,
    layer: int,
) -> Iterator[tuple[int, SentenceAttribution]]:
    """Sentences in batches of like length, all steps of a batch within the token budget where it fits."""
    for start in range(0, len(chosen), 1024):
        block = chosen[start : start + 1024]
        encoded = model.encode([texts[int(index)] for index in block])
        lengths = [len(each.input_ids) for each in encoded]
        for members in length_sorted_batches(lengths, max(1, settings.batch_tokens // steps)):
            batch = [encoded[member] for member in members]
            alignments = [align(texts[int(block[member])], encoded[member]) for member in members]
            scores = _token_scores(model, batch, steps, settings, attributed_layer(settings, layer))
            give_back(model.device)
            for row, member in enumerate(members):
                n_tokens = lengths[member]
                of_words = _of_words(scores.scores[row, :n_tokens], alignments[row], settings.word_score)
                yield int(block[member]), _of_sentence(scores, row, of_words, steps)


def _token_scores(
    model: LanguageModel, encoded: Sequence[EncodedText], steps: int, settings: AttributionSettings, layer: int
) -> _TokenScores:
    batch = model.pad(encoded)
    if settings.baseline is AttributionBaseline.token_zero:
        baseline = torch.zeros_like(batch.input_ids)
    else:
        baseline = model.attribution_baseline(encoded)
    with torch.no_grad():
        logits = model.class_logits(batch.input_ids, batch.attention_mask)
        predictions = logits.argmax(1)
        at_baseline = model.class_logits(baseline, batch.attention_mask)
    how: dict[str, Any] = {
        "target": predictions,
        "n_steps": steps,
        "internal_batch_size": max(len(encoded), settings.batch_tokens // batch.input_ids.shape[1]),
    }
    if layer == 0:
        attributions = _from_embeddings(model, batch, baseline, how)
    else:
        attributions = _from_layer(model, layer, batch, baseline, how)
    scores = attributions.detach().float().sum(-1)
    row = torch.arange(len(encoded), device=logits.device)
    changes = logits[row, predictions] - at_baseline[row, predictions]
    real = batch.attention_mask.bool()
    deltas = (scores.double() * real).sum(1) - changes.double()
    return _TokenScores(scores.cpu(), logits.cpu(), predictions.cpu(), changes.cpu(), deltas.cpu())


def _from_embeddings(model: LanguageModel, batch: TokenBatch, baseline: Tensor, how: dict[str, Any]) -> Tensor:
    from captum.attr import LayerIntegratedGradients

    method: Any = LayerIntegratedGradients(model.class_logits, model.layer_module(0))
    return method.attribute(
        batch.input_ids, baselines=baseline, additional_forward_args=(batch.attention_mask,), **how
    )


def _from_layer(
    model: LanguageModel, layer: int, batch: TokenBatch, baseline: Tensor, how: dict[str, Any]
) -> Tensor:
    """The same at layer l. The states are found once, so that no step runs what lies below the layer."""
    from captum.attr import IntegratedGradients

    def logits(states: Tensor, *tokens: Tensor) -> Tensor:
        with model.replacing(layer, states):
            return model.class_logits(*tokens)

    ends = [
        model.states(TokenBatch(ids, batch.attention_mask), [layer])[layer] for ids in (batch.input_ids, baseline)
    ]
    method: Any = IntegratedGradients(logits)
    return method.attribute(ends[0], baselines=ends[1], additional_forward_args=tuple(batch), **how)


def _of_words(
    scores: Float[Tensor, " tokens"], alignment: Alignment, word_score: WordScore
) -> NDArray[np.float32]:
    """Scores of the words of a sentence from those of its sub-words, special tokens and prompt included."""
    if word_score is WordScore.sum:
        words = [float(scores[list(word.sub_words)].sum()) for word in alignment.words]
    else:
        shares = functional.normalize(scores, dim=0).abs()  # all zero where nothing counts
        words = [float(shares[list(word.sub_words)].max()) for word in alignment.words]
    return np.asarray(words, dtype=np.float32)


def _of_sentence(scores: _TokenScores, row: int, words: NDArray[np.float32], steps: int) -> SentenceAttribution:
    return SentenceAttribution(
        words=words,
        logits=scores.logits[row].numpy(),
        prediction=int(scores.predictions[row]),
        logit_change=float(scores.logit_changes[row]),
        convergence_delta=float(scores.deltas[row]),
        steps=steps,
    )

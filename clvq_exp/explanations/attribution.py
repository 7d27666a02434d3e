"""Layer Integrated Gradients of the predicted class's logit back to the embeddings (appendix A.7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from clvq_exp.activations.alignment import align
from clvq_exp.activations.batching import length_sorted_batches
from clvq_exp.language_models.base import LanguageModel
from clvq_exp.memory import give_back
from clvq_exp.records import Alignment, EncodedText
from clvq_exp.settings import AttributionSettings


class SentenceAttribution(NamedTuple):
    """Scores of the words of one sentence."""

    words: NDArray[np.float32]
    """Score of each aligned word: the sum of its sub-words' scores, in logits."""
    logits: NDArray[np.float32]
    """The model's class logits."""
    prediction: int
    """Class whose logit is explained."""
    logit_change: float
    """Logit of the sentence minus that of the baseline: what the scores should add up to."""
    convergence_delta: float
    """What they add up to, minus that."""
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
    model: LanguageModel, texts: Sequence[str], settings: AttributionSettings
) -> list[SentenceAttribution]:
    """Attribute the predicted class's logit of each text to its words.

    The path goes from the model's baseline (the text's sub-words as pad ids or zero embeddings, all else kept) to
    the text, at the output of the embeddings. When adaptive, the steps of a sentence are doubled until its
    convergence delta is small.

    Args:
        model: the language model.
        texts: sentences.
        settings: steps, tolerance, sub-words of one internal batch.

    Returns:
        One record per text, in order; `converged` tells which add up.
    """
    results: list[SentenceAttribution | None] = [None] * len(texts)
    pending = np.arange(len(texts))
    steps = settings.steps
    while len(pending):
        for index, result in _attribute_all(model, texts, pending, steps, settings.batch_tokens):
            results[index] = result
        steps *= 2
        if not settings.adaptive or steps > settings.max_steps:
            break
        pending = np.array(
            [i for i in pending if not _done(results[i]).converged(settings.tolerance)], dtype=np.int64
        )
    return [_done(result) for result in results]


def _done(result: SentenceAttribution | None) -> SentenceAttribution:
    assert result is not None
    return result


def _attribute_all(
    model: LanguageModel, texts: Sequence[str], chosen: NDArray[np.int64], steps: int, budget: int
) -> Iterator[tuple[int, SentenceAttribution]]:
    """Sentences in batches of like length, all steps of a batch within the token budget where it fits."""
    for start in range(0, len(chosen), 1024):
        block = chosen[start : start + 1024]
        encoded = model.encode([texts[int(index)] for index in block])
        lengths = [len(each.input_ids) for each in encoded]
        for members in length_sorted_batches(lengths, max(1, budget // steps)):
            batch = [encoded[member] for member in members]
            alignments = [align(texts[int(block[member])], encoded[member]) for member in members]
            scores = _token_scores(model, batch, steps, budget)
            give_back(model.device)
            for row, member in enumerate(members):
                yield int(block[member]), _of_words(scores, row, alignments[row], steps)


def _token_scores(model: LanguageModel, encoded: Sequence[EncodedText], steps: int, budget: int) -> _TokenScores:
    from captum.attr import LayerIntegratedGradients

    batch = model.pad(encoded)
    baseline = model.attribution_baseline(encoded)
    with torch.no_grad():
        logits = model.class_logits(batch.input_ids, batch.attention_mask)
        predictions = logits.argmax(1)
        at_baseline = model.class_logits(baseline, batch.attention_mask)
    method: Any = LayerIntegratedGradients(model.class_logits, model.layer_module(0))
    per_pass = max(len(encoded), budget // batch.input_ids.shape[1])
    attributions: Tensor = method.attribute(
        batch.input_ids,
        baselines=baseline,
        target=predictions,
        additional_forward_args=(batch.attention_mask,),
        n_steps=steps,
        internal_batch_size=per_pass,
    )
    scores = attributions.detach().float().sum(-1)
    row = torch.arange(len(encoded), device=logits.device)
    changes = logits[row, predictions] - at_baseline[row, predictions]
    real = batch.attention_mask.bool()
    deltas = (scores.double() * real).sum(1) - changes.double()
    return _TokenScores(scores.cpu(), logits.cpu(), predictions.cpu(), changes.cpu(), deltas.cpu())


def _of_words(scores: _TokenScores, row: int, alignment: Alignment, steps: int) -> SentenceAttribution:
    words = [float(scores.scores[row, list(word.sub_words)].sum()) for word in alignment.words]
    return SentenceAttribution(
        words=np.asarray(words, dtype=np.float32),
        logits=scores.logits[row].numpy(),
        prediction=int(scores.predictions[row]),
        logit_change=float(scores.logit_changes[row]),
        convergence_delta=float(scores.deltas[row]),
        steps=steps,
    )

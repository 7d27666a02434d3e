"""Layer Integrated Gradients of the predicted class's logit, back to embeddings (appendix A.7) or layer l."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from clvq_exp.activations.alignment import align
from clvq_exp.activations.batching import length_sorted_batches
from clvq_exp.explanations.nested_path import at_points, make_path
from clvq_exp.explanations.path_rule import ADDED, CENTRED, added, following, merged, path_rule
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


def attribute(
    model: LanguageModel, texts: Sequence[str], settings: AttributionSettings, layer: int = 0
) -> list[SentenceAttribution]:
    """Attribute the predicted class's logit of each text to its words.

    The path goes from a baseline (the text's sub-words as pad ids or zero embeddings, all else kept; or token id 0
    everywhere) to the text, at the output of the embeddings or of layer l. When adaptive, a sentence gets rules of
    twice as many steps and one until its convergence delta is small; each takes over what the one before found.

    Args:
        model: the language model.
        texts: sentences.
        settings: path, steps, tolerance, how words are scored, sub-words of one internal batch.
        layer: layer l, where the path leads if `settings.at` asks for it.

    Returns:
        One record per text, in order; `converged` tells which add up.
    """
    results: dict[int, SentenceAttribution] = {}
    path = attributed_layer(settings, layer)
    by = _by_nested_rules if settings.adaptive else _by_one_rule
    for index, result in by(model, texts, settings, path):
        results[index] = result
    return [results[index] for index in range(len(texts))]


def attributed_layer(settings: AttributionSettings, layer: int) -> int:
    """The layer where the path leads: 0 the embeddings, or layer l."""
    return layer if settings.at is AttributionAt.lower_layer else 0


class _Batch(NamedTuple):
    """Sentences that are run together."""

    members: NDArray[np.int64]
    """Their places among all texts."""
    encoded: list[EncodedText]
    alignments: list[Alignment]
    tokens: TokenBatch
    baseline: Int64[Tensor, "batch tokens"]


class _Explained(NamedTuple):
    """What is explained of a sentence, whatever the rule."""

    logits: NDArray[np.float32]
    prediction: int
    logit_change: float


def _batches(
    model: LanguageModel,
    texts: Sequence[str],
    chosen: NDArray[np.int64],
    settings: AttributionSettings,
    points: int,
) -> Iterator[_Batch]:
    """Sentences in batches of like length, all points of a batch within the token budget where it fits."""
    for start in range(0, len(chosen), 1024):
        block = chosen[start : start + 1024]
        encoded = model.encode([texts[int(index)] for index in block])
        lengths = [len(each.input_ids) for each in encoded]
        for members in length_sorted_batches(lengths, max(1, settings.batch_tokens // points)):
            own = [encoded[member] for member in members]
            alignments = [align(texts[int(block[member])], encoded[member]) for member in members]
            tokens = model.pad(own)
            if settings.baseline is AttributionBaseline.token_zero:
                baseline = torch.zeros_like(tokens.input_ids)
            else:
                baseline = model.attribution_baseline(own)
            yield _Batch(block[members], own, alignments, tokens, baseline)
            give_back(model.device)


@torch.no_grad()
def _explained(model: LanguageModel, batch: _Batch) -> list[_Explained]:
    mask = batch.tokens.attention_mask
    logits = model.class_logits(batch.tokens.input_ids, mask)
    predictions = logits.argmax(1, keepdim=True)
    changes = (logits - model.class_logits(batch.baseline, mask)).gather(1, predictions)
    return [
        _Explained(*each)
        for each in zip(
            logits.cpu().numpy(), predictions.flatten().tolist(), changes.flatten().tolist(), strict=True
        )
    ]


def _targets(explained: Sequence[_Explained], device: torch.device) -> Int64[Tensor, " batch"]:
    return torch.tensor([each.prediction for each in explained], device=device)


def _by_one_rule(
    model: LanguageModel, texts: Sequence[str], settings: AttributionSettings, layer: int
) -> Iterator[tuple[int, SentenceAttribution]]:
    """captum's Gauss-Legendre rule of so many steps, for every sentence."""
    for batch in _batches(model, texts, np.arange(len(texts)), settings, settings.steps):
        explained = _explained(model, batch)
        how: dict[str, Any] = {
            "target": _targets(explained, model.device),
            "n_steps": settings.steps,
            "internal_batch_size": max(
                len(batch.members), settings.batch_tokens // batch.tokens.input_ids.shape[1]
            ),
        }
        if layer == 0:
            attributions = _from_embeddings(model, batch.tokens, batch.baseline, how)
        else:
            attributions = _from_layer(model, layer, batch.tokens, batch.baseline, how)
        scores = attributions.detach().float().sum(-1).cpu()
        for row, index in enumerate(batch.members):
            yield int(index), _of_sentence(batch, row, scores[row], explained[row], settings, settings.steps)


def _by_nested_rules(
    model: LanguageModel, texts: Sequence[str], settings: AttributionSettings, layer: int
) -> Iterator[tuple[int, SentenceAttribution]]:
    """Rule after rule, each for the sentences whose delta the one before left too large."""
    explained: dict[int, _Explained] = {}
    found: dict[int, NDArray[np.float32]] = {}
    """By sentence: (x - x') times the gradient, summed over d, at each point of its last rule: `[n, tokens]`."""
    pending, n, first = np.arange(len(texts)), settings.steps, True
    while len(pending) and (first or n <= settings.max_steps):
        unfinished: list[int] = []
        for batch in _batches(model, texts, pending, settings, n if first else added(n)):
            indices: list[int] = batch.members.tolist()
            if first:
                explained.update(zip(indices, _explained(model, batch), strict=True))
            targets = _targets([explained[index] for index in indices], model.device)
            path = make_path(model, layer, batch.tokens, batch.baseline, targets)
            rule = path_rule(n, 0.0 if bool((batch.baseline < 0).any()) else CENTRED)
            points = rule.points if first else rule.points[ADDED]
            at = at_points(model, path, points, settings.batch_tokens).numpy()
            for row, index in enumerate(indices):
                new = at[row, :, : len(batch.encoded[row].input_ids)]
                found[index] = new if first else merged(found[index], new)
                scores = torch.from_numpy((rule.weights[:, None] * found[index]).sum(0))
                result = _of_sentence(batch, row, scores, explained[index], settings, n)
                yield index, result
                if result.converged(settings.tolerance):
                    del found[index], explained[index]
                else:
                    unfinished.append(index)
        pending, n, first = np.array(unfinished, dtype=np.int64), following(n), False


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


def _of_sentence(
    batch: _Batch,
    row: int,
    scores: Float[Tensor, " tokens"],
    explained: _Explained,
    settings: AttributionSettings,
    steps: int,
) -> SentenceAttribution:
    """The record of one sentence of a batch, from the scores of its sub-words (padding may follow)."""
    of_tokens = scores[: len(batch.encoded[row].input_ids)]
    return SentenceAttribution(
        words=_of_words(of_tokens, batch.alignments[row], settings.word_score),
        logits=explained.logits,
        prediction=explained.prediction,
        logit_change=explained.logit_change,
        convergence_delta=float(of_tokens.double().sum()) - explained.logit_change,
        steps=steps,
    )

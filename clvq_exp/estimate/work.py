"""The work of the language model in floating-point operations, and the seconds that it takes at a measured rate.

A matrix of n weights costs 2n operations for each word, a backward pass as much again for the activations and
once more for the weights. It is divided by the rate of a plain matrix product on the same device and threads,
times the share of that rate which each step reached where it was measured.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clvq_exp.config import Config
from clvq_exp.estimate.corpus import Corpus, Words
from clvq_exp.estimate.network import NetworkSizes
from clvq_exp.estimate.records import Rates
from clvq_exp.settings import ModelKind

Tokens = NDArray[np.float64]
"""Sub-words of each sentence."""

# Shares of the rate of a plain matrix product (90 GFLOP/s a thread at d = 384) that the steps reached with MiniLM
# on CPU: film reviews on two threads (1,800 sentences of 20 words), and a larger data set on one (4,800 of 20),
# where the estimate is 0.8 to 1.3 of the seconds measured; for SmolLM2 (135M, d = 576) with 234 sentences 0.6 to
# 1.5. GPUs were not measured.
TUNING_SHARE = 0.7
FORWARD_SHARE = 0.8
ATTRIBUTION_SHARE = 0.9
INTERVENTION_SHARE = 0.7

BLOCK_SECONDS = 1e-4
"""Overhead of one block in one pass, whatever the size: some ten calls."""
WORD_SECONDS = 2e-5
"""Tokenising, aligning and writing a word."""
ADAPTIVE_FORWARDS = 1.4
"""All points of adaptive attribution over its first count: with MiniLM 1.05 on ERASER-Movie, 1.1 on Jigsaw, 1.9 on
AG News."""
LOADING_SECONDS = 2.0
"""Until a small model is ready."""
READ_BYTES_PER_SECOND = 1e9
UNPACKED_BYTES_PER_SECOND = 3e7
"""Of float32 out of a GGUF file: 0.5 GB in 18 s."""


class Work(NamedTuple):
    """Operations of matrix products, and passes of a block."""

    operations: float
    blocks: float = 0.0

    def seconds(self, rate: float, share: float) -> float:
        """How long it takes where a plain matrix product runs at `rate` operations a second."""
        return self.operations / (rate * share) + self.blocks * BLOCK_SECONDS


def forward(network: NetworkSizes, tokens: Tokens, batch_tokens: float, layers: int | None = None) -> Work:
    """One forward pass of the language model over some sentences, through some of its blocks."""
    run = network.layers if layers is None else layers
    share = run / max(1, network.layers)
    dense = 2 * network.body * float(tokens.sum())
    attention = 4 * network.width * network.layers * float(np.square(tokens).sum())
    return Work(share * (dense + attention), run * _passes(tokens, batch_tokens))


def _passes(tokens: Tokens, batch_tokens: float) -> int:
    return math.ceil(float(tokens.sum()) / max(1.0, batch_tokens))


def times(work: Work, factor: float) -> Work:
    """The same work several times."""
    return Work(work.operations * factor, work.blocks * factor)


def tuning_seconds(config: Config, network: NetworkSizes, corpus: Corpus, rates: Rates) -> float:
    """Fine-tuning: forward, and backward through activations and weights; dev is read once."""
    tokens = corpus.tokens.of(corpus.fine_tuning)
    batch = config.fine_tuning.batch_size * float(tokens.mean())
    training = times(forward(network, tokens, batch), 3 * config.fine_tuning.epochs)
    reading = forward(network, corpus.tokens.of(corpus.dev), 2 * batch)
    return training.seconds(rates.training, TUNING_SHARE) + reading.seconds(rates.training, FORWARD_SHARE)


def loading_seconds(weights_bytes: int) -> float:
    """Opening a model."""
    return LOADING_SECONDS + weights_bytes / READ_BYTES_PER_SECOND


def extraction_seconds(config: Config, network: NetworkSizes, corpus: Corpus, rates: Rates, top: int) -> float:
    """One pass up to the highest layer that is kept."""
    words = np.concatenate([corpus.train, corpus.validation, corpus.dev])
    work = forward(network, corpus.tokens.of(words), config.activations.batch_tokens, top)
    return work.seconds(rates.network, FORWARD_SHARE) + WORD_SECONDS * float(words.sum())


def attribution_seconds(
    config: Config, network: NetworkSizes, words: Words, tokens: Tokens, rates: Rates
) -> float:
    """Layer Integrated Gradients: each step forward and backward through activations, the weights are frozen."""
    settings = config.attribution
    steps = settings.steps * (ADAPTIVE_FORWARDS if settings.adaptive else 1)
    # Beside the steps: the text and its baseline, each once for the logits and once for the embeddings.
    work = times(forward(network, tokens, settings.batch_tokens), 2 * steps + 4)
    return work.seconds(rates.network, ATTRIBUTION_SHARE) + WORD_SECONDS * float(words.sum())


def intervention_seconds(
    config: Config, network: NetworkSizes, corpus: Corpus, rates: Rates, conditions: int
) -> float:
    """One removal: the model untouched, then its upper layers for every place, condition and seed."""
    tokens, batch = corpus.tokens.of(corpus.dev), config.activations.batch_tokens
    upper = network.layers - config.layer_pair.lower
    places = 3 if config.model.kind is ModelKind.decoder or corpus.tokens.sentence_token else 2
    whole = forward(network, tokens, batch)
    above = times(forward(network, tokens, batch, upper), places * conditions * len(config.seeds))
    work = Work(whole.operations + above.operations, whole.blocks + above.blocks)
    return work.seconds(rates.network, INTERVENTION_SHARE)

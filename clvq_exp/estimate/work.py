"""The work of every step in floating-point operations, and the seconds that it takes at a measured rate.

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
from clvq_exp.estimate.sizes import CONDITIONS, removals
from clvq_exp.settings import InitMethod, ModelKind

Tokens = NDArray[np.float64]
"""Sub-words of each sentence."""

# Shares of the rate of a plain matrix product (90 GFLOP/s a thread at d = 384) that the steps reached with MiniLM
# and CLVQ-VAE on CPU: film reviews on two threads (1,800 sentences of 20 words), and a larger data set on one
# (4,800 of 20), where the estimate is 0.8 to 1.3 of the seconds measured; for SmolLM2 (135M, d = 576) with 234
# sentences 0.6 to 1.5. GPUs were not measured.
TUNING_SHARE = 0.7
FORWARD_SHARE = 0.8
ATTRIBUTION_SHARE = 0.9
CLUSTERING_SHARE = 0.4
DECODER_SHARE = 0.6
INTERVENTION_SHARE = 0.7

BLOCK_SECONDS = 1e-4
"""Overhead of one block in one pass, whatever the size: some ten calls."""
WORD_SECONDS = 2e-5
"""Tokenising, aligning and writing a word."""
LLOYD_ITERATIONS = 40
"""Until the inertia improves by less than 1e-4."""
ADAPTIVE_FORWARDS = 2.65
"""All steps of adaptive attribution over its first count: on ERASER-Movie 16 became 29 on average, and the counts
that were tried before came on top."""
PROBE_EPOCHS = 30
"""Until the held-out loss has not improved for five epochs."""
PROBE_STEP_SECONDS = 8e-4
LOADING_SECONDS = 2.0
"""Until a small model is ready."""
READ_BYTES_PER_SECOND = 1e9
UNPACKED_BYTES_PER_SECOND = 3e7
"""Of float32 out of a GGUF file: 0.5 GB in 18 s."""
REPORT_SECONDS = 0.4
REPORT_WORD_SECONDS = 2.5e-5
"""Assigning a word and writing its rows."""
RESAMPLED_SECONDS = 4e-9
"""Of one sentence in one resample of one figure."""


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


def clustering_seconds(config: Config, network: NetworkSizes, corpus: Corpus, rates: Rates) -> float:
    """k-means++ on its sample, then Lloyd over all training words."""
    init, size, width = config.init, config.quantizer.codebook_size, network.width
    words = float(corpus.tokens.stored(corpus.train).sum())
    sample = min(words, max(init.seeding_sample, size))
    one_pass = 2 * words * size * width
    if init.method is InitMethod.random:
        return Work(one_pass).seconds(rates.training, CLUSTERING_SHARE)
    seeding = 2 * sample * size * width * (2 + int(math.log(size)))
    iterations = 2 + min(init.max_iterations, LLOYD_ITERATIONS)
    return Work(seeding + iterations * one_pass).seconds(rates.training, CLUSTERING_SHARE)


def members_seconds(config: Config, network: NetworkSizes, corpus: Corpus, rates: Rates) -> float:
    """One pass that gives all words of the store to their codes."""
    operations = 2.0 * float(corpus.stored.sum()) * config.quantizer.codebook_size * network.width
    return Work(operations).seconds(rates.training, CLUSTERING_SHARE)


def training_seconds(config: Config, network: NetworkSizes, corpus: Corpus, rates: Rates) -> float:
    """CLVQ-VAE for all of its epochs; early stopping may end it sooner."""
    train, validation = (corpus.tokens.stored(words) for words in (corpus.train, corpus.validation))
    epochs = config.trainer.max_epochs
    learning = times(_decoder_pass(config, network, train), 3 * epochs)
    # Each epoch, once before the first, and about four times to measure the bypass.
    reading = times(_decoder_pass(config, network, validation), epochs + 5)
    steps = epochs * math.ceil(len(train) / config.trainer.batch_size)
    work = Work(learning.operations + reading.operations, learning.blocks + reading.blocks + steps)
    return work.seconds(rates.training, DECODER_SHARE)


def _decoder_pass(config: Config, network: NetworkSizes, words: Words) -> Work:
    """Encoder, quantizer and decoder over some sentences, forward."""
    width, decoder = network.width, config.decoder
    layer = 8 * width**2 + 2 * width * decoder.feed_forward
    weights = decoder.layers * layer + 2 * width**2 + config.quantizer.codebook_size * width
    n, squares = float(words.sum()), float(np.square(words).sum())
    attention = decoder.layers * 2 * 4 * width * squares
    passes = math.ceil(n / config.trainer.micro_batch_words)
    return Work(2 * weights * n + attention, decoder.layers * passes)


def ablation_seconds(config: Config, network: NetworkSizes, corpus: Corpus, rates: Rates, trained: bool) -> float:
    """Probes are small: their steps take the time of their calls, not of their products."""
    probe, seeds = config.probe, len(config.seeds)
    refits = (1 + removals(trained)) * math.ceil(len(corpus.refit) / probe.batch_size)
    steps = seeds * (math.ceil(len(corpus.train) / probe.batch_size) + refits)
    epochs = min(probe.max_epochs, PROBE_EPOCHS)
    methods = 2 if trained else 1
    return epochs * steps * PROBE_STEP_SECONDS + methods * seeds * members_seconds(config, network, corpus, rates)


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


def report_seconds(config: Config, corpus: Corpus, trained: bool) -> float:
    """Assignments of all words, tables, bootstrap and page."""
    seeds, dev = len(config.seeds), len(corpus.dev)
    words = float(corpus.stored.sum()) * seeds
    resampled = dev * config.evaluation.bootstrap_samples * removals(trained) * (CONDITIONS + 12) * seeds
    return REPORT_SECONDS + words * REPORT_WORD_SECONDS + resampled * RESAMPLED_SECONDS

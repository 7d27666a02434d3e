"""CLVQ-VAE, with all three starts and with one layer, and the untrained codebook: work, memory and disk."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from clvq_exp.config import Config
from clvq_exp.estimate.corpus import Words
from clvq_exp.estimate.method_of_cell import MethodOfCell
from clvq_exp.estimate.network import NetworkSizes
from clvq_exp.estimate.records import CONCEPTS, MethodMemory, MethodNeeds, Part
from clvq_exp.estimate.sizes import CHECKPOINT, STORE_BYTES
from clvq_exp.estimate.subject import Subject
from clvq_exp.estimate.work import Work, times
from clvq_exp.settings import InitMethod, InitSettings, TargetLayer, TrainedWords, WordsOfConcepts

GIB = 2**30
CODEBOOK_REMOVALS = {"concept": 1, "member_mean": 1}
"""Removals of a method with one vector per concept."""
TRAINING_KNOBS = (
    *("max_epochs", "patience", "learning_rate", "weight_decay", "batch_size", "micro_batch_words"),
    *("gradient_clip", "plateau_factor", "plateau_patience", "precision", "packed"),
)
"""Of the trainer's settings those that a fitted CLVQ-VAE hangs on."""

# Shares of the rate of a plain matrix product, measured as those of the language model (`work.py`).
CLUSTERING_SHARE = 0.4
DECODER_SHARE = 0.6
ASSIGNING_SHARE = 0.8
"""Words of MiniLM to 400 codes: 4.1 to 4.5 microseconds each on one thread."""
FILTER_SECONDS = 1.5e-6
"""Counting a word by its type: 1.2 to 2.2 microseconds."""
LLOYD_ITERATIONS = 40
"""Until the inertia improves by less than 1e-4."""

FITTED = 36
"""Bytes of a trained weight from its fit on: training, a checkpoint on its way to the disk and back, and what is
not given back of it; 0.5 to 0.7 GiB for the 16.9 million weights of CLVQ-VAE, 31 to 47 bytes for sparse networks
of 1.6 to 6.3 million."""
DECODER_WIDTHS = 24
DECODER_FEED_FORWARDS = 4
"""Tensors of the hidden and of the feed-forward width that each layer of the concept decoder keeps for a backward
pass; they have two attentions. At d = 384, 6 layers and 1,024 words the step took 1.67 to 1.71 GiB in all."""
WORDS_AT_ONCE = 4096
"""Words of one block of the store."""


def clvq_vae(cell: MethodOfCell) -> MethodNeeds:
    """CLVQ-VAE: the initial codebook, then training for all epochs; early stopping may end it sooner."""
    subject, config = cell.subject, cell.subject.config
    width, pair = subject.network.width, config.layer_pair
    target = cell.choice("target_layer", TargetLayer.upper)
    rebuilt = cell.names.layer(pair.upper if target is TargetLayer.upper else pair.lower)
    knobs = [getattr(config.trainer, name) for name in TRAINING_KNOBS]
    shared = [config.encoder, config.quantizer, config.decoder, config.weight_decay_on, knobs]
    words = subject.corpus.training_words
    kept_codes = config.quantizer.words_of_concepts is WordsOfConcepts.sampled_code
    model_bytes = concept_model_bytes(config, width, True) + (4 * words if kept_codes else 0)
    weights, processes = concept_parameters(config, width), subject.processes
    passing = _passing_seconds(subject, word_operations(config, width, True), subject.rates.training)
    joining = processes.joining_seconds(weights, training_steps(subject))
    seconds = processes.seconds(shared=_training_seconds(subject), each=joining, alone=passing)
    starting = processes.seconds(on_processor=_clustering_seconds(subject, cell.method.init))
    # The best and the last epoch, and the next one until it is whole.
    working = 3 * CHECKPOINT * weights
    parts: list[Part] = []
    models: list[str] = []
    for seed in config.seeds:
        codebook = cell.names.codebook(cell.method.init, seed)
        inputs = ["clvq_vae", codebook, rebuilt, shared]
        models.append(cell.names.fitted(seed, *inputs, processes=processes.world))
        parts.append(_codebook_part(cell, seed, starting))
        parts.append(Part(CONCEPTS, models[-1], seconds, model_bytes, working, cell.method.name))
    fit = FITTED * weights + _training_bytes(subject)
    memory = MethodMemory(
        fit=fit,
        fit_host=_sample_bytes(subject, cell.method.init),
        left=FITTED * weights if processes.world == 1 else 0,
        assigning=assigning_bytes(config, width),
        training=fit,
    )
    lowered_by = "trainer.micro_batch_words or decoder.layers"
    return codebook_needs(cell, parts, models, model_bytes, memory, lowered_by, trains=True)


def kmeans_codes(cell: MethodOfCell) -> MethodNeeds:
    """The initial codebook itself, and one pass that gives all words to their codes."""
    subject, config = cell.subject, cell.subject.config
    width = subject.network.width
    model_bytes = concept_model_bytes(config, width, False)
    seconds = _passing_seconds(subject, word_operations(config, width, False), subject.rates.processor)
    starting = _clustering_seconds(subject, cell.method.init)
    parts: list[Part] = []
    models: list[str] = []
    for seed in config.seeds:
        models.append(cell.names.fitted(seed, "kmeans_codes", cell.names.codebook(cell.method.init, seed)))
        parts.append(_codebook_part(cell, seed, starting))
        parts.append(Part(CONCEPTS, models[-1], seconds, model_bytes, 0, cell.method.name))
    memory = MethodMemory(0, _sample_bytes(subject, cell.method.init), 0, assigning_bytes(config, width))
    return codebook_needs(cell, parts, models, model_bytes, memory, "init.seeding_sample")


def codebook_needs(
    cell: MethodOfCell,
    parts: Sequence[Part],
    models: Sequence[str],
    model_bytes: int,
    memory: MethodMemory,
    lowered_by: str,
    trains: bool = False,
) -> MethodNeeds:
    """What a method with one vector per concept needs.

    Args:
        cell: the method.
        parts: its fits.
        models: what the fitted model of each seed hangs on.
        model_bytes: one fitted model.
        memory: beside the fitted models.
        lowered_by: the key that lowers it.
        trains: whether it trains a network, an encoder among it.
    """
    config, width = cell.subject.config, cell.subject.network.width
    operations = word_operations(config, width, trains)
    return MethodNeeds(
        name=cell.method.name,
        parts=tuple(parts),
        models=tuple(models),
        concepts=config.quantizer.codebook_size,
        removals=CODEBOOK_REMOVALS,
        sure_concepts=1,
        word_seconds=operations / (cell.subject.rates.training * ASSIGNING_SHARE),
        model_bytes=model_bytes,
        memory=memory,
        lowered_by=lowered_by,
        trains=trains,
    )


def word_operations(config: Config, width: int, encoded: bool) -> float:
    """A word through the encoder, if there is one, and its distances to all codes."""
    return 2.0 * width * (config.quantizer.codebook_size + (width if encoded else 0))


def concept_parameters(config: Config, width: int) -> int:
    """Trained weights of CLVQ-VAE: encoder, decoder layers, output."""
    decoder = config.decoder
    attention = 4 * width**2 + 4 * width
    feed_forward = 2 * width * decoder.feed_forward + decoder.feed_forward + width
    layer = 2 * attention + feed_forward + 3 * 2 * width
    encoder = width**2 + 3 * width + 1
    return encoder + decoder.layers * layer + width**2 + width


def concept_model_bytes(config: Config, width: int, trained: bool) -> int:
    """model.safetensors of one fitted model: weights, codebook, its averages and the means of its members."""
    code = 3 * width + 1 if trained else 2 * width
    weights = concept_parameters(config, width) if trained else 0
    return 4 * (weights + config.quantizer.codebook_size * (code + 2))


def assigning_bytes(config: Config, width: int) -> int:
    """A block of words, encoded, and its distances to all codes."""
    return 4 * WORDS_AT_ONCE * (2 * width + config.quantizer.codebook_size)


def _codebook_part(cell: MethodOfCell, seed: int, seconds: float) -> Part:
    subject = cell.subject
    kept = 4 * subject.config.quantizer.codebook_size * (subject.network.width + 1)
    name = cell.names.codebook(cell.method.init, seed)
    return Part(CONCEPTS, name, seconds, kept, 0, cell.method.name)


def _filtered(subject: Subject) -> bool:
    return subject.config.quantizer.trained_words is TrainedWords.frequent


def _clustering_seconds(subject: Subject, init: InitSettings) -> float:
    """k-means++ on its sample, then Lloyd over all training words that are trained on."""
    size, width, corpus = subject.config.quantizer.codebook_size, subject.network.width, subject.corpus
    words = corpus.frequent_words if _filtered(subject) else corpus.training_words
    counting = FILTER_SECONDS * corpus.training_words if _filtered(subject) else 0.0
    sample = min(words, max(init.seeding_sample, size))
    one_pass = 2.0 * words * size * width
    if init.method is InitMethod.random:
        return counting + Work(one_pass).seconds(subject.rates.processor, CLUSTERING_SHARE)
    seeding = 2.0 * sample * size * width * (2 + int(math.log(size)))
    iterations = 2 + min(init.max_iterations, LLOYD_ITERATIONS)
    return counting + Work(seeding + iterations * one_pass).seconds(subject.rates.processor, CLUSTERING_SHARE)


def _passing_seconds(subject: Subject, operations: float, rate: float) -> float:
    """One pass that gives the words of training and validation to their codes."""
    corpus = subject.corpus
    words = float(corpus.training_words + corpus.validation_words)
    return words * operations / (rate * ASSIGNING_SHARE)


def _training_seconds(subject: Subject) -> float:
    config, network, corpus = subject.config, subject.network, subject.corpus
    train, validation = (corpus.tokens.stored(words) for words in (corpus.train, corpus.validation))
    share = corpus.frequent_share if _filtered(subject) else 1.0
    epochs = config.trainer.max_epochs
    learning = times(decoder_pass(config, network, train, share), 3 * epochs)
    # Each epoch, once before the first, and about four times to measure the bypass.
    reading = times(decoder_pass(config, network, validation, 1.0), epochs + 5)
    blocks = learning.blocks + reading.blocks + training_steps(subject)
    work = Work(learning.operations + reading.operations, blocks)
    return work.seconds(subject.rates.training, DECODER_SHARE)


def training_steps(subject: Subject) -> int:
    """Steps of the optimizer."""
    trainer = subject.config.trainer
    return trainer.max_epochs * math.ceil(len(subject.corpus.train) / trainer.batch_size)


def decoder_pass(config: Config, network: NetworkSizes, words: Words, share: float) -> Work:
    """Encoder, quantizer and decoder over some words of each sentence, forward."""
    width, decoder = network.width, config.decoder
    layer = 8 * width**2 + 2 * width * decoder.feed_forward
    weights = decoder.layers * layer + 2 * width**2 + config.quantizer.codebook_size * width
    n, squares = share * float(words.sum()), share**2 * float(np.square(words).sum())
    attention = decoder.layers * 2 * 4 * width * squares
    passes = math.ceil(n / config.trainer.micro_batch_words)
    return Work(2 * weights * n + attention, decoder.layers * passes)


def _sample_bytes(subject: Subject, init: InitSettings) -> int:
    """What k-means++ sees, and a copy of it."""
    seen = max(init.seeding_sample, subject.config.quantizer.codebook_size)
    return 2 * 4 * subject.network.width * min(int(subject.corpus.stored.sum()), seen)


def _training_bytes(subject: Subject) -> int:
    """What a micro-batch keeps for the backward pass, and both layers where they stay on the device."""
    config, width = subject.config, subject.network.width
    words = max(config.trainer.micro_batch_words, int(subject.corpus.stored.max()))
    floats = DECODER_WIDTHS * width + DECODER_FEED_FORWARDS * config.decoder.feed_forward
    return 4 * words * config.decoder.layers * floats + resident_bytes(subject)


def resident_bytes(subject: Subject) -> int:
    """Both layers of the pair, where they stay on the GPU."""
    config = subject.config
    both = 2 * int(subject.corpus.stored.sum()) * subject.network.width * STORE_BYTES[config.activations.dtype]
    return both if subject.device != "cpu" and both <= config.trainer.resident_gib * GIB else 0

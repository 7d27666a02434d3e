"""Sparse autoencoders, one network for each weight of the penalty, and the sparse transcoder."""

from __future__ import annotations

import math
from typing import NamedTuple

from clvq_exp.estimate.method_codebooks import FITTED, WORDS_AT_ONCE, resident_bytes
from clvq_exp.estimate.method_of_cell import MethodOfCell
from clvq_exp.estimate.records import CONCEPTS, MethodMemory, MethodNeeds, Part
from clvq_exp.estimate.sizes import CHECKPOINT, STORE_BYTES
from clvq_exp.estimate.subject import Subject

SPARSE_REMOVALS = {"encoder_top_10": 10, "encoder_top_5": 5, "encoder_top_1": 1, "concept": 1, "member_mean": 1}
TRAINING_KNOBS = ("max_epochs", "patience", "gradient_clip", "plateau_factor", "plateau_patience", "precision")
"""Of the trainer's settings those that a fitted sparse network hangs on."""
DEFAULT_L1, DEFAULT_L0, DEFAULT_RATE = (0.04, 0.06, 0.09), 32, 1e-3
DEFAULT_BATCH, DEFAULT_K, DEFAULT_EXPANSION = 512, 32, 8

# Steps of 512 words of MiniLM (d = 384) on one thread, where a plain matrix product runs at 89 GFLOP/s: 9 ms with
# 256 neurons, 61 with 2,048, 123 with 4,096, 101 with 3,072 of which 32 are kept; then Adam: 1, 7, 14 and 13 ms.
STEP_SHARE = 0.87
UPDATE_OPERATIONS = 400
"""Adam's update of a weight and the norm of its row, which move memory, in operations of a matrix product."""
TOPK_OPERATIONS = 430
"""Finding the largest neurons of a word, for each neuron: 5 nanoseconds."""
STEP_SECONDS = 2e-3
NETWORK_SECONDS = 0.3
"""Overhead of a step, and of a network, whatever the size."""
BATCH_TENSORS, KEPT_TENSORS = 4, 2
"""Activations of a batch that a step holds at once, and those beside where only the largest are kept: 3.5 and 6 in
all were measured."""
MEMBER_BYTES = 16
"""Of a dimension of a neuron: the sum of its words in float64, and the mean made of it."""
ASSIGNED_TENSORS = 2
ACTIVE_BYTES = 64 * 2**20
"""Activations of one tensor while words are given to their neurons, at most."""
BUFFER_WORDS = 16_384
"""Words that are read at once, of both layers, and mixed: each twice while that is done."""


class _Networks(NamedTuple):
    """What is trained."""

    kind: str
    neurons: int
    penalties: list[float]
    """One network for each."""
    kept: int | None
    """Neurons of a word that TopK keeps; None leaves all that are active."""
    chosen_by: float | None
    """Wanted L0."""
    lowered_by: str


def sparse_autoencoder(cell: MethodOfCell) -> MethodNeeds:
    """One network for each weight of the penalty, of which one is kept."""
    penalties, wanted = cell.numbers("l1", DEFAULT_L1), cell.number("l0", DEFAULT_L0)
    neurons = cell.whole("neurons")
    return _sparse(cell, _Networks("sae", neurons, penalties, None, wanted, cell.key("neurons")))


def sparse_transcoder(cell: MethodOfCell) -> MethodNeeds:
    """One network, as a multiple of the width wide, of which each word keeps the largest neurons."""
    neurons = cell.whole("expansion", DEFAULT_EXPANSION) * cell.subject.network.width
    kept = cell.whole("k", DEFAULT_K)
    return _sparse(cell, _Networks("transcoder", neurons, [0.0], kept, None, cell.key("expansion")))


def sparse_parameters(neurons: int, width: int) -> int:
    """Trained weights: both matrices and three biases."""
    return 2 * neurons * width + neurons + 2 * width


def sparse_model_bytes(neurons: int, width: int) -> int:
    """model.safetensors: weights, scales and mean of the layers; means and counts of the neurons' words."""
    return 4 * (sparse_parameters(neurons, width) + 2 + width + neurons * width) + 8 * neurons


def _sparse(cell: MethodOfCell, networks: _Networks) -> MethodNeeds:
    subject, config, names = cell.subject, cell.subject.config, cell.names
    batch = cell.whole("batch_words", DEFAULT_BATCH)
    width, pair = subject.network.width, config.layer_pair
    layers = [names.layer(pair.lower), names.layer(pair.upper)]
    steps = [cell.number("learning_rate", DEFAULT_RATE), batch]
    knobs = [getattr(config.trainer, name) for name in TRAINING_KNOBS]
    model_bytes = sparse_model_bytes(networks.neurons, width)
    weights = sparse_parameters(networks.neurons, width)
    # Of one network the best and the last epoch, and the next one until it is whole; of the others the weights.
    working = 3 * CHECKPOINT * weights + 4 * weights * len(networks.penalties)
    seconds, processes = _fit_seconds(subject, networks, batch), subject.processes.world
    inputs = [networks.kind, *layers, networks[1:5], steps, knobs]
    models = tuple(names.fitted(seed, *inputs, processes=processes) for seed in config.seeds)
    assigning, resident = _assigning_bytes(networks), resident_bytes(subject)
    training = FITTED * weights + _step_bytes(networks, math.ceil(batch / processes))
    return MethodNeeds(
        name=cell.method.name,
        parts=tuple(Part(CONCEPTS, name, seconds, model_bytes, working, cell.method.name) for name in models),
        models=models,
        concepts=networks.neurons,
        removals=SPARSE_REMOVALS,
        sure_concepts=networks.kept or 0,  # a ReLU leaves some words without any: one in a hundred at an L0 of 38
        word_seconds=_word_operations(networks, width) / subject.rates.training,
        model_bytes=model_bytes,
        memory=MethodMemory(
            fit=max(training, FITTED * weights + MEMBER_BYTES * networks.neurons * width + assigning) + resident,
            fit_host=0 if resident else _buffer_bytes(subject),
            left=FITTED * weights if processes == 1 else 0,
            assigning=assigning,
            training=training + resident,
        ),
        lowered_by=networks.lowered_by,
        trains=True,
    )


def _word_operations(networks: _Networks, width: int) -> float:
    """A word through the encoder, and its ten largest neurons."""
    sorting = TOPK_OPERATIONS * networks.neurons * (1 if networks.kept is None else 2)
    return 2 * networks.neurons * width / STEP_SHARE + sorting


def _fit_seconds(subject: Subject, networks: _Networks, batch: int) -> float:
    """All networks for all of their epochs, and one pass that gives all words to the neurons of the chosen one."""
    corpus, rate, epochs = subject.corpus, subject.rates.training, subject.config.trainer.max_epochs
    width = subject.network.width
    train, validation = corpus.training_words, corpus.validation_words
    sorting = 0 if networks.kept is None else TOPK_OPERATIONS * networks.neurons
    of_word = 4 * networks.neurons * width / STEP_SHARE
    weights, steps = sparse_parameters(networks.neurons, width), epochs * math.ceil(train / batch)
    learning = epochs * train * (3 * of_word + sorting) / rate
    reading = (epochs + 1) * validation * (of_word + sorting) / rate
    updates = NETWORK_SECONDS + steps * (UPDATE_OPERATIONS * weights / rate + STEP_SECONDS)
    many = len(networks.penalties)
    return subject.processes.seconds(
        shared=many * (learning + reading),
        each=many * updates + subject.processes.joining_seconds(weights, many * steps),
        alone=(train + validation) * _word_operations(networks, width) / rate,
    )


def _assigning_bytes(networks: _Networks) -> int:
    tensors = ASSIGNED_TENSORS + (0 if networks.kept is None else 1)
    return tensors * min(ACTIVE_BYTES, 4 * WORDS_AT_ONCE * networks.neurons)


def _step_bytes(networks: _Networks, batch: int) -> int:
    tensors = BATCH_TENSORS + (0 if networks.kept is None else KEPT_TENSORS)
    return tensors * 4 * batch * networks.neurons


def _buffer_bytes(subject: Subject) -> int:
    words = min(BUFFER_WORDS, subject.corpus.training_words)
    return 2 * 2 * words * subject.network.width * STORE_BYTES[subject.config.activations.dtype]

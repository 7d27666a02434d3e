"""Peak memory of every step, in bytes, by formula."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from clvq_exp.config import Config
from clvq_exp.estimate.corpus import Corpus, Words
from clvq_exp.estimate.network import BYTES, NetworkSizes
from clvq_exp.estimate.processes import Processes
from clvq_exp.estimate.records import (
    ABLATION,
    ACTIVATIONS,
    ATTRIBUTION,
    CONCEPTS,
    INTERVENTION,
    LANGUAGE_MODEL,
    REPORT,
    SPECIFICITY,
    STEPS,
    MethodNeeds,
    StepMemory,
    both,
    largest,
)
from clvq_exp.estimate.sizes import weights_bytes
from clvq_exp.estimate.subject import Subject

GIB = 2**30
PROCESS = int(0.42 * GIB)
"""torch, transformers and Lightning without a model: 0.42 GiB on CPU (0.50 with MiniLM's 0.09 loaded)."""
GPU_PROCESS = int(2 * GIB)
"""The same with the CUDA libraries, in the machine's own memory: not measured, the usual size."""
GPU_CONTEXT = int(0.6 * GIB)
"""What CUDA takes on the GPU before anything is there."""
TRAINED = 16
"""Bytes of a weight in training: itself, its gradient and Adam's two moments in float32."""
FORWARD = 16
FORWARD_FEED_FORWARDS = 4
"""Tensors of the hidden and of the feed-forward width that a forward pass holds at once: at 4,096 sub-words of
MiniLM 0.19 GiB, where extraction took 0.27 GiB beyond process and weights, the live intervention 0.06 to 0.12."""
ATTRIBUTED_WIDTHS, ATTRIBUTED_FEED_FORWARDS, ATTRIBUTED_SCORES = 10, 3, 1
"""Tensors of the hidden width, of the feed-forward width and of attention scores that each block keeps for a
backward pass without dropout: attribution through MiniLM at 4,096 sub-words took 0.75 to 0.89 GiB."""
TUNED_WIDTHS, TUNED_FEED_FORWARDS, TUNED_SCORES = 10, 4, 3
"""The same with dropout: 32 sentences of 64, 128 and 256 sub-words through MiniLM took 0.54, 1.40 and 3.55 GiB."""
TRAINING_LIBRARIES = int(0.2 * GIB)
"""Lightning, captum, scikit-learn and faiss, loaded when concept models are."""
SHARED_LIBRARIES = int(0.2 * GIB)
"""What of these processes of one machine hold together: the libraries' code."""

REMOVED_AT_ONCE = 512
"""Sentences whose bases are in memory at once."""
REMOVED_BYTES = 48
"""Bytes of a number in such a basis: eight conditions in float32, and one in float64 while it is made orthonormal;
28 were measured for the ten directions of a sparse autoencoder at d = 384."""
LIVE_BYTES = 8
"""The same of the two conditions of a live intervention."""
WORD_BYTES = 60
"""Of a training word while purity and routing are measured: sentence, form, code, labels of some labellings."""
COSINES_AT_ONCE = 2**22
COSINE_BYTES, MATCHED_BYTES = 40, 16
"""Of a cosine of two concepts while they are counted, and while two codebooks are matched: in all 253 MiB for
4,096 neurons, their words' activations included."""
PAIRS_AT_ONCE = 2**19
PAIR_BYTES = 32
"""Of a pair of sentences, for each concept model and once more: 72 MiB in all for two seeds on ERASER-Movie."""
MEMBERSHIPS = 512 * 8
"""Bytes of a compared sentence: what labels it has under some labellings."""
_WITH_LIBRARIES = (CONCEPTS, ABLATION, INTERVENTION, SPECIFICITY, REPORT)
"""Steps from which on `TRAINING_LIBRARIES` are there."""


def step_memory(subject: Subject, methods: Sequence[MethodNeeds]) -> dict[str, StepMemory]:
    """Peak memory of every step.

    Args:
        subject: the cell.
        methods: its concept methods.
    """
    on_device, on_host = _on_device(subject, methods), _on_host(subject, methods)
    found = {
        step: both(_interpreter(subject, step in _WITH_LIBRARIES), _work(subject, needed, on_host.get(step, 0)))
        for step, needed in on_device.items()
    }
    for step, together in ((ACTIVATIONS, subject.extracting), (ATTRIBUTION, subject.attributing)):
        found[step] = together.beside_memory(found[step], _without_shared(found[step]))
    fits = largest(fit_memory(subject, methods, each) for each in methods)
    return {step: fits if step == CONCEPTS else found[step] for step in STEPS}


def fit_memory(subject: Subject, methods: Sequence[MethodNeeds], method: MethodNeeds) -> StepMemory:
    """Peak memory while a method is fitted, of all processes that take part.

    Args:
        subject: the cell.
        methods: all concept methods of the cell, whose fitted models are held meanwhile.
        method: one of them.
    """
    own, needs, together = _interpreter(subject, libraries=True), method.memory, subject.processes
    held = weights_bytes(subject.config, subject.network) + _models_bytes(subject, methods)
    waiting, fit = both(own, _work(subject, held, 0)), _work(subject, needs.fit, needs.fit_host)
    if together.world == 1 or not method.trains:
        return Processes().memory(waiting, own, fit)
    training = together.memory(waiting, _without_shared(own), _work(subject, needs.training, needs.fit_host))
    return largest(
        [training, both(both(waiting, _without_shared(own)), fit)]
    )  # the first finishes what all have trained


def _without_shared(process: StepMemory) -> StepMemory:
    """What a further process like this one takes beside it."""
    return StepMemory(process.host - SHARED_LIBRARIES, process.gpu)


def _interpreter(subject: Subject, libraries: bool) -> StepMemory:
    """A process without a model.

    Args:
        subject: the cell.
        libraries: whether those that concept models need are loaded.
    """
    if subject.device == "cpu":
        return StepMemory(PROCESS + (TRAINING_LIBRARIES if libraries else 0), 0)
    return StepMemory(GPU_PROCESS, GPU_CONTEXT)


def _work(subject: Subject, on_device: int, on_host: int) -> StepMemory:
    """Bytes on the device of the run and bytes in the machine's own memory, which may be the same."""
    return StepMemory(on_device + on_host, 0) if subject.device == "cpu" else StepMemory(on_host, on_device)


def _models_bytes(subject: Subject, methods: Sequence[MethodNeeds]) -> int:
    """Fitted models of all methods and seeds, which stay on the device of the run."""
    return len(subject.config.seeds) * sum(each.model_bytes for each in methods)


def _on_device(subject: Subject, methods: Sequence[MethodNeeds]) -> dict[str, int]:
    """All steps but that of the concepts."""
    config, network, corpus = subject.config, subject.network, subject.corpus
    weights, item = weights_bytes(config, network), BYTES[config.model.number_format]
    pass_tokens = _longest_or(config.activations.batch_tokens, corpus, corpus.dev)
    forward = pass_tokens * _forward_floats(network) * item
    tuning = _tuning_bytes(config, network, corpus) if subject.tuned and not subject.there else weights
    if config.model.gguf_file is not None:  # unpacked to float32, and copied once more when it is saved
        tuning = max(tuning, 2 * 4 * network.parameters)
    left = weights + max(each.memory.left for each in methods) + _models_bytes(subject, methods)
    if subject.device != "cpu":
        left += max(each.memory.assigning for each in methods)
    return {
        LANGUAGE_MODEL: tuning,
        ACTIVATIONS: weights + forward,
        ATTRIBUTION: weights + _attribution_floats(config, network, corpus) * item,
        ABLATION: left,
        INTERVENTION: left + forward,
        SPECIFICITY: left,
        REPORT: left,
    }


def _on_host(subject: Subject, methods: Sequence[MethodNeeds]) -> dict[str, int]:
    """What is computed on the processor, whatever the device."""
    config, network = subject.config, subject.network
    seeds = len(config.seeds)
    directions = max(max(each.removals.values()) for each in methods)
    numbers = REMOVED_AT_ONCE * directions * network.width
    found = {
        ABLATION: REMOVED_BYTES * numbers,
        INTERVENTION: LIVE_BYTES * numbers * seeds,
        SPECIFICITY: _specificity_bytes(subject, methods),
        REPORT: 0,
    }
    if subject.device == "cpu":  # words are given to their concepts before or after
        assigning = max(each.memory.assigning for each in methods)
        return {step: max(assigning, needed) for step, needed in found.items()}
    if not config.model.device_map:  # through the machine's own memory, on its way
        found[LANGUAGE_MODEL] = weights_bytes(config, network)
    return found


def _specificity_bytes(subject: Subject, methods: Sequence[MethodNeeds]) -> int:
    """Words and labels, and the largest of cosines, matching and pairs of sentences."""
    settings, seeds = subject.config.specificity, len(subject.config.seeds)
    sentences = len(subject.corpus.train)
    compared = min(sentences, settings.sentences) if settings.sentences else sentences
    most = max(each.concepts for each in methods)
    matched = max((each.concepts for each in methods if each.concepts <= settings.largest_matching), default=0)
    pairs = PAIR_BYTES * (1 + seeds) * min(PAIRS_AT_ONCE, compared**2) + MEMBERSHIPS * compared
    cosines = COSINE_BYTES * min(COSINES_AT_ONCE, most**2) + 16 * most * subject.network.width
    matching = MATCHED_BYTES * matched**2 if seeds > 1 else 0
    labels = 8 * (1 + 2 * settings.shuffles) * compared
    return WORD_BYTES * subject.corpus.training_words + max(pairs + labels, cosines, matching)


def weights_memory(config: Config, network: NetworkSizes, device: str) -> StepMemory:
    """What the language model's weights take, and nothing else."""
    weights = weights_bytes(config, network)
    if device == "cpu":
        return StepMemory(weights, 0)
    return StepMemory(0 if config.model.device_map else weights, weights)


def _longest_or(budget: int, corpus: Corpus, words: Words) -> int:
    """Padded sub-words of the largest batch: the budget, or one text that is longer."""
    longest = float(corpus.tokens.of(words).max()) if len(words) else 0.0
    return max(budget, math.ceil(longest))


def _forward_floats(network: NetworkSizes) -> int:
    return FORWARD * network.width + FORWARD_FEED_FORWARDS * network.feed_forward


def _tuning_bytes(config: Config, network: NetworkSizes, corpus: Corpus) -> int:
    longest = float(corpus.tokens.of(corpus.fine_tuning).max())
    scores = TUNED_SCORES * network.heads * longest
    per_block = TUNED_WIDTHS * network.width + TUNED_FEED_FORWARDS * network.feed_forward + scores
    batch = config.fine_tuning.batch_size * longest * network.layers * per_block
    return math.ceil(TRAINED * network.parameters + 4 * batch)


def _attribution_floats(config: Config, network: NetworkSizes, corpus: Corpus) -> int:
    tokens = corpus.tokens.of(np.concatenate([corpus.dev, corpus.refit]))
    longest, mean = (float(tokens.max()), float(tokens.mean())) if len(tokens) else (1.0, 1.0)
    scores = ATTRIBUTED_SCORES * network.heads * mean
    per_block = ATTRIBUTED_WIDTHS * network.width + ATTRIBUTED_FEED_FORWARDS * network.feed_forward + scores
    return math.ceil(max(config.attribution.batch_tokens, longest) * network.layers * per_block)

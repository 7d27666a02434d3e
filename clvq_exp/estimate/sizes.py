"""Memory of every step and sizes on the disk, in bytes, by formula."""

from __future__ import annotations

import math

import numpy as np

from clvq_exp.config import Config
from clvq_exp.estimate.corpus import Corpus, Words
from clvq_exp.estimate.network import BYTES, NetworkSizes
from clvq_exp.estimate.records import (
    ABLATION,
    ACTIVATIONS,
    ATTRIBUTION,
    CONCEPTS,
    INTERVENTION,
    LANGUAGE_MODEL,
    REPORT,
    StepMemory,
)
from clvq_exp.settings import StoreDtype

GIB = 2**30
STORE_BYTES = {StoreDtype.float32: 4, StoreDtype.float16: 2, StoreDtype.bfloat16: 2}
PROCESS = int(0.42 * GIB)
"""torch, transformers and Lightning without a model: 0.42 GiB on CPU (0.50 with MiniLM's 0.09 loaded)."""
GPU_PROCESS = int(2 * GIB)
"""The same with the CUDA libraries, in the machine's own memory: not measured, the usual size."""
GPU_CONTEXT = int(0.6 * GIB)
"""What CUDA takes on the GPU before anything is there."""
TRAINED = 16
"""Bytes of a weight in training: itself, its gradient and Adam's two moments in float32."""
CHECKPOINT = 12
"""Bytes of a weight in a checkpoint: itself and Adam's two moments."""
FITTED = 36
"""Bytes of a concept model's weight from its fit on: training, a checkpoint on its way to the disk and back, and
what is not given back of it; 0.5 to 0.7 GiB for 16.9 million weights."""
FORWARD = 16
FORWARD_FEED_FORWARDS = 4
"""Tensors of the hidden and of the feed-forward width that a forward pass holds at once: at 4,096 sub-words of
MiniLM 0.19 GiB, where extraction took 0.27 GiB beyond process and weights, the live intervention 0.06 to 0.12."""
ATTRIBUTED_WIDTHS, ATTRIBUTED_FEED_FORWARDS, ATTRIBUTED_SCORES = 10, 3, 1
"""Tensors of the hidden width, of the feed-forward width and of attention scores that each block keeps for a
backward pass without dropout: attribution through MiniLM at 4,096 sub-words took 0.75 to 0.89 GiB."""
TUNED_WIDTHS, TUNED_FEED_FORWARDS, TUNED_SCORES = 10, 4, 3
"""The same with dropout: 32 sentences of 64, 128 and 256 sub-words through MiniLM took 0.54, 1.40 and 3.55 GiB."""
DECODER_WIDTHS = 24
DECODER_FEED_FORWARDS = 4
"""The same in the concept decoder's layers, which have two attentions: at d = 384, 6 layers and 1,024 words the
step took 1.67 to 1.71 GiB in all."""
TRAINING_LIBRARIES = int(0.2 * GIB)
"""Lightning, captum, scikit-learn and faiss, loaded when concept models are."""
REPORT_PAGE = 5_000_000
"""report.html, most of which is its drawing library."""
_TABLES = 300_000
"""Figures, curves and concepts of a run folder."""
ASSIGNMENT = 6.2
ATTRIBUTED = 12.3
OUTCOME = 6.8
SALIENT = 120
"""Bytes of a row in the run folder's tables, packed: of ERASER-Movie, 141,461 words and 856 dev sentences."""
CONDITIONS = 13
"""Rows of `sentences.parquet` for each removal, seed and sentence."""


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


def layer_bytes(config: Config, network: NetworkSizes, corpus: Corpus) -> int:
    """The two files of one layer in the store."""
    stored = corpus.stored
    words = int(stored.sum()) * network.width * STORE_BYTES[config.activations.dtype]
    return words + len(stored) * network.width * 4


def store_layers(config: Config) -> tuple[int, ...]:
    """Layers that a cell keeps."""
    return tuple(sorted({config.layer_pair.lower, config.layer_pair.upper, *config.activations.layers}))


def run_bytes(config: Config, network: NetworkSizes, corpus: Corpus, trained: bool) -> int:
    """The run folder: concept models, tables and report."""
    stored, seeds = int(corpus.stored.sum()), len(config.seeds)
    models = seeds * concept_model_bytes(config, network.width, trained)
    attributed = int(corpus.tokens.stored(corpus.dev).sum())
    outcomes = len(corpus.dev) * seeds * removals(trained) * CONDITIONS
    salient = len(corpus.dev) + len(corpus.refit)
    tables = stored * seeds * ASSIGNMENT + attributed * ATTRIBUTED + outcomes * OUTCOME + salient * SALIENT
    return REPORT_PAGE + _TABLES + models + math.ceil(tables)


def removals(trained: bool) -> int:
    """Removals of all methods of a cell: two each, and k-means codes stand beside a trained one."""
    return 4 if trained else 2


def weights_bytes(config: Config, network: NetworkSizes) -> int:
    """The language model's weights in its number format."""
    return network.parameters * BYTES[config.model.number_format]


def step_memory(
    config: Config, network: NetworkSizes, corpus: Corpus, device: str, tuned: bool, trained: bool
) -> dict[str, StepMemory]:
    """Peak memory of every step.

    Args:
        config: the checked configuration.
        network: sizes of the language model.
        corpus: what the steps read.
        device: `cpu` or `cuda`.
        tuned: whether the language model is fine-tuned in this run.
        trained: whether a concept model is trained.
    """
    weights, item = weights_bytes(config, network), BYTES[config.model.number_format]
    pass_tokens = _longest_or(config.activations.batch_tokens, corpus, corpus.dev)
    forward = pass_tokens * _forward_floats(network) * item
    fitted = _fitted_bytes(config, network, trained)
    on_device = {
        LANGUAGE_MODEL: _tuning_bytes(config, network, corpus) if tuned else weights,
        ACTIVATIONS: weights + forward,
        ATTRIBUTION: weights + _attribution_floats(config, network, corpus) * item,
        CONCEPTS: weights + _training_bytes(config, network, corpus, device, trained),
        ABLATION: weights + fitted,
        INTERVENTION: weights + fitted + forward,
        REPORT: weights + fitted,
    }
    libraries: dict[str, int] = dict.fromkeys((CONCEPTS, ABLATION, INTERVENTION, REPORT), TRAINING_LIBRARIES)
    if config.model.gguf_file is not None:  # unpacked to float32, and copied once more when it is saved
        on_device[LANGUAGE_MODEL] = max(on_device[LANGUAGE_MODEL], 2 * 4 * network.parameters)
    if device == "cpu":
        return {
            step: StepMemory(PROCESS + libraries.get(step, 0) + needed, 0) for step, needed in on_device.items()
        }
    loading = 0 if config.model.device_map else weights  # through the machine's own memory, on its way
    return {
        step: StepMemory(GPU_PROCESS + (loading if step == LANGUAGE_MODEL else 0), GPU_CONTEXT + needed)
        for step, needed in on_device.items()
    }


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


def _training_bytes(config: Config, network: NetworkSizes, corpus: Corpus, device: str, trained: bool) -> int:
    """k-means, then CLVQ-VAE."""
    width, stored = network.width, corpus.stored
    seen = max(config.init.seeding_sample, config.quantizer.codebook_size)
    sample = 2 * 4 * width * min(int(stored.sum()), seen)
    if not trained:
        return sample
    words = max(config.trainer.micro_batch_words, int(stored.max()))
    floats = DECODER_WIDTHS * width + DECODER_FEED_FORWARDS * config.decoder.feed_forward
    activations = 4 * words * config.decoder.layers * floats
    both = 2 * int(stored.sum()) * width * STORE_BYTES[config.activations.dtype]
    resident = both if device != "cpu" and both <= config.trainer.resident_gib * GIB else 0
    return sample + _fitted_bytes(config, network, trained) + activations + resident


def _fitted_bytes(config: Config, network: NetworkSizes, trained: bool) -> int:
    """The model that is trained, with what its last checkpoint took, and those of the seeds before it."""
    model = concept_model_bytes(config, network.width, trained)
    training = FITTED * concept_parameters(config, network.width) if trained else 0
    return training + len(config.seeds) * model

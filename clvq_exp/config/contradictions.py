"""What types cannot say: bounds of single values, and values that do not go together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, cast

from omegaconf.errors import OmegaConfBaseException

from clvq_exp.config.schema import BY_KIND, Config, method_of
from clvq_exp.settings import (
    AlphaMode,
    DatasetSettings,
    FineTune,
    InitSettings,
    ModelKind,
    SentencePooling,
)

LOGGERS = ("none", "csv", "wandb")
_PLACEHOLDER = re.compile(r"\{\w*\}")


def contradictions(config: Config) -> Iterator[str]:
    """Values that do not go together or lie outside their bounds, one line each."""
    yield from _layer_problems(config)
    yield from _model_problems(config)
    yield from _method_problems(config)
    yield from _trainer_problems(config)
    yield from _dataset_problems(config.dataset)
    yield from _evaluation_problems(config)


def _layer_problems(config: Config) -> Iterator[str]:
    pair = config.layer_pair
    if pair.lower < 0:
        yield f"layer_pair.lower={pair.lower}: layers count from 0 (the embeddings)"
    if pair.lower >= pair.upper:
        yield f"layer_pair.lower={pair.lower} is not below layer_pair.upper={pair.upper}"
    yield from _not_below(config.activations.batch_tokens, 1, "activations.batch_tokens")
    yield from _not_below(config.model.max_length, 3, "model.max_length")


def _model_problems(config: Config) -> Iterator[str]:
    model = config.model
    if model.kind is ModelKind.decoder:
        if model.sentence_pooling is SentencePooling.cls:
            yield "model.sentence_pooling=cls: a decoder has no sentence token; set model.sentence_pooling=mean"
        if config.fine_tuning.when is FineTune.always:
            yield "fine_tuning.when=always: decoders are asked by a prompt and not fine-tuned; set it to auto"
    elif model.gguf_file is not None:
        yield f"model.gguf_file={model.gguf_file}: only decoders are read from GGUF files"


def _method_problems(config: Config) -> Iterator[str]:
    quantizer, encoder, decoder = config.quantizer, config.encoder, config.decoder
    yield from _not_below(quantizer.codebook_size, 1, "quantizer.codebook_size")
    yield from _not_below(quantizer.top_k, 1, "quantizer.top_k")
    if quantizer.top_k > quantizer.codebook_size:
        yield (f"quantizer.top_k={quantizer.top_k} is more than quantizer.codebook_size={quantizer.codebook_size}")
    yield from _above_zero(quantizer.temperature, "quantizer.temperature")
    yield from _not_below(quantizer.commitment_weight, 0, "quantizer.commitment_weight")
    yield from _share(quantizer.ema_decay, "quantizer.ema_decay")
    yield from _not_below(quantizer.ema_smoothing, 0, "quantizer.ema_smoothing")
    yield from _not_below(quantizer.revive_below, 0, "quantizer.revive_below")
    if encoder.alpha_mode is AlphaMode.fixed and not 0 <= encoder.alpha <= 1:
        yield f"encoder.alpha={encoder.alpha} is not between 0 and 1"
    yield from _not_below(decoder.layers, 1, "decoder.layers")
    yield from _not_below(decoder.heads, 1, "decoder.heads")
    yield from _not_below(decoder.feed_forward, 1, "decoder.feed_forward")
    yield from _share(decoder.dropout, "decoder.dropout")
    yield from _init_problems(config.init, "init")
    yield from _beside_problems(config)
    yield from _method_keys(config.baseline, "baseline")


def _init_problems(init: InitSettings, key: str) -> Iterator[str]:
    yield from _not_below(init.seeding_sample, 1, f"{key}.seeding_sample")
    yield from _not_below(init.max_iterations, 0, f"{key}.max_iterations")
    yield from _not_below(init.tolerance, 0, f"{key}.tolerance")


def _beside_problems(config: Config) -> Iterator[str]:
    for name, given in config.beside.items():
        key = f"beside.{name}"
        if not isinstance(given, dict):
            yield f"{key}={given!r} is no method: conf/beside/ shows how one is named"
            continue
        entry = cast(dict[str, Any], given)
        problems = list(_method_keys(entry, key))
        yield from problems
        if not problems and "init" in entry:  # otherwise it is the cell's own, and looked at there
            try:
                yield from _init_problems(
                    method_of(name, entry, config.init, config.model.kind).init, f"{key}.init"
                )
            except OmegaConfBaseException as error:
                yield f"{key}.init: {first_line(error)}"


def _method_keys(given: Mapping[str, Any], key: str) -> Iterator[str]:
    for name in ("name", "_target_"):
        if not isinstance(given.get(name), str):
            yield f"{key}.{name} is missing: conf/baseline/ has one file per method"
    apart = given.get(BY_KIND, {})
    kinds = [kind.value for kind in ModelKind]
    if not (
        isinstance(apart, dict) and set(apart) <= set(kinds) and all(isinstance(a, dict) for a in apart.values())
    ):
        yield f"{key}.{BY_KIND}={apart}: it holds arguments under {' and '.join(kinds)}"


def _trainer_problems(config: Config) -> Iterator[str]:
    trainer, tuning = config.trainer, config.fine_tuning
    counts = ("max_epochs", "batch_size", "micro_batch_words", "attribution_steps", "devices")
    for name in counts:
        yield from _not_below(getattr(trainer, name), 1, f"trainer.{name}")
    amounts = ("patience", "gradient_clip", "weight_decay", "num_workers", "resident_gib", "plateau_patience")
    for name in amounts:
        yield from _not_below(getattr(trainer, name), 0, f"trainer.{name}")
    for name in ("fine_tuning", "concepts", "evaluation", "refit"):
        yield from _not_below(getattr(trainer.sentences, name), 0, f"trainer.sentences.{name}")
    yield from _above_zero(trainer.learning_rate, "trainer.learning_rate")
    if not 0 < trainer.plateau_factor < 1:
        yield f"trainer.plateau_factor={trainer.plateau_factor} is not between 0 and 1"
    yield from _not_below(tuning.epochs, 1, "fine_tuning.epochs")
    yield from _not_below(tuning.batch_size, 1, "fine_tuning.batch_size")
    yield from _above_zero(tuning.learning_rate, "fine_tuning.learning_rate")
    yield from _share(tuning.warmup_share, "fine_tuning.warmup_share")
    yield from _not_below(tuning.weight_decay, 0, "fine_tuning.weight_decay")
    if not config.seeds:
        yield "seeds is empty: give at least one"
    if len(set(config.seeds)) < len(config.seeds) or any(seed < 0 for seed in config.seeds):
        yield f"seeds={config.seeds}: give distinct numbers of at least 0"
    if config.logger.name not in LOGGERS:
        yield f"logger.name={config.logger.name} is none of {', '.join(LOGGERS)}"


def _dataset_problems(dataset: DatasetSettings) -> Iterator[str]:
    n = len(dataset.label_names)
    if n < 2:
        yield f"dataset.label_names={dataset.label_names}: a classifier needs at least two labels"
    if len(set(dataset.label_names)) < n:
        yield f"dataset.label_names={dataset.label_names} repeats a label"
    if len(dataset.label_meanings) != n:
        yield f"dataset.label_meanings has {len(dataset.label_meanings)} entries, dataset.label_names {n}"
    outside = sorted(value for value in dataset.label_values.values() if not 0 <= value < n)
    if outside:
        yield f"dataset.label_values gives the classes {outside}, dataset.label_names only 0 to {n - 1}"
    if not 0 < dataset.validation_share < 1:
        yield f"dataset.validation_share={dataset.validation_share} is not between 0 and 1"
    yield from _not_below(dataset.train_size, 0, "dataset.train_size")
    yield from _not_below(dataset.dev_size, 0, "dataset.dev_size")
    yield from _prompt_problems(dataset)


def _prompt_problems(dataset: DatasetSettings) -> Iterator[str]:
    prompt, words = dataset.prompt, dataset.label_words
    found = Counter(_PLACEHOLDER.findall(prompt))
    if found["{text}"] != 1:
        yield f"dataset.prompt holds {{text}} {found['{text}']} times: it must hold it once"
    if found["{answers}"] > 1:
        yield f"dataset.prompt holds {{answers}} {found['{answers}']} times: it may hold it once"
    unknown = sorted(set(found) - {"{text}", "{answers}"})
    if unknown:
        yield f"dataset.prompt holds {', '.join(unknown)}; only {{text}} and {{answers}} are filled in"
    if words and len(words) != len(dataset.label_names):
        yield (
            f"dataset.label_words has {len(words)} entries, dataset.label_names {len(dataset.label_names)}: give "
            "one for each, or none to use the names"
        )
    if len(set(words)) < len(words):
        yield f"dataset.label_words={words} repeats a word"
    if not all(word.strip() for word in words):
        yield f"dataset.label_words={words} holds an empty word"


def _evaluation_problems(config: Config) -> Iterator[str]:
    for name in ("shuffles", "sentences", "examples", "largest_matching"):
        yield from _not_below(getattr(config.specificity, name), 0, f"specificity.{name}")
    yield from _not_below(config.specificity.min_count, 1, "specificity.min_count")
    attribution, probe, evaluation = config.attribution, config.probe, config.evaluation
    yield from _not_below(attribution.steps, 1, "attribution.steps")
    yield from _above_zero(attribution.tolerance, "attribution.tolerance")
    yield from _not_below(attribution.batch_tokens, 1, "attribution.batch_tokens")
    if attribution.adaptive and attribution.max_steps < attribution.steps:
        yield f"attribution.max_steps={attribution.max_steps} is below attribution.steps={attribution.steps}"
    for name in ("hidden", "batch_size", "max_epochs"):
        yield from _not_below(getattr(probe, name), 1, f"probe.{name}")
    yield from _not_below(probe.patience, 0, "probe.patience")
    yield from _not_below(probe.folds, 2, "probe.folds")
    yield from _share(probe.dropout, "probe.dropout")
    yield from _above_zero(probe.learning_rate, "probe.learning_rate")
    yield from _not_below(evaluation.bootstrap_samples, 100, "evaluation.bootstrap_samples")
    yield from _not_below(evaluation.permutations, 100, "evaluation.permutations")
    yield from _not_below(evaluation.example_sentences, 0, "evaluation.example_sentences")
    if not 0 < evaluation.confidence < 1:
        yield f"evaluation.confidence={evaluation.confidence} is not between 0 and 1"


def _not_below(value: float, least: float, key: str) -> Iterator[str]:
    if not value >= least:
        yield f"{key}={value} is below {least}"


def _above_zero(value: float, key: str) -> Iterator[str]:
    if not value > 0:
        yield f"{key}={value} is not above 0"


def _share(value: float, key: str) -> Iterator[str]:
    if not 0 <= value < 1:
        yield f"{key}={value} is not at least 0 and below 1"


def first_line(error: Exception) -> str:
    """What a library says in one line."""
    return str(error).splitlines()[0]

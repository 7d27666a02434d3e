"""The schema of the whole configuration, and the check that reports every error at once.

Values live in `conf/`, types and units in `settings.py`. The schema is merged after composition, outside
Hydra's store, which keeps `--help` fast.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from clvq_exp.settings import (
    ActivationSettings,
    AlphaMode,
    AttributionSettings,
    DatasetSettings,
    DecoderSettings,
    EncoderSettings,
    EvaluationSettings,
    FineTuningSettings,
    InitSettings,
    LayerPair,
    LoggerSettings,
    ModelSettings,
    ProbeSettings,
    ProtocolSettings,
    QuantizerSettings,
    TrainerSettings,
    WeightDecayOn,
)

LOGGERS = ("none", "csv", "wandb")


class ConfigError(ValueError):
    """Everything that is wrong with a configuration, one line each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        lines = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(f"the configuration has {len(problems)} error(s):\n{lines}")


@dataclass(frozen=True)
class Config:
    """One cell of the grid."""

    model: ModelSettings
    dataset: DatasetSettings
    layer_pair: LayerPair
    init: InitSettings
    baseline: dict[str, Any]
    """The concept method: `name`, `_target_` and the method's own arguments."""
    protocol: ProtocolSettings
    trainer: TrainerSettings
    logger: LoggerSettings
    fine_tuning: FineTuningSettings
    activations: ActivationSettings
    encoder: EncoderSettings
    quantizer: QuantizerSettings
    decoder: DecoderSettings
    attribution: AttributionSettings
    probe: ProbeSettings
    evaluation: EvaluationSettings
    seeds: list[int]
    """One concept model and one probe for each."""
    weight_decay_on: WeightDecayOn
    """Which parameters decay."""


def check(cfg: DictConfig) -> Config:
    """Type-check and cross-check a composed configuration.

    Args:
        cfg: what Hydra composed (the `hydra` node is ignored).

    Returns:
        The typed configuration.

    Raises:
        ConfigError: lists every unknown key, wrong type, missing value and contradiction.
    """
    schema = OmegaConf.structured(Config)
    _make_writable(schema)
    problems = list(_type_problems(schema, cfg))
    if problems:
        raise ConfigError(problems)
    config = cast(Config, OmegaConf.to_object(schema))
    problems = list(_contradictions(config))
    if problems:
        raise ConfigError(problems)
    return config


def _make_writable(node: DictConfig) -> None:
    """Schemas of frozen dataclasses are read-only; the merge must write into them."""
    OmegaConf.set_readonly(node, False)
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_missing():
            _make_writable(child)
    for key, hint in _sections(node).items():
        if OmegaConf.is_missing(node, key):
            section = OmegaConf.structured(hint)
            _make_writable(section)
            node._set_item_impl(key, section)


def _sections(node: DictConfig) -> dict[str, type]:
    kind = OmegaConf.get_type(node)
    if kind is None or not is_dataclass(kind):
        return {}
    from typing import get_type_hints

    return {key: hint for key, hint in get_type_hints(kind).items() if is_dataclass(hint)}


def _type_problems(schema: DictConfig, cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    sections = _sections(schema)
    known, given = set(schema.keys()), set(cfg.keys())  # `in` does not see keys whose value is missing
    for key in cfg:
        name = f"{prefix}{key}"
        if name == "hydra":
            continue
        if key not in known:
            yield f"{name} is no key of the configuration{_suggestion(str(key), sorted(str(each) for each in known))}"
            continue
        try:
            value = cfg[key]
        except OmegaConfBaseException as error:
            yield f"{name}: {_first_line(error)}"
            continue
        if key in sections and isinstance(value, DictConfig):
            yield from _type_problems(schema[key], value, f"{name}.")
            continue
        try:
            schema[key] = value
        except OmegaConfBaseException as error:
            yield f"{name}={value!r}: {_first_line(error)}"
    for key in schema:
        if OmegaConf.is_missing(schema, key) and key not in given:
            yield f"{prefix}{key} is missing: give it a value"
        elif key in given and OmegaConf.is_missing(cfg, key):
            yield f"{prefix}{key} is missing: give it a value"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _suggestion(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, 1)
    return f"; did you mean {close[0]}?" if close else f"; the keys there are {', '.join(known)}"


def _contradictions(config: Config) -> Iterator[str]:
    yield from _layer_problems(config)
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


def _method_problems(config: Config) -> Iterator[str]:
    quantizer, encoder, decoder = config.quantizer, config.encoder, config.decoder
    yield from _not_below(quantizer.codebook_size, 1, "quantizer.codebook_size")
    yield from _not_below(quantizer.top_k, 1, "quantizer.top_k")
    if quantizer.top_k > quantizer.codebook_size:
        yield (
            f"quantizer.top_k={quantizer.top_k} is more than "
            f"quantizer.codebook_size={quantizer.codebook_size}"
        )
    yield from _above_zero(quantizer.temperature, "quantizer.temperature")
    yield from _not_below(quantizer.commitment_weight, 0, "quantizer.commitment_weight")
    yield from _share(quantizer.ema_decay, "quantizer.ema_decay")
    if encoder.alpha_mode is AlphaMode.fixed and not 0 <= encoder.alpha <= 1:
        yield f"encoder.alpha={encoder.alpha} is not between 0 and 1"
    yield from _not_below(decoder.layers, 1, "decoder.layers")
    yield from _not_below(decoder.heads, 1, "decoder.heads")
    yield from _not_below(decoder.feed_forward, 1, "decoder.feed_forward")
    yield from _share(decoder.dropout, "decoder.dropout")
    yield from _not_below(config.init.seeding_sample, 1, "init.seeding_sample")
    yield from _not_below(config.init.max_iterations, 0, "init.max_iterations")
    for key in ("name", "_target_"):
        if not isinstance(config.baseline.get(key), str):
            yield f"baseline.{key} is missing: conf/baseline/ has one file per method"


def _trainer_problems(config: Config) -> Iterator[str]:
    trainer, tuning = config.trainer, config.fine_tuning
    counts = ("max_epochs", "batch_size", "micro_batch_words", "attribution_steps")
    for name in counts:
        yield from _not_below(getattr(trainer, name), 1, f"trainer.{name}")
    for name in ("patience", "gradient_clip", "weight_decay", "num_workers", "resident_gib", "plateau_patience"):
        yield from _not_below(getattr(trainer, name), 0, f"trainer.{name}")
    for name in ("fine_tuning", "concepts", "evaluation", "refit"):
        yield from _not_below(getattr(trainer.sentences, name), 0, f"trainer.sentences.{name}")
    yield from _above_zero(trainer.learning_rate, "trainer.learning_rate")
    if not 0 < trainer.plateau_factor < 1:
        yield f"trainer.plateau_factor={trainer.plateau_factor} is not between 0 and 1"
    yield from _not_below(tuning.epochs, 1, "fine_tuning.epochs")
    yield from _not_below(tuning.batch_size, 1, "fine_tuning.batch_size")
    yield from _above_zero(tuning.learning_rate, "fine_tuning.learning_rate")
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
        yield f"dataset.label_values gives the classes {outside}, but there are only 0 to {n - 1}"
    if not 0 < dataset.validation_share < 1:
        yield f"dataset.validation_share={dataset.validation_share} is not between 0 and 1"
    yield from _not_below(dataset.dev_size, 0, "dataset.dev_size")


def _evaluation_problems(config: Config) -> Iterator[str]:
    attribution, probe, evaluation = config.attribution, config.probe, config.evaluation
    yield from _not_below(attribution.steps, 1, "attribution.steps")
    yield from _above_zero(attribution.tolerance, "attribution.tolerance")
    yield from _not_below(attribution.batch_tokens, 1, "attribution.batch_tokens")
    if attribution.adaptive and attribution.max_steps < attribution.steps:
        yield f"attribution.max_steps={attribution.max_steps} is below attribution.steps={attribution.steps}"
    for name in ("hidden", "batch_size", "max_epochs"):
        yield from _not_below(getattr(probe, name), 1, f"probe.{name}")
    yield from _share(probe.dropout, "probe.dropout")
    yield from _above_zero(probe.learning_rate, "probe.learning_rate")
    yield from _not_below(evaluation.bootstrap_samples, 100, "evaluation.bootstrap_samples")
    yield from _not_below(evaluation.permutations, 100, "evaluation.permutations")
    if not 0 < evaluation.confidence < 1:
        yield f"evaluation.confidence={evaluation.confidence} is not between 0 and 1"


def _not_below(value: float, least: float, key: str) -> Iterator[str]:
    if value < least:
        yield f"{key}={value} is below {least}"


def _above_zero(value: float, key: str) -> Iterator[str]:
    if not value > 0:
        yield f"{key}={value} is not above 0"


def _share(value: float, key: str) -> Iterator[str]:
    if not 0 <= value < 1:
        yield f"{key}={value} is not at least 0 and below 1"

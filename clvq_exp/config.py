"""The schema of the whole configuration, and the check that reports every error at once.

Values live in `conf/`, types and units in `settings/`. The schema is merged after composition, outside
Hydra's store, which keeps `--help` fast.
"""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from enum import Enum
from operator import attrgetter
from typing import Any, NamedTuple, cast, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from clvq_exp.settings import (
    PROTOCOL_KEYS,
    ActivationSettings,
    AlphaMode,
    AttributionSettings,
    DatasetSettings,
    DecoderSettings,
    EncoderSettings,
    EvaluationSettings,
    FineTune,
    FineTuningSettings,
    InitSettings,
    LayerPair,
    LoggerSettings,
    ModelKind,
    ModelSettings,
    ProbeSettings,
    ProtocolSettings,
    QuantizerSettings,
    SentencePooling,
    SpecificitySettings,
    TrainerSettings,
    WeightDecayOn,
)

LOGGERS = ("none", "csv", "wandb")
_INTERPOLATION = re.compile(r"(\\*)\$\{")
_PLACEHOLDER = re.compile(r"\{\w*\}")


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
    beside: dict[str, Any]
    """Further methods by the names of their rows, each as in `baseline`; `init`, if given, is its own."""
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
    specificity: SpecificitySettings
    seeds: list[int]
    """One concept model and one probe for each."""
    weight_decay_on: WeightDecayOn
    """Which parameters decay."""

    @property
    def methods(self) -> dict[str, Method]:
        """The cell's own method first, then those beside it; the same name means the same method."""
        main = str(self.baseline["name"])
        named = {main: self.baseline, **{name: each for name, each in self.beside.items() if name != main}}
        return {name: _method(name, each, self.init) for name, each in named.items()}

    @property
    def departures(self) -> dict[str, tuple[Any, Any]]:
        """Keys that were set apart from the protocol, each with the value that is used and the protocol's."""
        found = {key: (attrgetter(key)(self), getattr(self.protocol, said)) for key, said in PROTOCOL_KEYS.items()}
        return {key: (used, said) for key, (used, said) in found.items() if used != said}


class Method(NamedTuple):
    """A concept method of a cell."""

    name: str
    """Of its rows."""
    target: str
    """Its class, with the module that holds it."""
    arguments: dict[str, Any]
    """Its own."""
    init: InitSettings


def _method(name: str, given: Mapping[str, Any], init: InitSettings) -> Method:
    own = {key: value for key, value in given.items() if key not in ("name", "_target_", "init")}
    if "init" in given:
        init = cast(InitSettings, OmegaConf.to_object(OmegaConf.merge(InitSettings, given["init"])))
    return Method(name, str(given["_target_"]), own, init)


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
    found = list(_type_problems(schema, cfg))
    _fill_missing(schema)
    config = cast(Config, OmegaConf.to_object(schema))
    found += _not_finite(asdict(config))
    problems = [problem for _, problem in found]
    # A check that reads a key without a usable value says nothing new.
    reported = re.compile("|".join(rf"(?<![\w.]){re.escape(key)}(?!\w)" for key, _ in found) or "(?!)")
    problems += [each for each in _contradictions(config) if not reported.search(each)]
    if problems:
        raise ConfigError(problems)
    return config


def _make_writable(node: DictConfig) -> None:
    """Schemas of frozen dataclasses are read-only; the merge must write into them."""
    OmegaConf.set_readonly(node, False)
    for key, section in _sections(node).items():
        if OmegaConf.is_missing(node, key):
            node[key] = OmegaConf.structured(section)
        _make_writable(node[key])


def _sections(node: DictConfig) -> dict[str, Any]:
    kind = OmegaConf.get_type(node)
    if kind is None or not is_dataclass(kind):
        return {}
    return {key: hint for key, hint in get_type_hints(kind).items() if is_dataclass(hint)}


def _type_problems(schema: DictConfig, cfg: DictConfig, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Keys and what is wrong with each; everything else is written into the schema."""
    sections = _sections(schema)
    known, given = set(schema.keys()), set(cfg.keys())  # `in` does not see keys whose value is missing
    for key in cfg:
        name = f"{prefix}{key}"
        if name == "hydra":
            continue
        if OmegaConf.is_missing(cfg, key) and key in known:
            continue  # reported below
        if key not in known:
            close = _suggestion(str(key), sorted(str(each) for each in known))
            yield name, f"{name} is no key of the configuration{close}"
            continue
        try:
            value = cfg[key]
            if not (key in sections and isinstance(value, DictConfig)):
                value = _resolved(value)
        except OmegaConfBaseException as error:
            yield name, f"{name}: {_first_line(error)}"
            continue
        if key in sections and isinstance(value, DictConfig):
            yield from _type_problems(schema[key], value, f"{name}.")
            continue
        try:
            schema[key] = _literal(value)
        except OmegaConfBaseException as error:
            if value is None and key not in sections:
                yield name, f"{name} is missing: give it a value"
            else:
                yield name, f"{name}={value!r}: {_first_line(error)}"
    for key in schema:
        if key in sections and key not in given:
            yield from _type_problems(schema[key], OmegaConf.create({}), f"{prefix}{key}.")
        elif OmegaConf.is_missing(cfg if key in given else schema, key):
            yield f"{prefix}{key}", f"{prefix}{key} is missing: give it a value"


def _resolved(value: Any) -> Any:
    """A value with all interpolations inside it resolved."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _literal(value: Any) -> Any:
    """A resolved value that stays as it is when it is read again: what looks like an interpolation is text."""
    if isinstance(value, dict):
        return {key: _literal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_literal(item) for item in value]
    return _INTERPOLATION.sub(r"\1\1\\${", value) if isinstance(value, str) else value


def _fill_missing(schema: DictConfig) -> None:
    """Stand-ins where no value could be taken, so that the rest can be looked at too."""
    hints = get_type_hints(cast(type, OmegaConf.get_type(schema)))
    for key in map(str, schema):
        if is_dataclass(hints[key]):
            _fill_missing(schema[key])
        elif OmegaConf.is_missing(schema, key):
            schema[key] = _stand_in(hints[key])


def _stand_in(kind: Any) -> Any:
    kind = get_origin(kind) or kind
    return next(iter(kind)) if issubclass(kind, Enum) else kind()


def _not_finite(values: object, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _not_finite(value, f"{name}.{key}" if name else str(key))
    elif isinstance(values, float) and not math.isfinite(values):
        yield name, f"{name}={values} is not a finite number"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _suggestion(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, 1)
    return f"; did you mean {close[0]}?" if close else f"; the keys there are {', '.join(known)}"


def _contradictions(config: Config) -> Iterator[str]:
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
                yield from _init_problems(_method(name, entry, config.init).init, f"{key}.init")
            except OmegaConfBaseException as error:
                yield f"{key}.init: {_first_line(error)}"


def _method_keys(given: Mapping[str, Any], key: str) -> Iterator[str]:
    for name in ("name", "_target_"):
        if not isinstance(given.get(name), str):
            yield f"{key}.{name} is missing: conf/baseline/ has one file per method"


def _trainer_problems(config: Config) -> Iterator[str]:
    trainer, tuning = config.trainer, config.fine_tuning
    counts = ("max_epochs", "batch_size", "micro_batch_words", "attribution_steps")
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

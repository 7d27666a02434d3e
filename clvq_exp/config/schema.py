"""The schema of the whole configuration: one cell of the grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple, cast

from omegaconf import OmegaConf

from clvq_exp.settings import (
    PROTOCOL_KEYS,
    ActivationSettings,
    AttributionSettings,
    DatasetSettings,
    DecoderSettings,
    EncoderSettings,
    EvaluationSettings,
    FineTuningSettings,
    InitSettings,
    LayerPair,
    LoggerSettings,
    ModelKind,
    ModelSettings,
    ProbeSettings,
    ProtocolSettings,
    QuantizerSettings,
    SpecificitySettings,
    TrainerSettings,
    WeightDecayOn,
)

BY_KIND = "by_kind"
"""Key of a method's arguments that hang on the kind of language model."""


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
    """The concept method: `name`, `_target_` and the method's own arguments (see `method_of`)."""
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
        return {name: method_of(name, each, self.init, self.model.kind) for name, each in named.items()}

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


def method_of(name: str, given: Mapping[str, Any], init: InitSettings, kind: ModelKind) -> Method:
    """A method as `conf/baseline/` or `conf/beside/` gives it.

    Args:
        name: of its rows.
        given: `_target_`, its own arguments, `init` where it has its own, and under `by_kind` the arguments that
            are apart for encoders and decoders.
        init: the cell's.
        kind: of the cell's language model.
    """
    own = {key: value for key, value in given.items() if key not in ("name", "_target_", "init", BY_KIND)}
    own |= given.get(BY_KIND, {}).get(kind.value, {})
    if "init" in given:
        init = cast(InitSettings, OmegaConf.to_object(OmegaConf.merge(InitSettings, given["init"])))
    return Method(name, str(given["_target_"]), own, init)

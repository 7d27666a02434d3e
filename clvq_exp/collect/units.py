"""What a table's rows are made of: one method of one run, with the settings that its figures hang on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from clvq_exp.collect.paper import paper
from clvq_exp.collect.reference import (
    Departure,
    Flat,
    flat,
    frozen,
    init_reference,
    method_reference,
    reference,
    shown,
)
from clvq_exp.collect.runs import METRICS_FORMAT, Run
from clvq_exp.report.access import block, compared, entry, main_method, mapping, methods

SWEPT = (
    "quantizer.codebook_size",
    "quantizer.commitment_weight",
    "quantizer.temperature",
    "quantizer.top_k",
    "encoder.alpha_mode",
    "encoder.alpha",
)
"""What the paper's tables sweep, beside model, data set, layers and method."""
CODEBOOK_METHODS = frozenset(["ClvqVae", "KMeansCodes"])
"""Classes whose concepts are the codes of a codebook."""
_OF_TEXTS = (
    "protocol.name",
    "protocol.remove_duplicates",
    "dataset.label_names",
    "dataset.drop_labels",
    "dataset.drop_repeats",
    "dataset.train_size",
    "dataset.dev_size",
    "dataset.split_seed",
    "dataset.validation_share",
    "trainer.sentences.concepts",
    "trainer.sentences.evaluation",
)
"""Keys that the sizes of the splits hang on."""
_OF_ALL = (
    *_OF_TEXTS,
    "model.kind",
    "model.max_length",
    "model.sentence_pooling",
    "model.number_format",
    "model.last_layer",
    "model.label_tokens",
    "model.chat_template",
    "model.calibration",
    "dataset.prompt",
    "dataset.label_words",
    "trainer.sentences.",
    "seeds",
    "fine_tuning.",
    "activations.sub_word",
    "activations.dtype",
    "attribution.",
    "probe.",
    "evaluation.bootstrap_samples",
    "evaluation.confidence",
    "evaluation.seed",
)
"""Keys, or beginnings of keys, that every figure hangs on."""
_NEVER = frozenset(["attribution.batch_tokens", "specificity.examples", "specificity.largest_matching"])
_TRAINING = tuple(
    f"trainer.{name}"
    for name in ("max_epochs", "patience", "gradient_clip", "plateau_factor", "plateau_patience", "precision")
)
_OF_METHODS: Mapping[str, tuple[str, ...]] = {
    "ClvqVae": (
        "encoder.",
        "quantizer.",
        "decoder.",
        "weight_decay_on",
        *_TRAINING,
        *(f"trainer.{name}" for name in ("learning_rate", "weight_decay", "batch_size")),
    ),
    "KMeansCodes": ("quantizer.codebook_size", "quantizer.trained_words"),
    "Clustering": ("quantizer.codebook_size",),
    "SparseAutoencoder": _TRAINING,
    "SparseTranscoder": _TRAINING,
}
"""Class of a method -> what it reads beside its own arguments; one that is not here reads everything."""
_EVERYTHING = _OF_METHODS["ClvqVae"]
_CLASSES = {"kmeans_codes": "KMeansCodes"}
"""Of methods that older configurations do not list."""
COMPARISON = "comparison"
"""The block of figures that a pair of methods has."""
BETWEEN = " - "
"""Between the names of the two methods of a pair."""
_STARTED = frozenset(["ClvqVae", "KMeansCodes"])
"""Classes whose start of the codebook is part of the method: Table 5."""


@dataclass(frozen=True, eq=False)
class Unit:
    """One method of one run, or what a run has whatever the method."""

    run: Run
    method: str
    """As the tables name it, `clvq_vae_random`; empty for what hangs on no method."""
    key: str
    """As the metrics name it."""
    kind: str
    """Class of the method; empty for what hangs on no method."""
    settings: Flat
    """Full key -> value, of everything that its figures hang on but model, data set and layers."""
    removal: str = "concept"

    @property
    def cell(self) -> tuple[str, str, str]:
        """Model, data set and layers."""
        return self.run.place

    @cached_property
    def rest(self) -> str:
        """The settings that no table sweeps, in one text: a text is hashed once."""
        return repr(sorted((key, shown(value)) for key, value in self.settings.items() if key not in SWEPT))

    @cached_property
    def _swept(self) -> Mapping[str, str]:
        return {key: shown(self.settings[key]) if key in self.settings else "" for key in SWEPT}

    def swept(self, keys: Iterable[str]) -> tuple[str, ...]:
        """The values of swept keys, as they are shown; empty for one that the method does not read."""
        return tuple(self._swept[key] for key in keys)

    def block(self, kind: str) -> Mapping[str, Any]:
        """Its part of the metrics: `faithfulness`, `codebook` or `specificity`."""
        return block(self.run.metrics, self.key, kind)

    def removing(self, removal: str) -> Unit:
        """The same method with another removal."""
        return replace(self, removal=removal)

    @cached_property
    def departures(self) -> tuple[Departure, ...]:
        """Where it is not what the paper did: its protocol, then every setting apart from that protocol."""
        return tuple(_departures(self))


@dataclass(frozen=True, eq=False)
class Pair(Unit):
    """Two methods of one run that were held against each other on the same sentences."""

    other: Unit | None = None
    """The second of them; the unit's own fields are the first's, but for the settings, which are those of both."""
    comparison: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def block(self, kind: str) -> Mapping[str, Any]:
        """What was compared; a pair has no other figures."""
        return self.comparison if kind == COMPARISON else {}

    @cached_property
    def departures(self) -> tuple[Departure, ...]:
        """Those of either method."""
        both = [*_departures(self), *(_departures(self.other) if self.other else ())]
        return tuple(dict.fromkeys(both))


def pairs_of(units: Sequence[Unit]) -> list[Pair]:
    """The pairs that a run compared.

    Args:
        units: all methods of one run.
    """
    of = {unit.key: unit for unit in units}
    found: list[Pair] = []
    for each in compared(units[0].run.metrics) if units else []:
        both = [of[name] for name in each.get("methods") or [] if name in of]
        if len(both) == 2:
            one, two = both
            name = BETWEEN.join((one.method, two.method))
            removal = " / ".join(dict.fromkeys(str(removal) for removal in each.get("removals") or []))
            settings = {**two.settings, **one.settings}
            found.append(Pair(one.run, name, one.key, one.kind, settings, removal, two, each))
    return found


def units_of(run: Run) -> list[Unit]:
    """The methods of a run, its own first."""
    read = {
        kind: _chosen(run.settings, (*_OF_ALL, *_OF_METHODS.get(kind, _EVERYTHING))) for kind in classes_of(run)
    }
    return [_method_unit(run, key, read) for key in methods(run.metrics)]


def classes_of(run: Run) -> set[str]:
    """The classes of the methods of a run."""
    return {_kind(key, _given(run, key)) for key in methods(run.metrics)}


def cell_unit(run: Run) -> Unit:
    """What a run has whatever the method: its probe, its random directions, its texts."""
    return Unit(run, "", main_method(run.metrics), "", _chosen(run.settings, _OF_ALL))


def dataset_unit(run: Run) -> Unit:
    """What a run has whatever the language model: its texts."""
    return Unit(run, "", main_method(run.metrics), "", _chosen(run.settings, _OF_TEXTS))


def has_removal(unit: Unit, removal: str) -> bool:
    """Whether the metrics hold a removal of the method."""
    return bool(entry(unit.block("faithfulness"), removal))


def reading(unit: Unit, keys: Sequence[str]) -> Unit:
    """The same with further settings that some figures hang on: keys, or beginnings of keys that end in a dot."""
    return replace(unit, settings={**unit.settings, **_chosen(unit.run.settings, keys)}) if keys else unit


def _method_unit(run: Run, key: str, read: Mapping[str, Flat]) -> Unit:
    """A method of a run, given what each class reads of the configuration."""
    given = _given(run, key)
    kind = _kind(key, given)
    init = mapping(given.get("init")) or entry(run.config, "init")
    own = {name: value for name, value in given.items() if name not in ("name", "_target_", "init", "by_kind")}
    own |= entry(given, "by_kind", str(run.settings.get("model.kind")))
    kept = dict(read[kind])
    if kind in _STARTED or kind not in _OF_METHODS:
        kept |= flat({"init": {name: value for name, value in init.items() if name not in ("name", "method")}})
    if kept.get("encoder.alpha_mode") != "fixed":
        kept.pop("encoder.alpha", None)  # read in that mode alone
    return Unit(run, _name(key, kind, str(init.get("method", ""))), key, kind, {**kept, **flat({"method": own})})


def _kind(key: str, given: Mapping[str, Any]) -> str:
    return str(given.get("_target_", "")).rpartition(".")[2] or _CLASSES.get(key, "")


def _given(run: Run, key: str) -> Mapping[str, Any]:
    """What the configuration says about a method."""
    baseline = entry(run.config, "baseline")
    return baseline if key == main_method(run.metrics) else entry(run.config, "beside", key)


def _name(key: str, kind: str, init: str) -> str:
    """A method as the tables name it: the start of its codebook is said where it is not k-means (Table 5)."""
    if kind not in _STARTED or init in ("", "kmeans") or key.endswith(f"_{init}"):
        return key
    return f"{key}_{init}"


def _chosen(settings: Flat, wanted: Sequence[str]) -> dict[str, Any]:
    exact = {each for each in wanted if not each.endswith(".")}
    beginnings = tuple(each for each in wanted if each.endswith("."))
    return {
        key: value
        for key, value in settings.items()
        if key not in _NEVER and (key in exact or key.startswith(beginnings))
    }


def said_by_protocol(unit: Unit) -> Flat:
    """What the run's own protocol, the paper's trainer and `conf/` say about the settings of a unit."""
    protocol = str(unit.settings.get("protocol.name", "paper"))
    said = dict(reference(protocol, *unit.cell[:2]))
    given = _given(unit.run, unit.key)
    kind = str(unit.settings.get("model.kind"))
    own = {key: value for key, value in method_reference(str(given.get("name", unit.key))).items()}
    by_kind = f"by_kind.{kind}."
    for key, value in own.items():
        name = key.removeprefix(by_kind)
        if key not in ("name", "_target_") and not name.startswith("by_kind."):
            said[f"method.{name}"] = value
    init = mapping(given.get("init")) or entry(unit.run.config, "init")
    said |= {f"init.{key}": value for key, value in init_reference(str(init.get("method", ""))).items()}
    return said


def _departures(unit: Unit) -> Iterable[Departure]:
    said = said_by_protocol(unit)
    protocol = str(unit.settings.get("protocol.name", "paper"))
    if protocol != "paper":
        yield Departure("protocol", protocol, "paper")
    named: set[str] = set()
    for key, used in unit.settings.items():
        if key == "protocol.name" or key not in said or _same(key, used, said[key]):
            continue
        named.add(key)
        yield Departure(key, _short(used), _short(said[key]))
    for key, values in unit.run.departures.items():
        if key in unit.settings and key not in named:
            used, own = (frozen(mapping(values).get(name)) for name in ("used", "protocol"))
            yield Departure(key, _short(used), _short(own))
    yield from _sizes(unit)
    if unit.run.format_version < METRICS_FORMAT:
        yield Departure("format_version", str(unit.run.format_version), str(METRICS_FORMAT))


def _same(key: str, used: object, said: object) -> bool:
    if key == "seeds":  # which numbers does not matter, how many does
        return isinstance(used, tuple) and isinstance(said, tuple) and len(used) >= len(said)
    return used == said


def _sizes(unit: Unit) -> Iterable[Departure]:
    """Texts that are not as many as Table 9 has, where no budget says so already."""
    sizes = next((row.figures for row in paper()["v1_table09"] if row.dataset == unit.cell[1]), None)
    if sizes is None:
        return
    used = {"train": (unit.run.train_sentences, "concepts"), "dev": (unit.run.dev_sentences, "evaluation")}
    for split, (n, budget) in used.items():
        said = sizes[f"{split}_sentences"].value
        if n is not None and n != said and not unit.settings.get(f"trainer.sentences.{budget}"):
            yield Departure(f"{split} sentences", f"{n}", f"{said:g}")


def _short(value: object) -> str:
    text = shown(value)
    return text if len(text) <= 40 else f"{text[:37]}..."

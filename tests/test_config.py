"""The configuration: every option composes, values stand in one place, and all errors come at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from composing import checked, composed, problems
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

import clvq_exp
from clvq_exp.config import Config, check
from clvq_exp.settings import PROTOCOL_KEYS, DecoderMemory, ModelKind, ProtocolSettings, WeightDecayOn

CONF = Path(clvq_exp.__file__).resolve().parents[1] / "conf"
GROUPS = {
    folder.name: sorted(file.stem for file in folder.glob("*.yaml"))
    for folder in sorted(CONF.iterdir())
    if folder.is_dir() and any(folder.glob("*.yaml"))
}
Combination = dict[str, str]


def all_pairs() -> list[Combination]:
    """Few combinations in which any two options of two groups meet at least once."""
    names = list(GROUPS)
    missing = {
        ((a, x), (b, y))
        for a, b in itertools.combinations(names, 2)
        for x, y in itertools.product(GROUPS[a], GROUPS[b])
    }
    found: list[Combination] = []
    while missing:
        row: Combination = {}
        first, second = min(missing)
        row.update([first, second])
        for name in names:
            if name not in row:
                row[name] = max(GROUPS[name], key=lambda option: len(missing & pairs({**row, name: option})))
        missing -= pairs(row)
        found.append(row)
    return found


def pairs(row: Combination) -> set[tuple[tuple[str, str], tuple[str, str]]]:
    ordered = [(name, row[name]) for name in GROUPS if name in row]
    return set(itertools.combinations(ordered, 2))


def test_groups__are_those_of_the_documentation() -> None:
    assert set(GROUPS) == {
        "baseline",
        "beside",
        "dataset",
        "init",
        "launcher",
        "layer_pair",
        "logger",
        "model",
        "protocol",
        "trainer",
    }


def test_every_pair_of_options__composes_and_passes() -> None:
    for row in all_pairs():
        # `encoder` and `decoder` stand for any model: whoever chooses one names its layers.
        own = ["model.default_lower=1", "model.default_upper=2"] if row["model"] in ("encoder", "decoder") else []
        config = checked(*(f"{group}={option}" for group, option in row.items()), *own)
        assert config.model.name == row["model"]
        assert config.dataset.name == row["dataset"]
        assert config.trainer.name == row["trainer"]
        assert config.protocol.name == row["protocol"]
        assert config.logger.name == row["logger"]
        assert config.init.name == config.init.method.value == row["init"]
        expected = (config.model.default_lower, config.model.default_upper)
        if row["layer_pair"] != "default":
            expected = tuple(int(layer) for layer in row["layer_pair"].split("-"))
        assert (config.layer_pair.lower, config.layer_pair.upper) == expected
        assert config.layer_pair.name == "{}-{}".format(*expected)


def test_every_option__is_named_like_its_file() -> None:
    for group in ("dataset", "init", "logger", "model", "protocol", "trainer"):
        for option in GROUPS[group]:
            text = OmegaConf.load(CONF / group / f"{option}.yaml")
            assert text["name"] == option


# ---------------------------------------------------------------- one place for every value


def with_default(kind: Any) -> Iterator[tuple[Field[Any], Any]]:
    for field in fields(kind):
        if field.default is not MISSING:
            yield field, field.default
        elif field.default_factory is not MISSING:
            yield field, field.default_factory()


def differing(values: Any, name: str) -> Iterator[str]:
    for field, default in with_default(type(values)):
        given = getattr(values, field.name)
        if given != default:
            yield f"{name}.{field.name}: {given!r} in conf/, {default!r} in settings/"
    for field in fields(values):
        if is_dataclass(getattr(values, field.name)):
            yield from differing(getattr(values, field.name), f"{name}.{field.name}")


def test_yaml_values__equal_the_defaults_of_the_dataclasses() -> None:
    config = checked("dataset=file", "trainer=default", "protocol=paper")
    sections = [each.name for each in fields(config) if is_dataclass(getattr(config, each.name))]
    found = [line for name in sections if name != "model" for line in differing(getattr(config, name), name)]
    assert found == []


SOURCE = {"path", "package", "package_folder", "package_list", "hub_id", "revision", "gguf_file"}
OF_MODEL = {"chat_template", "default_lower", "default_upper", "number_format", "sentence_pooling", "label_tokens"}


@pytest.mark.parametrize("model", GROUPS["model"])
def test_model_yaml__departs_from_the_defaults_in_its_source_and_its_nature_only(model: str) -> None:
    found = list(differing(checked(f"model={model}", "layer_pair=4-6").model, "model"))
    assert {line.split(":")[0] for line in found} <= {f"model.{name}" for name in SOURCE | OF_MODEL}


@pytest.mark.parametrize("dataset", ["eraser_movie", "jigsaw", "agnews"])
@pytest.mark.parametrize(
    ("model", "pair", "width", "answers"),
    [
        ("bert", "8-12", 768, None),
        ("roberta", "8-12", 768, None),
        ("llama2_7b", "28-32", 4096, "digits"),
        ("qwen2_5_3b", "32-36", 2048, "digits"),
    ],
)
def test_grid__every_cell_of_the_paper_composes(
    model: str, pair: str, width: int, answers: str | None, dataset: str
) -> None:
    config = checked(f"model={model}", f"dataset={dataset}")
    assert config.layer_pair.name == pair
    assert width % config.decoder.heads == 0
    assert config.model.revision is not None
    assert len(config.model.revision) == 40, "a commit, since a branch moves"
    assert (config.model.kind is ModelKind.decoder) == (answers is not None)
    if answers is not None:
        assert config.model.label_tokens.value == answers
        assert (
            checked(f"model={model}", f"dataset={dataset}", "protocol=strict").model.label_tokens.value == "words"
        )
        assert config.dataset.prompt.count("{text}") == 1
    for lower, upper in ((0, 4), (4, 8)):
        moved = checked(f"model={model}", f"dataset={dataset}", f"layer_pair={lower}-{upper}")
        assert (moved.layer_pair.lower, moved.layer_pair.upper) == (lower, upper)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["model=decoder", "layer_pair=4-8", "model.sentence_pooling=cls"],
            "model.sentence_pooling=cls: a decoder has no sentence token; set model.sentence_pooling=mean",
        ),
        (
            ["model=qwen2_5_3b", "fine_tuning.when=always"],
            "fine_tuning.when=always: decoders are asked by a prompt and not fine-tuned; set it to auto",
        ),
        (
            ["model=bert", "model.gguf_file=weights.gguf"],
            "model.gguf_file=weights.gguf: only decoders are read from GGUF files",
        ),
    ],
)
def test_model_that_contradicts_itself__exact_message(overrides: list[str], message: str) -> None:
    assert problems(composed(*overrides)) == [message]


def test_model_of_any_kind__asks_for_its_layers() -> None:
    assert problems(composed("model=encoder")) == [
        "layer_pair.lower is missing: give it a value",
        "layer_pair.upper is missing: give it a value",
    ]


def absent(typed: Any, values: Any, name: str = "") -> Iterator[str]:
    for field in fields(typed):
        if field.name not in values:
            yield name + field.name
        elif is_dataclass(getattr(typed, field.name)):
            yield from absent(getattr(typed, field.name), values[field.name], f"{name}{field.name}.")


def test_every_field__stands_in_the_composed_config() -> None:
    cfg = composed("dataset=file")
    missing = set(absent(check(cfg), OmegaConf.to_container(cfg)))
    assert missing == set(), "write these keys into conf/, so that `--cfg job` shows them"


# ---------------------------------------------------------------- what flows where


REFERENCE = {
    "encoder.linear_start": "identity",
    "decoder.self_attention": "later_words",
    "decoder.memory": "encoder",
    "quantizer.trained_words": "frequent",
    "quantizer.ema_start": "ones",
    "quantizer.ema_smoothing": 1e-5,
    "weight_decay_on": "everything",
    "trainer.max_epochs": 50,
    "trainer.patience": 15,
    "attribution.at": "lower_layer",
    "attribution.baseline": "token_zero",
    "attribution.steps": 500,
    "attribution.adaptive": False,
    "attribution.word_score": "max_absolute",
    "attribution.salient_by": "absolute_score",
    "attribution.sentence_token_can_be_salient": True,
    "model.label_tokens": "digits",
    "quantizer.perplexity_over": "last_batch",
    "probe.trained_on": "dev_folds",
    "quantizer.words_of_concepts": "sampled_code",
}
NOT_DEFAULT = {
    "weight_decay_on": "everything",
    "trainer.max_epochs": 7,
    "trainer.patience": 2,
    "attribution.steps": 9,
    "attribution.adaptive": "true",
    "attribution.sentence_token_can_be_salient": "false",
    "decoder.memory": "none",
    "model.label_tokens": "words",
}
"""Values that `paper` does not have, where `reference` has the same as `paper` or another number is plainer."""


def value(config: Config, key: str) -> Any:
    found = attrgetter(key)(config)
    return found.value if isinstance(found, Enum) else found


def test_reference__has_every_value_of_its_column() -> None:
    config = checked("protocol=reference", "trainer=default", "model=decoder", "layer_pair=4-8")
    assert {key: value(config, key) for key in REFERENCE} == REFERENCE
    assert config.protocol.remove_duplicates is False
    assert config.probe.folds == 20
    assert config.departures == {}


def test_protocol__every_field_flows_into_one_key() -> None:
    assert set(REFERENCE) == set(PROTOCOL_KEYS)
    names = {field.name for field in fields(ProtocolSettings)}
    assert names == {*PROTOCOL_KEYS.values(), "name", "remove_duplicates"}


@pytest.mark.parametrize("protocol", ["paper", "strict", "reference"])
def test_protocol__departs_nowhere_from_itself(protocol: str) -> None:
    config = checked(f"protocol={protocol}", "trainer=default")
    for key, field in PROTOCOL_KEYS.items():
        assert attrgetter(key)(config) == getattr(config.protocol, field)
    assert config.departures == {}


@pytest.mark.parametrize("key", REFERENCE)
def test_protocol__every_point_can_be_set_alone_and_is_recorded(key: str) -> None:
    given = NOT_DEFAULT.get(key, REFERENCE[key])
    config = checked("protocol=paper", "trainer=default", f"{key}={given}")
    ((departed, (used, said)),) = config.departures.items()
    assert departed == key
    assert used == attrgetter(key)(config) != said
    assert said == getattr(config.protocol, PROTOCOL_KEYS[key])
    others = set(REFERENCE) - {key}
    paper = checked("protocol=paper", "trainer=default")
    assert {each: value(config, each) for each in others} == {each: value(paper, each) for each in others}


@pytest.mark.parametrize(
    ("protocol", "memory", "decay", "steps", "adaptive", "token", "duplicates"),
    [
        ("paper", DecoderMemory.encoder, WeightDecayOn.all_but_biases, 50, False, True, False),
        ("strict", DecoderMemory.quantized, WeightDecayOn.weights_only, 15, True, False, True),
    ],
)
def test_protocol__flows_into_the_rooms(
    protocol: str, memory: Any, decay: Any, steps: int, adaptive: bool, token: bool, duplicates: bool
) -> None:
    config = checked(f"protocol={protocol}", "trainer=default")
    assert config.decoder.memory is memory
    assert config.weight_decay_on is decay
    assert config.trainer.attribution_steps == config.attribution.steps == steps
    assert config.attribution.adaptive is adaptive
    assert config.attribution.sentence_token_can_be_salient is token
    assert config.protocol.remove_duplicates is duplicates
    assert (config.trainer.max_epochs, config.trainer.patience) == (100, 15)


@pytest.mark.parametrize(
    ("override", "read", "value"),
    [
        ("decoder.memory=none", lambda c: c.decoder.memory.value, "none"),
        ("weight_decay_on=everything", lambda c: c.weight_decay_on.value, "everything"),
        ("attribution.steps=20", lambda c: c.attribution.steps, 20),
        ("trainer.attribution_steps=20", lambda c: c.attribution.steps, 20),
        ("attribution.adaptive=false", lambda c: c.attribution.adaptive, False),
        ("trainer.max_epochs=7", lambda c: c.trainer.max_epochs, 7),
        ("trainer.patience=0", lambda c: c.trainer.patience, 0),
        ("fine_tuning.epochs=9", lambda c: c.fine_tuning.epochs, 9),
        ("trainer.fine_tuning_epochs=9", lambda c: c.fine_tuning.epochs, 9),
        ("seeds=[5,6]", lambda c: c.seeds, [5, 6]),
        ("trainer.seeds=[5]", lambda c: c.seeds, [5]),
        ("seeds=[0]", lambda c: c.seeds, [0]),
    ],
)
def test_explicit_override__wins(override: str, read: Callable[[Config], Any], value: Any) -> None:
    config = checked("protocol=strict", "trainer=default", override)
    assert read(config) == value
    assert config.protocol.decoder_memory is DecoderMemory.quantized, "the protocol's own values stay"


@pytest.mark.parametrize("dataset", GROUPS["dataset"])
def test_dataset__brings_its_trainer(dataset: str) -> None:
    brought = "demo" if dataset == "rotten_tomatoes" else "default"
    assert composed(f"dataset={dataset}").trainer.name == brought
    for explicit in GROUPS["trainer"]:
        assert composed(f"dataset={dataset}", f"trainer={explicit}").trainer.name == explicit
        assert composed(f"trainer={explicit}", f"dataset={dataset}").trainer.name == explicit


def test_no_override__is_the_embedded_cell() -> None:
    config = checked()
    assert (config.model.name, config.dataset.name, config.trainer.name) == (
        "minilm",
        "rotten_tomatoes",
        "demo",
    )
    assert (config.layer_pair.name, config.protocol.name, config.baseline["name"]) == (
        "4-6",
        "paper",
        "clvq_vae",
    )


def test_demo_trainer__keeps_the_architecture() -> None:
    demo, default = checked("trainer=demo"), checked("trainer=default")
    assert demo.seeds == [0]
    assert default.seeds == [0, 1, 2]
    for section in ("encoder", "quantizer", "decoder", "init", "protocol", "probe"):
        assert getattr(demo, section) == getattr(default, section)


@pytest.mark.parametrize(("model", "pair"), [("minilm", "4-6"), ("bert", "8-12"), ("roberta", "8-12")])
def test_layer_pair_default__follows_the_model(model: str, pair: str) -> None:
    assert checked(f"model={model}").layer_pair.name == pair
    moved = checked(f"model={model}", "model.default_lower=1", "model.default_upper=3")
    assert moved.layer_pair.name == "1-3"


# ---------------------------------------------------------------- the run folder's name


def run_folder(*overrides: str) -> str:
    cfg = composed(*overrides, hydra=True)
    HydraConfig.instance().set_config(cfg)
    return cfg.hydra.run.dir


def test_run_folder__is_named_by_the_cell() -> None:
    folder = run_folder(
        "model=roberta", "dataset=jigsaw", "init=random", "protocol=strict", "baseline=single_layer"
    )
    path, _, run_id = folder.rpartition("-")
    assert path == "outputs/roberta/jigsaw/8-12/single_layer-random-strict"
    assert len(run_id) == 8
    assert int(run_id, 16) >= 0


def test_run_id__differs_with_every_value_but_the_logger() -> None:
    plain = run_folder()
    assert run_folder() == plain
    assert run_folder("logger=wandb") == plain
    assert run_folder("logger=csv", "logger.project=mine") == plain
    others = [
        run_folder(override)
        for override in (
            "quantizer.temperature=1.5",
            "seeds=[1]",
            "probe.hidden=32",
            "evaluation.seed=1",
            "attribution.steps=17",
            "dataset.path=somewhere",
            "trainer.device=cpu",
        )
    ]
    assert len({plain, *others}) == len(others) + 1


def test_arguments_by_kind__are_those_of_the_cell_s_language_model() -> None:
    apart = (
        "baseline=sae_2048",
        "baseline.by_kind.encoder.l1=[0.1]",
        "baseline.by_kind.decoder.l1=[0.2]",
        "+baseline.by_kind.decoder.neurons=64",
        "beside=none",
    )
    (encoder,) = checked(*apart).methods.values()
    (decoder,) = checked(*apart, "model=llama2_7b").methods.values()
    assert (encoder.arguments["l1"], encoder.arguments["neurons"]) == ([0.1], 2048)
    assert (decoder.arguments["l1"], decoder.arguments["neurons"]) == ([0.2], 64)
    assert "by_kind" not in encoder.arguments

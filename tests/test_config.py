"""The configuration: every option composes, values stand in one place, and all errors come at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

import clvq_exp.__main__
from clvq_exp.config import Config, ConfigError, check
from clvq_exp.settings import DecoderMemory, ModelKind, WeightDecayOn

CONF = Path(clvq_exp.__file__).resolve().parents[1] / "conf"
GROUPS = {
    folder.name: sorted(file.stem for file in folder.glob("*.yaml"))
    for folder in sorted(CONF.iterdir())
    if folder.is_dir() and any(folder.glob("*.yaml"))
}
Combination = dict[str, str]


@pytest.fixture(scope="module", autouse=True)
def hydra_context() -> Iterator[None]:
    with initialize_config_module("clvq_exp.conf", version_base="1.3"):
        yield


def composed(*overrides: str) -> DictConfig:
    return compose("config", overrides=list(overrides))


def checked(*overrides: str) -> Config:
    return check(composed(*overrides))


def problems(cfg: DictConfig) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check(cfg)
    return caught.value.problems


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
        "dataset",
        "init",
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
            yield f"{name}.{field.name}: {given!r} in conf/, {default!r} in settings.py"
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


@pytest.mark.parametrize(
    ("protocol", "memory", "decay", "steps", "adaptive", "token", "duplicates"),
    [
        ("paper", DecoderMemory.encoder, WeightDecayOn.all_but_biases, 50, False, True, False),
        ("strict", DecoderMemory.quantized, WeightDecayOn.weights_only, 16, True, False, True),
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


# ---------------------------------------------------------------- errors


def test_errors__are_reported_all_together() -> None:
    cfg = composed(
        "quantizer.temperature=0",
        "quantizer.codebook_size=3",
        "quantizer.commitment_weight=-0.5",
        "layer_pair.lower=6",
        "layer_pair.upper=4",
        "decoder.heads=many",
        "encoder.alpha_mode=sometimes",
        "trainer.batch_size=0",
        "seeds=[1,1]",
        "evaluation.confidence=1",
        "dataset.label_meanings=[one]",
        "dataset.label_values={rotten: 0, fresh: 2}",
        "attribution.adaptive=true",
        "attribution.max_steps=8",
        "probe.dropout=1",
        "logger.name=paper",
    )
    with open_dict(cfg):
        cfg.quantizer.codebok_size = 100
        cfg.zebra = 1
    found = problems(cfg)
    known = ", ".join(sorted(field.name for field in fields(Config)))
    assert sorted(found) == sorted(
        [
            "quantizer.codebok_size is no key of the configuration; did you mean codebook_size?",
            f"zebra is no key of the configuration; the keys there are {known}",
            "decoder.heads='many': Value 'many' of type 'str' could not be converted to Integer",
            "encoder.alpha_mode='sometimes': Invalid value 'sometimes', "
            "expected one of [adaptive, adaptive_full, fixed]",
            "layer_pair.lower=6 is not below layer_pair.upper=4",
            "quantizer.top_k=5 is more than quantizer.codebook_size=3",
            "quantizer.temperature=0.0 is not above 0",
            "quantizer.commitment_weight=-0.5 is below 0",
            "trainer.batch_size=0 is below 1",
            "seeds=[1, 1]: give distinct numbers of at least 0",
            "logger.name=paper is none of none, csv, wandb",
            "dataset.label_meanings has 1 entries, dataset.label_names 2",
            "dataset.label_values gives the classes [2], dataset.label_names only 0 to 1",
            "attribution.max_steps=8 is below attribution.steps=16",
            "probe.dropout=1.0 is not at least 0 and below 1",
            "evaluation.confidence=1.0 is not between 0 and 1",
        ]
    )


def test_error_message__counts_and_lists() -> None:
    with pytest.raises(ConfigError) as caught:
        checked("quantizer.temperature=-1", "quantizer.top_k=0")
    assert str(caught.value) == (
        "the configuration has 2 error(s):\n"
        "  - quantizer.top_k=0 is below 1\n"
        "  - quantizer.temperature=-1.0 is not above 0"
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("layer_pair.lower=-1", "layer_pair.lower=-1: layers count from 0 (the embeddings)"),
        ("layer_pair.lower=6", "layer_pair.lower=6 is not below layer_pair.upper=6"),
        ("quantizer.top_k=401", "quantizer.top_k=401 is more than quantizer.codebook_size=400"),
        ("quantizer.codebook_size=0", "quantizer.codebook_size=0 is below 1"),
        ("quantizer.ema_decay=1", "quantizer.ema_decay=1.0 is not at least 0 and below 1"),
        ("decoder.dropout=-0.1", "decoder.dropout=-0.1 is not at least 0 and below 1"),
        ("decoder.layers=0", "decoder.layers=0 is below 1"),
        ("trainer.learning_rate=0", "trainer.learning_rate=0.0 is not above 0"),
        ("trainer.plateau_factor=1", "trainer.plateau_factor=1.0 is not between 0 and 1"),
        ("trainer.sentences.refit=-1", "trainer.sentences.refit=-1 is below 0"),
        ("fine_tuning.epochs=0", "fine_tuning.epochs=0 is below 1"),
        ("fine_tuning.warmup_share=2", "fine_tuning.warmup_share=2.0 is not at least 0 and below 1"),
        ("seeds=[]", "seeds is empty: give at least one"),
        ("seeds=[-1]", "seeds=[-1]: give distinct numbers of at least 0"),
        ("attribution.tolerance=0", "attribution.tolerance=0.0 is not above 0"),
        ("evaluation.bootstrap_samples=10", "evaluation.bootstrap_samples=10 is below 100"),
        ("dataset.validation_share=0", "dataset.validation_share=0.0 is not between 0 and 1"),
        ("dataset.dev_size=-1", "dataset.dev_size=-1 is below 0"),
        ("baseline.name=null", "baseline.name is missing: conf/baseline/ has one file per method"),
        ("model.max_length=???", "model.max_length is missing: give it a value"),
        ("quantizer=null", "quantizer=None: field 'quantizer' is not Optional"),
        ("model.kind=poet", "model.kind='poet': Invalid value 'poet', expected one of [encoder, decoder]"),
        (
            "trainer.resident_gib=[1]",
            "trainer.resident_gib=[1]: Value '[1]' of type 'list' could not be converted to Float",
        ),
    ],
)
def test_single_error__exact_message(override: str, message: str) -> None:
    if override.startswith("quantizer.codebook_size"):
        assert message in problems(composed(override))
    else:
        assert problems(composed(override)) == [message]


def test_alpha__is_checked_where_it_is_used() -> None:
    assert problems(composed("encoder.alpha_mode=fixed", "encoder.alpha=1.5")) == [
        "encoder.alpha=1.5 is not between 0 and 1"
    ]
    assert checked("encoder.alpha_mode=fixed", "encoder.alpha=0").encoder.alpha == 0
    checked("encoder.alpha_mode=adaptive", "encoder.alpha=1.5")


def test_labels__are_cross_checked() -> None:
    assert problems(composed("dataset=file", "dataset.label_names=[a]")) == [
        "dataset.label_names=['a']: a classifier needs at least two labels",
        "dataset.label_meanings has 2 entries, dataset.label_names 1",
    ]
    assert problems(composed("dataset=file", "dataset.label_names=[a,a]")) == [
        "dataset.label_names=['a', 'a'] repeats a label"
    ]


@pytest.mark.parametrize(
    "key",
    [
        "quantizer.temperature",
        "quantizer.commitment_weight",
        "quantizer.ema_decay",
        "encoder.alpha_start",
        "trainer.learning_rate",
        "trainer.gradient_clip",
        "trainer.weight_decay",
        "fine_tuning.weight_decay",
        "attribution.tolerance",
        "evaluation.confidence",
        "init.tolerance",
        "dataset.validation_share",
    ],
)
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_number_that_is_not_finite__is_refused_once(key: str, value: str) -> None:
    assert problems(composed(f"{key}={value}")) == [f"{key}={value} is not a finite number"]


def test_missing_section__is_reported_key_by_key() -> None:
    cfg = composed()
    with open_dict(cfg):
        del cfg["layer_pair"], cfg["seeds"]
    assert problems(cfg) == [
        "layer_pair.lower is missing: give it a value",
        "layer_pair.upper is missing: give it a value",
        "seeds is missing: give it a value",
    ]


def test_unusable_value__hides_no_other_error_and_invents_none() -> None:
    cfg = composed("trainer.max_epochs=soon", "trainer.batch_size=-3", "layer_pair.lower=low")
    assert sorted(problems(cfg)) == [
        "layer_pair.lower='low': Value 'low' of type 'str' could not be converted to Integer",
        "trainer.batch_size=-3 is below 1",
        "trainer.max_epochs='soon': Value 'soon' of type 'str' could not be converted to Integer",
    ]


def test_broken_interpolation__names_the_key() -> None:
    (found,) = problems(composed("attribution.steps=${trainer.steps}"))
    assert found.startswith("attribution.steps: ")
    assert "trainer.steps" in found


def test_checked_config__is_typed_and_frozen() -> None:
    config = checked("quantizer.temperature=2")
    assert isinstance(config.quantizer.temperature, float)
    with pytest.raises(AttributeError):
        config.quantizer.temperature = 1.0  # type: ignore[misc]
    assert asdict(config)["baseline"]["_target_"] == "clvq_exp.concepts.clvq_vae.ClvqVae"


def test_check__leaves_the_composed_config_alone() -> None:
    cfg = composed()
    before = OmegaConf.to_container(cfg)
    check(cfg)
    assert OmegaConf.to_container(cfg) == before


# ---------------------------------------------------------------- the run folder's name


def run_folder(*overrides: str) -> str:
    cfg = compose("config", overrides=list(overrides), return_hydra_config=True)
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


def test_text_that_looks_like_an_interpolation__is_taken_as_it_stands() -> None:
    config = checked(r"dataset.what_belongs_there='\${jndi:x}'", r"dataset.label_meanings=['\${a}','b']")
    assert config.dataset.what_belongs_there == "${jndi:x}"
    assert list(config.dataset.label_meanings) == ["${a}", "b"]


def test_broken_interpolation_inside_a_list__names_the_key_beside_the_other_errors() -> None:
    first, second = problems(composed("dataset.label_meanings=['${nowhere}','b']", "quantizer.temperature=0"))
    assert first.startswith("dataset.label_meanings: ")
    assert "nowhere" in first
    assert second.startswith("quantizer.temperature=0")

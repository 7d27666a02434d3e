"""What is wrong with a configuration: every error, all at once, each with its key and what to do."""

from __future__ import annotations

from dataclasses import asdict, fields

import pytest
from composing import checked, composed, problems
from omegaconf import OmegaConf, open_dict

from clvq_exp.config import Config, ConfigError, check


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
        ("quantizer.ema_smoothing=-1e-5", "quantizer.ema_smoothing=-1e-05 is below 0"),
        ("quantizer.revive_below=-1", "quantizer.revive_below=-1.0 is below 0"),
        ("probe.folds=1", "probe.folds=1 is below 2"),
        (
            "quantizer.trained_words=rare",
            "quantizer.trained_words='rare': Invalid value 'rare', expected one of [all, frequent]",
        ),
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


def test_text_that_looks_like_an_interpolation__is_taken_as_it_stands() -> None:
    config = checked(r"dataset.what_belongs_there='\${jndi:x}'", r"dataset.label_meanings=['\${a}','b']")
    assert config.dataset.what_belongs_there == "${jndi:x}"
    assert list(config.dataset.label_meanings) == ["${a}", "b"]


def test_broken_interpolation_inside_a_list__names_the_key_beside_the_other_errors() -> None:
    first, second = problems(composed("dataset.label_meanings=['${nowhere}','b']", "quantizer.temperature=0"))
    assert first.startswith("dataset.label_meanings: ")
    assert "nowhere" in first
    assert second.startswith("quantizer.temperature=0")


@pytest.mark.parametrize("apart", ["3", "{gpu:{l1:[1]}}", "{encoder:[1]}"])
def test_arguments_by_kind__hang_on_kinds_of_models_alone(apart: str) -> None:
    (problem,) = problems(composed("baseline=sae_2048", "~baseline.by_kind", f"+baseline.by_kind={apart}"))
    assert problem.startswith("baseline.by_kind=")
    assert "encoder and decoder" in problem

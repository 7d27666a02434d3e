"""The classes of a model are matched with those of the data by their names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from families import make_network
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from tiny import tiny_settings

from clvq_exp.language_models.base import LanguageModelError
from clvq_exp.language_models.encoder import EncoderModel
from clvq_exp.language_models.labels import label_order, stored_labels
from clvq_exp.settings import ModelSettings

TEXTS = ["The acting is superb.", "dull", "plot"]


def with_labels(source: Path, target: Path, labels: list[str]) -> Path:
    shutil.copytree(source, target)
    config = json.loads((target / "config.json").read_text())
    config["id2label"] = dict(enumerate(labels))
    config["label2id"] = {name: index for index, name in enumerate(labels)}
    (target / "config.json").write_text(json.dumps(config))
    return target


def test_load__matches_labels_whatever_their_case(
    tiny_encoder: Path, tmp_path: Path, settings: Callable[..., ModelSettings]
):
    folder = with_labels(tiny_encoder, tmp_path / "named", ["NEGATIVE", "POSITIVE"])
    loaded = EncoderModel.load(folder, settings(), ["negative", "positive"], torch.device("cpu"))
    assert loaded.label_names == ("negative", "positive")


def test_load__puts_logits_into_the_order_of_the_data(
    tiny_encoder: Path, tmp_path: Path, settings: Callable[..., ModelSettings]
):
    folder = with_labels(tiny_encoder, tmp_path / "named", ["negative", "positive"])
    as_it_is, turned = (
        EncoderModel.load(folder, settings(), names, torch.device("cpu"))
        for names in (["negative", "positive"], ["Positive", "Negative"])
    )
    batch = as_it_is.pad(as_it_is.encode(TEXTS))
    logits = as_it_is.class_logits(*batch)
    assert torch.equal(turned.class_logits(*batch), logits[:, [1, 0]])
    assert torch.equal(turned.run(batch, [0]).logits, logits[:, [1, 0]])
    assert turned.label_names == ("Positive", "Negative")
    assert turned.fingerprint != as_it_is.fingerprint, "the same activations, but other answers"


def test_load__of_three_labels_follows_a_cycle(tmp_path: Path, byte_level_tokenizer: Any):
    names = ["low", "middle", "high"]
    given = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    network = make_network("Bert", byte_level_tokenizer, num_labels=3, **given)
    network.save_pretrained(tmp_path)
    byte_level_tokenizer.save_pretrained(tmp_path)
    loaded = EncoderModel.load(tmp_path, tiny_settings(), ["middle", "high", "low"], torch.device("cpu"))
    batch = loaded.pad(loaded.encode(TEXTS))
    expected = network(**batch._asdict()).logits[:, [1, 2, 0]]
    assert torch.allclose(loaded.class_logits(*batch), expected, atol=1e-6)


def test_load__refuses_labels_of_other_names(
    tiny_encoder: Path, tmp_path: Path, settings: Callable[..., ModelSettings]
):
    folder = with_labels(tiny_encoder, tmp_path / "named", ["negative", "positive"])
    with pytest.raises(LanguageModelError, match=r"'bad'.*\['negative', 'positive'\].*dataset\.label_names"):
        EncoderModel.load(folder, settings(), ["bad", "positive"], torch.device("cpu"))


def test_label_order__by_hand():
    assert label_order(["a", "b", "c"], ["c", "a", "b"]) == [2, 0, 1]
    assert label_order(["LABEL_0", "LABEL_1"], ["bad", "good"]) == [0, 1]
    assert label_order(["LABEL_1", "LABEL_0"], ["label_0", "label_1"]) == [1, 0]


def test_label_order__an_exact_match_wins_over_one_without_case():
    assert label_order(["it", "IT"], ["IT", "it"]) == [1, 0]
    assert label_order(["it", "IT", "No"], ["NO", "it", "IT"]) == [2, 0, 1]


@examples(deadline=None)
@given(st.lists(st.text("abcAB", min_size=1), unique=True, min_size=1, max_size=6), st.randoms())
def test_label_order__finds_every_permutation(names: list[str], random: Any):
    shuffled = random.sample(names, len(names))
    assert [names[index] for index in label_order(names, shuffled)] == shuffled


def test_label_order__another_number_of_classes_says_what_to_do():
    with pytest.raises(LanguageModelError, match=r"2 classes.*has 3.*fine_tuning\.when=always"):
        label_order(["a", "b"], ["a", "b", "c"])


def test_label_order__an_unknown_label_is_named_as_it_was_written():
    with pytest.raises(LanguageModelError, match=r"'Neutral'.*\['a', 'b'\].*fine_tuning\.when=always"):
        label_order(["a", "b"], ["a", "Neutral"])


def test_label_order__two_names_for_one_class_are_refused():
    with pytest.raises(LanguageModelError, match=r"'bad' and 'BAD' of the data set are both 'Bad'"):
        label_order(["Bad", "good"], ["bad", "BAD"])


def test_stored_labels__are_those_of_the_configuration_in_order(tmp_path: Path):
    def stored(**config: Any) -> list[str] | None:
        (tmp_path / "config.json").write_text(json.dumps(config))
        return stored_labels(tmp_path)

    assert stored(id2label={"1": "b", "0": "a", "2": 3}) == ["a", "b", "3"]
    assert stored() is None
    assert stored(id2label={"0": "a", "2": "b"}) is None

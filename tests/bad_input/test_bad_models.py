"""Model folders that cannot be used as they are: the whole message, at every door that opens them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny_settings

from clvq_exp.config import ConfigError
from clvq_exp.language_models.base import LanguageModelError
from clvq_exp.language_models.encoder import EncoderModel
from clvq_exp.language_models.fine_tuning import fine_tune
from clvq_exp.preflight import Preflight
from clvq_exp.records import Sentence
from clvq_exp.settings import FineTuningSettings, ModelSettings

CPU = torch.device("cpu")
BELONGS = "a folder with config.json, model.safetensors, tokenizer.json and tokenizer_config.json"
Door = Callable[[Path], object]


def load(folder: Path, **changed: Any) -> EncoderModel:
    return EncoderModel.load(folder, tiny_settings(**changed), ["0", "1"], CPU)


def tune(folder: Path, **changed: Any) -> Path:
    out = folder.with_name("tuned")
    sentences = [Sentence(str(index), ("dull", "superb")[index % 2], index % 2, str(index)) for index in range(4)]
    brief = FineTuningSettings(epochs=1, batch_size=1)
    settings: ModelSettings = tiny_settings(**changed)
    fine_tune(folder, out, settings, brief, ["0", "1"], sentences, sentences[:1], CPU)
    return out / "model"


DOORS = pytest.mark.parametrize("door", [load, tune], ids=["load", "fine-tune"])


def message(door: Door, folder: Path) -> str:
    with pytest.raises(LanguageModelError) as caught:
        door(folder)
    return str(caught.value)


def change(path: Path, **values: Any) -> None:
    """Change a JSON file of a model folder; None takes a key out."""
    content = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


# ---------------------------------------------------------------- tokenizer


@DOORS
def test_model_without_a_pad_token__says_where_to_set_it(model_folder: Path, door: Door) -> None:
    change(model_folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast", pad_token=None)
    assert message(door, model_folder) == (
        "model tiny: its tokenizer has no pad token; set pad_token in tokenizer_config.json"
    )


@DOORS
def test_tokenizer_without_offsets__says_what_is_missing(model_folder: Path, door: Door) -> None:
    for name in ("tokenizer.json", "vocab.txt"):
        (model_folder / name).unlink(missing_ok=True)
    (model_folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "CTRLTokenizer", "pad_token": "<unk>"}'
    )
    (model_folder / "vocab.json").write_text('{"<unk>": 0, "dull</w>": 1}')
    (model_folder / "merges.txt").write_text("#version\n")
    assert message(door, model_folder) == (
        "model tiny: its tokenizer gives no character offsets, so words cannot be told from sub-words; put a "
        "tokenizer.json (fast tokenizer) into model.path"
    )


@DOORS
def test_folder_without_a_tokenizer__is_not_read_as_unknown_words(model_folder: Path, door: Door) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        (model_folder / name).unlink(missing_ok=True)
    assert message(door, model_folder) == (
        f"{model_folder} holds no vocabulary, so every word would be unknown to its tokenizer: give {BELONGS}"
    )


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("model_labels", "data_labels", "expected"),
    [
        (
            ["bad", "so so", "good"],
            ["bad", "good"],
            "the model has 3 classes ['bad', 'so so', 'good'], the data set has 2 ['bad', 'good']: give "
            "dataset.label_names, or fine_tuning.when=always",
        ),
        (
            ["bad", "good"],
            ["bad", "fresh"],
            "label 'fresh' of the data set is none of the model's labels ['bad', 'good']: give "
            "dataset.label_names with the model's names, or fine_tuning.when=always",
        ),
        (
            ["bad", "good"],
            ["good", "Good"],
            "labels 'good' and 'Good' of the data set are both 'good' among the model's labels ['bad', "
            "'good']: give dataset.label_names with the model's names, or fine_tuning.when=always",
        ),
        (
            ["it", "IT"],
            ["it", "It"],
            "label 'It' of the data set is none of the model's labels ['it', 'IT']: give dataset.label_names "
            "with the model's names, or fine_tuning.when=always",
        ),
    ],
    ids=["number", "names", "two of one", "case"],
)
def test_labels_of_model_and_data_that_differ__exact_message(
    model_folder: Path,
    before_a_cell: Callable[..., Preflight],
    model_labels: list[str],
    data_labels: list[str],
    expected: str,
) -> None:
    names = dict(enumerate(model_labels))
    change(model_folder / "config.json", id2label=names, label2id={name: index for index, name in names.items()})
    given = [f"model.path={model_folder}", f"dataset.label_names=[{','.join(data_labels)}]"]
    with pytest.raises(ConfigError) as before:
        before_a_cell(*given)
    assert before.value.problems == [expected]
    before_a_cell(*given, "fine_tuning.when=always")
    if len(model_labels) == 2:  # else the head in the file is of another size too
        with pytest.raises(LanguageModelError) as caught:
            EncoderModel.load(model_folder, tiny_settings(), data_labels, CPU)
        assert str(caught.value) == expected


@pytest.mark.parametrize("names", [("bad", "good"), ("it", "IT")])
def test_labels_in_another_order__are_mapped_by_name(
    model_folder: Path, before_a_cell: Callable[..., Preflight], names: tuple[str, str]
) -> None:
    one, other = names
    change(model_folder / "config.json", id2label={0: one, 1: other}, label2id={one: 0, other: 1})
    before_a_cell(f"model.path={model_folder}", f"dataset.label_names=[{other},{one}]")
    as_they_are = EncoderModel.load(model_folder, tiny_settings(), [one, other], CPU)
    turned = EncoderModel.load(model_folder, tiny_settings(), [other, one], CPU)
    batch = turned.pad(turned.encode(["The acting is superb.", "dull"]))
    assert torch.equal(turned.class_logits(*batch), as_they_are.class_logits(*batch)[:, [1, 0]])
    assert turned.fingerprint != as_they_are.fingerprint, "the same logits mean other classes"


# ---------------------------------------------------------------- damaged files


@DOORS
def test_damaged_configuration__is_named(model_folder: Path, door: Door) -> None:
    (model_folder / "config.json").write_text("{")
    assert message(door, model_folder) == (
        f"{model_folder}/config.json cannot be read (Expecting property name enclosed in double quotes: line 1 "
        f"column 2 (char 1)): give {BELONGS}"
    )


@DOORS
@pytest.mark.parametrize(("name", "part"), [("model.safetensors", "model"), ("tokenizer.json", "tokenizer")])
def test_damaged_file__is_no_traceback_of_a_library(model_folder: Path, door: Door, name: str, part: str) -> None:
    (model_folder / name).write_bytes((model_folder / name).read_bytes()[:100])
    found = message(door, model_folder)
    assert found.startswith(f"{model_folder}: transformers cannot load its {part} (")
    assert found.endswith(f"): give {BELONGS}")


@DOORS
def test_folder_without_weights__says_what_belongs_there(model_folder: Path, door: Door) -> None:
    (model_folder / "model.safetensors").rename(model_folder / "training_args.bin")
    assert message(door, model_folder) == f"{model_folder} holds no weights: give {BELONGS}"

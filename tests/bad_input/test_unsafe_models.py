"""Pickles and code that come with a model: refused unless asked for, and a pickle runs no code even then."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers.dynamic_module_utils
from safetensors.torch import load_file
from tiny import tiny_settings

from clvq_exp.config import ConfigError
from clvq_exp.language_models.base import LanguageModelError
from clvq_exp.language_models.encoder import EncoderModel
from clvq_exp.language_models.fine_tuning import fine_tune
from clvq_exp.preflight import Preflight
from clvq_exp.records import Sentence
from clvq_exp.settings import FineTuningSettings

CPU = torch.device("cpu")
OWN_CODE = """
import pathlib
from transformers import BertConfig, BertForSequenceClassification

pathlib.Path({trace!r}).touch()


class OwnConfig(BertConfig):
    model_type = "own"


class OwnForSequenceClassification(BertForSequenceClassification):
    config_class = OwnConfig
"""


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def load(folder: Path, **allowed: bool) -> EncoderModel:
    return EncoderModel.load(folder, tiny_settings(**allowed), ["0", "1"], CPU)


def tune(folder: Path, **allowed: bool) -> EncoderModel:
    """Fine-tune and load the result, which needs no pickle any more."""
    out = folder.with_name("tuned")
    sentences = [Sentence(str(index), ("dull", "superb")[index % 2], index % 2, str(index)) for index in range(4)]
    brief = FineTuningSettings(epochs=1, batch_size=4)
    fine_tune(folder, out, tiny_settings(**allowed), brief, ["0", "1"], sentences, sentences, CPU)
    allowed.pop("allow_pickle", None)
    return load(out / "model", **allowed)


def weights_of(model: EncoderModel) -> dict[str, list[Any]]:
    return {name: tensor.tolist() for name, tensor in model.model.state_dict().items()}


DOORS = pytest.mark.parametrize("door", [load, tune], ids=["load", "fine-tune"])
Door = Callable[..., EncoderModel]


def message(door: Door, folder: Path, **allowed: bool) -> str:
    with pytest.raises(LanguageModelError) as caught:
        door(folder, **allowed)
    return str(caught.value)


def problems(before_a_cell: Callable[..., Preflight], *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        before_a_cell(*overrides)
    return caught.value.problems


# ---------------------------------------------------------------- pickles


@pytest.fixture
def tensors(model_folder: Path) -> dict[str, Any]:
    """The weights of a model folder that holds them no longer."""
    found = load_file(model_folder / "model.safetensors")
    (model_folder / "model.safetensors").unlink()
    return {**found}


@pytest.fixture(params=[True, False], ids=["zip", "legacy"])
def pickled(model_folder: Path, tensors: dict[str, Any], request: pytest.FixtureRequest) -> Path:
    """The same model, its weights in a pickle of either form."""
    torch.save(tensors, model_folder / "pytorch_model.bin", _use_new_zipfile_serialization=request.param)
    return model_folder


REFUSED = (
    "{folder} holds only pickles (pytorch_model.bin), which can run code: convert them to model.safetensors "
    "with save_pretrained on a machine where you trust them, or set model.allow_pickle=true, which takes "
    "tensors out of them and nothing else: do so only if you trust where it comes from"
)
DAMAGED = (
    "{folder}: pytorch_model.bin cannot be read as tensors alone: it is damaged, or holds something that would "
    "run code, and nothing of it was run; get the weights as model.safetensors"
)


@DOORS
def test_pickle__is_refused_with_the_key_that_allows_it(pickled: Path, door: Door) -> None:
    expected = REFUSED.format(folder=pickled)
    assert message(door, pickled) == expected
    assert message(door, pickled, allow_remote_code=True) == expected, "one permission is not the other"


def test_pickle__is_refused_before_anything_runs(pickled: Path, before_a_cell: Callable[..., Preflight]) -> None:
    path = f"model.path={pickled}"
    assert problems(before_a_cell, path) == [REFUSED.format(folder=pickled)]
    assert before_a_cell(path, "model.allow_pickle=true").model_folder == pickled


def test_pickle__that_is_allowed_gives_the_same_model(pickled: Path, tiny_encoder: Path) -> None:
    assert weights_of(load(pickled, allow_pickle=True)) == weights_of(load(tiny_encoder))


def test_pickle__that_is_allowed_is_safetensors_after_fine_tuning(pickled: Path) -> None:
    tune(pickled, allow_pickle=True)
    saved = {path.suffix for path in (pickled.with_name("tuned") / "model").iterdir()}
    assert ".safetensors" in saved
    assert ".bin" not in saved


def test_pickle__in_parts_is_read_too(model_folder: Path, tensors: dict[str, Any], tiny_encoder: Path) -> None:
    names = sorted(tensors)
    parts = {f"pytorch_model-0000{part + 1}-of-00002.bin": names[part::2] for part in range(2)}
    for file, own in parts.items():
        torch.save({name: tensors[name] for name in own}, model_folder / file)
    index = {"metadata": {}, "weight_map": {name: file for file, own in parts.items() for name in own}}
    (model_folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert weights_of(load(model_folder, allow_pickle=True)) == weights_of(load(tiny_encoder))


@DOORS
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_malicious_pickle__runs_no_code_even_when_pickles_are_allowed(
    model_folder: Path, tensors: dict[str, Any], tmp_path: Path, door: Door, zipped: bool
) -> None:
    trace, file = tmp_path / "this ran", model_folder / "pytorch_model.bin"
    torch.save({**tensors, "more": Touch(trace)}, file, _use_new_zipfile_serialization=zipped)
    assert message(door, model_folder, allow_pickle=True) == DAMAGED.format(folder=model_folder)
    assert not trace.exists()
    torch.load(file, weights_only=False)
    assert trace.exists(), "the pickle would have run code"


@pytest.mark.parametrize("content", [b"", b"no pickle"])
def test_damaged_pickle__is_an_error_of_one_line(
    model_folder: Path, tensors: dict[str, Any], content: bytes
) -> None:
    (model_folder / "pytorch_model.bin").write_bytes(content)
    assert message(load, model_folder, allow_pickle=True) == DAMAGED.format(folder=model_folder)


def test_safetensors__win_over_a_pickle_that_is_allowed(model_folder: Path, tmp_path: Path) -> None:
    torch.save({"more": Touch(tmp_path / "this ran")}, model_folder / "pytorch_model.bin")
    load(model_folder, allow_pickle=True)
    assert not (tmp_path / "this ran").exists()


# ---------------------------------------------------------------- code


@pytest.fixture
def with_code(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model whose folder brings the Python file that it needs; running it makes the file `this ran`."""
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    (model_folder / "own.py").write_text(OWN_CODE.format(trace=str(tmp_path / "this ran")))
    path = model_folder / "config.json"
    changed = {
        "model_type": "own",
        "architectures": ["OwnForSequenceClassification"],
        "auto_map": {
            "AutoConfig": "own.OwnConfig",
            "AutoModelForSequenceClassification": "own.OwnForSequenceClassification",
        },
    }
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    return model_folder


CODE_REFUSED = (
    "{folder} asks to run code of its own (auto_map in {file}): use a model that transformers itself knows, or "
    "set model.allow_remote_code=true, which runs that code with all your rights: do so only if you trust "
    "where it comes from"
)


@DOORS
def test_code_of_the_folder__is_refused_with_the_key_that_allows_it(
    with_code: Path, tmp_path: Path, door: Door
) -> None:
    expected = CODE_REFUSED.format(folder=with_code, file="config.json")
    assert message(door, with_code) == expected
    assert message(door, with_code, allow_pickle=True) == expected, "one permission is not the other"
    assert not (tmp_path / "this ran").exists()


def test_code_of_the_folder__is_refused_before_anything_runs(
    with_code: Path, tmp_path: Path, before_a_cell: Callable[..., Preflight]
) -> None:
    path = f"model.path={with_code}"
    assert problems(before_a_cell, path) == [CODE_REFUSED.format(folder=with_code, file="config.json")]
    assert before_a_cell(path, "model.allow_remote_code=true").model_folder == with_code
    assert not (tmp_path / "this ran").exists(), "looking at a folder runs nothing"


@DOORS
def test_code_of_a_tokenizer__is_refused_alike(model_folder: Path, door: Door) -> None:
    path = model_folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "auto_map": {"AutoTokenizer": ["own.Own", None]}}))
    assert message(door, model_folder) == CODE_REFUSED.format(folder=model_folder, file="tokenizer_config.json")


@DOORS
def test_code_of_the_folder__runs_when_it_is_allowed(with_code: Path, tmp_path: Path, door: Door) -> None:
    model = door(with_code, allow_remote_code=True)
    assert (tmp_path / "this ran").exists()
    assert type(model.model).__name__ == "OwnForSequenceClassification"
    assert model.n_layers == 4

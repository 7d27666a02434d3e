"""Models are found where they were said to be, and nothing that could run code is loaded."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from clvq_exp.language_models.base import LanguageModelError
from clvq_exp.language_models.encoder import EncoderModel
from clvq_exp.language_models.sources import (
    check_weights,
    is_fine_tuned,
    locate_model,
    model_fingerprint,
)
from clvq_exp.settings import ModelSettings

BELONGS = r"config\.json, model\.safetensors, tokenizer\.json and tokenizer_config\.json"


@pytest.fixture
def copied(tiny_encoder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_encoder, tmp_path / "copied"))


@pytest.fixture
def config_only(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    return tmp_path


def test_locate_model__takes_the_given_path(tiny_encoder: Path, settings: Callable[..., ModelSettings]):
    assert locate_model(settings(path=str(tiny_encoder))) == tiny_encoder


def test_locate_model__a_path_wins_over_package_and_hub(
    tiny_encoder: Path, settings: Callable[..., ModelSettings]
):
    given = settings(path=str(tiny_encoder), package="no-such-package", hub_id="nobody/nothing")
    assert locate_model(given) == tiny_encoder


def test_locate_model__expands_the_home_folder(
    tiny_encoder: Path, settings: Callable[..., ModelSettings], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tiny_encoder.parent))
    assert locate_model(settings(path="~/encoder")) == tiny_encoder


def test_locate_model__a_wrong_path_says_what_belongs_there(
    tmp_path: Path, settings: Callable[..., ModelSettings]
):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(LanguageModelError, match=rf"model\.path={path}.*{BELONGS}"):
            locate_model(settings(path=str(path)))


def test_locate_model__without_any_source_names_the_keys(settings: Callable[..., ModelSettings]):
    with pytest.raises(LanguageModelError, match=rf"tiny.*model\.path=.*{BELONGS}.*model\.hub_id="):
        locate_model(settings())


def test_locate_model__a_missing_package_says_how_to_get_it(settings: Callable[..., ModelSettings]):
    with pytest.raises(LanguageModelError, match=rf"no-such-package.*pip install.*model\.path=.*{BELONGS}"):
        locate_model(settings(package="no-such-package", package_folder="model"))


def test_locate_model__finds_the_folder_inside_a_package(
    tiny_encoder: Path, settings: Callable[..., ModelSettings], monkeypatch: pytest.MonkeyPatch
):
    installed = SimpleNamespace(locate_file=lambda name: tiny_encoder.parent / name)
    monkeypatch.setattr(importlib.metadata, "distribution", {"carrier": installed}.__getitem__)
    assert locate_model(settings(package="carrier", package_folder="encoder")) == tiny_encoder
    with pytest.raises(LanguageModelError, match=r"carrier.*elsewhere.*model\.package_folder"):
        locate_model(settings(package="carrier", package_folder="elsewhere"))


def test_locate_model__an_unreachable_hub_says_so_and_what_to_give(
    tmp_path: Path, settings: Callable[..., ModelSettings], monkeypatch: pytest.MonkeyPatch
):
    from huggingface_hub import constants

    assert os.environ.get("HF_HUB_OFFLINE"), "no test needs the hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    roberta = settings(name="roberta", hub_id="FacebookAI/roberta-base")
    with pytest.raises(
        LanguageModelError,
        match=rf"roberta.*FacebookAI/roberta-base.*HF_HUB_OFFLINE is set.*model\.path=.*{BELONGS}",
    ):
        locate_model(roberta)


def test_locate_model__takes_the_hub_s_local_cache_without_a_network(
    tiny_encoder: Path,
    tmp_path: Path,
    settings: Callable[..., ModelSettings],
    monkeypatch: pytest.MonkeyPatch,
):
    import huggingface_hub

    asked: list[tuple[str, str | None]] = []
    fetched: list[set[str]] = []

    def cached(name: str, revision: str | None = None, allow_patterns: list[str] | None = None) -> str:
        assert allow_patterns is not None
        asked.append((name, revision))
        fetched.append(set(allow_patterns))
        return str(tiny_encoder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", cached)
    given = settings(hub_id="someone/model", revision="abc")
    allowed = [{}, {"allow_pickle": True}, {"allow_remote_code": True}]
    for each in allowed:
        assert locate_model(dataclasses.replace(given, **each)) == tiny_encoder
    assert asked == [("someone/model", "abc")] * 3
    assert not any(pattern.endswith((".bin", ".py", "*")) for pattern in fetched[0])
    assert fetched[1] - fetched[0] == {"pytorch_model*.bin"}
    assert fetched[2] - fetched[0] == {"*.py"}


def test_check_weights__accepts_safetensors(tiny_encoder: Path, settings: Callable[..., ModelSettings]):
    check_weights(tiny_encoder, settings())


def test_check_weights__refuses_pickles_alone(config_only: Path, settings: Callable[..., ModelSettings]):
    (config_only / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(LanguageModelError, match=r"only pickles \(pytorch_model\.bin\).*model\.safetensors"):
        check_weights(config_only, settings())


def test_check_weights__refuses_a_folder_without_weights(
    config_only: Path, settings: Callable[..., ModelSettings]
):
    with pytest.raises(LanguageModelError, match="no weights"):
        check_weights(config_only, settings())


def test_check_weights__of_the_hub_s_cache_says_which_key_fetches_pickles(
    config_only: Path, settings: Callable[..., ModelSettings]
):
    with pytest.raises(LanguageModelError) as caught:
        check_weights(config_only, settings(hub_id="someone/model"))
    assert str(caught.value) == (
        f"{config_only} holds no weights (pickles of the hub's someone/model are fetched with "
        "model.allow_pickle=true only; do so only if you trust where it comes from): give a folder with "
        "config.json, model.safetensors, tokenizer.json and tokenizer_config.json"
    )


def test_check_weights__accepts_pickles_beside_safetensors(copied: Path, settings: Callable[..., ModelSettings]):
    (copied / "pytorch_model.bin").write_bytes(b"never opened")
    check_weights(copied, settings())


def test_check_weights__refuses_code_of_the_folder_s_own(copied: Path, settings: Callable[..., ModelSettings]):
    config = json.loads((copied / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "modeling_own.Own"}
    (copied / "config.json").write_text(json.dumps(config))
    (copied / "modeling_own.py").write_text("raise SystemExit('this ran')")
    with pytest.raises(LanguageModelError, match="auto_map"):
        check_weights(copied, settings())
    with pytest.raises(LanguageModelError, match="auto_map"):
        EncoderModel.load(copied, settings(), ["0", "1"], torch.device("cpu"))


def test_load__refuses_pickles_alone(copied: Path, settings: Callable[..., ModelSettings]):
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    with pytest.raises(LanguageModelError, match="only pickles"):
        EncoderModel.load(copied, settings(), ["0", "1"], torch.device("cpu"))


def test_is_fine_tuned__is_read_from_the_checkpoint(tiny_encoder: Path, base_encoder: Path, config_only: Path):
    assert is_fine_tuned(tiny_encoder)
    assert not is_fine_tuned(base_encoder)
    assert not is_fine_tuned(config_only)


def test_model_fingerprint__does_not_see_where_the_folder_lies(
    tiny_encoder: Path, copied: Path, settings: Callable[..., ModelSettings]
):
    assert model_fingerprint(copied, settings()) == model_fingerprint(tiny_encoder, settings())


def test_model_fingerprint__follows_links(
    tiny_encoder: Path, tmp_path: Path, settings: Callable[..., ModelSettings]
):
    for path in tiny_encoder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    assert model_fingerprint(tmp_path, settings()) == model_fingerprint(tiny_encoder, settings())


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_model_fingerprint__changes_with_one_byte(copied: Path, settings: Callable[..., ModelSettings], name: str):
    before = model_fingerprint(copied, settings())
    content = bytearray((copied / name).read_bytes())
    content[-1] ^= 1
    (copied / name).write_bytes(content)
    assert model_fingerprint(copied, settings()) != before


def test_model_fingerprint__does_not_see_the_readme(copied: Path, settings: Callable[..., ModelSettings]):
    before = model_fingerprint(copied, settings())
    (copied / "README.md").write_text("about the model")
    assert model_fingerprint(copied, settings()) == before

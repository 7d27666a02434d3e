"""Random-weight encoders of several families, each with a tokenizer trained here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny import make_tiny_encoder, tiny_settings
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from clvq_exp.language_models.encoder import EncoderModel
from clvq_exp.settings import ModelSettings

CORPUS = [
    f"The {part} is {opinion}, I can't say more."
    for part in ("acting", "script", "camera work", "ending")
    for opinion in ("superb", "moving", "dull", "a mess")
]


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
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        cls_token="<s>",
        sep_token="</s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
    )

"""Small things that many tests share: a random-weight encoder with a tokenizer of its own, and texts."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # small tensors: threads that wait for each other cost more than they do

import json
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

GOOD = ("superb", "moving", "clever", "a joy", "warm and funny", "first-rate")
BAD = ("dull", "clumsy", "a mess", "tired", "loud and empty", "third-rate")
PARTS = ("acting", "script", "camera work", "ending", "music", "plot", "hero's journey", "pacing")


def review(index: int) -> tuple[str, int]:
    """A made-up review; its label hangs on one phrase."""
    label = index % 2
    opinion = (BAD, GOOD)[label][(index // 2) % 6]
    part, other = PARTS[(index // 3) % 8], PARTS[(index // 5 + 3) % 8]
    forms = (
        f"The {part} is {opinion}.",
        f"I can't say more: {opinion}, as was the {part} in its {other}!",
        f"{part.capitalize()} and {other}, all of it {opinion} (number {index})",
    )
    return forms[index % 3], label


def write_reviews(folder: Path, train: int = 120, dev: int = 40) -> Path:
    """A folder with train.jsonl and dev.jsonl of made-up reviews."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, start, n in (("train", 0, train), ("dev", 1000, dev)):
        lines = []
        for index in range(start, start + n):
            text, label = review(index)
            lines.append(json.dumps({"id": f"{name}-{index}", "text": text, "label": label}))
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def make_tiny_encoder(folder: Path, fine_tuned: bool = True, layers: int = 4, width: int = 32) -> Path:
    """A BERT of random weights with a WordPiece tokenizer trained on the made-up reviews."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizerFast

    tokenizer = BertWordPieceTokenizer(lowercase=True)
    tokenizer.train_from_iterator((review(index)[0] for index in range(400)), vocab_size=180, min_frequency=1)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_model(str(folder))
    fast = BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=True, model_max_length=64)
    fast.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(fast),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * width,
        max_position_embeddings=64,
        num_labels=2,
        id2label={0: "0", 1: "1"},
        label2id={"0": 0, "1": 1},
        initializer_range=0.3,
        pad_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertForSequenceClassification(config) if fine_tuned else BertModel(config)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random-weight BERT with a classification head: 4 layers, width 32, at most 64 sub-words."""
    return make_tiny_encoder(tmp_path_factory.mktemp("tiny") / "encoder")


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with 120 training and 40 dev reviews."""
    return write_reviews(tmp_path_factory.mktemp("reviews") / "data")


@pytest.fixture(scope="session")
def base_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without a classification head, so that fine-tuning is part of a run."""
    return make_tiny_encoder(tmp_path_factory.mktemp("base") / "encoder", fine_tuned=False)

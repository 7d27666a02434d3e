"""Made-up reviews, and a random-weight encoder with a tokenizer for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clvq_exp.settings import ModelSettings

VOCABULARY = Path(__file__).with_name("tiny_vocab.txt")
"""180 pieces of the made-up reviews. Training would break ties between pieces anew each time."""
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
    """A BERT of random weights with a WordPiece tokenizer; the same bytes every time."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    fast = BertTokenizerFast(str(VOCABULARY), do_lower_case=True, model_max_length=64)
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


def tiny_settings(**changed: Any) -> ModelSettings:
    """Settings of an encoder called tiny, with what a test changes."""
    from clvq_exp.settings import ModelKind, ModelSettings  # late: the type checker wraps what comes after it

    given: dict[str, Any] = {
        "name": "tiny",
        "kind": ModelKind.encoder,
        "default_lower": 1,
        "default_upper": 3,
    }
    return ModelSettings(**(given | changed))

"""A language model whose attribution is known: logits are functions of sums over sub-words."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from clvq_exp.language_models.base import LanguageModel
from clvq_exp.records import EncodedText, TokenBatch
from clvq_exp.settings import SentencePooling

PAD, CLS, SEP, FIRST = 0, 1, 2, 3
SIZE = FIRST + 26
Readout = Callable[[Tensor], Tensor]


class LetterModel(LanguageModel):
    """Every letter is a sub-word; `[CLS]` and `[SEP]` stand around them.

    The logit of class 1 is `readout` of the sum of the sub-words' embeddings, that of class 0 is 0.
    """

    name = "letters"
    n_layers = 0
    width = 3
    label_names = ("no", "yes")
    pooling = SentencePooling.cls
    fingerprint = "letters"
    block_tuple_size = 0

    def __init__(self, readout: Readout) -> None:
        self.readout = readout
        self.embedding = nn.Embedding(SIZE, self.width)
        values = torch.randn((SIZE, self.width), generator=torch.Generator().manual_seed(0))
        values[PAD] = 0.25
        self.embedding.weight.data = values
        self.passes = 0

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def vector(self, letter: str) -> Tensor:
        """The embedding of a letter minus that of the pad id."""
        weight = self.embedding.weight.detach()
        return weight[FIRST + ord(letter) - ord("a")] - weight[PAD]

    def encode(self, texts: Sequence[str]) -> list[EncodedText]:
        found = []
        for text in texts:
            letters = [match.span() for match in re.finditer(r"[a-z]", text)]
            ids = [FIRST + ord(text[start]) - ord("a") for start, _ in letters]
            found.append(EncodedText((CLS, *ids, SEP), (None, *letters, None), 0, cut=False))
        return found

    def pad(self, encoded: Sequence[EncodedText]) -> TokenBatch:
        longest = max(len(each.input_ids) for each in encoded)
        rows = [[*each.input_ids, *[PAD] * (longest - len(each.input_ids))] for each in encoded]
        mask = [[position < len(each.input_ids) for position in range(longest)] for each in encoded]
        return TokenBatch(torch.tensor(rows), torch.tensor(mask).long())

    def class_logits(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        self.passes += 1
        summed = (self.embedding(input_ids) * attention_mask[..., None]).sum(1)
        yes = self.readout(summed)
        return torch.stack([torch.zeros_like(yes), yes], 1)

    def layer_module(self, layer: int) -> nn.Module:
        assert layer == 0
        return self.embedding

    def blocks_below(self, layer: int) -> Sequence[nn.Module]:
        assert layer == 0
        return ()

    def after_final_norm(self, layer: int) -> bool:
        return layer < 0

    def attribution_baseline(self, encoded: Sequence[EncodedText]) -> Tensor:
        ids = self.pad(encoded).input_ids.clone()
        for row, each in enumerate(encoded):
            for column, span in enumerate(each.spans):
                if span is not None:
                    ids[row, column] = PAD
        return ids


@pytest.fixture
def letters() -> Callable[[Readout], LetterModel]:
    """Make a letter model of a readout `[batch, 3] -> [batch]`."""
    return LetterModel

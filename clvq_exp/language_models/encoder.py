"""Encoder models with a classification head, read through `LanguageModel`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from clvq_exp.language_models.labels import label_order
from clvq_exp.language_models.loading import load_checkpoint, require_pad_id
from clvq_exp.language_models.sources import model_fingerprint
from clvq_exp.language_models.transformer import TransformerModel, position_padding
from clvq_exp.records import EncodedText
from clvq_exp.settings import ModelSettings


class EncoderModel(TransformerModel):
    """A fine-tuned encoder: any `AutoModelForSequenceClassification`.

    Args:
        network: the network.
        tokenizer: its fast tokenizer.
        settings: names, limits and the modules that cannot be found from the structure.
        label_names: class names of the data set.
        fingerprint: hash of the weights and the tokenizer.
        order: for each class of the data set, the network's own class; None where they are the same.

    Raises:
        LanguageModelError: a slow tokenizer or one without a pad token, or a structure that cannot be read.
    """

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        settings: ModelSettings,
        label_names: Sequence[str],
        fingerprint: str,
        order: Sequence[int] | None = None,
    ) -> None:
        self._order = None if order is None or list(order) == sorted(order) else list(order)
        self._position_padding = position_padding(network)
        super().__init__(network, tokenizer, settings, label_names, [fingerprint, self._order])

    @classmethod
    def load(
        cls, folder: Path, settings: ModelSettings, label_names: Sequence[str], device: torch.device
    ) -> EncoderModel:
        """Load a fine-tuned folder; its classes are matched with the data set's by name.

        Raises:
            LanguageModelError: files that are refused, or labels that are not those of the data.
        """
        network, tokenizer = load_checkpoint(folder, settings, device)
        own_labels = [str(network.config.id2label[index]) for index in range(network.config.num_labels)]
        order = label_order(own_labels, label_names)
        loaded = cls(network, tokenizer, settings, label_names, model_fingerprint(folder, settings), order)
        loaded.check_layers()
        return loaded

    def encode(self, texts: Sequence[str]) -> list[EncodedText]:
        """Tokenise texts; longer ones are cut to `max_length` sub-words."""
        batch = self.tokenizer(
            list(texts),
            truncation=True,
            max_length=self.max_length,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        encoded: list[EncodedText] = []
        for index, ids in enumerate(batch["input_ids"]):
            special: list[int] = batch["special_tokens_mask"][index]
            offsets: list[tuple[int, int]] = batch["offset_mapping"][index]
            overflowing = batch.encodings[index].overflowing
            cut_at = _first_character(overflowing[0]) if overflowing else None
            # A literal "[SEP]" in a text may be marked special too, yet it covers characters of the text.
            spans = tuple(
                None if flag and start == end == 0 else _clipped(start, end, cut_at)
                for flag, (start, end) in zip(special, offsets, strict=True)
            )
            leading = ids and spans[0] is None
            encoded.append(
                EncodedText(
                    input_ids=tuple(ids),
                    spans=spans,
                    sentence_token=0 if leading else None,
                    cut=bool(overflowing),
                )
            )
        return encoded

    def class_logits(
        self, input_ids: Int64[Tensor, "batch tokens"], attention_mask: Int64[Tensor, "batch tokens"]
    ) -> Float[Tensor, "batch classes"]:
        """Class logits in float32, in the order of the data set's classes."""
        given = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self._position_padding is not None:
            # By themselves these networks pass over pad ids: those of a baseline would move what follows.
            given["position_ids"] = attention_mask.cumsum(1) * attention_mask + self._position_padding
        logits = self.model(**given).logits.float()
        return logits if self._order is None else logits[:, self._order]

    @property
    def _filler(self) -> int:
        return require_pad_id(self.tokenizer, self.name)

    @property
    def _blank(self) -> int:
        return self._filler


def _first_character(overflow: Any) -> int:
    """The first character of the text that is covered by what was cut off."""
    marked = zip(overflow.special_tokens_mask, overflow.offsets, strict=True)
    return min(start for flag, (start, end) in marked if not (flag and start == end == 0))


def _clipped(start: int, end: int, cut_at: int | None) -> tuple[int, int]:
    """Without the characters whose other sub-words were cut off (a character of several bytes, say)."""
    return (start, end) if cut_at is None else (start, max(start, min(end, cut_at)))

"""Encoder models with a classification head, read through `LanguageModel`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from clvq_exp.language_models.base import LanguageModel, LanguageModelError
from clvq_exp.language_models.labels import check_labels
from clvq_exp.language_models.loading import load_checkpoint, require_offsets, require_pad_id
from clvq_exp.language_models.sources import model_fingerprint
from clvq_exp.records import EncodedText, TokenBatch
from clvq_exp.settings import ModelSettings


class EncoderModel(LanguageModel):
    """A fine-tuned encoder: BERT, RoBERTa and their kin.

    Args:
        model: any `AutoModelForSequenceClassification`.
        tokenizer: its fast tokenizer.
        settings: names, limits and the modules that cannot be found from the structure.
        fingerprint: hash of the weights and the tokenizer.

    Raises:
        LanguageModelError: slow tokenizer, or a structure that cannot be read.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        settings: ModelSettings,
        label_names: Sequence[str],
        fingerprint: str,
    ) -> None:
        require_offsets(tokenizer, settings.name)
        self.name = settings.name
        self.model = model.eval()
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        tokenizer.truncation_side = "right"  # alignment takes what is cut to lie at the end
        self.tokenizer = tokenizer
        self.label_names = tuple(label_names)
        self.pooling = settings.sentence_pooling
        self.fingerprint = fingerprint
        self.width = int(model.config.hidden_size)
        self.n_layers = int(model.config.num_hidden_layers)
        self.max_length = length_limit(settings, model, tokenizer)
        self._embeddings = _find_embeddings(model, settings)
        self._blocks = _find_blocks(model, self.n_layers, settings)

    @classmethod
    def load(
        cls, folder: Path, settings: ModelSettings, label_names: Sequence[str], device: torch.device
    ) -> EncoderModel:
        """Load a fine-tuned folder.

        Raises:
            LanguageModelError: files that are refused, or labels that are not those of the data.
        """
        model, tokenizer = load_checkpoint(folder, settings)
        own_labels = [str(model.config.id2label[index]) for index in range(model.config.num_labels)]
        check_labels(folder, own_labels, label_names)
        loaded = cls(model.to(device), tokenizer, settings, label_names, model_fingerprint(folder))
        loaded.check_layers()
        return loaded

    @torch.no_grad()
    def check_layers(self) -> None:
        """Hold the modules that were found against the model's own `hidden_states`, on one word.

        Raises:
            LanguageModelError: they differ: a norm after the last block, or embeddings that are projected.
        """
        batch = self.pad(self.encode(["word"]))
        layers = range(self.n_layers + 1)
        own = self.model(*batch, output_hidden_states=True).hidden_states
        found = self.run(batch, layers).hidden
        for layer in layers:
            # Activations that are not finite are another error, and `extract` can name the sentence.
            if found[layer].shape != own[layer].shape or not torch.allclose(
                found[layer], own[layer], atol=1e-4, equal_nan=True
            ):
                raise LanguageModelError(
                    f"model {self.name}: layer {layer} as found in {type(self.model).__name__} is not its "
                    "hidden_states (a norm after the last block, or a projection after the embeddings?); give "
                    "the right modules as model.embeddings_module and model.blocks_module, or use another model"
                )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

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

    def pad(self, encoded: Sequence[EncodedText]) -> TokenBatch:
        """Padded tensors on the model's device."""
        longest = max(len(each.input_ids) for each in encoded)
        ids = torch.full((len(encoded), longest), self._pad_id, dtype=torch.int64)
        mask = torch.zeros((len(encoded), longest), dtype=torch.int64)
        for row, each in enumerate(encoded):
            ids[row, : len(each.input_ids)] = torch.tensor(each.input_ids)
            mask[row, : len(each.input_ids)] = 1
        return TokenBatch(ids.to(self.device), mask.to(self.device))

    def class_logits(
        self, input_ids: Int64[Tensor, "batch tokens"], attention_mask: Int64[Tensor, "batch tokens"]
    ) -> Float[Tensor, "batch classes"]:
        """Class logits in float32."""
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits.float()

    def embeddings_module(self) -> nn.Module:
        """The whole embeddings module: words, positions and their norm."""
        return self._embeddings

    def layer_module(self, layer: int) -> nn.Module:
        """Embeddings for 0, else block `layer - 1`."""
        self.check_layer(layer, "layer")
        return self._embeddings if layer == 0 else self._blocks[layer - 1]

    def after_final_norm(self, layer: int) -> bool:
        """Post-norm encoders have no final norm: never."""
        self.check_layer(layer, "layer")
        return False

    def attribution_baseline(self, encoded: Sequence[EncodedText]) -> Int64[Tensor, "batch tokens"]:
        """Pad ids with the special tokens kept."""
        ids = self.pad(encoded).input_ids.clone()
        for row, each in enumerate(encoded):
            for column, span in enumerate(each.spans):
                if span is not None:
                    ids[row, column] = self._pad_id
        return ids

    @property
    def _pad_id(self) -> int:
        return require_pad_id(self.tokenizer, self.name)


def _first_character(overflow: Any) -> int:
    """The first character of the text that is covered by what was cut off."""
    marked = zip(overflow.special_tokens_mask, overflow.offsets, strict=True)
    return min(start for flag, (start, end) in marked if not (flag and start == end == 0))


def _clipped(start: int, end: int, cut_at: int | None) -> tuple[int, int]:
    """Without the characters whose other sub-words were cut off (a character of several bytes, say)."""
    return (start, end) if cut_at is None else (start, max(start, min(end, cut_at)))


def length_limit(settings: ModelSettings, model: Any, tokenizer: Any) -> int:
    """The longest input in sub-words that settings, tokenizer and the table of positions allow."""
    limit = min(settings.max_length, int(tokenizer.model_max_length))
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None:
        # RoBERTa and its kin count positions from the pad id on: their table outgrows their longest text.
        table = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
        padding = getattr(table, "padding_idx", None)
        limit = min(limit, int(positions) - (0 if padding is None else int(padding) + 1))
    return limit


def _find_embeddings(model: Any, settings: ModelSettings) -> nn.Module:
    if settings.embeddings_module is not None:
        return _named_module(model, settings.embeddings_module, "model.embeddings_module")
    found = getattr(model.base_model, "embeddings", None)
    if not isinstance(found, nn.Module):
        raise LanguageModelError(
            f"model {settings.name}: no embeddings module found in {type(model).__name__}; "
            "give its dotted name as model.embeddings_module"
        )
    return found


def _find_blocks(model: Any, n_layers: int, settings: ModelSettings) -> Sequence[nn.Module]:
    if settings.blocks_module is not None:
        named = _named_module(model, settings.blocks_module, "model.blocks_module")
        if not isinstance(named, nn.ModuleList) or len(named) != n_layers:
            raise LanguageModelError(
                f"model.blocks_module={settings.blocks_module}: not a list of the {n_layers} blocks of "
                f"{type(model).__name__}"
            )
        return list(named)
    lists = [
        module
        for module in model.base_model.modules()
        if isinstance(module, nn.ModuleList) and len(module) == n_layers
    ]
    if len(lists) != 1:
        raise LanguageModelError(
            f"model {settings.name}: {len(lists)} lists of {n_layers} blocks found in "
            f"{type(model).__name__}; give the dotted name of the right one as model.blocks_module"
        )
    return list(lists[0])


def _named_module(model: nn.Module, name: str, key: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        raise LanguageModelError(f"{key}={name}: {type(model).__name__} has no such module") from error

"""What encoders and decoders of `transformers` have in common, read through `LanguageModel`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from clvq_exp.artifacts import fingerprint as hash_of
from clvq_exp.language_models.base import LanguageModel, LanguageModelError
from clvq_exp.language_models.loading import require_offsets
from clvq_exp.language_models.structure import Taps, find_structure
from clvq_exp.records import EncodedText, TokenBatch
from clvq_exp.settings import LastLayer, ModelSettings


class TransformerModel(LanguageModel):
    """A network of `transformers` whose layers were found by running it.

    Args:
        network: the network; it is frozen and put into evaluation mode.
        tokenizer: its fast tokenizer.
        settings: names, limits and the modules that cannot be found from the structure.
        label_names: class names of the data set.
        made_of: all that its activations and answers hang on beside number format and last layer.

    Raises:
        LanguageModelError: slow tokenizer, or a structure that cannot be read.
    """

    def __init__(
        self, network: Any, tokenizer: Any, settings: ModelSettings, label_names: Sequence[str], made_of: object
    ) -> None:
        require_offsets(tokenizer, settings.name)
        self.name = settings.name
        self.model = network.eval()
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        tokenizer.truncation_side = "right"  # alignment takes what is cut to lie at the end
        self.tokenizer = tokenizer
        self.settings = settings
        self.label_names = tuple(label_names)
        self.pooling = settings.sentence_pooling
        how = {"last_layer": settings.last_layer, "number_format": settings.number_format}
        self.fingerprint = hash_of({"made_of": made_of, **how})
        self.width = int(network.config.get_text_config().hidden_size)
        self.max_length = length_limit(settings, network, tokenizer)
        structure = find_structure(network, self._run_a_word, settings)
        self._taps = Taps(structure, settings.last_layer)
        self.n_layers = len(structure.blocks)
        self.block_tuple_size = structure.tuple_size

    def _run_a_word(self) -> Any:
        """The network's own output for a text of one word, hidden states included."""
        tokens = self.tokenizer("word", return_tensors="pt", return_token_type_ids=False).to(self.device)
        with torch.no_grad():
            return self.model(**tokens, output_hidden_states=True)

    @torch.no_grad()
    def check_layers(self) -> None:
        """Hold the layers against the network's own hidden states once more, on a padded batch.

        Raises:
            LanguageModelError: they differ.
        """
        batch = self.pad(self.encode(["word", "two words"]))
        layers = range(self.n_layers if self._norm_is_left_out else self.n_layers + 1)
        own = self.model(**batch._asdict(), output_hidden_states=True).hidden_states
        found = self.run(batch, layers).hidden
        for layer in layers:
            # Activations that are not finite are another error, and `extract` can name the sentence.
            if not torch.allclose(found[layer], own[layer].float(), atol=1e-4, equal_nan=True):
                raise LanguageModelError(
                    f"model {self.name}: layer {layer} as found in {type(self.model).__name__} is not its "
                    "hidden_states; give the right modules as model.blocks_module and model.final_norm_module, "
                    "or use another model"
                )

    @property
    def _norm_is_left_out(self) -> bool:
        structure = self._taps.structure
        return structure.final_norm is not None and self.settings.last_layer is LastLayer.before_norm

    @property
    def device(self) -> torch.device:
        """Where the embeddings are: what goes in, goes there."""
        return self.model.get_input_embeddings().weight.device

    def pad(self, encoded: Sequence[EncodedText]) -> TokenBatch:
        """Padded tensors on the model's device."""
        longest = max(len(each.input_ids) for each in encoded)
        ids = torch.full((len(encoded), longest), self._filler, dtype=torch.int64)
        mask = torch.zeros((len(encoded), longest), dtype=torch.int64)
        for row, each in enumerate(encoded):
            ids[row, : len(each.input_ids)] = torch.tensor(each.input_ids)
            mask[row, : len(each.input_ids)] = 1
        return TokenBatch(ids.to(self.device), mask.to(self.device))

    @property
    def _filler(self) -> int:
        """The id that fills up a batch."""
        raise NotImplementedError

    @property
    def _blank(self) -> int:
        """The id that says nothing; -1 for a zero embedding."""
        raise NotImplementedError

    def layer_module(self, layer: int) -> nn.Module:
        """The tap of a layer."""
        self.check_layer(layer, "layer")
        return self._taps.points[layer]

    def blocks_below(self, layer: int) -> Sequence[nn.Module]:
        """The blocks that a layer is made by."""
        self.check_layer(layer, "layer")
        return self._taps.structure.blocks[:layer]

    def after_final_norm(self, layer: int) -> bool:
        """True of the last layer where the network has a final norm and it is not left out."""
        self.check_layer(layer, "layer")
        return layer == self.n_layers and self._taps.normed

    def attribution_baseline(self, encoded: Sequence[EncodedText]) -> Int64[Tensor, "batch tokens"]:
        """Pad ids, or zero embeddings, in the place of the text; special tokens and prompt are kept."""
        ids = self.pad(encoded).input_ids.clone()
        for row, each in enumerate(encoded):
            for column, span in enumerate(each.spans):
                if span is not None:
                    ids[row, column] = self._blank
        return ids


def length_limit(settings: ModelSettings, network: Any, tokenizer: Any) -> int:
    """The longest input in sub-words that settings, tokenizer and the table of positions allow."""
    limit = min(settings.max_length, int(tokenizer.model_max_length))
    positions = getattr(network.config.get_text_config(), "max_position_embeddings", None)
    if positions is not None:
        # The table of those who count positions from the pad id on outgrows their longest text.
        padding = position_padding(network)
        limit = min(limit, int(positions) - (0 if padding is None else padding + 1))
    return limit


def position_padding(network: Any) -> int | None:
    """The position of padding in networks that count positions from there on (RoBERTa's kin); else None."""
    table = getattr(getattr(network.base_model, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return None if padding is None else int(padding)

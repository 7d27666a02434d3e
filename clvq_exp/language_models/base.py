"""The one interface through which every other room sees a language model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from clvq_exp.records import EncodedText, LanguageModelOutput, TokenBatch
from clvq_exp.settings import SentencePooling


class LanguageModelError(ValueError):
    """A language model that cannot be loaded or used as asked; the message says which key to change."""


class LanguageModel(ABC):
    """A classifier over sentences whose layers can be read, attributed to and intervened on.

    Layer i is `hidden_states[i]`: 0 the embeddings, `n_layers` the output of the last block.
    """

    name: str
    n_layers: int
    width: int
    label_names: tuple[str, ...]
    pooling: SentencePooling
    fingerprint: str
    """Hash of weights and tokenizer."""

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.label_names)

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the weights are."""

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> list[EncodedText]:
        """Tokenise texts; sub-words know the characters that they cover."""

    @abstractmethod
    def pad(self, encoded: Sequence[EncodedText]) -> TokenBatch:
        """Padded tensors of encoded texts, on the model's device."""

    @abstractmethod
    def class_logits(
        self, input_ids: Int64[Tensor, "batch tokens"], attention_mask: Int64[Tensor, "batch tokens"]
    ) -> Float[Tensor, "batch classes"]:
        """Class logits in float32; differentiable."""

    @abstractmethod
    def embeddings_module(self) -> nn.Module:
        """The module whose output attribution interpolates (layer 0)."""

    @abstractmethod
    def layer_module(self, layer: int) -> nn.Module:
        """The module whose output is layer `layer`; interventions hook it."""

    @abstractmethod
    def after_final_norm(self, layer: int) -> bool:
        """Whether this layer's states have passed the final norm."""

    @abstractmethod
    def attribution_baseline(self, encoded: Sequence[EncodedText]) -> Int64[Tensor, "batch tokens"]:
        """Ids that stand for 'no information': pad ids with the special tokens kept."""

    def check_layer(self, layer: int, key: str) -> None:
        """Refuse a layer that the model does not have.

        Raises:
            LanguageModelError: names the key and the layers that exist.
        """
        if not 0 <= layer <= self.n_layers:
            raise LanguageModelError(
                f"{key}={layer}: model {self.name} has layers 0 (embeddings) to {self.n_layers}"
            )

    @contextmanager
    def replacing(self, layer: int, states: Float[Tensor, "batch tokens d"]) -> Generator[None]:
        """Inside, layer `layer` puts out `states`, whatever comes in; everything above it runs as ever.

        What lies below the layer cannot matter then, so the blocks there are passed over: an intervention costs
        the upper layers only.

        Args:
            layer: layer number.
            states: the layer's states for the very batch that is run inside.
        """

        def put_out(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]):
            return (states, *output[1:]) if isinstance(output, tuple) else states

        gives_tuple = self._gives_tuple()

        def pass_over(module: nn.Module) -> None:
            def forward(hidden_states: Tensor, *_args: object, **_kwargs: object):
                return (hidden_states,) if gives_tuple else hidden_states

            module.forward = forward
            undo.callback(delattr, module, "forward")  # uncovers the class's own method

        with ExitStack() as undo:
            for each in range(1, layer + 1):
                pass_over(self.layer_module(each))
            handle = self.layer_module(layer).register_forward_hook(put_out)
            undo.callback(handle.remove)
            yield

    def _gives_tuple(self) -> bool:
        """Whether this model's blocks put out tuples; found by one forward pass of one word."""
        known: bool | None = getattr(self, "_tuple_blocks", None)
        if known is None:
            seen: list[bool] = []
            handle = self.layer_module(self.n_layers).register_forward_hook(
                lambda _module, _inputs, output: seen.append(isinstance(output, tuple))
            )
            with torch.no_grad():
                self.class_logits(*self.pad(self.encode(["a"])))
            handle.remove()
            known = self._tuple_blocks = seen[0]
        return known

    @torch.no_grad()
    def run(self, batch: TokenBatch, layers: Sequence[int]) -> LanguageModelOutput:
        """One forward pass that keeps the asked layers and nothing else.

        Args:
            batch: padded input.
            layers: layer numbers, 0 to `n_layers`.
        """
        hidden: dict[int, Tensor] = {}

        def keep(layer: int):
            def hook(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
                hidden[layer] = output[0] if isinstance(output, tuple) else output

            return hook

        handles = [self.layer_module(layer).register_forward_hook(keep(layer)) for layer in layers]
        try:
            logits = self.class_logits(batch.input_ids, batch.attention_mask)
        finally:
            for handle in handles:
                handle.remove()
        return LanguageModelOutput(logits=logits, hidden=hidden)

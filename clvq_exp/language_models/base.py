"""The one interface through which every other room sees a language model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

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
    """Hash of weights, tokenizer and all else that its activations hang on."""
    asked: dict[str, Any] | None = None
    """What stands around the text and the answers that are read, as words and ids; None where nothing does."""
    answers_at_end: bool = False
    """Whether the class is read at the last position (decoders)."""
    block_tuple_size: int
    """Members of the tuple that a block puts out, the hidden states first; 0 where it puts out these alone."""

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
    def layer_module(self, layer: int) -> nn.Module:
        """The module whose output is layer `layer`, in float32; attribution and interventions hook it."""

    @abstractmethod
    def blocks_below(self, layer: int) -> Sequence[nn.Module]:
        """The blocks that layer `layer` is made by, from the embeddings upwards."""

    @abstractmethod
    def after_final_norm(self, layer: int) -> bool:
        """Whether this layer's states have passed the final norm."""

    @abstractmethod
    def attribution_baseline(self, encoded: Sequence[EncodedText]) -> Int64[Tensor, "batch tokens"]:
        """Ids that stand for 'no information': pad ids in the text's place, all else kept.

        -1 stands for a zero embedding, where there is no pad token.
        """

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
        with ExitStack() as undo:
            for block in self.blocks_below(layer):
                undo.callback(_pass_over(block, self.block_tuple_size))
            undo.callback(self.layer_module(layer).register_forward_hook(lambda *_: states).remove)
            yield

    @torch.no_grad()
    def run(self, batch: TokenBatch, layers: Sequence[int]) -> LanguageModelOutput:
        """One forward pass that keeps the asked layers and nothing else.

        Args:
            batch: padded input.
            layers: layer numbers, 0 to `n_layers`.
        """
        with self._kept(layers) as hidden:
            logits = self.class_logits(batch.input_ids, batch.attention_mask)
        return LanguageModelOutput(logits=logits, hidden=hidden)

    @torch.no_grad()
    def states(self, batch: TokenBatch, layers: Sequence[int]) -> dict[int, Float[Tensor, "batch tokens d"]]:
        """The asked layers; what lies above the highest of them is not run.

        Args:
            batch: padded input.
            layers: layer numbers, 0 to `n_layers`; at least one.
        """
        with self._kept(layers) as hidden, suppress(_EnoughError):
            top = self.layer_module(max(layers)).register_forward_hook(_stop)
            try:
                self.class_logits(batch.input_ids, batch.attention_mask)
            finally:
                top.remove()
        return hidden

    @contextmanager
    def _kept(self, layers: Sequence[int]) -> Generator[dict[int, Tensor]]:
        hidden: dict[int, Tensor] = {}

        def keep(layer: int):
            def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
                hidden[layer] = output

            return hook

        with ExitStack() as undo:
            for layer in layers:
                undo.callback(self.layer_module(layer).register_forward_hook(keep(layer)).remove)
            yield hidden


class _EnoughError(Exception):
    """Ends a forward pass whose upper layers nobody asked for."""


def _stop(*_: object) -> None:
    raise _EnoughError


def _pass_over(block: Any, tuple_size: int) -> Callable[[], None]:
    """Let a block hand on what comes in; the function that comes back undoes it."""
    run = block.forward
    own = "forward" in vars(block)  # a block that is spread over devices has a forward of its own

    def forward(*args: Any, **kwargs: Any) -> Any:
        states = args[0] if args else kwargs["hidden_states"]
        return (states, *(None,) * (tuple_size - 1)) if tuple_size else states

    def undo() -> None:
        if own:
            block.forward = run
        else:
            del block.forward

    block.forward = forward
    return undo

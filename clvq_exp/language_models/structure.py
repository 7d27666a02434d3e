"""Where the layers of a network are, found from what a forward pass does and not from a list of names.

Layer 0 is what the embeddings put out, layer i what comes into block i + 1, and the last one what the network
itself calls its last hidden state. Each layer gets a tap: a module of its own whose output is the layer, for
hooks to read and change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from clvq_exp.language_models.base import LanguageModelError
from clvq_exp.settings import LastLayer, ModelSettings

_HIDDEN_STATES = "hidden_states"
"""What blocks call their input where they are given it by name."""


class Structure(NamedTuple):
    """The parts of a network that the layers hang on."""

    embeddings: nn.Module | None
    """What makes layer 0; None where no module does (Gemma scales its embeddings between modules)."""
    blocks: tuple[nn.Module, ...]
    """Transformer blocks, from the embeddings upwards."""
    final_norm: nn.Module | None
    """What the last block's output passes before it is the network's last hidden state."""
    tuple_size: int
    """Members of the tuple that a block puts out, the hidden states first; 0 where it puts out these alone."""


class _Call(NamedTuple):
    """One run of a module: its first input and its first output, where they are tensors."""

    given: Tensor | None
    made: Tensor | None
    tuple_size: int


def find_structure(network: Any, run: Callable[[], Any], settings: ModelSettings) -> Structure:
    """Find blocks and final norm by running a word and comparing with the network's own hidden states.

    Args:
        network: a `transformers` model.
        run: runs the network on one short text with `output_hidden_states=True`, without gradients, and
            returns its output.
        settings: names of modules where they are given.

    Raises:
        LanguageModelError: parts that cannot be told apart; names the keys to set.
    """
    n_layers = int(network.config.get_text_config().num_hidden_layers)
    calls, own = _recorded(network, run)
    fitting = [blocks for blocks in _candidates(network, n_layers, settings) if _are_layers(blocks, own, calls)]
    if len(fitting) != 1:
        raise LanguageModelError(
            f"model {settings.name}: {len(fitting)} lists of {n_layers} blocks found in {type(network).__name__} "
            "that pass its hidden states on one to the next"
            + (
                f" (model.blocks_module={settings.blocks_module} was asked for)"
                if settings.blocks_module
                else "; give the dotted name of the right one as model.blocks_module"
            )
        )
    blocks = fitting[0]
    last = calls[blocks[-1]][0]
    assert last.made is not None
    inside = {module for block in blocks for module in block.modules()}
    norm = _final_norm(network, calls, own[-1], last.made, inside, settings)
    return Structure(_embeddings(calls, own[0], inside), blocks, norm, last.tuple_size)


def _recorded(network: Any, run: Callable[[], Any]) -> tuple[Mapping[nn.Module, list[_Call]], Sequence[Tensor]]:
    """What came into and out of each module, and the network's own hidden states."""
    calls: dict[nn.Module, list[_Call]] = {}

    def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        given = args[0] if args else kwargs.get(_HIDDEN_STATES)
        made = output[0] if isinstance(output, tuple) and output else output
        calls.setdefault(module, []).append(
            _Call(
                given if isinstance(given, Tensor) else None,
                made if isinstance(made, Tensor) else None,
                len(output) if isinstance(output, tuple) else 0,
            )
        )

    with ExitStack() as undo:
        for module in network.modules():
            undo.callback(module.register_forward_hook(record, with_kwargs=True).remove)
        states: Sequence[Tensor] = getattr(run(), _HIDDEN_STATES, None) or ()  # encoder-decoders have two of them
    return calls, states


def _candidates(network: Any, n_layers: int, settings: ModelSettings) -> Iterator[tuple[nn.Module, ...]]:
    if settings.blocks_module is not None:
        named = _named_module(network, settings.blocks_module, "model.blocks_module")
        if not isinstance(named, nn.ModuleList | nn.Sequential) or len(named) != n_layers:
            raise LanguageModelError(
                f"model.blocks_module={settings.blocks_module}: not a list of the {n_layers} blocks of "
                f"{type(network).__name__}"
            )
        yield tuple(named)
        return
    for module in network.modules():
        if isinstance(module, nn.ModuleList | nn.Sequential) and len(module) == n_layers:
            yield tuple(module)


def _are_layers(
    blocks: Sequence[nn.Module], own: Sequence[Tensor], calls: Mapping[nn.Module, list[_Call]]
) -> bool:
    """Whether each block was run once, on the hidden states of the layer below it."""
    if len(own) != len(blocks) + 1:
        return False
    for block, states in zip(blocks, own, strict=False):
        runs = calls.get(block, [])
        if len(runs) != 1 or runs[0].made is None or not _same(runs[0].given, states):
            return False
    return True


def _embeddings(
    calls: Mapping[nn.Module, list[_Call]], first_state: Tensor, inside: Collection[nn.Module]
) -> nn.Module | None:
    """The outermost module that puts out layer 0, so that all that reads layer 0 reads the tap."""
    making = [
        module
        for module, runs in calls.items()  # in the order in which they ended: what is inside another comes first
        if module not in inside and len(runs) == 1 and _same(runs[0].made, first_state)
    ]
    return making[-1] if making else None


def _final_norm(
    network: Any,
    calls: Mapping[nn.Module, list[_Call]],
    last_state: Tensor,
    last_output: Tensor,
    inside: Collection[nn.Module],
    settings: ModelSettings,
) -> nn.Module | None:
    if settings.final_norm_module is not None:
        return _named_module(network, settings.final_norm_module, "model.final_norm_module")
    if _same(last_output, last_state):
        return None
    for module, runs in calls.items():
        if module not in inside and any(_same(r.given, last_output) and _same(r.made, last_state) for r in runs):
            return module
    raise LanguageModelError(
        f"model {settings.name}: no module of {type(network).__name__} makes its last hidden state of what its "
        "last block puts out; give the dotted name of its final norm as model.final_norm_module"
    )


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None or one.shape != other.shape:
        return False
    # Activations that are not finite are another error, and `extract` can name the sentence.
    return one is other or torch.allclose(one.float(), other.float(), atol=1e-6, equal_nan=True)


def _named_module(network: nn.Module, name: str, key: str) -> nn.Module:
    try:
        return network.get_submodule(name)
    except AttributeError as error:
        raise LanguageModelError(f"{key}={name}: {type(network).__name__} has no such module") from error


class Taps:
    """The layers of a network as modules whose output is the layer, in float32.

    Args:
        structure: where the layers are. Hooks are put on it and stay.
        last_layer: whether the last layer is taken behind or before the final norm.
    """

    def __init__(self, structure: Structure, last_layer: LastLayer) -> None:
        self.structure = structure
        self.points = tuple(nn.Identity() for _ in range(len(structure.blocks) + 1))
        norm = structure.final_norm
        self.normed = norm is not None and last_layer is LastLayer.after_norm
        last = norm if norm is not None and self.normed else structure.blocks[-1]
        last.register_forward_hook(self._behind(len(structure.blocks)))
        for layer, block in enumerate(structure.blocks):
            if layer == 0 and structure.embeddings is not None:
                structure.embeddings.register_forward_hook(self._behind(0))
            else:
                block.register_forward_pre_hook(self._before(layer), with_kwargs=True)

    def _through(self, layer: int, states: Tensor) -> Tensor:
        # float32 whatever the network computes in, so that gradients and projections add up in float32.
        return self.points[layer](states.float()).to(states.dtype)

    def _before(self, layer: int):
        def hook(
            _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            if args:
                return (self._through(layer, args[0]), *args[1:]), kwargs
            return args, {**kwargs, _HIDDEN_STATES: self._through(layer, kwargs[_HIDDEN_STATES])}

        return hook

    def _behind(self, layer: int):
        def hook(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
            if isinstance(output, tuple):
                return (self._through(layer, output[0]), *output[1:])
            return self._through(layer, output)

        return hook

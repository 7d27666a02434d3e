"""How a language model is opened, as plain values: so that other processes can open the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from clvq_exp.language_models.base import LanguageModel
from clvq_exp.language_models.decoder import DecoderModel
from clvq_exp.language_models.encoder import EncoderModel
from clvq_exp.language_models.prompt import Task
from clvq_exp.ranks import Ranks, share_out
from clvq_exp.settings import ModelKind, ModelSettings


class ModelRecipe(NamedTuple):
    """A folder and how it is read."""

    folder: Path
    settings: ModelSettings
    task: Task
    """Classes, and what a decoder is asked."""

    def open(self, device: torch.device) -> LanguageModel:
        """Load the model.

        Raises:
            LanguageModelError: files that are refused, labels that are not those of the data, or a prompt that
                does not fit the model.
        """
        if self.settings.kind is ModelKind.encoder:
            return EncoderModel.load(self.folder, self.settings, self.task.label_names, device)
        return DecoderModel.load(self.folder, self.settings, self.task, device)


class ModelProcesses(NamedTuple):
    """Processes of this machine that run one language model, each on its share of some work."""

    recipe: ModelRecipe | None = None
    """By which all but this process, the first, open the model; None where there are no others."""
    world: int = 1

    def share(self, model: LanguageModel, todo: Sequence[Any], work: Callable[..., None], *arguments: Any) -> None:
        """Call `work(model, its share of todo, its Ranks, *arguments)` in every process.

        Args:
            model: this process's.
            todo: what there is to do, in an order that gives every process its part of the long ones.
            work: a function of a module.
            arguments: anything that can be pickled.

        Raises:
            RankError: a process was killed, or failed in a way that was not foreseen.
        """
        world = min(self.world, len(todo))
        if world <= 1 or self.recipe is None:
            work(model, todo, Ranks(), *arguments)
            return
        kind = model.device.type
        share_out(world, kind, _on_share, _Held(self.recipe, kind, model), todo, work, arguments)


ALONE = ModelProcesses()
"""This process without others."""


class _Held:
    """A model that stays in its process: others open their own."""

    def __init__(self, recipe: ModelRecipe, device_type: str, model: LanguageModel | None = None) -> None:
        self._recipe = recipe
        self._device_type = device_type
        self._model = model

    def __reduce__(self) -> tuple[Any, ...]:
        return _Held, (self._recipe, self._device_type)

    def open(self, who: Ranks) -> LanguageModel:
        if self._model is None:
            device = torch.device("cuda", who.rank) if self._device_type == "cuda" else torch.device("cpu")
            self._model = self._recipe.open(device)
        return self._model


def _on_share(
    who: Ranks, held: _Held, todo: Sequence[Any], work: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    work(held.open(who), who.share(todo), who, *arguments)

"""What the small files of a model say of it, before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clvq_exp.artifacts import read_json
from clvq_exp.language_models.base import LanguageModelError
from clvq_exp.language_models.gguf import read_gguf
from clvq_exp.settings import ModelSettings

_LAYERS = ("num_hidden_layers", "n_layers", "n_layer")
_WIDTH = ("hidden_size", "dim", "n_embd", "d_model")


def model_facts(folder: Path, settings: ModelSettings) -> dict[str, Any]:
    """The content of config.json, that of a text model inside it included, or the same told by a GGUF file.

    Args:
        folder: the model's.
        settings: the GGUF file, if there is one.

    Returns:
        Empty where there is no such file.

    Raises:
        LanguageModelError: a file that cannot be read.
    """
    if settings.gguf_file is not None:
        found = read_gguf(folder, settings)
        return {**found.sizes, "tie_word_embeddings": found.tied}
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        values: object = read_json(path)
    except (OSError, ValueError) as error:
        raise LanguageModelError(f"{path} cannot be read ({error}): get the file again") from error
    if not isinstance(values, dict):
        raise LanguageModelError(f"{path} holds no JSON object: get the file again")
    whole: dict[str, Any] = values
    inner: dict[str, Any] = whole.get("text_config") or {}
    return {**whole, **inner}


def first_fact(facts: Mapping[str, Any], *names: str) -> int | None:
    """The first of these numbers that is there; families name them differently."""
    return next((int(facts[name]) for name in names if facts.get(name) is not None), None)


def layers_of(facts: Mapping[str, Any]) -> int | None:
    """Number of transformer blocks; None where the files do not say it under a usual name."""
    return first_fact(facts, *_LAYERS)


def width_of(facts: Mapping[str, Any]) -> int | None:
    """Width of a hidden state; None where the files do not say it under a usual name."""
    return first_fact(facts, *_WIDTH)

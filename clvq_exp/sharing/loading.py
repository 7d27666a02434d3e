"""From files to a fitted concept model: of a shipped class, and no larger than its weights' file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from clvq_exp.concepts.base import ConceptModel
from clvq_exp.concepts.clvq_vae import ClvqVae
from clvq_exp.concepts.codebook_model import CodebookModel
from clvq_exp.config import Config, Method
from clvq_exp.fitting import make_method
from clvq_exp.sharing.records import SharingError
from clvq_exp.sharing.shipped import ARGUMENTS, restore, shipped_options

WEIGHTS = "model.safetensors"
_FLOAT = 4
"""Bytes of a float32."""


def loaded_model(
    folder: Path, config: Mapping[str, Any], method: type[ConceptModel] | None
) -> tuple[ConceptModel, Method, Config]:
    """The model of a folder whose files are those of its manifest.

    Args:
        folder: holds what the method's `save` wrote.
        config: the content of `config.json`.
        method: the caller's own class; None for a shipped method. A file names no class: what it could name would
            be imported, and so run.

    Raises:
        SharingError: an unknown method, or sizes that are not those of the weights.
        ConfigError: settings that do not fit.
        ValueError: arguments that the method does not take.
    """
    name = config["method"]
    if method is None and name not in shipped_options(ARGUMENTS):
        raise SharingError(
            f"its method {name!r} is none of those shipped ({', '.join(shipped_options(ARGUMENTS))}): give the "
            "class that it was fitted by as method=..., from a file whose source you trust"
        )
    configured = restore(method or name, config["settings"], config["arguments"])
    n_concepts, width = _size(config, "n_concepts"), _size(config, "width")
    model = make_method(configured.method, configured.config)
    _check_sizes(model, configured.config, n_concepts, width, folder / WEIGHTS)
    model.load(folder)
    _check_loaded(model, n_concepts, width)
    return model, configured.method, configured.config


def _size(config: Mapping[str, Any], key: str) -> int:
    value = config[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SharingError(f"{key}={value!r}: a whole number above 0 belongs there")
    return value


def _check_sizes(model: ConceptModel, config: Config, n_concepts: int, width: int, weights: Path) -> None:
    """What the settings would have made must fit into the weights' file: nothing larger is made.

    Raises:
        SharingError: settings and sizes that are not those of the file.
    """
    if isinstance(model, CodebookModel) and model.n_concepts != n_concepts:
        raise SharingError(f"n_concepts={n_concepts}, but its settings ask for {model.n_concepts} concepts")
    needed = n_concepts * width
    if isinstance(model, ClvqVae):
        decoder = config.decoder
        needed += decoder.layers * (8 * width**2 + 2 * width * decoder.feed_forward)
    there = weights.stat().st_size if weights.is_file() else 0
    if _FLOAT * needed > there:
        raise SharingError(
            f"its settings make {n_concepts} concepts of width {width}, {_FLOAT * needed} bytes at least, and its "
            f"{WEIGHTS} has {there}"
        )


def _check_loaded(model: ConceptModel, n_concepts: int, width: int) -> None:
    """Whether the loaded model is one of so many concepts, and can be asked.

    Raises:
        SharingError: other sizes, or numbers that are none.
    """
    vectors = model.vectors()
    if tuple(vectors.shape) != (n_concepts, width):
        raise SharingError(f"its concepts are {list(vectors.shape)}, config.json says [{n_concepts}, {width}]")
    if not bool(torch.isfinite(vectors).all()) or not math.isfinite(model.summary.perplexity):
        raise SharingError("its concepts or its perplexity are not finite numbers")
    codes = model.assign(torch.zeros(1, width))
    ends = torch.tensor([[0], [n_concepts - 1]]).expand(2, codes.shape[1])
    for removal in model.removals:
        found = model.directions(ends, removal)
        if len(found) != 2 or found.shape[-1] != width:
            raise SharingError(f"its directions of {removal} are {list(found.shape)}, not [2, ..., {width}]")

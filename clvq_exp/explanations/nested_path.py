"""Integrated Gradients with as many points as a sentence needs, each of them computed once.

captum knows rules of a fixed number of points, which share none with each other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from clvq_exp.language_models.base import LanguageModel
from clvq_exp.records import TokenBatch


class Path(NamedTuple):
    """The way of some sentences from their baselines."""

    layer: int
    batch: TokenBatch
    text: Float[Tensor, "batch tokens d"]
    """States of the texts at the layer."""
    baseline: Float[Tensor, "batch tokens d"]
    target: Int64[Tensor, " batch"]
    """The class whose logit is explained."""


@torch.no_grad()
def make_path(
    model: LanguageModel, layer: int, batch: TokenBatch, baseline: Int64[Tensor, "batch tokens"], target: Tensor
) -> Path:
    """Both ends of the path, which are found once for all points.

    Args:
        model: the language model.
        layer: where the path leads: 0 for the embeddings.
        batch: the texts.
        baseline: ids in the place of the texts'.
        target: the class of each text.
    """
    ends = [
        model.states(TokenBatch(ids, batch.attention_mask), [layer])[layer] for ids in (batch.input_ids, baseline)
    ]
    return Path(layer, batch, ends[0], ends[1], target)


def at_points(
    model: LanguageModel, path: Path, points: NDArray[np.float64], batch_tokens: int
) -> Float[Tensor, "batch points tokens"]:
    """(x - x') times the gradient at some points of the path, summed over d.

    Args:
        model: the language model.
        path: of some sentences.
        points: shares of the way.
        batch_tokens: sub-words (padding included) of one pass at most; one sentence at one point at least.
    """
    n, width, _ = path.text.shape
    at_once = max(1, batch_tokens // width)
    change = path.text - path.baseline
    found = torch.empty(n * len(points), width)
    shares = torch.from_numpy(points).to(change)
    for start in range(0, len(found), at_once):
        place = torch.arange(start, min(start + at_once, len(found)), device=change.device)
        row, point = place // len(points), place % len(points)
        states = path.baseline[row] + shares[point, None, None] * change[row]
        states.requires_grad_()
        with torch.enable_grad(), model.replacing(path.layer, states):
            logits = model.class_logits(path.batch.input_ids[row], path.batch.attention_mask[row])
            (gradient,) = torch.autograd.grad(logits.gather(1, path.target[row, None]).sum(), states)
        found[start : start + len(place)] = (gradient * change[row]).sum(-1).float().cpu()
    return found.reshape(n, len(points), width)

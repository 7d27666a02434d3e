"""Concepts as points of a plane: near each other where their vectors point the same way."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from torch import Tensor

from clvq_exp.concepts.base import unit_rows

MOST = 2000
"""Concepts on a map: beyond that nobody tells the points apart."""
_PERPLEXITY = 30.0
_FEWEST = 5
"""Concepts that neighbourhoods can be told of."""


def codebook_map(vectors: Float[Tensor, "K d"], use: NDArray[np.int64], seed: int) -> Float64[np.ndarray, "K 2"]:
    """A plane of the concepts that hold a training word, by t-SNE on cosine distances.

    Distances between far points mean nothing; neighbourhoods do.

    Args:
        vectors: one for each concept.
        use: training words of each concept; beyond `MOST` concepts the most used are shown.
        seed: of the embedding.

    Returns:
        Coordinates, scaled to [-1, 1]; NaN for a concept that is not on the map.
    """
    points = np.full((len(use), 2), np.nan)
    shown = np.sort(np.argsort(-use, kind="stable")[: min(MOST, int((use > 0).sum()))])
    if not len(shown):
        return points
    unit = unit_rows(vectors.double().cpu())[shown].numpy()
    points[shown] = _scaled(_tsne(unit, seed) if len(shown) >= _FEWEST else _in_a_row(unit))
    return points


def _tsne(unit: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    from sklearn.manifold import TSNE

    cosines = np.clip(unit @ unit.T, -1.0, 1.0)
    distances = 1.0 - cosines
    np.fill_diagonal(distances, 0.0)
    perplexity = min(_PERPLEXITY, (len(unit) - 1) / 3)
    method = TSNE(metric="precomputed", init="random", perplexity=perplexity, random_state=seed % 2**32)
    return method.fit_transform(distances).astype(np.float64)


def _in_a_row(unit: NDArray[np.float64]) -> NDArray[np.float64]:
    """A handful of concepts: where they lie along the two widest directions."""
    centred = unit - unit.mean(0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    found = np.zeros((len(unit), 2))
    wide = min(2, len(size))
    found[:, :wide] = left[:, :wide] * size[:wide]
    return found


def _scaled(points: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = points - (points.max(0) + points.min(0)) / 2
    largest = np.abs(centred).max()
    return centred / largest if largest > 0 else centred

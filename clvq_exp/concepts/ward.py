"""Ward's agglomerative clustering, exact, in memory that grows with the vectors and not with their pairs.

`fastcluster.linkage_vector` does it, in a time that grows with the square of their number; others need all
pairs at once: 20 GB for 50,000 vectors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from numpy.typing import NDArray
from torch import Tensor


class WardTree(NamedTuple):
    """Which clusters merge, from single vectors to one cluster."""

    merges: Int64[Tensor, "merges 2"]
    """The two nodes of each merge, lowest first: n vectors are nodes 0 to n - 1, merge i makes node n + i."""
    heights: Float64[Tensor, " merges"]
    """Ward's distance at each merge, in units of the vectors: sqrt(2ab / (a + b)) times the distance of the means
    of a and of b vectors."""
    distinct: Int64[Tensor, ""]
    """Distinct vectors: the most clusters that there can be."""


def ward_tree(vectors: Float[Tensor, "n d"]) -> WardTree:
    """Cluster vectors by Ward's method.

    Args:
        vectors: at least one; finite.

    Raises:
        ValueError: no vectors, or some that are not finite.
    """
    import fastcluster

    if not len(vectors) or not bool(vectors.isfinite().all()):
        raise ValueError("Ward's method needs at least one vector, and finite numbers only")
    distinct = torch.tensor(_count_distinct(vectors.numpy()))
    centred = vectors.double()
    centred -= centred.mean(0)
    if len(vectors) == 1:
        return WardTree(torch.zeros((0, 2), dtype=torch.int64), torch.zeros(0, dtype=torch.float64), distinct)
    found: NDArray[np.float64] = fastcluster.linkage_vector(centred.numpy(), method="ward")
    merges, heights = found[:, :2].astype(np.int64), found[:, 2].copy()
    return WardTree(torch.from_numpy(merges), torch.from_numpy(heights), distinct)


def cut(tree: WardTree, n_clusters: int) -> Int64[Tensor, " n"]:
    """The cluster of each vector where the tree is cut into some; numbered by their first vector.

    Args:
        tree: of the vectors.
        n_clusters: K.

    Raises:
        ValueError: K is not between 1 and the number of distinct vectors.
    """
    n = len(tree.merges) + 1
    if not 1 <= n_clusters <= int(tree.distinct):
        raise ValueError(f"a tree of {int(tree.distinct)} distinct vectors has no {n_clusters} clusters")
    kept = n - n_clusters
    above = np.arange(n + kept)
    merges = tree.merges[:kept].numpy()
    for index in range(kept - 1, -1, -1):  # from the top: what is above a node is known before the node
        above[merges[index]] = above[n + index]
    return torch.from_numpy(_by_first(above[:n]))


def _count_distinct(vectors: NDArray[np.float32]) -> int:
    rows = np.ascontiguousarray(vectors + 0.0)  # so that -0 is 0
    return len(np.unique(rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1])))))


def _by_first(names: NDArray[np.int64]) -> NDArray[np.int64]:
    """Names as numbers from 0 in the order in which they first occur."""
    _, first, inverse = np.unique(names, return_index=True, return_inverse=True)
    return first.argsort().argsort()[inverse]

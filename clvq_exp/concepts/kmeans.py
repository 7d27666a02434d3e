"""k-means over the words of a store, a block at a time: memory grows with the block, not with the words.

k-means++ seeds on a sample (scikit-learn), Lloyd iterations assign by faiss over all words, spherical or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from clvq_exp.concepts.base import ConceptError

Blocks = Callable[[], Iterator[NDArray[np.float32]]]
"""Starts a pass over all vectors, in blocks `[n, d]`."""


class KMeansResult(NamedTuple):
    """Centroids and what they hold."""

    centroids: NDArray[np.float32]
    """`[K, d]`; of unit norm when spherical."""
    counts: NDArray[np.int64]
    """Vectors of each cluster."""
    mean_norms: NDArray[np.float64]
    """Mean norm of the vectors of each cluster (before normalisation); 0 for an empty one."""
    inertia: float
    """Sum of squared distances to the centroids (of the normalised vectors when spherical)."""
    iterations: int


class _Pass(NamedTuple):
    sums: NDArray[np.float64]
    counts: NDArray[np.int64]
    norm_sums: NDArray[np.float64]
    inertia: float
    farthest: NDArray[np.float32]
    """The vectors farthest from their centroids, farthest first: seeds for empty clusters."""


def kmeans(
    blocks: Blocks,
    n_clusters: int,
    sample: NDArray[np.float32],
    seed: int,
    spherical: bool = False,
    max_iterations: int = 100,
    tolerance: float = 1e-4,
) -> KMeansResult:
    """Cluster vectors (section 2.3.1).

    Args:
        blocks: starts a pass over all vectors.
        n_clusters: K.
        sample: vectors that k-means++ sees, at least K distinct ones.
        seed: of k-means++.
        spherical: cluster directions: vectors and centroids of unit norm.
        max_iterations: Lloyd iterations at most.
        tolerance: stop when the inertia improves by less than this share.

    Raises:
        ConceptError: fewer distinct vectors than clusters.
    """
    from sklearn.cluster import kmeans_plusplus

    points = _unit(sample) if spherical else sample
    require_distinct(points, n_clusters)
    seeds, _ = kmeans_plusplus(points, n_clusters, random_state=seed % 2**32)
    centroids = np.ascontiguousarray(seeds, dtype=np.float32)
    previous = np.inf
    iteration = 0
    progress = tqdm(total=max_iterations, desc="k-means", unit="iteration")
    while True:
        result = _lloyd_pass(blocks, centroids, spherical)
        if iteration == max_iterations or previous - result.inertia <= tolerance * result.inertia:
            break
        previous = result.inertia
        centroids = _moved(centroids, result, spherical)
        iteration += 1
        progress.update()
    progress.close()
    mean_norms = result.norm_sums / np.maximum(result.counts, 1)
    return KMeansResult(centroids, result.counts, mean_norms, result.inertia, iteration)


def require_distinct(vectors: NDArray[np.float32], n_clusters: int) -> None:
    """Refuse fewer distinct vectors than clusters.

    Raises:
        ConceptError: says how many there are.
    """
    distinct = len(np.unique(vectors, axis=0)) if len(vectors) >= n_clusters else len(vectors)
    if distinct < n_clusters:
        raise ConceptError(
            f"quantizer.codebook_size={n_clusters}, but only {distinct} distinct word activations: "
            f"set quantizer.codebook_size to at most {distinct}, or use more sentences "
            "(trainer.sentences.concepts)"
        )


def _lloyd_pass(blocks: Blocks, centroids: NDArray[np.float32], spherical: bool) -> _Pass:
    index = _faiss_index(centroids)
    k, width = centroids.shape
    sums = np.zeros((k, width))
    counts = np.zeros(k, dtype=np.int64)
    norm_sums = np.zeros(k)
    inertia = 0.0
    far_distances = np.zeros(0, dtype=np.float32)
    far_vectors = np.zeros((0, width), dtype=np.float32)
    for raw in blocks():
        norms = np.linalg.norm(raw, axis=1)
        block = _unit(raw) if spherical else np.ascontiguousarray(raw)
        squared, labels = index.search(block, 1)
        labels, squared = labels[:, 0], np.maximum(squared[:, 0], 0)
        order = np.argsort(labels, kind="stable")
        present, starts = np.unique(labels[order], return_index=True)
        sums[present] += np.add.reduceat(block[order].astype(np.float64), starts)
        counts += np.bincount(labels, minlength=k)
        norm_sums += np.bincount(labels, weights=norms, minlength=k)
        inertia += float(squared.astype(np.float64).sum())
        far_distances = np.concatenate([far_distances, squared])
        far_vectors = np.concatenate([far_vectors, block]) if len(far_vectors) else block
        keep = np.argsort(-far_distances, kind="stable")[:k]
        far_distances, far_vectors = far_distances[keep], far_vectors[keep]
    return _Pass(sums, counts, norm_sums, inertia, far_vectors)


def _moved(centroids: NDArray[np.float32], result: _Pass, spherical: bool) -> NDArray[np.float32]:
    """Means of the clusters; an empty cluster moves to the vector that is served worst."""
    moved = centroids.copy()
    held = result.counts > 0
    moved[held] = (result.sums[held] / result.counts[held, None]).astype(np.float32)
    empty = np.flatnonzero(~held)
    take = min(len(empty), len(result.farthest))
    moved[empty[:take]] = result.farthest[:take]
    return _unit(moved) if spherical else moved


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.maximum(norms, np.finfo(np.float32).tiny))


def _faiss_index(centroids: NDArray[np.float32]) -> Any:
    import faiss  # late: its OpenMP and torch's clash when it is loaded first

    index = faiss.IndexFlatL2(centroids.shape[1])
    index.add(np.ascontiguousarray(centroids))
    return index

"""Where the codebook starts (section 2.3.1), made once per (init, K, layer, seed) and shared."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor

from clvq_exp.activations.store import ActivationStore
from clvq_exp.artifacts import ArtifactCache
from clvq_exp.concepts.base import ConceptError
from clvq_exp.concepts.kmeans import kmeans, require_distinct
from clvq_exp.concepts.quantizer import nearest_codes
from clvq_exp.seeding import derived_seed, numpy_generator
from clvq_exp.settings import EmaStart, InitMethod, InitSettings, Split

_FILE = "codebook.safetensors"


class InitialCodebook(NamedTuple):
    """Codes before any training."""

    codes: Float[Tensor, "K d"]
    shares: Float[Tensor, " K"]
    """Share of the training words nearest to each code; sums to 1."""


def initial_codebook(
    cache: ArtifactCache, store: ActivationStore, layer: int, settings: InitSettings, size: int, seed: int
) -> InitialCodebook:
    """The initial codebook of a layer.

    Args:
        cache: where it is kept.
        store: activations; the training split is used.
        layer: layer l.
        settings: random words, k-means or spherical k-means.
        size: K.
        seed: of the sample and the seeding.

    Raises:
        ConceptError: fewer distinct words than codes.
    """
    inputs = {
        "layer": store.layer_fingerprint(layer),
        "method": settings.method,
        "seeding_sample": settings.seeding_sample,
        "max_iterations": settings.max_iterations,
        "tolerance": settings.tolerance,
        "size": size,
        "seed": seed,
    }
    folder = cache.get_or_make(
        "initial_codebooks", inputs, lambda out: _make(out, store, layer, settings, size, seed)
    )
    arrays = load_file(folder / _FILE)
    return InitialCodebook(torch.from_numpy(arrays["codes"]), torch.from_numpy(arrays["shares"]))


def ema_counts(
    initial: InitialCodebook, start: EmaStart, n_words: int, steps_per_epoch: int
) -> Float[Tensor, " K"]:
    """The counts N_j that the EMA starts from.

    Args:
        initial: the codebook with its shares.
        start: expected words per batch (so that a code moves at the pace of its use), ones, or corpus counts.
        n_words: training words.
        steps_per_epoch: optimizer steps of one epoch.
    """
    if start is EmaStart.ones:
        return torch.ones_like(initial.shares)
    if start is EmaStart.corpus:
        return initial.shares * n_words
    return initial.shares * (n_words / steps_per_epoch)


def _make(out: Path, store: ActivationStore, layer: int, settings: InitSettings, size: int, seed: int) -> None:
    start, end = store.word_range(Split.train)
    if end - start < size:
        raise ConceptError(
            f"quantizer.codebook_size={size}, but only {end - start} training words: set it lower, or use more "
            "sentences (trainer.sentences.concepts)"
        )
    if settings.method is InitMethod.random:
        codes = _random_words(store, layer, size, seed)
    else:
        codes = _cluster(store, layer, settings, size, seed)
    counts = torch.zeros(size, dtype=torch.float64)
    for _, block in store.iterate_words(layer):
        counts += torch.bincount(nearest_codes(block, torch.from_numpy(codes)), minlength=size)
    shares = (counts / counts.sum()).float().numpy()
    save_file({"codes": codes, "shares": shares}, out / _FILE)


def _random_words(store: ActivationStore, layer: int, size: int, seed: int) -> NDArray[np.float32]:
    """K distinct training words, drawn without replacement; doubles are passed over."""
    start, end = store.word_range(Split.train)
    order = numpy_generator(seed, "random init").permutation(np.arange(start, end))
    chosen: dict[bytes, NDArray[np.float32]] = {}
    for begin in range(0, len(order), 4 * size):
        rows = torch.from_numpy(order[begin : begin + 4 * size])
        for vector in store.gather_words(layer, rows).numpy():
            chosen.setdefault(vector.tobytes(), vector)
            if len(chosen) == size:
                return np.stack(list(chosen.values()))
    require_distinct(np.stack(list(chosen.values())), size)
    raise AssertionError("unreachable: require_distinct raises for fewer vectors than codes")


def _cluster(
    store: ActivationStore, layer: int, settings: InitSettings, size: int, seed: int
) -> NDArray[np.float32]:
    start, end = store.word_range(Split.train)
    spherical = settings.method is InitMethod.spherical_kmeans
    n_sample = min(end - start, max(settings.seeding_sample, size))
    rows = np.sort(numpy_generator(seed, "k-means sample").choice(end - start, n_sample, replace=False)) + start
    result = kmeans(
        lambda: (block.numpy() for _, block in store.iterate_words(layer)),
        size,
        store.gather_words(layer, torch.from_numpy(rows)).numpy(),
        derived_seed(seed, "k-means++"),
        spherical=spherical,
        max_iterations=settings.max_iterations,
        tolerance=settings.tolerance,
    )
    if not spherical:
        return result.centroids
    return rescaled(result.centroids, result.mean_norms, result.counts)


def rescaled(
    directions: NDArray[np.float32], mean_norms: NDArray[np.float64], counts: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Eq. 2: unit centroids scaled by the mean norm of the vectors that they hold.

    Args:
        directions: unit centroids `[K, d]`.
        mean_norms: mean norm of each cluster's vectors `[K]`.
        counts: vectors of each cluster `[K]`; an empty one takes the mean norm of all vectors.
    """
    overall = float(np.average(mean_norms, weights=counts))
    norms = np.where(counts > 0, mean_norms, overall)
    return (directions * norms[:, None]).astype(np.float32)

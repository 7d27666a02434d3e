"""Where the codebook starts (section 2.3.1), made once per (init, K, layer, seed) and shared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor

from clvq_exp.activations.store import BLOCK, ActivationStore
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
    """Share of the words that it was made of nearest to each code; sums to 1."""


def initial_codebook(
    cache: ArtifactCache,
    store: ActivationStore,
    layer: int,
    settings: InitSettings,
    size: int,
    seed: int,
    words: NDArray[np.int64] | None = None,
) -> InitialCodebook:
    """The initial codebook of a layer.

    Args:
        cache: where it is kept.
        store: activations; the training split is used.
        layer: layer l.
        settings: random words, k-means or spherical k-means.
        size: K.
        seed: of the sample and the seeding.
        words: rows of the training words that it is made of, ascending; None for all of them.

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
    if words is not None:
        inputs["words"] = hashlib.sha256(words.astype("<i8").tobytes()).hexdigest()
    source = _Words(store, layer, words)
    folder = cache.get_or_make("initial_codebooks", inputs, lambda out: _make(out, source, settings, size, seed))
    arrays = load_file(folder / _FILE)
    return InitialCodebook(torch.from_numpy(arrays["codes"]), torch.from_numpy(arrays["shares"]))


def ema_counts(
    initial: InitialCodebook, start: EmaStart, n_words: int, steps_per_epoch: int
) -> Float[Tensor, " K"]:
    """The counts N_j that the EMA starts from.

    Args:
        initial: the codebook with its shares.
        start: expected words per batch (so that a code moves at the pace of its use), ones, or corpus counts.
        n_words: training words that are trained on.
        steps_per_epoch: optimizer steps of one epoch.
    """
    if start is EmaStart.ones:
        return torch.ones_like(initial.shares)
    if start is EmaStart.corpus:
        return initial.shares * n_words
    return initial.shares * (n_words / steps_per_epoch)


class _Words:
    """The training words that a codebook is made of."""

    def __init__(self, store: ActivationStore, layer: int, chosen: NDArray[np.int64] | None) -> None:
        self._store = store
        self._layer = layer
        self._chosen = chosen
        self.advice = "" if chosen is None else ", or all words (quantizer.trained_words=all)"
        """What else to do where they are too few."""
        self.rows = np.arange(*store.word_range(Split.train)) if chosen is None else chosen
        """Their rows in the store."""

    def gather(self, rows: NDArray[np.int64]) -> Float[Tensor, "n d"]:
        """Activations of some rows of the store."""
        return self._store.gather_words(self._layer, torch.from_numpy(rows))

    def blocks(self) -> Iterator[Float[Tensor, "n d"]]:
        """Activations of all of them, a block at a time."""
        if self._chosen is None:
            yield from (block for _, block in self._store.iterate_words(self._layer))
            return
        for start in range(0, len(self.rows), BLOCK):
            yield self.gather(self.rows[start : start + BLOCK])


def _make(out: Path, words: _Words, settings: InitSettings, size: int, seed: int) -> None:
    if len(words.rows) < size:
        raise ConceptError(
            f"quantizer.codebook_size={size}, but only {len(words.rows)} training words: set it lower, or use "
            f"more sentences (trainer.sentences.concepts){words.advice}"
        )
    if settings.method is InitMethod.random:
        codes = _random_words(words, size, seed)
    else:
        codes = _cluster(words, settings, size, seed)
    counts = torch.zeros(size, dtype=torch.float64)
    for block in words.blocks():
        counts += torch.bincount(nearest_codes(block, torch.from_numpy(codes)), minlength=size)
    shares = (counts / counts.sum()).float().numpy()
    save_file({"codes": codes, "shares": shares}, out / _FILE)


def _random_words(words: _Words, size: int, seed: int) -> NDArray[np.float32]:
    """K distinct training words, drawn without replacement; doubles are passed over."""
    order = numpy_generator(seed, "random init").permutation(words.rows)
    chosen: dict[bytes, NDArray[np.float32]] = {}
    for begin in range(0, len(order), 4 * size):
        for vector in words.gather(order[begin : begin + 4 * size]).numpy():
            chosen.setdefault(vector.tobytes(), vector)
            if len(chosen) == size:
                return np.stack(list(chosen.values()))
    require_distinct(np.stack(list(chosen.values())), size)
    raise AssertionError("unreachable: require_distinct raises for fewer vectors than codes")


def _cluster(words: _Words, settings: InitSettings, size: int, seed: int) -> NDArray[np.float32]:
    n = len(words.rows)
    spherical = settings.method is InitMethod.spherical_kmeans
    n_sample = min(n, max(settings.seeding_sample, size))
    sample = np.sort(numpy_generator(seed, "k-means sample").choice(n, n_sample, replace=False))
    result = kmeans(
        lambda: (block.numpy() for block in words.blocks()),
        size,
        words.gather(words.rows[sample]).numpy(),
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

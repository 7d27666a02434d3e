"""k-means against scikit-learn, eq. 2 by hand, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from clvq_exp.activations.store import ActivationStore
from clvq_exp.artifacts import ArtifactCache
from clvq_exp.concepts.base import ConceptError
from clvq_exp.concepts.initialisation import InitialCodebook, ema_counts, initial_codebook, rescaled
from clvq_exp.concepts.kmeans import kmeans
from clvq_exp.settings import EmaStart, InitMethod, InitSettings, Split


def blocks_of(vectors: np.ndarray, size: int = 700):
    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, len(vectors), size):
            yield vectors[start : start + size]

    return blocks


def words_like(n: int, width: int, seed: int) -> np.ndarray:
    """Vectors with many overlapping clusters of unequal size, as words have."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(60, width))
    sizes = generator.dirichlet(np.full(60, 0.5))
    return (centres[generator.choice(60, n, p=sizes)] + generator.normal(size=(n, width)) * 0.7).astype(np.float32)


@pytest.mark.parametrize("seed", [0, 1])
def test_kmeans__inertia_within_half_a_percent_of_scikit_learn(seed: int) -> None:
    vectors = words_like(6000, 24, seed)
    theirs = min(KMeans(50, n_init=1, random_state=i, max_iter=300).fit(vectors).inertia_ for i in range(3))
    ours = kmeans(blocks_of(vectors), 50, vectors[:4000], seed, max_iterations=100)
    assert ours.inertia <= 1.005 * theirs
    assert ours.counts.sum() == len(vectors)


def test_kmeans__same_seed_same_centroids_whatever_the_blocks() -> None:
    vectors = words_like(2000, 8, 3)
    a = kmeans(blocks_of(vectors, 100), 12, vectors, 5)
    b = kmeans(blocks_of(vectors, 1999), 12, vectors, 5)
    np.testing.assert_allclose(a.centroids, b.centroids, atol=1e-5)


def test_spherical__clusters_directions_whatever_the_norms() -> None:
    generator = np.random.default_rng(0)
    directions = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float32)
    owner = generator.integers(0, 3, 600)
    norms = generator.uniform(0.5, 50, 600)
    vectors = ((directions[owner] + generator.normal(size=(600, 3)) * 0.05) * norms[:, None]).astype(np.float32)
    result = kmeans(blocks_of(vectors), 3, vectors, 0, spherical=True)
    np.testing.assert_allclose(np.linalg.norm(result.centroids, axis=1), 1, atol=1e-5)
    assert sorted(np.abs(result.centroids).argmax(1).tolist()) == [0, 1, 2]
    for cluster, axis in enumerate(np.abs(result.centroids).argmax(1)):
        expected = np.linalg.norm(vectors[owner == axis], axis=1).mean()
        assert result.mean_norms[cluster] == pytest.approx(expected, rel=1e-5)


def test_eq2__unit_centroids_are_scaled_by_their_members_mean_norm() -> None:
    members = np.array([[3.0, 4.0], [6.0, 8.0]])  # norms 5 and 10, one direction
    codes = rescaled(np.array([[0.6, 0.8]], dtype=np.float32), np.array([7.5]), np.array([2]))
    np.testing.assert_allclose(codes, [[0.6 * 7.5, 0.8 * 7.5]], rtol=1e-6)
    assert np.linalg.norm(members, axis=1).mean() == 7.5


def test_eq2__an_empty_cluster_takes_the_mean_norm_of_all_vectors() -> None:
    codes = rescaled(np.eye(3, dtype=np.float32), np.array([2.0, 5.0, 0.0]), np.array([3, 1, 0]))
    np.testing.assert_allclose(np.linalg.norm(codes, axis=1), [2, 5, (3 * 2 + 5) / 4])


def test_kmeans__fewer_distinct_words_than_codes_says_how_many() -> None:
    vectors = np.repeat(np.eye(4, dtype=np.float32), 50, axis=0)
    with pytest.raises(ConceptError, match=r"quantizer\.codebook_size=10, but only 4 distinct"):
        kmeans(blocks_of(vectors), 10, vectors, 0)


def test_kmeans__no_cluster_stays_empty() -> None:
    vectors = np.concatenate([np.zeros((500, 2)), np.arange(24).reshape(12, 2) * 100.0]).astype(np.float32)
    result = kmeans(blocks_of(vectors), 8, vectors, 0)
    assert (result.counts > 0).all()


@pytest.mark.parametrize("method", list(InitMethod))
def test_initial_codebook__shares_add_up_and_it_is_made_once(
    store: ActivationStore, tmp_path: Path, method: InitMethod, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ArtifactCache(tmp_path / "cache")
    init = InitSettings(method.value, method)
    first = initial_codebook(cache, store, 1, init, 5, seed=0)
    assert first.codes.shape == (5, store.width)
    assert float(first.shares.sum()) == pytest.approx(1.0)
    monkeypatch.setattr("clvq_exp.concepts.initialisation._make", pytest.fail)
    second = initial_codebook(cache, store, 1, init, 5, seed=0)
    assert torch.equal(first.codes, second.codes)


def test_random_init__takes_distinct_training_words(store: ActivationStore, tmp_path: Path) -> None:
    init = InitSettings("random", InitMethod.random)
    found = initial_codebook(ArtifactCache(tmp_path / "cache"), store, 1, init, 20, seed=0)
    start, end = store.word_range(Split.train)
    words = {tuple(row) for row in store.words(1)[start:end].tolist()}
    codes = [tuple(row) for row in found.codes.tolist()]
    assert set(codes) <= words
    assert len(set(codes)) == 20


def test_random_init__more_codes_than_words_is_refused(store: ActivationStore, tmp_path: Path) -> None:
    init = InitSettings("random", InitMethod.random)
    with pytest.raises(ConceptError, match=r"quantizer\.codebook_size=5000, but only \d+ training words"):
        initial_codebook(ArtifactCache(tmp_path / "cache"), store, 1, init, 5000, seed=0)


def test_ema_start__counts_by_hand() -> None:
    initial = InitialCodebook(torch.zeros(2, 3), torch.tensor([0.25, 0.75]))
    counts = {start: ema_counts(initial, start, n_words=1200, steps_per_epoch=10).tolist() for start in EmaStart}
    assert counts == {
        EmaStart.batch_share: [30.0, 90.0],
        EmaStart.ones: [1.0, 1.0],
        EmaStart.corpus: [300.0, 900.0],
    }

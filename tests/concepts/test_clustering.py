"""Ward's tree against scikit-learn and by hand; what clustering keeps, reuses and refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from composing import checked
from sklearn.cluster import AgglomerativeClustering
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

from clvq_exp.activations.store import ActivationStore
from clvq_exp.artifacts import ArtifactCache
from clvq_exp.concepts import clustering
from clvq_exp.concepts.base import CONCEPT, ConceptError, ConceptSettings, FitRun
from clvq_exp.concepts.clustering import Clustering
from clvq_exp.concepts.ward import cut, ward_tree
from clvq_exp.settings import LayerPair, Split

PAIR = LayerPair(1, 2)
MakeStore = Callable[..., ActivationStore]
Settings = Callable[..., ConceptSettings]


def fitted(
    store: ActivationStore, cache: Path, settings: Settings, size: int = 6, seed: int = 0, **options: Any
) -> Clustering:
    model = Clustering(settings(quantizer__codebook_size=size), **options)
    model.fit(FitRun(store, PAIR, seed, cache / "work", ArtifactCache(cache), torch.device("cpu")))
    return model


def planted(
    folder: Path, make_store: MakeStore, n_train: int = 300, n_dev: int = 60
) -> tuple[ActivationStore, np.ndarray]:
    """Words around six far centres, and the centre of each word."""
    generator = np.random.default_rng(4)
    total = n_train + n_dev
    owner = generator.integers(0, 6, total)
    vectors = generator.normal(size=(6, 8))[owner] * 5 + generator.normal(size=(total, 8)) * 0.4
    lengths = {"train": [10] * (n_train // 10), "validation": [], "dev": [10] * (n_dev // 10)}
    lengths["validation"] = [lengths["dev"].pop()]
    return make_store(folder, lengths, {1: vectors, 2: vectors}), owner


@pytest.fixture
def trees(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the trees that are made."""
    made: list[int] = []
    monkeypatch.setattr(clustering, "ward_tree", lambda vectors: made.append(len(vectors)) or ward_tree(vectors))
    return made


@pytest.mark.parametrize("offset", [0, 1000])
def test_ward__the_clusters_of_scikit_learn(offset: float) -> None:
    vectors = (np.random.default_rng(0).normal(size=(2000, 32)) + offset).astype(np.float32)
    tree = ward_tree(torch.from_numpy(vectors))
    for k in (2, 50, 400):
        theirs = AgglomerativeClustering(n_clusters=k, linkage="ward").fit_predict(vectors)
        assert adjusted_rand_score(theirs, cut(tree, k).numpy()) == 1


def test_ward__repeated_vectors_weigh_as_often_as_they_occur() -> None:
    generator = np.random.default_rng(1)
    vectors = np.repeat(generator.normal(size=(200, 6)), generator.integers(1, 8, 200), axis=0).astype(np.float32)
    vectors = generator.permutation(vectors)
    tree = ward_tree(torch.from_numpy(vectors))
    assert int(tree.distinct) == 200
    for k in (2, 20, 200):
        theirs = AgglomerativeClustering(n_clusters=k).fit_predict(vectors)
        assert adjusted_rand_score(theirs, cut(tree, k).numpy()) == 1


def test_ward__merges_and_heights_by_hand() -> None:
    tree = ward_tree(torch.tensor([[10.0], [0.0], [12.0], [1.0]]))
    assert tree.merges.tolist() == [[1, 3], [0, 2], [4, 5]]
    assert tree.heights.tolist() == pytest.approx([1, 2, 10.5 * (2 * 2 * 2 / 4) ** 0.5])


def test_ward__zeros_of_either_sign_are_one_vector_of_their_number() -> None:
    tree = ward_tree(torch.tensor([[0.0], [-0.0], [3.0], [0.0]]))
    assert int(tree.distinct) == 2
    assert tree.heights.tolist() == pytest.approx([0, 0, 3 * (2 * 3 * 1 / 4) ** 0.5])


@pytest.mark.parametrize(
    "vectors",
    [
        torch.cartesian_prod(*[torch.arange(4.0)] * 3),
        torch.randint(3, (600, 6), generator=torch.Generator().manual_seed(0)).float(),
    ],
)
def test_ward__distances_that_are_often_the_same_still_give_a_tree(vectors: torch.Tensor) -> None:
    tree = ward_tree(vectors)
    m = len(vectors)
    assert int(tree.distinct) == len(vectors.unique(dim=0))
    assert sorted(tree.merges.flatten().tolist()) == list(range(2 * m - 2))  # every node but the root goes up once
    assert (tree.merges.max(1).values < torch.arange(m, 2 * m - 1)).all()  # after it was made
    assert (tree.heights.diff() >= 0).all()
    assert len(cut(tree, 8).unique()) == 8


def test_cut__clusters_are_numbered_by_their_first_vector() -> None:
    tree = ward_tree(torch.tensor([[50.0], [0.0], [51.0], [1.0], [7.0]]))
    assert cut(tree, 1).tolist() == [0] * 5
    assert cut(tree, 3).tolist() == [0, 1, 0, 1, 2]
    assert cut(tree, 5).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("k", [0, 3])
def test_cut__no_such_number_of_clusters(k: int) -> None:
    with pytest.raises(ValueError, match=f"a tree of 2 distinct vectors has no {k} clusters"):
        cut(ward_tree(torch.tensor([[0.0], [1.0], [1.0]])), k)


@pytest.mark.parametrize("vectors", [torch.zeros((0, 3)), torch.tensor([[0.0, torch.nan]])])
def test_ward__refuses_what_has_no_distances(vectors: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="at least one vector, and finite"):
        ward_tree(vectors)


@pytest.mark.parametrize("assignment", ["nearest", "logistic"])
def test_clustering__planted_clusters_are_found_and_new_words_join_them(
    tmp_path: Path, make_store: MakeStore, settings: Settings, assignment: str
) -> None:
    store, owner = planted(tmp_path / "store", make_store)
    model = fitted(store, tmp_path, settings, assignment=assignment)
    found = model.assign(store.words(1))[:, 0].numpy()
    assert adjusted_mutual_info_score(owner[:300], found[:300]) > 0.9
    assert adjusted_mutual_info_score(owner[300:], found[300:]) > 0.9
    assert model.summary.codes_in_use == 6
    assert model.member_counts.sum() == 300


def test_clustering__codes_are_the_means_of_wards_clusters(
    store: ActivationStore, tmp_path: Path, settings: Settings
) -> None:
    model = fitted(store, tmp_path, settings)
    start, end = store.word_range(Split.train)
    words = store.words(1)[start:end].numpy()
    theirs = AgglomerativeClustering(n_clusters=6).fit_predict(words)
    expected = sorted(words[theirs == k].mean(0).tolist() for k in range(6))
    np.testing.assert_allclose(sorted(model.vectors().tolist()), expected, rtol=1e-4, atol=1e-5)


def test_clustering__another_k_cuts_the_tree_that_is_there(
    store: ActivationStore, tmp_path: Path, settings: Settings, trees: list[int]
) -> None:
    few, many = (fitted(store, tmp_path, settings, size) for size in (3, 12))
    assert len(trees) == 1
    assert (few.vectors().shape[0], many.vectors().shape[0]) == (3, 12)
    fitted(store, tmp_path, settings, assignment="logistic")
    fitted(store, tmp_path, settings, seed=1)  # all words again: the seed draws nothing
    assert len(trees) == 1


def test_clustering__a_fit_that_was_stopped_behind_its_tree_does_not_make_it_again(
    store: ActivationStore, tmp_path: Path, settings: Settings, trees: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(Clustering, "collect_members", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fitted(store, tmp_path, settings)
    fitted(store, tmp_path, settings)
    assert len(trees) == 1


def test_clustering__a_sub_sample_belongs_to_its_seed_and_its_size_is_told(
    store: ActivationStore, tmp_path: Path, settings: Settings, trees: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    start, end = store.word_range(Split.train)
    with caplog.at_level("INFO", logger="clvq_exp"):
        first, again, other = (fitted(store, tmp_path, settings, seed=seed, max_words=60) for seed in (0, 0, 1))
    assert trees == [60, 60]
    assert torch.equal(first.vectors(), again.vectors())
    assert not torch.equal(first.vectors(), other.vectors())
    assert first.summary.chosen == {"clustered_words": 60}
    assert first.member_counts.sum() == end - start  # every training word has a concept
    assert f"clustering 60 of {end - start} training words (words=all)" in caplog.messages


def test_clustering__frequent_words_only(tmp_path: Path, make_store: MakeStore, settings: Settings) -> None:
    store, _ = planted(tmp_path / "store", make_store)  # 270 words of 7 types behind 30 sentence tokens
    model = fitted(store, tmp_path, settings, words="frequent")
    assert model.summary.chosen == {"clustered_words": 30 + 7 * 20}


def test_clustering__identity_holds_every_option(store: ActivationStore, settings: Settings) -> None:
    variants: list[tuple[int, dict[str, Any], LayerPair]] = [
        (6, {}, PAIR),
        (7, {}, PAIR),
        (6, {}, LayerPair(2, 3)),
        (6, {"assignment": "logistic"}, PAIR),
        (6, {"words": "frequent"}, PAIR),
        (6, {"max_words": 60}, PAIR),
    ]
    found = [
        Clustering(settings(quantizer__codebook_size=size), **options).identity(store, pair)
        for size, options, pair in variants
    ]
    assert all(a != b for index, a in enumerate(found) for b in found[:index])


@pytest.mark.parametrize("assignment", ["nearest", "logistic"])
def test_clustering__saved_and_loaded_it_is_the_same(
    store: ActivationStore, tmp_path: Path, settings: Settings, assignment: str
) -> None:
    model = fitted(store, tmp_path, settings, assignment=assignment)
    folder = tmp_path / "model"
    folder.mkdir()
    model.save(folder)
    loaded = Clustering(settings(), assignment=assignment).load(folder)
    words = store.words(1)
    ids = model.assign(words)
    assert torch.equal(loaded.assign(words), ids)
    for removal in model.removals:
        assert torch.equal(loaded.directions(ids, removal), model.directions(ids, removal))
    assert loaded.summary == model.summary


@pytest.mark.parametrize("size", [2, 5])
def test_logistic__names_the_cluster_that_scikit_learn_names(
    store: ActivationStore, tmp_path: Path, settings: Settings, size: int
) -> None:
    model = fitted(store, tmp_path, settings, size, assignment="logistic")
    start, end = store.word_range(Split.train)
    words = store.words(1).numpy()
    labels = AgglomerativeClustering(n_clusters=size).fit_predict(words[start:end])
    theirs = LogisticRegression(max_iter=1000).fit(words[start:end], labels)
    assert adjusted_rand_score(theirs.predict(words), model.assign(torch.from_numpy(words))[:, 0].numpy()) == 1
    expected = theirs.score(words[start:end], labels)
    assert model.summary.chosen["logistic_accuracy"] == pytest.approx(expected)


def test_logistic__assigns_otherwise_than_the_nearest_and_removes_the_centroid(
    tmp_path: Path, make_store: MakeStore, settings: Settings
) -> None:
    wide, narrow = np.linspace(0, 5, 30), np.linspace(8, 8.5, 30)  # half-way between the means is 5.375
    values = np.concatenate([wide, narrow, [5.7], [5.0, 5.0]])
    store = make_store(
        tmp_path / "store",
        {"train": [60], "validation": [1], "dev": [2]},
        {1: values[:, None], 2: values[:, None]},
    )
    nearest, logistic = (
        fitted(store, tmp_path, settings, size=2, assignment=name) for name in ("nearest", "logistic")
    )
    between = store.words(1)[60:61]
    assert nearest.assign(between).tolist() == [[1]]
    assert logistic.assign(between).tolist() == [[0]]
    assert logistic.directions(torch.tensor([[1]]), CONCEPT).tolist() == [[[1.0]]]
    assert torch.equal(logistic.vectors(), nearest.vectors())


def test_logistic__one_cluster_holds_every_word(
    store: ActivationStore, tmp_path: Path, settings: Settings
) -> None:
    model = fitted(store, tmp_path, settings, size=1, assignment="logistic")
    assert set(model.assign(store.words(1)).flatten().tolist()) == {0}


def test_clustering__fewer_distinct_words_than_clusters_says_how_many(
    tmp_path: Path, make_store: MakeStore, settings: Settings
) -> None:
    vectors = np.repeat(np.eye(4), 10, axis=0)
    store = make_store(
        tmp_path / "store", {"train": [30], "validation": [5], "dev": [5]}, {1: vectors, 2: vectors}
    )
    with pytest.raises(ConceptError, match=r"codebook_size=4, but only 3 distinct activations among the 30 words"):
        fitted(store, tmp_path, settings, size=4)
    assert fitted(store, tmp_path, settings, size=3).member_counts.tolist() == [10, 10, 10]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"max_words": 5}, r"only 5 words to cluster of \d+ training words \(words=all, max_words=5\)"),
        ({"words": "frequent", "max_words": 4}, r"only 4 words to cluster of \d+ training words \(words=frequent"),
    ],
)
def test_clustering__fewer_words_than_clusters_names_the_options(
    store: ActivationStore, tmp_path: Path, settings: Settings, options: dict[str, Any], found: str
) -> None:
    with pytest.raises(ConceptError, match=rf"quantizer\.codebook_size=6, but {found}"):
        fitted(store, tmp_path, settings, **options)


def test_clustering__an_activation_that_is_not_finite_is_named(
    tmp_path: Path, make_store: MakeStore, settings: Settings
) -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 3))
    vectors[17, 1] = np.inf
    store = make_store(
        tmp_path / "store", {"train": [30], "validation": [5], "dev": [5]}, {1: vectors, 2: vectors}
    )
    with pytest.raises(ConceptError, match=r"layer 1: the activation of the word in row 17 of .*tables"):
        fitted(store, tmp_path, settings)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"assignment": "far"}, "'far' is not a valid Assignment"),
        ({"words": "few"}, "'few' is not a valid ClusteredWords"),
        ({"max_words": 0}, "max_words=0 is below 1"),
    ],
)
def test_clustering__refuses_options_that_there_are_not(
    settings: Settings, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        Clustering(settings(), **options)


@pytest.mark.parametrize(("name", "words"), [("clustering", "all"), ("clustering_filtered", "frequent")])
def test_conf__names_the_method_and_all_its_options(settings: Settings, name: str, words: str) -> None:
    given = dict(checked(f"baseline={name}").baseline)
    assert given.pop("name") == name
    assert given.pop("_target_") == f"{Clustering.__module__}.{Clustering.__qualname__}"
    assert given == {"assignment": "nearest", "words": words, "max_words": 50_000}
    assert Clustering(settings(), **given).words.value == words

"""Concepts of one's own activations: what is found, what is taken out, what is told of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from composing import checked
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from planted import N_CONCEPTS, PAIR, Planted, plant
from sklearn.metrics import adjusted_mutual_info_score

from clvq_exp.artifacts import ArtifactCache
from clvq_exp.concepts.codebook_model import CodebookModel
from clvq_exp.fitting import ConceptFit, fitted
from clvq_exp.notebook import Concepts, NotebookError
from clvq_exp.settings import Split

SMALL: dict[str, Any] = {
    "codebook_size": N_CONCEPTS,
    "max_epochs": 10,
    "learning_rate": 0.001,
    "batch_size": 32,
    "feed_forward": 64,
    "layer_pair": (4, 6),
    "layers": 1,
    "device": "cpu",
}
AS_OVERRIDES = (
    "trainer=default",
    f"quantizer.codebook_size={N_CONCEPTS}",
    "trainer.max_epochs=10",
    "trainer.learning_rate=0.001",
    "trainer.batch_size=32",
    "trainer.device=cpu",
    "decoder.layers=1",
    "decoder.feed_forward=64",
    "beside=none",
)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return plant(tmp_path_factory.mktemp("planted"), sentences=200)


@pytest.fixture(scope="module")
def own(planted: Planted) -> dict[str, Any]:
    """The planted words, as a caller has them."""
    store = planted.store
    return {
        "lower": store.words(PAIR.lower).numpy(),
        "upper": store.words(PAIR.upper).numpy(),
        "words": store.word_column("word").to_pylist(),
        "sentences": store.word_column("sentence").to_numpy(),
        "labels": store.sentences.label,
        "label_names": ["bad", "good"],
    }


@pytest.fixture(scope="module")
def found(own: dict[str, Any]) -> Concepts:
    return Concepts.fit(**own, **SMALL)


@pytest.fixture(scope="module")
def codes_of_words(own: dict[str, Any]) -> Concepts:
    """The untrained codebook, which is there at once."""
    return Concepts.fit(**own, method="kmeans_codes", codebook_size=N_CONCEPTS, device="cpu")


def test_fit__finds_the_planted_concepts(found: Concepts, own: dict[str, Any], planted: Planted) -> None:
    assert adjusted_mutual_info_score(planted.concepts, found.assign(own["lower"])) > 0.9


def test_fit__is_that_of_a_cell_on_the_same_store(found: Concepts, tmp_path: Path) -> None:
    config = checked(*AS_OVERRIDES, "layer_pair=4-6")
    (method,) = config.methods.values()
    assert found.store is not None
    work = ConceptFit(config, method, found.store, 0, torch.device("cpu"), tmp_path)
    of_cell, _ = fitted(work, ArtifactCache(tmp_path / "cache"))
    assert isinstance(of_cell, CodebookModel)
    assert isinstance(found.model, CodebookModel)
    own = found.model.tensors()
    assert of_cell.tensors().keys() == own.keys()
    for name, tensor in of_cell.tensors().items():
        assert torch.equal(tensor, own[name]), name
    assert of_cell.summary == found.summary


def test_fit__of_another_seed_is_another(own: dict[str, Any], codes_of_words: Concepts) -> None:
    other = Concepts.fit(**own, method="kmeans_codes", codebook_size=N_CONCEPTS, init="random", seed=1)
    again = Concepts.fit(**own, method="kmeans_codes", codebook_size=N_CONCEPTS, init="random", seed=1)
    assert torch.equal(other.vectors(), again.vectors())
    assert not torch.equal(other.vectors(), codes_of_words.vectors())


def test_fit__with_a_folder_is_found_again(own: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    fits = [Concepts.fit(**own, method="kmeans_codes", codebook_size=5, folder=folder) for _ in range(2)]
    assert torch.equal(fits[0].vectors(), fits[1].vectors())
    assert len([path for path in (folder / "concept_models").iterdir() if path.is_dir()]) == 1


def test_fit__without_a_folder_leaves_nothing(own: dict[str, Any]) -> None:
    made = Concepts.fit(**own, method="kmeans_codes", codebook_size=5)
    assert made.store is not None
    place = made.store.tables
    assert place.is_dir()
    del made
    assert not place.exists()


def test_fit__of_one_layer_rebuilds_it(own: dict[str, Any]) -> None:
    made = Concepts.fit(own["lower"], codebook_size=6, max_epochs=1, feed_forward=16, layers=1)
    assert made.store is not None
    assert made.store.layers == (0,)
    assert made.origin.layer_pair is None
    assert made.assign(own["lower"]).max() < 6


@pytest.mark.parametrize(
    ("method", "own_settings"),
    [
        ("clustering", {"codebook_size": 6}),
        ("transcoder", {"k": 2, "expansion": 2, "batch_words": 64, "max_epochs": 1}),
        ("sae_2048", {"neurons": 40, "l1": [0.1], "batch_words": 64, "max_epochs": 1}),
    ],
)
def test_fit__takes_every_method_by_its_name(
    own: dict[str, Any], method: str, own_settings: dict[str, Any]
) -> None:
    made = Concepts.fit(**own, method=method, **own_settings)
    assert len(made) == {"clustering": 6, "transcoder": 64, "sae_2048": 40}[method]
    changed = made.remove(own["lower"][:20])
    before, after = (np.linalg.norm(each, axis=1) for each in (own["lower"][:20], changed))
    assert (after <= before * (1 + 1e-5)).all()
    assert (after < before).any()
    assert made.assign(own["lower"][:3], every=True).shape[0] == 3


def test_shipped_settings__are_those_of_the_configuration(found: Concepts) -> None:
    config = checked("trainer=default", "layer_pair=4-6")
    stored = found.settings
    assert stored["quantizer"]["commitment_weight"] == config.quantizer.commitment_weight
    assert stored["trainer"]["patience"] == config.trainer.patience == 15
    assert stored["quantizer"]["codebook_size"] == N_CONCEPTS
    assert "device" not in stored["trainer"]


def test_protocol__sets_what_it_sets_in_a_run(own: dict[str, Any]) -> None:
    made = Concepts.fit(**own, method="kmeans_codes", codebook_size=5, protocol="reference")
    assert made.settings["quantizer"]["trained_words"] == "frequent"
    assert made.origin.protocol == "reference"


# --- assigning ---


def test_assign__gives_an_array_for_an_array_and_a_tensor_for_a_tensor(
    found: Concepts, own: dict[str, Any]
) -> None:
    rows = own["lower"][:6]
    codes = found.assign(rows)
    assert isinstance(codes, np.ndarray)
    assert codes.shape == (6,)
    of_tensor = found.assign(torch.from_numpy(rows).reshape(2, 3, -1))
    assert of_tensor.shape == (2, 3)
    assert of_tensor.flatten().tolist() == codes.tolist()
    assert found.assign(rows, every=True).shape == (6, 1)
    assert found.assign(rows[:0]).shape == (0,)


def test_assign__is_that_of_the_model(found: Concepts, own: dict[str, Any]) -> None:
    direct = found.model.assign(torch.from_numpy(own["lower"]))[:, 0]
    assert found.assign(own["lower"]).tolist() == direct.tolist()


def test_assign__refuses_another_width_and_numbers_that_are_none(found: Concepts) -> None:
    with pytest.raises(NotebookError, match=r"shape \[4, 5\], and these concepts are 32 wide"):
        found.assign(np.zeros((4, 5), np.float32))
    with pytest.raises(NotebookError, match="not finite"):
        found.assign(np.full((1, 32), np.nan, np.float32))


# --- taking out ---


@given(seed=st.integers(0, 2**32 - 1), concept=st.integers(0, N_CONCEPTS - 1), scale=st.floats(1e-3, 1e3))
@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("removal", ["concept", "member_mean"])
def test_remove__is_the_orthogonal_projection(
    codes_of_words: Concepts, removal: str, seed: int, concept: int, scale: float
) -> None:
    h = scale * np.random.default_rng(seed).normal(size=(3, 32))
    left = codes_of_words.remove(h, concept, removal)
    direction = codes_of_words.model.directions(torch.tensor([[concept]]), removal)[0, 0].double().numpy()
    direction /= np.linalg.norm(direction)
    tolerance = 1e-9 * scale
    assert left.dtype == np.float64
    assert np.abs(left @ direction).max() < tolerance
    assert np.allclose(h - left, np.outer(h @ direction, direction), atol=tolerance)
    assert np.allclose(codes_of_words.remove(left, concept, removal), left, atol=tolerance)
    assert np.allclose(np.square(left).sum(1) + np.square(h - left).sum(1), np.square(h).sum(1), rtol=1e-9)


def test_remove__takes_each_ones_own_concept_by_itself(codes_of_words: Concepts, own: dict[str, Any]) -> None:
    h = own["lower"][:10]
    by_itself = codes_of_words.remove(h)
    assert np.array_equal(by_itself, codes_of_words.remove(h, codes_of_words.assign(h)))
    assert np.abs(by_itself).max() < np.abs(h).max() / 2  # a planted word is its concept and noise


def test_remove__keeps_shape_kind_format_and_gradient(codes_of_words: Concepts) -> None:
    h = torch.randn(2, 3, 32, requires_grad=True)
    left = codes_of_words.remove(h, 4)
    assert left.shape == h.shape
    left.sum().backward()
    direction = codes_of_words.model.directions(torch.tensor([[4]]), "concept")[0, 0]
    assert torch.allclose(h.grad[0, 0], torch.ones(32) - direction.sum() * direction, atol=1e-5)  # pyright: ignore
    assert codes_of_words.remove(h.detach().bfloat16(), 4).dtype == torch.bfloat16
    assert codes_of_words.remove(np.zeros((2, 32), np.float16), 4).dtype == np.float16


def test_remove__leaves_a_row_without_a_concept(codes_of_words: Concepts, own: dict[str, Any]) -> None:
    # -1 stands for no concept; a sparse method has words without one
    made = Concepts.fit(**own, method="transcoder", k=2, expansion=2, batch_words=64, max_epochs=1)
    h = own["lower"][:4]
    left = made.remove(h, np.array([-1, 0, -1, 1]))
    assert np.array_equal(left[[0, 2]], h[[0, 2]])
    assert not np.array_equal(left[1], h[1])


def test_remove__refuses_what_there_is_not(codes_of_words: Concepts) -> None:
    h = np.zeros((3, 32), np.float32)
    with pytest.raises(NotebookError, match="there are concept, member_mean"):
        codes_of_words.remove(h, 0, "everything")
    with pytest.raises(NotebookError, match="there are the concepts 0 to 19"):
        codes_of_words.remove(h, 20)
    with pytest.raises(
        NotebookError, match=r"codes has the shape \[2\]: give one concept for each activation, \[3\]"
    ):
        codes_of_words.remove(h, [1, 2])
    with pytest.raises(NotebookError, match="give numbers of concepts"):
        codes_of_words.remove(h, [1.0, 2.0, 3.0])


# --- looking at them ---


def test_words__are_counted_in_training_words(found: Concepts, own: dict[str, Any], planted: Planted) -> None:
    assert found.store is not None
    start, end = found.store.word_range(Split.train)
    stored = found.store.word_column("word").to_pylist()[start:end]
    codes = found.assign(found.store.words(4).numpy()[start:end])
    held = [word for word, code in zip(stored, codes, strict=True) if code == 3]
    assert sum(each.n_words for each in found.words(3, n=50)) == len(held)
    first = found.words(3)[0]
    assert first.n_words == max(held.count(word) for word in held)


def test_labels__are_those_of_the_sentences_of_the_training_words(found: Concepts) -> None:
    assert found.store is not None
    store = found.store
    start, end = store.word_range(Split.train)
    label = np.repeat(store.sentences.label, store.sentences.n_words)[start:end]
    codes = found.assign(store.words(4).numpy()[start:end])
    for concept in (0, 7):
        counts = {name: int(((codes == concept) & (label == i)).sum()) for i, name in enumerate(("bad", "good"))}
        assert found.labels(concept) == {name: n for name, n in counts.items() if n}
        assert found.purity(concept) == max(counts.values()) / sum(counts.values())


def test_nearest__are_the_largest_cosines(found: Concepts) -> None:
    vectors = found.vectors().double()
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    cosines = unit @ unit[5]
    cosines[5] = -2
    assert [each.concept for each in found.nearest(5, 3)] == cosines.topk(3).indices.tolist()
    assert found.nearest(5, 1)[0].cosine == pytest.approx(float(cosines.max()), abs=1e-6)
    assert len(found.nearest(5, 100)) == N_CONCEPTS - 1


def test_table__has_a_row_for_each_concept(found: Concepts) -> None:
    table = found.table(words=2)
    assert table.num_rows == len(found) == N_CONCEPTS
    row = table.to_pylist()[3]
    assert row["words"] == [each.word for each in found.words(3, 2)]
    assert row["label"] == next(iter(found.labels(3)))
    assert row["purity"] == found.purity(3)
    assert (row["nearest"], row["cosine"]) == (
        found.nearest(3, 1)[0].concept,
        pytest.approx(found.nearest(3, 1)[0].cosine),
    )
    assert sum(table.column("n_words").to_pylist()) == found.origin.counts["words"] - 140


def test_codebook__has_the_figures_of_the_fit(found: Concepts) -> None:
    assert found.codebook["size"] == N_CONCEPTS
    assert found.codebook["perplexity"] == found.summary.perplexity
    assert found.codebook["best_epoch"] == found.summary.best_epoch
    assert 0 < found.codebook["codes_alone"]["code_mean"] <= 1


def test_inspection__says_what_it_does_not_know(own: dict[str, Any]) -> None:
    made = Concepts.fit(own["lower"], method="kmeans_codes", codebook_size=5)
    with pytest.raises(NotebookError, match="give words to fit"):
        made.words(0)
    assert made.labels(0) == {}
    assert made.purity(0) is None
    with pytest.raises(NotebookError, match="concept 5: there are 0 to 4"):
        made.nearest(5)
    with pytest.raises(NotebookError, match="concept -1"):
        made.labels(-1)
    assert made.table().column("label").null_count == 5


def test_repr__is_one_line_that_shows_no_control_characters(own: dict[str, Any]) -> None:
    made = Concepts.fit(own["lower"], method="kmeans_codes", codebook_size=5, language_model="bad\x1b[31m")
    assert (
        repr(made) == f"<kmeans_codes: 5 concepts of bad\\x1b[31m, width 32, {made.summary.codes_in_use} in use>"
    )


def test_sentence_tokens__are_left_out_of_labels(own: dict[str, Any]) -> None:
    tokens = np.arange(len(own["lower"])) % 5 == 0
    made = Concepts.fit(**own, method="kmeans_codes", codebook_size=1, sentence_tokens=tokens)
    assert made.store is not None
    start, end = made.store.word_range(Split.train)
    assert sum(made.labels(0).values()) == (end - start) * 4 // 5
    assert made.table().column("n_words").to_pylist() == [end - start]

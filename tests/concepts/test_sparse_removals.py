"""Sparse methods: the top neurons of a word, what is removed of it, members, saving."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from sparse_models import (
    ENCODER,
    WORDS,
    Settings,
    autoencoder,
    by_hand,
    finished,
    fit_run,
    inactive_store,
    same_bits,
)

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import (
    CONCEPT,
    MEMBER_MEAN,
    concept_counts,
    split_concepts,
)
from clvq_exp.concepts.sparse import model as sparse_model
from clvq_exp.concepts.sparse.autoencoder import SparseAutoencoder
from clvq_exp.run_folder import write_assignments
from clvq_exp.settings import Split


def test_assign__most_active_neurons_first_then_minus_one(settings: Settings) -> None:
    found = by_hand(settings, ENCODER, [-0.5] * 4).assign(WORDS)
    assert found.shape == (4, 10)
    assert found[:, :4].tolist() == [[0, 2, 1, -1], [1, 2, -1, -1], [-1, -1, -1, -1], [3, -1, -1, -1]]
    assert (found[:, 4:] == -1).all()


def test_assign__gives_ten_of_many_and_its_blocks_change_nothing(
    store: ActivationStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = torch.randn((40, 8), generator=torch.Generator().manual_seed(0)).tolist()
    model = by_hand(settings, encoder, [0.0] * 40)
    words = store.words(1)[:60].clone()
    active = model.network.encode(words)
    whole = model.assign(words)
    picked = active.gather(1, whole.clamp(min=0))
    assert (picked[:, :-1] >= picked[:, 1:]).all()
    assert torch.equal(picked[:, 9], active.sort(1, descending=True).values[:, 9])
    monkeypatch.setattr(sparse_model, "_ACTIVE_BYTES", 7 * 4 * 40)
    assert torch.equal(model.assign(words), whole)


def test_removals__by_hand(settings: Settings) -> None:
    model = by_hand(settings, ENCODER, [-0.5] * 4)
    ids = model.assign(WORDS)
    assert model.removals == ("encoder_top_10", "encoder_top_5", "encoder_top_1", CONCEPT, MEMBER_MEAN)
    torch.testing.assert_close(
        model.directions(ids, "encoder_top_1"),
        torch.tensor([[[1.0, 0, 0]], [[0, 1.0, 0]], [[0, 0, 0]], [[0, 0, 1.0]]]),
    )
    five = model.directions(ids, "encoder_top_5")
    assert five.shape == (4, 5, 3)
    # Word 0: (2,0,0), then what (1,1,0) adds to it, and (0,1,0) adds nothing more.
    torch.testing.assert_close(five[0], torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]))
    half = 0.5**0.5
    torch.testing.assert_close(five[1, :2], torch.tensor([[0, 1.0, 0], [1.0, 0, 0]]))
    assert not five[2].any()
    ten = model.directions(ids, "encoder_top_10")
    assert ten.shape == (4, 10, 3)
    assert torch.equal(ten[:, :5], five)
    decoder = model.directions(ids, CONCEPT)
    torch.testing.assert_close(decoder, torch.tensor([[[0, 0, 1.0]], [[0, 1.0, 0]], [[0, 0, 0]], [[1.0, 0, 0]]]))
    second = model.directions(torch.tensor([[2, -1, -1, -1, -1, -1, -1, -1, -1, -1]]), CONCEPT)
    torch.testing.assert_close(second, torch.tensor([[[0, half, half]]]))
    with pytest.raises(ValueError, match=r"sae offers the removals .* not 'codebook'"):
        model.directions(ids, "codebook")


def test_encoder_subspace__is_that_of_the_raw_activations(
    fitted: SparseAutoencoder, store: ActivationStore
) -> None:
    """Taking it out of a word leaves its neurons nothing to read but the biases."""
    words = store.words(1)[:50]
    ids = fitted.assign(words)
    basis = fitted.directions(ids, "encoder_top_10")
    left = words - torch.einsum("nr,nrd->nd", torch.einsum("nd,nrd->nr", words, basis), basis)
    read = torch.einsum("nd,nrd->nr", left, fitted.network.encoder_weight[ids.clamp(min=0)])
    assert (ids >= 0).any(1).sum() > 40
    assert (read * (ids >= 0)).abs().max() < 1e-4


def test_words_without_an_active_neuron__are_counted_nowhere(
    make_store: Callable[..., ActivationStore], settings: Settings, tmp_path: Path
) -> None:
    store = inactive_store(make_store, tmp_path / "store")
    model = by_hand(settings, ENCODER, [-0.5] * 4)
    assert torch.cat(list(split_concepts(model, store, 1, Split.train))).tolist() == [0, 1, -1, 3, 0]
    assert concept_counts(model, store, 1, Split.train).tolist() == [2, 1, 0, 1]
    assert concept_counts(model, store, 1, Split.validation).tolist() == [0, 0, 0, 1]
    write_assignments(tmp_path, {0: model}, store, 1)
    assert pq.read_table(tmp_path / "assignments.parquet").column("code").to_pylist() == [0, 1, -1, 3, 0, -1, 3, 1]


def test_member_mean__is_the_mean_raw_activation_of_the_words_with_the_neuron_on_top(
    fitted: SparseAutoencoder, store: ActivationStore
) -> None:
    start, end = store.word_range(Split.train)
    words = store.words(1)[start:end]
    top = fitted.assign(words)[:, 0]
    neuron = int(top[top >= 0].mode().values)
    mean = words[top == neuron].mean(0)
    ids = torch.full((2, 10), -1)
    ids[0, 0] = neuron
    found = fitted.directions(ids, MEMBER_MEAN)
    torch.testing.assert_close(found[0, 0], mean / mean.norm(), rtol=1e-4, atol=1e-5)
    assert not found[1].any()


def test_member_mean__of_a_neuron_that_is_never_on_top_is_zero(
    make_store: Callable[..., ActivationStore], settings: Settings, tmp_path: Path
) -> None:
    store = inactive_store(make_store, tmp_path / "store")
    model = by_hand(settings, ENCODER, [-0.5] * 4)
    model._finish(fit_run(store, tmp_path), finished(model, tmp_path))
    assert model.summary.codes_in_use == 3
    ids = torch.tensor([[neuron] + [-1] * 9 for neuron in range(4)])
    found = model.directions(ids, MEMBER_MEAN)[:, 0]
    mean = torch.tensor([6.0, 2.0, 0.0]) / 2
    torch.testing.assert_close(found[0], mean / mean.norm())
    assert not found[2].any()


def test_save_and_load__give_the_same_model(
    fitted: SparseAutoencoder, store: ActivationStore, settings: Settings, tmp_path: Path
) -> None:
    fitted.save(tmp_path)
    loaded = autoencoder(settings).load(tmp_path)
    words = store.words(1)[:50]
    ids = fitted.assign(words)
    assert torch.equal(loaded.assign(words), ids)
    assert same_bits(loaded, fitted)
    assert torch.equal(loaded.vectors(), fitted.vectors())
    for removal in fitted.removals:
        assert torch.equal(loaded.directions(ids, removal), fitted.directions(ids, removal))
    assert not list(tmp_path.glob("*.pt")) + list(tmp_path.glob("*.ckpt")), "no pickle is left"
    json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))

"""Sparse methods behind the interface: fit, grid, killed fits, top neurons, removals, members, saving."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from clvq_exp.activations.store import ActivationStore
from clvq_exp.artifacts import ArtifactCache, fingerprint
from clvq_exp.concepts.base import (
    CONCEPT,
    MEMBER_MEAN,
    ConceptError,
    ConceptSettings,
    FitRun,
    TrainingDivergedError,
    concept_counts,
    split_concepts,
)
from clvq_exp.concepts.sparse import model as sparse_model
from clvq_exp.concepts.sparse.autoencoder import SparseAutoencoder
from clvq_exp.concepts.sparse.module import SparseModule
from clvq_exp.concepts.sparse.network import SparseNetwork
from clvq_exp.concepts.sparse.trained import Trained, TrainedParts
from clvq_exp.concepts.sparse.transcoder import SparseTranscoder
from clvq_exp.run_folder import write_assignments, write_training_tables
from clvq_exp.settings import LayerPair, Split

Settings = Callable[..., ConceptSettings]
CPU = torch.device("cpu")
PAIR = LayerPair(1, 2)
GRID = (0.01, 0.1)


def fit_run(store: ActivationStore, folder: Path, seed: int = 0, logger: Any = None) -> FitRun:
    work = folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    return FitRun(store, PAIR, seed, work, ArtifactCache(folder / "cache"), CPU, logger)


def autoencoder(settings: Settings, **changed: Any) -> SparseAutoencoder:
    given = {"neurons": 12, "l1": GRID, "l0": 3, "learning_rate": 0.01, "batch_words": 32}
    return SparseAutoencoder(settings(), **(given | changed))


def bits(model: SparseAutoencoder) -> dict[str, torch.Tensor]:
    return model.network.state_dict()


def same_bits(one: SparseAutoencoder, other: SparseAutoencoder) -> bool:
    return one.summary == other.summary and all(
        torch.equal(bits(one)[name], bits(other)[name]) for name in bits(one)
    )


@pytest.fixture(scope="module")
def fitted_once() -> dict[str, Any]:
    return {}


@pytest.fixture
def fitted(
    store: ActivationStore, settings: Settings, tmp_path: Path, fitted_once: dict[str, Any]
) -> SparseAutoencoder:
    """Fitted once for all tests of this file: the store of each test holds the same words."""
    if "model" not in fitted_once:
        fitted_once["model"] = autoencoder(settings)
        fitted_once["model"].fit(fit_run(store, tmp_path / "fitted"))
    return fitted_once["model"]


def by_hand(settings: Settings, encoder: list[list[float]], bias: list[float]) -> SparseAutoencoder:
    """A model whose network is given: the encoder's weights and biases; the decoder mirrors the encoder."""
    weights = torch.tensor(encoder)
    network = SparseNetwork(weights.shape[1], len(weights), None, 0)
    with torch.no_grad():
        network.encoder_weight.copy_(weights)
        network.encoder_bias.copy_(torch.tensor(bias))
        network.decoder_weight.copy_(torch.nn.functional.normalize(weights.flip(1)))
    model = autoencoder(settings, neurons=len(weights))
    model._network = network
    return model


# --- fitting


def test_fit__learns_and_reports(fitted: SparseAutoencoder, store: ActivationStore) -> None:
    summary = fitted.summary
    assert [record["epoch"] for record in summary.history] == [0, 1, 2, 3]
    assert summary.history[0]["train_loss"] is None
    best = summary.history[summary.best_epoch]
    assert summary.validation_loss == best["validation_loss"]
    assert summary.validation_loss == min(record["validation_loss"] for record in summary.history[1:])
    assert summary.validation_loss < 0.5 * summary.history[0]["validation_loss"]
    assert (summary.l0, summary.dead_neurons) == (best["l0"], best["dead_neurons"])
    assert summary.chosen["l1"] in GRID
    start, end = store.word_range(Split.validation)
    active = fitted.network.encode(store.words(1)[start:end]).detach()
    assert summary.l0 == pytest.approx(float((active > 0).sum(1).float().mean()), rel=1e-6)
    assert summary.dead_neurons == int((~(active > 0).any(0)).sum())
    target = store.words(2)[start:end]
    train = store.words(2)[slice(*store.word_range(Split.train))]
    squared = float((fitted.network.decode(active) - target).detach().square().mean())
    assert best["validation_reconstruction"] == pytest.approx(squared, rel=1e-4)
    assert summary.variance_explained == pytest.approx(
        1 - squared / float((target - train.mean(0)).square().mean()), rel=1e-4
    )


def test_fit__figures_of_top_neurons(fitted: SparseAutoencoder, store: ActivationStore) -> None:
    top = {}
    for split in (Split.train, Split.validation):
        start, end = store.word_range(split)
        active = fitted.network.encode(store.words(1)[start:end])
        top[split] = active.argmax(1)[active.max(1).values > 0]
    counts = torch.bincount(top[Split.validation]).double()
    share = counts[counts > 0] / counts.sum()
    assert fitted.summary.perplexity == pytest.approx(float((-(share * share.log()).sum()).exp()))
    assert fitted.summary.codes_in_use == len(torch.cat(list(top.values())).unique())


def test_fit__training_curves_have_the_columns_of_the_history(
    fitted: SparseAutoencoder, store: ActivationStore, tmp_path: Path
) -> None:
    write_training_tables(tmp_path, {"sae": {0: fitted}}, store, 1)
    written = pq.read_table(tmp_path / "history.parquet").to_pylist()
    for row, record in zip(written, fitted.summary.history, strict=True):
        assert {name: value for name, value in row.items() if value is not None} == {
            "method": "sae",
            "seed": 0,
            **{name: value for name, value in record.items() if value is not None},
        }


def test_fit__same_seed_same_bits_other_seed_other(
    fitted: SparseAutoencoder, store: ActivationStore, settings: Settings, tmp_path: Path
) -> None:
    again, other = autoencoder(settings), autoencoder(settings)
    again.fit(fit_run(store, tmp_path / "again"))
    other.fit(fit_run(store, tmp_path / "other", seed=1))
    assert same_bits(again, fitted)
    assert not torch.equal(other.vectors(), fitted.vectors())


class KilledError(BaseException):
    """Nobody catches this."""


def killed_fit(run: FitRun, settings: Settings, monkeypatch: pytest.MonkeyPatch, l1: float, epoch: int) -> None:
    """A fit that is killed as an epoch of one network of the grid begins."""
    started = SparseModule.on_train_epoch_start

    def die(self: SparseModule) -> None:
        if (self.l1, self.current_epoch) == (l1, epoch):
            raise KilledError
        started(self)

    with monkeypatch.context() as patch:
        patch.setattr(SparseModule, "on_train_epoch_start", die)
        with pytest.raises(KilledError):
            autoencoder(settings).fit(run)


def trained_epochs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int]]:
    """Which epochs of which networks are trained from now on."""
    begun: list[tuple[float, int]] = []
    started = SparseModule.on_train_epoch_start

    def note(self: SparseModule) -> None:
        begun.append((self.l1, self.current_epoch))
        started(self)

    monkeypatch.setattr(SparseModule, "on_train_epoch_start", note)
    return begun


def test_fit__a_killed_fit_goes_on_behind_its_last_epoch_to_the_same_bits(
    fitted: SparseAutoencoder,
    store: ActivationStore,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = fit_run(store, tmp_path / "killed")
    killed_fit(run, settings, monkeypatch, l1=GRID[1], epoch=2)
    begun = trained_epochs(monkeypatch)
    resumed = autoencoder(settings)
    resumed.fit(run)
    assert begun == [(GRID[1], 2)], "nothing that was finished is trained again"
    assert same_bits(resumed, fitted)
    assert not list(run.work.iterdir()), "nothing of the grid is left"


def test_fit__a_finished_network_that_is_damaged_is_trained_again(
    fitted: SparseAutoencoder,
    store: ActivationStore,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = fit_run(store, tmp_path / "killed")
    killed_fit(run, settings, monkeypatch, l1=GRID[1], epoch=0)
    (path,) = (run.work / "networks").glob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    begun = trained_epochs(monkeypatch)
    again = autoencoder(settings)
    again.fit(run)
    assert begun[:3] == [(GRID[0], epoch) for epoch in range(3)]
    assert any("checksum differs" in message for message in caplog.messages)
    assert same_bits(again, fitted)


def test_fit__a_network_is_finished_once_it_is_entered(
    store: ActivationStore, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = fit_run(store, tmp_path)

    def die(*_: Any) -> None:
        raise KilledError

    monkeypatch.setattr(SparseAutoencoder, "choose", die)
    for _ in range(2):
        with pytest.raises(KilledError):
            autoencoder(settings).fit(run)
        monkeypatch.setattr(sparse_model, "train", pytest.fail)  # the second time there is nothing to train
    parts = TrainedParts(run.work / "networks")
    found = [parts.read(l1) for l1 in GRID]
    assert [each.l1 for each in found] == list(GRID)
    assert found[0].l0 > found[1].l0, "a heavier penalty leaves fewer neurons"
    for each in found:
        assert each.validation_loss == min(record["validation_loss"] for record in each.history[1:])


def test_fit__a_loss_that_is_not_finite_names_the_key(
    store: ActivationStore, settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(TrainingDivergedError, match=r"baseline\.learning_rate=1e\+30: lower it"):
        autoencoder(settings, learning_rate=1e30).fit(fit_run(store, tmp_path))


def test_fit__no_active_neuron_is_an_error_that_names_the_key(
    make_store: Callable[..., ActivationStore], settings: Settings, tmp_path: Path
) -> None:
    store = inactive_store(make_store, tmp_path / "store")
    model = by_hand(settings, ENCODER, [-100.0] * 4)
    with pytest.raises(ConceptError, match=r"no neuron is active .* l1=0\.1: .* smaller baseline\.l1"):
        model._finish(fit_run(store, tmp_path), finished(model, tmp_path))


def test_fit__no_training_words_is_an_error(
    make_store: Callable[..., ActivationStore], settings: Settings, tmp_path: Path
) -> None:
    words = np.ones((2, 8))
    store = make_store(tmp_path / "store", {"train": [], "validation": [1], "dev": [1]}, {1: words, 2: words})
    with pytest.raises(ConceptError, match=r"no training words: raise trainer\.sentences\.concepts"):
        autoencoder(settings).fit(fit_run(store, tmp_path))


class Noted:
    """A logger that keeps what it is told."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, float]] = []

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.steps.append((step, metrics["validation_loss"]))


def test_fit__the_curves_of_the_chosen_network_are_logged(
    store: ActivationStore, settings: Settings, tmp_path: Path
) -> None:
    noted = Noted()
    model = autoencoder(settings)
    model.fit(fit_run(store, tmp_path, logger=noted))
    assert noted.steps == [(record["epoch"], record["validation_loss"]) for record in model.summary.history]


def test_transcoder__has_k_active_of_a_multiple_of_the_width(
    store: ActivationStore, settings: Settings, tmp_path: Path
) -> None:
    model = SparseTranscoder(settings(), k=3, expansion=4, learning_rate=0.01, batch_words=32)
    model.fit(fit_run(store, tmp_path))
    assert model.n_concepts == 4 * store.width
    assert 2.5 < model.summary.l0 <= 3
    assert model.summary.chosen == {}
    assert model.summary.validation_loss == pytest.approx(
        model.summary.history[model.summary.best_epoch]["validation_reconstruction"]
    )
    ids = model.assign(store.words(1)[:40])
    assert ids.shape == (40, 10)
    assert ((ids >= 0).sum(1) <= 3).all()


def test_planted_features__are_found(
    make_store: Callable[..., ActivationStore], settings: Settings, tmp_path: Path
) -> None:
    """Each word holds a few of 12 planted features; the target has them along other directions than the source."""
    generator = np.random.default_rng(3)
    planted = [np.linalg.qr(generator.normal(size=(14, 14)))[0][:12] for _ in range(2)]
    n = 1100
    amounts = generator.uniform(1, 2, (n, 12)) * (generator.random((n, 12)) < 0.12)
    source, target = (amounts @ directions + 0.02 * generator.normal(size=(n, 14)) for directions in planted)
    lengths = {"train": [10] * 90, "validation": [10] * 10, "dev": [10] * 10}
    store = make_store(tmp_path / "store", lengths, {1: source, 2: target})
    chosen = settings(trainer__max_epochs=25)
    model = SparseAutoencoder(chosen, neurons=24, l1=[0.2], l0=2, learning_rate=0.01, batch_words=50)
    model.fit(fit_run(store, tmp_path))
    cosines = torch.from_numpy(planted[1]).float() @ model.vectors().T
    assert cosines.max(1).values.min() > 0.9, "each planted direction is a row of the decoder"
    assert model.summary.variance_explained > 0.9
    alone = torch.from_numpy((amounts > 0).sum(1) == 1)
    top = model.assign(torch.from_numpy(source).float())[:, 0]
    of_owner = cosines[torch.from_numpy(amounts.argmax(1)), top]
    assert alone.sum() > 200
    assert (of_owner[alone] > 0.9).float().mean() > 0.95, (
        "a word of one feature has a neuron of that feature on top"
    )


# --- the choice of the penalty


def trained(l1: float, l0: float, loss: float) -> Trained:
    history = ({"epoch": 0, "validation_loss": 9.0, "l0": 99.0}, {"epoch": 1, "validation_loss": loss, "l0": l0})
    return Trained(l1, history, Path("nowhere"))


def test_choice__lowest_validation_loss_within_a_quarter_of_the_wanted_l0(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    found = [trained(0.1, 60, 0.1), trained(0.2, 40, 0.3), trained(0.3, 33, 0.2), trained(0.4, 24, 0.25)]
    model = autoencoder(settings, l1=[each.l1 for each in found], l0=32)
    assert model.choose(found).l1 == 0.3
    assert model.choose([found[0], found[1], found[3]]).l1 == 0.4
    assert model.choose([found[0], found[1]]).l1 == 0.2, "exactly a quarter above is near"
    assert not caplog.messages


def test_choice__the_nearest_with_a_warning_where_none_is_near(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    found = [trained(0.1, 90, 0.1), trained(0.2, 60, 0.2), trained(0.3, 16, 0.4)]
    with caplog.at_level(logging.WARNING):
        assert autoencoder(settings, l1=[0.1, 0.2, 0.3], l0=32).choose(found).l1 == 0.2, (
            "60 / 32 is less than 32 / 16"
        )
    assert caplog.messages == [
        "no weight of the penalty gives an L0 near 32: l1=0.1 gives 90.0, l1=0.2 gives 60.0, l1=0.3 gives 16.0; "
        "l1=0.2 is kept; add weights to baseline.l1"
    ]


def test_choice__a_single_weight_is_taken_without_a_word(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    model = autoencoder(settings, l1=[0.1], l0=32)
    assert model.choose([trained(0.1, 0, 0.1)]).l1 == 0.1
    assert not caplog.messages


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"neurons": 0}, r"baseline\.neurons=0"),
        ({"l1": []}, r"baseline\.l1=\[\]"),
        ({"l1": [0.1, 0.1]}, r"baseline\.l1=\[0\.1, 0\.1\]: a list of different weights"),
        ({"l1": [-0.1]}, r"baseline\.l1=\[-0\.1\]"),
        ({"l0": 0}, r"baseline\.l0=0"),
        ({"learning_rate": 0.0}, r"baseline\.learning_rate=0\.0"),
        ({"batch_words": 0}, r"baseline\.batch_words=0"),
    ],
)
def test_arguments__that_cannot_be_trained_with_are_named(
    settings: Settings, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConceptError, match=message):
        autoencoder(settings, **changed)


def test_transcoder_arguments__that_cannot_be_trained_with_are_named(settings: Settings) -> None:
    with pytest.raises(ConceptError, match=r"baseline\.k=0"):
        SparseTranscoder(settings(), k=0)
    with pytest.raises(ConceptError, match=r"baseline\.expansion=0"):
        SparseTranscoder(settings(), expansion=0)
    with pytest.raises(
        ConceptError, match=r"baseline\.k=32 is more than the 16 neurons that baseline\.expansion=2"
    ):
        SparseTranscoder(settings(), expansion=2).neurons(8)


def test_identity__changes_with_what_reaches_training(store: ActivationStore, settings: Settings) -> None:
    def of(model: Any) -> str:
        return fingerprint(model.identity(store, PAIR))

    base = of(autoencoder(settings))
    for change in (
        {"neurons": 13},
        {"l1": [0.01]},
        {"l0": 4},
        {"learning_rate": 0.02},
        {"batch_words": 31},
    ):
        assert of(autoencoder(settings, **change)) != base, change

    def with_trainer(**trainer: Any) -> SparseAutoencoder:
        return autoencoder(lambda: settings(**trainer))

    assert of(with_trainer(trainer__max_epochs=7)) != base
    assert of(with_trainer(trainer__learning_rate=1.0, trainer__batch_size=3)) == base, "CLVQ-VAE's own"
    assert of(SparseTranscoder(settings(), k=3)) != of(SparseTranscoder(settings(), k=4))


# --- top neurons and what is removed


ENCODER = [[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
"""Four neurons of three dimensions; each has to pass 0.5."""
WORDS = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 0.0], [0.2, 0.2, 0.4], [0.0, 0.0, 9.0]])


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


def inactive_store(make_store: Callable[..., ActivationStore], folder: Path) -> ActivationStore:
    """A training word and a validation word have no active neuron; on top are 0 1 - 3 0, then - 3, then 1."""
    words = torch.cat([WORDS, WORDS[[0, 2, 3]], WORDS[[1]]]).numpy()
    return make_store(folder, {"train": [3, 2], "validation": [2], "dev": [1]}, {1: words, 2: words})


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


def finished(model: SparseAutoencoder, folder: Path) -> Trained:
    parts = TrainedParts(folder / "networks")
    record = {"epoch": 1, "validation_loss": 0.5, "l0": 1.0, "dead_neurons": 1, "variance_explained": None}
    parts.enter(0.1, model.network.state_dict(), [{**record, "epoch": 0}, record])
    return parts.read(0.1)


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

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

import clvq_exp.evaluation.probe as probe_module
from clvq_exp.evaluation.probe import (
    FoldProbes,
    Probe,
    ProbeData,
    measure_error,
    stratified_folds,
    train_fold_probes,
    train_probe,
)
from clvq_exp.settings import ProbeSettings

SMALL = ProbeSettings(hidden=16, learning_rate=1e-2, max_epochs=15)


def points(n: int, seed: int, classes: int = 2, noise: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    centres = 3 * torch.eye(classes, 6)
    return centres[labels] + noise * torch.randn((n, 6), generator=generator), labels


def blobs(n: int, seed: int, classes: int = 2, noise: float = 0.5) -> ProbeData:
    h, labels = points(n, seed, classes, noise)
    return ProbeData(lambda rows: h[rows], labels)


@pytest.mark.parametrize("classes", [2, 4])
def test_probe__learns_what_can_be_separated(classes: int) -> None:
    probe = train_probe(blobs(400, 0, classes), blobs(80, 1, classes), classes, SMALL, seed=0)
    h, labels = points(200, 2, classes)
    assert (probe.predict(h) == labels).float().mean() > 0.97


def test_probe__learns_nothing_from_noise() -> None:
    train, held_out = (blobs(300, seed) for seed in range(2))
    h, labels = points(300, 2)
    shuffled = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    probe = train_probe(
        train._replace(labels=train.labels[shuffled]),
        held_out._replace(labels=held_out.labels[shuffled]),
        2,
        SMALL,
        seed=0,
    )
    assert 0.35 < (probe.predict(h) == labels).float().mean() < 0.65


def test_probe__same_seed_same_weights_to_the_bit() -> None:
    one, two, other = (train_probe(blobs(100, 0), blobs(40, 1), 2, SMALL, seed) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_probe__is_trained_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()
    loss = probe_module.measure_loss

    def noting(probe: Probe, data: ProbeData) -> float:
        seen.add(torch.get_num_threads())
        return loss(probe, data)

    monkeypatch.setattr(probe_module, "measure_loss", noting)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        train_probe(blobs(40, 0), blobs(20, 1), 2, ProbeSettings(max_epochs=1), seed=0)
        assert (seen, torch.get_num_threads()) == ({1}, 2)
    finally:
        torch.set_num_threads(before)


def test_probe__leaves_the_global_generator_alone() -> None:
    torch.manual_seed(11)
    expected = torch.rand(4)
    torch.manual_seed(11)
    train_probe(blobs(60, 0), blobs(20, 1), 2, SMALL, seed=0)
    assert torch.equal(torch.rand(4), expected)


def test_probe__does_not_hang_on_the_global_generator() -> None:
    torch.manual_seed(1)
    one = train_probe(blobs(60, 0), blobs(20, 1), 2, SMALL, seed=0)
    torch.manual_seed(2)
    two = train_probe(blobs(60, 0), blobs(20, 1), 2, SMALL, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_early_stopping__keeps_the_best_and_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    # Held-out labels contradict the training labels after a while: the loss turns early.
    train, held_out = blobs(200, 0, noise=2.0), blobs(60, 1, noise=6.0)
    h, labels = points(60, 1, noise=6.0)

    def loss(probe: Probe) -> float:
        with torch.no_grad():
            return float(functional.cross_entropy(probe.eval()(h), labels))

    settings = replace(SMALL, learning_rate=5e-2, max_epochs=60, patience=4)
    losses: list[float] = []
    original = probe_module._epoch

    def watched(probe: Probe, *rest: object) -> None:
        original(probe, *rest)  # type: ignore[arg-type]
        losses.append(loss(probe))

    monkeypatch.setattr(probe_module, "_epoch", watched)
    probe = train_probe(train, held_out, 2, settings, seed=0)
    best = min(range(len(losses)), key=losses.__getitem__)
    assert len(losses) == best + 1 + settings.patience < settings.max_epochs
    assert loss(probe) == losses[best]
    assert not probe.training


def test_measure_loss__reads_some_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    h, labels = points(50, 0)
    read: list[int] = []

    def rows_of(rows: torch.Tensor) -> torch.Tensor:
        read.append(len(rows))
        return h[rows]

    probe = Probe(6, 2, SMALL).eval()
    expected = float(functional.cross_entropy(probe(h), labels).detach())
    monkeypatch.setattr(probe_module, "BLOCK", 16)
    assert probe_module.measure_loss(probe.train(), ProbeData(rows_of, labels)) == pytest.approx(
        expected, rel=1e-6
    )
    assert read == [16, 16, 16, 2]


def test_probe__has_the_paper_s_shape() -> None:
    probe = Probe(10, 3, ProbeSettings())
    assert [tuple(each.shape) for each in probe.parameters()] == [(64, 10), (64,), (3, 64), (3,)]
    assert isinstance(probe.layers[2], torch.nn.Dropout)
    assert probe.layers[2].p == 0.2


# ---------------------------------------------------------------- folds of dev


class Constant(Probe):
    """Answers with one class whatever it reads."""

    def __init__(self, answer: int) -> None:
        super().__init__(2, 3, SMALL)
        self.answer = answer

    def predict(self, h: torch.Tensor) -> torch.Tensor:
        return torch.full((len(h),), self.answer)


def test_fold_probes__each_reads_the_sentences_of_its_own_fold() -> None:
    probes = FoldProbes([Constant(0), Constant(1), Constant(2)], torch.tensor([2, 0, 1, 1, 0, 2]))
    assert probes.predict(torch.zeros(6, 2), torch.arange(6)).tolist() == [2, 0, 1, 1, 0, 2]
    assert probes.predict(torch.zeros(3, 2), torch.tensor([5, 1, 2])).tolist() == [2, 0, 1]
    assert probes.predict(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)).tolist() == []


def test_folds__spread_every_class_evenly() -> None:
    labels = torch.tensor([0] * 7 + [1] * 3 + [2] * 5)[torch.randperm(15)]
    folds = stratified_folds(labels, 4, seed=0)
    assert sorted(torch.bincount(folds).tolist()) == [3, 4, 4, 4]
    for label in range(3):
        of_class = torch.bincount(folds[labels == label], minlength=4)
        assert of_class.max() - of_class.min() <= 1
    assert torch.equal(folds, stratified_folds(labels, 4, seed=0))
    assert not torch.equal(folds, stratified_folds(labels, 4, seed=1))


def test_fold_probes__learn_from_the_other_folds_and_stop_on_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    h = torch.arange(12.0)[:, None]
    calls: list[tuple[set[float], set[float], bool]] = []

    def told(train: ProbeData, held_out: ProbeData, *_: object, by_error: bool) -> Probe:
        each = (data.read(torch.arange(len(data.labels)))[:, 0].tolist() for data in (train, held_out))
        calls.append((*(set(rows) for rows in each), by_error))
        return Constant(0)

    monkeypatch.setattr(probe_module, "train_probe", told)
    data = ProbeData(lambda rows: h[rows], torch.arange(12) % 2)
    found = train_fold_probes(data, 2, replace(SMALL, folds=4), seed=0)
    assert len(calls) == 4
    for fold, (train, held_out, by_error) in enumerate(calls):
        assert held_out == {float(row) for row in torch.nonzero(found.folds == fold)}
        assert train | held_out == set(range(12))
        assert not train & held_out
        assert by_error
    assert set().union(*(held_out for _, held_out, _ in calls)) == set(range(12))


def test_fold_probes__of_few_sentences_have_a_fold_each_and_of_one_are_refused() -> None:
    h, labels = points(3, 0)
    data = ProbeData(lambda rows: h[rows], labels)
    assert sorted(train_fold_probes(data, 2, replace(SMALL, max_epochs=1), seed=0).folds.tolist()) == [0, 1, 2]
    with pytest.raises(ValueError, match=r"needs at least 2 sentences of dev, not 1: raise trainer\.sentences"):
        train_fold_probes(data.only(torch.tensor([0])), 2, SMALL, seed=0)


def test_fold_probes__same_seed_same_weights_and_they_are_kept_by_name() -> None:
    data = blobs(24, 0)
    settings = replace(SMALL, folds=3, max_epochs=2)
    one, two, other = (train_fold_probes(data, 2, settings, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["probes.0.layers.0.weight"], other["probes.0.layers.0.weight"])
    assert {name.split(".layers")[0] for name in one} == {"folds", "probes.0", "probes.1", "probes.2"}


def test_error__by_hand() -> None:
    labels = torch.tensor([0, 1, 1, 0])
    probe = Probe(2, 2, SMALL)
    probe.forward = lambda h: h  # type: ignore[method-assign]  what it reads is what it answers
    logits = torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0], [0.0, 1.0]])
    assert measure_error(probe, ProbeData(lambda rows: logits[rows], labels)) == 0.5


def test_stopping_on_errors__keeps_the_first_of_the_fewest(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = iter([0.5, 0.25, 0.25, 0.5, 0.25, 0.0])
    weights: list[torch.Tensor] = []

    def scripted(probe: Probe, _data: ProbeData) -> float:
        weights.append(probe.layers[0].weight.detach().clone())
        return next(errors)

    monkeypatch.setattr(probe_module, "measure_error", scripted)
    settings = replace(SMALL, patience=3)
    probe = train_probe(blobs(40, 0), blobs(8, 1), 2, settings, seed=0, by_error=True)
    assert len(weights) == 5, "as good is not better: three epochs without a better one end it"
    assert torch.equal(probe.layers[0].weight, weights[1])

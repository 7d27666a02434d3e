from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

import clvq_exp.evaluation.probe as probe_module
from clvq_exp.evaluation.probe import Probe, ProbeData, train_probe
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

"""The probe of section 4.1.1: d -> hidden -> classes, trained on untouched representations."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from clvq_exp.seeding import derived_seed, scoped_seed, torch_generator
from clvq_exp.settings import ProbeSettings

BLOCK = 1024
"""Representations that are in memory at once when a loss is measured."""


class ProbeData(NamedTuple):
    """Representations with gold labels. Representations are read when they are needed, a batch at a time."""

    read: Callable[[Int64[Tensor, " batch"]], Float[Tensor, "batch d"]]
    """The representations of some rows."""
    labels: Int64[Tensor, " n"]


class Probe(nn.Module):
    """Two linear layers with ReLU and dropout; inputs are not standardised."""

    def __init__(self, width: int, n_classes: int, settings: ProbeSettings) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, settings.hidden),
            nn.ReLU(),
            nn.Dropout(settings.dropout),
            nn.Linear(settings.hidden, n_classes),
        )

    def forward(self, h: Float[Tensor, "n d"]) -> Float[Tensor, "n classes"]:
        """Class logits."""
        return self.layers(h)

    @torch.no_grad()
    def predict(self, h: Float[Tensor, "n d"]) -> Int64[Tensor, " n"]:
        """Predicted classes."""
        return self.eval()(h).argmax(1)


def train_probe(
    train: ProbeData, held_out: ProbeData, n_classes: int, settings: ProbeSettings, seed: int
) -> Probe:
    """Train a probe; the weights of lowest held-out loss are kept.

    Args:
        train: what it learns from.
        held_out: what early stopping reads; never the data that accuracy is reported on.
        n_classes: number of classes.
        settings: sizes, rates, patience.
        seed: of weights, order and dropout.
    """
    with scoped_seed(seed, "probe weights"):
        probe = Probe(train.read(torch.arange(1)).shape[1], n_classes, settings)
    optimizer = torch.optim.Adam(probe.parameters(), lr=settings.learning_rate)
    best_loss, best_state, waited = float("inf"), probe.state_dict(), 0
    for epoch in range(settings.max_epochs):
        _epoch(probe, optimizer, train, settings, derived_seed(seed, "probe", epoch))
        loss = measure_loss(probe, held_out)
        if loss < best_loss:
            best_loss, waited = loss, 0
            best_state = {name: value.clone() for name, value in probe.state_dict().items()}
        else:
            waited += 1
            if waited >= settings.patience:
                break
    probe.load_state_dict(best_state)
    return probe.eval()


@torch.no_grad()
def measure_loss(probe: Probe, data: ProbeData) -> float:
    """Mean cross-entropy of a probe in evaluation mode."""
    probe.eval()
    logits = [probe(data.read(rows)) for rows in torch.arange(len(data.labels)).split(BLOCK)]
    return float(functional.cross_entropy(torch.cat(logits), data.labels))


def _epoch(
    probe: Probe, optimizer: torch.optim.Optimizer, train: ProbeData, settings: ProbeSettings, seed: int
) -> None:
    order = torch.randperm(len(train.labels), generator=torch_generator(seed, "order"))
    probe.train()
    with scoped_seed(seed, "dropout"):
        for rows in order.split(settings.batch_size):
            optimizer.zero_grad()
            functional.cross_entropy(probe(train.read(rows)), train.labels[rows]).backward()
            optimizer.step()

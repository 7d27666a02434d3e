"""The probe of section 4.1.1: d -> hidden -> classes, trained on untouched representations."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from clvq_exp.seeding import derived_seed, scoped_seed, torch_generator
from clvq_exp.settings import ProbeSettings


class ProbeData(NamedTuple):
    """Representations with gold labels."""

    h: Float[Tensor, "n d"]
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
        probe = Probe(train.h.shape[1], n_classes, settings)
    optimizer = torch.optim.Adam(probe.parameters(), lr=settings.learning_rate)
    best_loss, best_state, waited = float("inf"), probe.state_dict(), 0
    for epoch in range(settings.max_epochs):
        _epoch(probe, optimizer, train, settings, derived_seed(seed, "probe", epoch))
        with torch.no_grad():
            loss = float(functional.cross_entropy(probe.eval()(held_out.h), held_out.labels))
        if loss < best_loss:
            best_loss, waited = loss, 0
            best_state = {name: value.clone() for name, value in probe.state_dict().items()}
        else:
            waited += 1
            if waited >= settings.patience:
                break
    probe.load_state_dict(best_state)
    return probe.eval()


def _epoch(
    probe: Probe, optimizer: torch.optim.Optimizer, train: ProbeData, settings: ProbeSettings, seed: int
) -> None:
    order = torch.randperm(len(train.h), generator=torch_generator(seed, "order"))
    probe.train()
    with scoped_seed(seed, "dropout"):
        for rows in order.split(settings.batch_size):
            optimizer.zero_grad()
            functional.cross_entropy(probe(train.h[rows]), train.labels[rows]).backward()
            optimizer.step()

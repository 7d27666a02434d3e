"""The probe of section 4.1.1: d -> hidden -> classes, trained on untouched representations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from clvq_exp.seeding import derived_seed, numpy_generator, scoped_seed, torch_generator
from clvq_exp.settings import ProbeSettings
from clvq_exp.threads import one_thread

BLOCK = 1024
"""Representations that are in memory at once when a loss is measured."""


class ProbeData(NamedTuple):
    """Representations with gold labels. Representations are read when they are needed, a batch at a time."""

    read: Callable[[Int64[Tensor, " batch"]], Float[Tensor, "batch d"]]
    """The representations of some rows."""
    labels: Int64[Tensor, " n"]

    def only(self, chosen: Int64[Tensor, " m"]) -> ProbeData:
        """Some of them, by their positions."""
        return ProbeData(lambda rows: self.read(chosen[rows]), self.labels[chosen])


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


class FoldProbes(nn.Module):
    """One probe for each fold of some sentences, which reads the sentences of its own fold.

    Args:
        probes: one per fold.
        folds: fold of each sentence.
    """

    folds: Tensor

    def __init__(self, probes: Sequence[Probe], folds: Int64[Tensor, " n"]) -> None:
        super().__init__()
        self.probes = nn.ModuleList(probes)
        self.register_buffer("folds", folds)

    def predict(self, h: Float[Tensor, "n d"], rows: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
        """Predicted classes of some sentences.

        Args:
            h: their representations.
            rows: their positions among all sentences.
        """
        folds = self.folds[rows]
        found = torch.zeros_like(rows)
        for fold in folds.unique().tolist():
            mine = folds == fold
            found[mine] = cast(Probe, self.probes[fold]).predict(h[mine])
        return found


def train_fold_probes(data: ProbeData, n_classes: int, settings: ProbeSettings, seed: int) -> FoldProbes:
    """Cross-validation: for each fold, a probe that is trained on the others and stopped on the fold itself.

    What stops a probe is then reported as its accuracy, which is so a little too high.

    Args:
        data: all sentences; each class is spread evenly over the folds.
        n_classes: number of classes.
        settings: sizes, rates, patience, folds: at most as many as there are sentences.
        seed: of the folds, and of weights, order and dropout.

    Raises:
        ValueError: a single sentence, which leaves nothing to train on.
    """
    n_folds = min(settings.folds, len(data.labels))
    if n_folds < 2:
        raise ValueError(
            f"probe.trained_on=dev_folds needs at least 2 sentences of dev, not {len(data.labels)}: raise "
            "trainer.sentences.evaluation, or set probe.trained_on=training_split"
        )
    folds = stratified_folds(data.labels, n_folds, seed)
    probes: list[Probe] = []
    for fold in range(n_folds):
        others, own = (data.only(torch.nonzero(which).squeeze(1)) for which in (folds != fold, folds == fold))
        probes.append(
            train_probe(others, own, n_classes, settings, derived_seed(seed, "fold", fold), by_error=True)
        )
    return FoldProbes(probes, folds)


def stratified_folds(labels: Int64[Tensor, " n"], n_folds: int, seed: int) -> Int64[Tensor, " n"]:
    """The fold of each sentence: folds differ by one sentence at most, and so do they within each class.

    Args:
        labels: gold classes.
        n_folds: how many folds.
        seed: of the order in which the sentences of a class are dealt out.
    """
    order = numpy_generator(seed, "folds").permutation(len(labels))
    by_class = order[np.argsort(labels.numpy()[order], kind="stable")]
    folds = torch.empty(len(labels), dtype=torch.int64)
    folds[torch.from_numpy(by_class)] = torch.arange(len(labels)) % n_folds
    return folds


@one_thread()
def train_probe(
    train: ProbeData,
    held_out: ProbeData,
    n_classes: int,
    settings: ProbeSettings,
    seed: int,
    by_error: bool = False,
) -> Probe:
    """Train a probe; the weights of lowest held-out loss, or of fewest held-out errors, are kept.

    Args:
        train: what it learns from.
        held_out: what early stopping reads; the data that accuracy is reported on in `train_fold_probes` only.
        n_classes: number of classes.
        settings: sizes, rates, patience.
        seed: of weights, order and dropout.
        by_error: stop on the share of held-out errors instead of the loss.
    """
    with scoped_seed(seed, "probe weights"):
        probe = Probe(train.read(torch.arange(1)).shape[1], n_classes, settings)
    optimizer = torch.optim.Adam(probe.parameters(), lr=settings.learning_rate)
    least, best_state, waited = float("inf"), probe.state_dict(), 0
    for epoch in range(settings.max_epochs):
        _epoch(probe, optimizer, train, settings, derived_seed(seed, "probe", epoch))
        missed = (measure_error if by_error else measure_loss)(probe, held_out)
        if missed < least:
            least, waited = missed, 0
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
    return float(functional.cross_entropy(_logits(probe, data), data.labels))


@torch.no_grad()
def measure_error(probe: Probe, data: ProbeData) -> float:
    """Share of sentences that a probe gets wrong in evaluation mode."""
    return float((_logits(probe, data).argmax(1) != data.labels).double().mean())


def _logits(probe: Probe, data: ProbeData) -> Float[Tensor, "n classes"]:
    probe.eval()
    return torch.cat([probe(data.read(rows)) for rows in torch.arange(len(data.labels)).split(BLOCK)])


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

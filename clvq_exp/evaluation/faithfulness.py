"""Concept ablation (section 4.1): what a probe loses when a concept is taken out of a sentence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import ConceptModel, concept_counts
from clvq_exp.evaluation.controls import (
    BLOCK,
    ORIGINAL,
    PERTURBED,
    REFIT,
    REFIT_ORIGINAL,
    Directions,
    Removal,
    Subjects,
    perturbed,
)
from clvq_exp.evaluation.probe import FoldProbes, Probe, ProbeData, train_fold_probes, train_probe
from clvq_exp.evaluation.projection import remove
from clvq_exp.evaluation.statistics import Outcomes
from clvq_exp.seeding import derived_seed, numpy_generator
from clvq_exp.settings import ProbeSettings, ProbeTrainedOn, Split

REFIT_HELD_OUT = 0.1
"""Share of the refit sentences that early stopping reads."""


class AblationPlan(NamedTuple):
    """All that is the same for every method and seed of a cell."""

    store: ActivationStore
    layer: int
    n_classes: int
    dev: Subjects
    refit: Subjects
    """Training sentences for the refit probes; may be empty."""
    fixed: Directions
    probe: ProbeSettings


class Probes(NamedTuple):
    """Probes of one seed that hang on no method."""

    original: Probe | FoldProbes
    refit_original: Probe | None
    """Trained on the refit sentences, untouched: what `refit` is to be held against; None for fewer than two."""

    def predict(self, h: Float[Tensor, "n d"], rows: NDArray[np.int64]) -> Int64[Tensor, " n"]:
        """Classes of some dev sentences, by their position, from representations that may be perturbed."""
        if isinstance(self.original, FoldProbes):
            return self.original.predict(h, torch.from_numpy(rows))
        return self.original.predict(h)


class RemovalOutcomes(NamedTuple):
    """Per-sentence outcomes of one removal, over seeds."""

    correct: dict[str, Outcomes]
    """Condition -> `[seeds, sentences]`."""
    removed_norm: dict[str, float]
    """Condition -> mean share of |h| that is removed."""
    rank: int
    empty: float
    """Share of sentences whose concept has no direction to remove."""


class SeedAblation(NamedTuple):
    """One seed of one removal, one value per sentence."""

    correct: dict[str, Bool[Tensor, " n"]]
    """Condition -> whether the probe is right."""
    removed_share: dict[str, Float[Tensor, " n"]]
    """Condition -> share of |h| that is removed."""
    empty: Bool[Tensor, " n"]
    """Whether the concept has no direction to remove."""


def train_probes(plan: AblationPlan, seed: int) -> Probes:
    """The probes of one seed: trained on the training split and stopped on the validation split, or inside dev."""
    probe_seed = derived_seed(seed, "probe")
    if plan.probe.trained_on is ProbeTrainedOn.dev_folds:
        dev = ProbeData(lambda rows: plan.dev.h(rows.numpy()), plan.dev.labels)
        original = train_fold_probes(dev, plan.n_classes, plan.probe, probe_seed)
    else:
        train, validation = (_untouched(plan, split) for split in (Split.train, Split.validation))
        original = train_probe(train, validation, plan.n_classes, plan.probe, probe_seed)
    if len(plan.refit) < 2:  # one to train on and one to stop by
        return Probes(original, None)
    return Probes(original, _refit_probe(plan, plan.refit.h, probe_seed))


def _untouched(plan: AblationPlan, split: Split) -> ProbeData:
    sentences = plan.store.sentence_ids(split)
    return ProbeData(
        lambda rows: plan.store.gather_sentences(plan.layer, sentences[rows.numpy()]), plan.store.labels(split)
    )


def ablate(plan: AblationPlan, removal: Removal, probes: Probes, block: int = BLOCK) -> SeedAblation:
    """All conditions of one removal for one seed, some sentences at a time.

    Args:
        plan: sentences and settings.
        removal: what each dev sentence loses.
        probes: the probes of this seed.
        block: sentences in memory at once.
    """
    refit = _refit_after(plan, removal) if probes.refit_original is not None else None
    correct: dict[str, list[Tensor]] = defaultdict(list)
    shares: dict[str, list[Tensor]] = defaultdict(list)
    empty: list[Tensor] = []
    all_labels = plan.dev.labels
    for rows, bases in removal.blocks(size=block):
        h, labels = plan.dev.h(rows), all_labels[torch.from_numpy(rows)]
        length = h.norm(dim=1).clamp(min=torch.finfo(h.dtype).tiny)
        correct[ORIGINAL].append(probes.predict(h, rows) == labels)
        for name, left in perturbed(h, bases):
            correct[name].append(probes.predict(left, rows) == labels)
            shares[name].append((h - left).norm(dim=1) / length)
        if refit is not None and probes.refit_original is not None:
            correct[REFIT].append(refit.predict(remove(h, bases[PERTURBED])) == labels)
            correct[REFIT_ORIGINAL].append(probes.refit_original.predict(h) == labels)
        empty.append(bases[PERTURBED].abs().sum((1, 2)) == 0)
    return SeedAblation(_joined(correct), _joined(shares), torch.cat(empty))


def _joined(parts: Mapping[str, Sequence[Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat(list(each)) for name, each in parts.items()}


def ablate_all(
    plan: AblationPlan, models: Mapping[int, ConceptModel], probes: Mapping[int, Probes]
) -> tuple[dict[str, RemovalOutcomes], dict[str, dict[int, Removal]]]:
    """Every removal of a method over all seeds, one after another.

    Returns:
        Outcomes by removal, and what is removed by removal and seed, for the live intervention.
    """
    first = next(iter(models.values()))
    active = {
        seed: np.flatnonzero(concept_counts(model, plan.store, plan.layer, Split.train).numpy())
        for seed, model in models.items()
    }
    outcomes: dict[str, RemovalOutcomes] = {}
    removals: dict[str, dict[int, Removal]] = {}
    with tqdm(total=len(first.removals) * len(models), desc=f"ablation, {first.name}", unit="fit") as progress:
        for name in first.removals:
            removals[name] = {
                seed: Removal(model, plan.dev, plan.fixed, active[seed], name, seed)
                for seed, model in models.items()
            }
            runs: list[SeedAblation] = []
            for seed, removal in removals[name].items():
                runs.append(ablate(plan, removal, probes[seed]))
                progress.update()
            outcomes[name] = _collect(runs, next(iter(removals[name].values())).rank)
    return outcomes, removals


def _collect(runs: Sequence[SeedAblation], rank: int) -> RemovalOutcomes:
    return RemovalOutcomes(
        correct={name: np.stack([run.correct[name].numpy() for run in runs]) for name in runs[0].correct},
        removed_norm={
            name: float(np.mean([float(run.removed_share[name].mean()) for run in runs]))
            for name in runs[0].removed_share
        },
        rank=rank,
        empty=float(np.mean([float(run.empty.float().mean()) for run in runs])),
    )


def _refit_after(plan: AblationPlan, removal: Removal) -> Probe:
    """A probe that is trained with the concept removed."""
    of_refit = replace(removal, who=plan.refit)

    def read(rows: NDArray[np.int64]) -> Tensor:
        return remove(plan.refit.h(rows), of_refit.own_basis(rows))

    return _refit_probe(plan, read, derived_seed(removal.seed, "probe"))


def _refit_probe(plan: AblationPlan, read: Callable[[NDArray[np.int64]], Tensor], seed: int) -> Probe:
    order = numpy_generator(seed, "refit split").permutation(len(plan.refit))
    n_held_out = max(1, round(REFIT_HELD_OUT * len(plan.refit)))
    labels = plan.refit.labels

    def data(chosen: NDArray[np.int64]) -> ProbeData:
        return ProbeData(lambda rows: read(chosen[rows.numpy()]), labels[torch.from_numpy(chosen)])

    return train_probe(data(order[n_held_out:]), data(order[:n_held_out]), plan.n_classes, plan.probe, seed)

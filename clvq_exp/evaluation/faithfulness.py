"""Concept ablation (section 4.1): what a probe loses when a concept is taken out of a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import ConceptModel, concept_counts
from clvq_exp.evaluation.controls import (
    ORIGINAL,
    PERTURBED,
    REFIT,
    REFIT_ORIGINAL,
    Directions,
    Perturbation,
    Subjects,
    perturbations,
)
from clvq_exp.evaluation.probe import Probe, ProbeData, train_probe
from clvq_exp.evaluation.projection import remove
from clvq_exp.evaluation.statistics import Outcomes
from clvq_exp.seeding import derived_seed, numpy_generator
from clvq_exp.settings import ProbeSettings, Split

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

    original: Probe
    refit_original: Probe | None
    """Trained on the refit sentences, untouched: what `refit` is to be held against; None for fewer than two."""


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
    """One seed of one removal."""

    made: dict[str, Perturbation]
    correct: dict[str, NDArray[np.bool_]]


def train_probes(plan: AblationPlan, seed: int) -> Probes:
    """The probes of one seed: trained on the training split, stopped on the validation split."""
    data = {
        split: ProbeData(plan.store.sentence_representations(plan.layer, split), plan.store.labels(split))
        for split in (Split.train, Split.validation)
    }
    probe_seed = derived_seed(seed, "probe")
    original = train_probe(data[Split.train], data[Split.validation], plan.n_classes, plan.probe, probe_seed)
    if len(plan.refit.h) < 2:  # one to train on and one to stop by
        return Probes(original, None)
    return Probes(original, _refit_probe(plan, plan.refit.h, probe_seed))


def ablate(
    plan: AblationPlan,
    model: ConceptModel,
    active: NDArray[np.int64],
    probes: Probes,
    removal: str,
    seed: int,
) -> SeedAblation:
    """All conditions of one removal for one seed.

    Args:
        plan: sentences and settings.
        model: the concept model of this seed.
        active: its concepts that hold training words.
        probes: the probes of this seed.
        removal: one of the model's removals.
        seed: of random directions, codes and words.
    """
    made = perturbations(model, plan.store, plan.layer, plan.dev, plan.fixed, active, removal, seed)
    labels = plan.dev.labels
    correct = {ORIGINAL: _correct(probes.original, plan.dev.h, labels)}
    correct |= {name: _correct(probes.original, each.h, labels) for name, each in made.items()}
    if probes.refit_original is not None:
        basis = model.directions(model.assign(plan.refit.salient), removal).cpu()
        refit = _refit_probe(plan, remove(plan.refit.h, basis), derived_seed(seed, "probe"))
        correct[REFIT] = _correct(refit, made[PERTURBED].h, labels)
        correct[REFIT_ORIGINAL] = _correct(probes.refit_original, plan.dev.h, labels)
    return SeedAblation(made, correct)


def ablate_all(
    plan: AblationPlan, models: Mapping[int, ConceptModel], probes: Mapping[int, Probes]
) -> tuple[dict[str, RemovalOutcomes], dict[tuple[str, int], dict[str, Perturbation]]]:
    """Every removal of a method over all seeds.

    Returns:
        Outcomes by removal, and the perturbations by (removal, seed) for the live intervention.
    """
    first = next(iter(models.values()))
    active = {
        seed: np.flatnonzero(concept_counts(model, plan.store, plan.layer, Split.train).numpy())
        for seed, model in models.items()
    }
    outcomes: dict[str, RemovalOutcomes] = {}
    kept: dict[tuple[str, int], dict[str, Perturbation]] = {}
    with tqdm(total=len(first.removals) * len(models), desc=f"ablation, {first.name}", unit="fit") as progress:
        for removal in first.removals:
            runs: list[SeedAblation] = []
            for seed, model in models.items():
                runs.append(ablate(plan, model, active[seed], probes[seed], removal, seed))
                kept[removal, seed] = runs[-1].made
                progress.update()
            outcomes[removal] = _collect(plan, runs)
    return outcomes, kept


def _collect(plan: AblationPlan, runs: Sequence[SeedAblation]) -> RemovalOutcomes:
    h = plan.dev.h
    length = h.norm(dim=1).clamp(min=torch.finfo(h.dtype).tiny)
    basis = runs[0].made[PERTURBED].basis
    return RemovalOutcomes(
        correct={
            name: np.stack([run.correct[name] for run in runs]).astype(np.float64) for name in runs[0].correct
        },
        removed_norm={
            name: float(np.mean([float(((h - run.made[name].h).norm(dim=1) / length).mean()) for run in runs]))
            for name in runs[0].made
        },
        rank=basis.shape[1],
        empty=float(
            np.mean([float((run.made[PERTURBED].basis.abs().sum((1, 2)) == 0).float().mean()) for run in runs])
        ),
    )


def _correct(probe: Probe, h: Tensor, labels: Tensor) -> NDArray[np.bool_]:
    return (probe.predict(h) == labels).numpy()


def _refit_probe(plan: AblationPlan, h: Tensor, seed: int) -> Probe:
    order = numpy_generator(seed, "refit split").permutation(len(h))
    n_held_out = max(1, round(REFIT_HELD_OUT * len(h)))
    held_out, train = torch.from_numpy(order[:n_held_out]), torch.from_numpy(order[n_held_out:])
    labels = plan.refit.labels
    return train_probe(
        ProbeData(h[train], labels[train]),
        ProbeData(h[held_out], labels[held_out]),
        plan.n_classes,
        plan.probe,
        seed,
    )

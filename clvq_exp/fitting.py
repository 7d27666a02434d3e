"""Concept methods by name, and one fit of one of them: on this machine's devices, through the artifact cache."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch

from clvq_exp.activations.store import ActivationStore
from clvq_exp.artifacts import ArtifactCache, plain
from clvq_exp.concepts.base import ConceptModel, ConceptSettings, FitRun
from clvq_exp.concepts.training import Finished
from clvq_exp.config import Config, Method
from clvq_exp.ranks import ranks, run_on_ranks
from clvq_exp.report.run_logger import TRAINING, LoggedRun, finish, log_curves, make_training_logger


class ConceptFit(NamedTuple):
    """What one fit is made of."""

    config: Config
    method: Method
    store: ActivationStore
    seed: int
    device: torch.device
    folder: Path
    """The run folder, where curves are logged."""

    def logger(self) -> Any:
        """Of the training curves."""
        name, method = f"{self.method.name}-seed_{self.seed}", self.method
        run = LoggedRun(name, TRAINING, method.name, method.init.name, [self.seed])
        return make_training_logger(self.config.logger, self.folder, run, plain(self.config))


def fitted(work: ConceptFit, cache: ArtifactCache) -> tuple[ConceptModel, Path]:
    """Fit a concept model, or load the one that was fitted before from the same things.

    Args:
        work: what to fit.
        cache: where fitted models are kept.

    Returns:
        The model, and the artifact that holds it.

    Raises:
        ConceptError: it cannot be fitted to these activations.
        RankError: of several processes, one died.
    """
    model = make_method(work.method, work.config)
    devices = work.config.trainer.devices if model.is_trained else 1
    fitted_now: list[int] = []

    def fit(out: Path) -> None:
        if devices > 1:
            run_on_ranks(devices, work.device.type, fit_concepts, work, out)
        else:
            fit_concepts(work, out, cache)
        fitted_now.append(work.seed)

    # What sums were made on is part of the identity: their last bits hang on it.
    device = work.device.type if devices == 1 else f"{devices} {work.device.type}"
    identity = {**model.identity(work.store, work.config.layer_pair), "seed": work.seed, "device": device}
    source = cache.get_or_make("concept_models", identity, fit, resumable=True)
    model.load(source).to(work.device)
    if not fitted_now:
        logger = work.logger()
        log_curves(logger, model.summary.history)
        finish(logger, {}, work.folder)
    return model, source


def fit_concepts(work: ConceptFit, out: Path, cache: ArtifactCache | None = None) -> None:
    """Fit a concept model and save it; in one process, or in each of several that train it together.

    Args:
        work: what to fit.
        out: where the model goes.
        cache: this process's; None opens it.
    """
    who = ranks()
    device = (
        torch.device(work.device.type, who.rank) if who.world > 1 and work.device.type == "cuda" else work.device
    )
    logger = work.logger() if who.rank == 0 else None
    model = make_method(work.method, work.config)
    label = f"{work.method.name}, seed {work.seed}"
    run = FitRun(
        work.store, work.config.layer_pair, work.seed, out, cache or ArtifactCache(), device, logger, label
    )
    try:
        model.fit(run)
    except Finished:
        return
    model.save(out)
    finish(logger, {}, work.folder)


def make_method(method: Method, config: Config) -> ConceptModel:
    """Build a concept method that `conf/baseline/` names: the one place where a class is looked up.

    Raises:
        ValueError: no such class, or arguments that it does not take.
    """
    settings = ConceptSettings(
        config.encoder,
        config.quantizer,
        config.decoder,
        method.init,
        config.trainer,
        config.weight_decay_on,
    )
    module, _, name = method.target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
        return cast(ConceptModel, found(settings, **method.arguments))
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{method.name}: {method.target} with {method.arguments}: {error}") from error


def check_devices(device: torch.device, devices: int) -> None:
    """Whether so many processes can have a GPU each.

    Raises:
        ValueError: fewer GPUs than processes, or one GPU named for several.
    """
    if device.type != "cuda" or devices == 1:
        return
    if ":" in str(device):
        raise ValueError(
            f"trainer.devices={devices}, but trainer.device={device} is one GPU: set trainer.device=cuda, and "
            "choose GPUs by CUDA_VISIBLE_DEVICES"
        )
    if devices > torch.cuda.device_count():
        raise ValueError(
            f"trainer.devices={devices}: {torch.cuda.device_count()} GPUs are to be seen; lower it, or look at "
            "CUDA_VISIBLE_DEVICES"
        )


def choose_device(name: str) -> torch.device:
    """`auto` takes a GPU where there is one.

    Raises:
        ValueError: a device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"trainer.device={name}: no GPU is to be seen; set trainer.device=cpu")
    return device

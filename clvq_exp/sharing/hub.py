"""Concept models on the Hugging Face hub."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from clvq_exp.sharing.card import HUB_ID
from clvq_exp.sharing.folder import save_folder
from clvq_exp.sharing.records import SharedModel, SharingError

_FETCHED = ("*.json", "*.safetensors", "*.parquet", "README.md")


def is_hub_id(name: str) -> bool:
    """Whether a name has the form `owner/name`."""
    return HUB_ID.fullmatch(name) is not None


def fetch(repo_id: str, revision: str | None = None) -> Path:
    """The folder of a model of the hub, in the hub's local cache.

    Args:
        repo_id: `owner/name`.
        revision: a commit, tag or branch; None for the newest.

    Raises:
        SharingError: it is not there, or cannot be reached.
    """
    from huggingface_hub import snapshot_download

    with _hub_errors(
        f"{repo_id} cannot be fetched from the hub", "give a folder, or fetch it once with a network"
    ):
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=list(_FETCHED)))


def push(shared: SharedModel, repo_id: str, private: bool = True, with_words: bool = True) -> str:
    """Write a model and send it to the hub in one commit.

    Args:
        shared: the model and what is told of it.
        repo_id: `owner/name`; made where it is not there.
        private: of a repository that is made: whether only its owner sees it.
        with_words: whether words of the data set are sent.

    Returns:
        The address of the commit.

    Raises:
        SharingError: no network, no login, or no right to write there.
    """
    if not is_hub_id(repo_id):
        raise SharingError(f"repo_id={repo_id!r} is no name on the hub: give owner/name")
    from huggingface_hub import HfApi

    advice = "log in (`hf auth login`), or save it with save_pretrained and send the folder later"
    with (
        tempfile.TemporaryDirectory(prefix="clvq_exp-") as scratch,
        _hub_errors(f"{repo_id} cannot be sent to the hub", advice),
    ):
        folder = save_folder(Path(scratch) / "model", shared, with_words, repo_id)
        api = HfApi()
        api.create_repo(repo_id, private=private, exist_ok=True)
        sent = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Concept model of clvq_exp")
        return str(sent.commit_url)


@contextmanager
def _hub_errors(what: str, advice: str) -> Generator[None]:
    """Turn what the hub's client raises into one error that says what to do."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        yield
    except (SharingError, HFValidationError) as error:
        raise SharingError(str(error)) from error
    except (HfHubHTTPError, OSError) as error:
        offline = " (HF_HUB_OFFLINE is set: unset it)" if constants.HF_HUB_OFFLINE else ""
        said = re.split(r"\n", str(error).strip() or type(error).__name__)[0]
        raise SharingError(f"{what}{offline}: {said}; {advice}") from error

"""How `transformers` is asked for a network and its tokenizer: the one place that opens a checkpoint."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError

from clvq_exp.language_models.base import LanguageModelError
from clvq_exp.language_models.sources import PICKLES, WHAT_BELONGS_THERE, check_weights, has_safetensors
from clvq_exp.settings import ModelKind, ModelSettings

_CPU = torch.device("cpu")


class Checkpoint(NamedTuple):
    """What a model folder holds."""

    network: Any
    """The network, in its number format, on its device."""
    tokenizer: Any
    """A fast tokenizer."""


def load_checkpoint(folder: Path, settings: ModelSettings, device: torch.device = _CPU, **head: Any) -> Checkpoint:
    """Load a network and its tokenizer: a classifier for encoders, a language model for decoders.

    Args:
        folder: a model folder.
        settings: kind, number format, `device_map`, `allow_pickle` and `allow_remote_code`.
        device: where the network goes, unless `device_map` spreads it.
        head: further arguments of `from_pretrained`, for a head of other classes.

    Raises:
        LanguageModelError: unsafe or damaged files, or a tokenizer without offsets, pad token or vocabulary.
    """
    import transformers

    decoder = settings.kind is ModelKind.decoder
    kind: Any = transformers.AutoModelForCausalLM if decoder else transformers.AutoModelForSequenceClassification
    check_weights(folder, settings)
    given = {"local_files_only": True, "trust_remote_code": settings.allow_remote_code}
    with _plain_errors(folder, "tokenizer"):
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, use_fast=True, **given)
    require_offsets(tokenizer, settings.name)
    if not decoder:
        require_pad_id(tokenizer, settings.name)
    _require_vocabulary(tokenizer, folder)
    with _plain_errors(folder, "model"):
        network: Any = kind.from_pretrained(
            folder,
            use_safetensors=has_safetensors(folder),
            weights_only=True,  # of a pickle, should one be allowed: tensors and nothing else
            dtype=getattr(torch, settings.number_format.value),
            device_map=settings.device_map,
            **given,
            **head,
        )
    return Checkpoint(network if settings.device_map else network.to(device), tokenizer)


def require_offsets(tokenizer: Any, name: str) -> None:
    """Refuse a tokenizer that cannot say which characters a sub-word covers.

    Raises:
        LanguageModelError: says what to put where.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise LanguageModelError(
            f"model {name}: its tokenizer gives no character offsets, so words cannot be told "
            "from sub-words; put a tokenizer.json (fast tokenizer) into model.path"
        )


def require_pad_id(tokenizer: Any, name: str) -> int:
    """The id that fills up a batch.

    Raises:
        LanguageModelError: the tokenizer has none.
    """
    if tokenizer.pad_token_id is None:
        raise LanguageModelError(
            f"model {name}: its tokenizer has no pad token; set pad_token in tokenizer_config.json"
        )
    return int(tokenizer.pad_token_id)


def _require_vocabulary(tokenizer: Any, folder: Path) -> None:
    """`transformers` makes an empty tokenizer where a folder has no file for one."""
    if len(tokenizer) <= len(set(tokenizer.all_special_tokens)):
        raise LanguageModelError(
            f"{folder} holds no vocabulary, so every word would be unknown to its tokenizer: "
            f"give {WHAT_BELONGS_THERE}"
        )


@contextmanager
def _plain_errors(folder: Path, what: str) -> Generator[None]:
    try:
        yield
    except (UnpicklingError, EOFError) as error:
        found = ", ".join(sorted(path.name for path in folder.glob(PICKLES)))
        raise LanguageModelError(
            f"{folder}: {found} cannot be read as tensors alone: it is damaged, or holds something that would "
            "run code, and nothing of it was run; get the weights as model.safetensors"
        ) from error
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LanguageModelError(
            f"{folder}: transformers cannot load its {what} ({said}): give {WHAT_BELONGS_THERE}"
        ) from error

"""GGUF files: what they hold, and their conversion to safetensors."""

from __future__ import annotations

import importlib
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from clvq_exp.language_models.base import LanguageModelError
from clvq_exp.settings import ModelSettings

_NAMES = {
    "num_hidden_layers": "block_count",
    "hidden_size": "embedding_length",
    "num_attention_heads": "attention.head_count",
    "intermediate_size": "feed_forward_length",
    "vocab_size": "vocab_size",
    "max_position_embeddings": "context_length",
}
"""config.json's names of a model's sizes, and GGUF's."""


class GgufFile(NamedTuple):
    """What a GGUF file says of its model."""

    sizes: dict[str, int]
    """Under config.json's names."""
    parameters: int
    """All weights."""
    tied: bool
    """Whether the output embeddings are the input's."""


def read_gguf(folder: Path, settings: ModelSettings) -> GgufFile:
    """Sizes of a GGUF model, read without its weights, and once for each state of the file.

    Raises:
        LanguageModelError: the reader is not installed, or the file cannot be read.
    """
    _require_reader(settings)
    path = _path(folder, settings)
    try:
        return _read(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise LanguageModelError(f"{path} cannot be read as GGUF ({error}): get the file again") from error


@lru_cache(maxsize=8)
def _read(path: Path, _changed: int) -> GgufFile:
    """Reading takes seconds: a file has its whole vocabulary before its tensors."""
    import gguf

    reader: Any = gguf.GGUFReader(path)
    architecture = reader.fields["general.architecture"].contents()
    sizes = {
        name: int(reader.fields[f"{architecture}.{key}"].contents())
        for name, key in _NAMES.items()
        if f"{architecture}.{key}" in reader.fields
    }
    return GgufFile(
        sizes,
        sum(int(tensor.n_elements) for tensor in reader.tensors),
        all(tensor.name != "output.weight" for tensor in reader.tensors),
    )


def convert_gguf(folder: Path, out: Path, settings: ModelSettings) -> None:
    """Take the weights out of a GGUF file and save them as safetensors with their tokenizer.

    Args:
        folder: holds `gguf_file`.
        out: gets config.json, model.safetensors, tokenizer.json and tokenizer_config.json.
        settings: the file's name.

    Raises:
        LanguageModelError: a file that transformers cannot read.
    """
    import torch
    import transformers

    _require_reader(settings)
    given: dict[str, Any] = {"gguf_file": settings.gguf_file, "local_files_only": True}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **given)
        network: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **given)
    except Exception as error:  # a damaged file may raise nearly any
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LanguageModelError(
            f"{_path(folder, settings)}: transformers cannot convert it ({said}): use a model "
            "that it knows, or one saved as safetensors"
        ) from error
    # The weights are plain numbers by now; transformers still takes them for quantised, and refuses to save them.
    network.hf_quantizer = None
    if hasattr(network.config, "quantization_config"):
        del network.config.quantization_config
    network.save_pretrained(out)
    tokenizer.save_pretrained(out)


def _path(folder: Path, settings: ModelSettings) -> Path:
    assert settings.gguf_file is not None
    return folder / settings.gguf_file


def _require_reader(settings: ModelSettings) -> None:
    """Refuse where the package that reads GGUF is not installed."""
    try:
        importlib.import_module("gguf")
    except ImportError as error:
        raise LanguageModelError(
            f"model {settings.name} is a GGUF file (model.gguf_file={settings.gguf_file}), and the package that "
            "reads it is not installed: run `pip install 'clvq_exp[gguf]'`"
        ) from error

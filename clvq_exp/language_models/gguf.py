"""GGUF files: what they hold, and their conversion to safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clvq_exp.language_models.base import LanguageModelError
from clvq_exp.settings import ModelSettings

_NAMES = {
    "num_hidden_layers": "block_count",
    "hidden_size": "embedding_length",
    "num_attention_heads": "attention.head_count",
    "intermediate_size": "feed_forward_length",
    "vocab_size": "vocab_size",
}
"""config.json's names of a model's sizes, and GGUF's."""


def gguf_facts(folder: Path, settings: ModelSettings) -> dict[str, int]:
    """Sizes of a GGUF model under config.json's names, read without its weights.

    Raises:
        LanguageModelError: the reader is not installed, or the file cannot be read.
    """
    gguf = _reader(settings)
    path = _path(folder, settings)
    try:
        fields: dict[str, Any] = gguf.GGUFReader(path).fields
        architecture = fields["general.architecture"].contents()
        return {
            name: int(fields[f"{architecture}.{key}"].contents())
            for name, key in _NAMES.items()
            if f"{architecture}.{key}" in fields
        }
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise LanguageModelError(f"{path} cannot be read as GGUF ({error}): get the file again") from error


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

    _reader(settings)
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


def _reader(settings: ModelSettings) -> Any:
    try:
        import gguf
    except ImportError as error:
        raise LanguageModelError(
            f"model {settings.name} is a GGUF file (model.gguf_file={settings.gguf_file}), and the package that "
            "reads it is not installed: run `pip install 'clvq_exp[gguf]'`"
        ) from error
    return gguf

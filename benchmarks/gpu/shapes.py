"""Language models of the true shapes with random weights, made where they are run: nothing is fetched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clvq_exp.config import Config
from clvq_exp.language_models.base import LanguageModel
from clvq_exp.settings import ModelKind
from gpu.texts import LABELS, tokenizer


@dataclass(frozen=True)
class Shape:
    """A language model: its architecture, its sizes as its config.json gives them, and its group of `conf/`."""

    architecture: str
    """`transformers`' name of its configuration, without `Config`."""
    sizes: Mapping[str, Any]
    overrides: tuple[str, ...]
    """Of a cell: the model's own group and layer pair."""
    pads: Mapping[str, int] = field(default_factory=lambda: {"pad_token_id": 0})


_SMALL = {"vocab_size": 4096, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}
_LLAMA = {
    **{"vocab_size": 32_000, "hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 32},
    **{"num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 4096},
    **{"rms_norm_eps": 1e-5, "tie_word_embeddings": False},
}
_QWEN = {
    **{"vocab_size": 151_936, "hidden_size": 2048, "intermediate_size": 11_008, "num_hidden_layers": 36},
    **{"num_attention_heads": 16, "num_key_value_heads": 2, "max_position_embeddings": 32_768},
    **{"rms_norm_eps": 1e-6, "tie_word_embeddings": True},
}
_BERT = {
    **{"vocab_size": 30_522, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12},
    **{"num_attention_heads": 12, "max_position_embeddings": 512},
}
_ROBERTA = {**_BERT, "vocab_size": 50_265, "max_position_embeddings": 514, "type_vocab_size": 1}

FULL: dict[str, Shape] = {
    "bert": Shape("Bert", _BERT, ("model=bert",)),
    "roberta": Shape("Roberta", _ROBERTA, ("model=roberta",)),
    "qwen2_5_3b": Shape("Qwen2", _QWEN, ("model=qwen2_5_3b",)),
    "llama2_7b": Shape("Llama", _LLAMA, ("model=llama2_7b",)),
}
_PAIR = ("layer_pair.lower=2", "layer_pair.upper=4")
_POSITIONS = {"intermediate_size": 64, "max_position_embeddings": 256}
TINY: dict[str, Shape] = {
    "bert": Shape("Bert", {**_SMALL, **_POSITIONS}, ("model=bert", *_PAIR)),
    "roberta": Shape("Roberta", {**_SMALL, **_POSITIONS, "type_vocab_size": 1}, ("model=roberta", *_PAIR)),
    "qwen2_5_3b": Shape("Qwen2", {**_SMALL, **_POSITIONS, "num_key_value_heads": 2}, ("model=qwen2_5_3b", *_PAIR)),
    "llama2_7b": Shape("Llama", {**_SMALL, **_POSITIONS, "num_key_value_heads": 4}, ("model=llama2_7b", *_PAIR)),
}
SIZES = {"full": FULL, "tiny": TINY}


def of_width(width: int, layers: int) -> Shape:
    """An encoder of some width and few layers, whose heads are 64 wide, and whose tables are small."""
    sizes = {
        **{"vocab_size": 4096, "hidden_size": width, "intermediate_size": 4 * width},
        **{"num_hidden_layers": layers, "num_attention_heads": max(1, width // 64)},
        **{"max_position_embeddings": 512},
    }
    return Shape("Bert", sizes, ("model=bert", "layer_pair.lower=1", f"layer_pair.upper={layers}"))


def network(shape: Shape, number_format: str, device: Any) -> Any:
    """A classifier or language model of random weights, the same ones in every process on one kind of device."""
    import torch
    import transformers

    config = getattr(transformers, f"{shape.architecture}Config")(
        num_labels=len(LABELS), **shape.sizes, **shape.pads
    )
    decoder = shape.architecture in ("Qwen2", "Llama")
    kind: Any = transformers.AutoModelForCausalLM if decoder else transformers.AutoModelForSequenceClassification
    torch.manual_seed(0)
    with torch.device(device):
        made = kind.from_config(config, dtype=getattr(torch, number_format), attn_implementation="sdpa")
    return made.to(device).eval()


def language_model(shape: Shape, config: Config, device: Any) -> LanguageModel:
    """The network behind the project's own interface."""
    from clvq_exp.language_models.decoder import DecoderModel
    from clvq_exp.language_models.encoder import EncoderModel
    from clvq_exp.language_models.prompt import Task

    settings, encoder = config.model, config.model.kind is ModelKind.encoder
    cut = tokenizer(encoder, config.dataset.prompt, settings.max_length)
    made = network(shape, settings.number_format.value, device)
    name = f"random weights: {shape.architecture} {sorted(shape.sizes.items())}"
    if encoder:
        return EncoderModel(made, cut, settings, LABELS, name)
    return DecoderModel(made, cut, settings, Task(LABELS, config.dataset.prompt, LABELS), name)

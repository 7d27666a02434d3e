"""The sizes of a language model, told from its small files: no weights are loaded, none are fetched."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from clvq_exp.language_models.base import LanguageModelError
from clvq_exp.language_models.facts import first_fact, layers_of, model_facts, width_of
from clvq_exp.language_models.gguf import read_gguf
from clvq_exp.language_models.sources import locate_model
from clvq_exp.settings import ModelKind, ModelSettings, NumberFormat

FACTS = ("config.json", "tokenizer.json")
"""What is fetched from the hub, and nothing else."""
BYTES = {NumberFormat.float32: 4, NumberFormat.bfloat16: 2, NumberFormat.float16: 2}
_HEAD_WIDTH = 64
"""Width of an attention head where only a model's own width is known; from BERT to Llama it is 64 to 128."""


class GivenSizes(NamedTuple):
    """Sizes that the user states; they win over what is found."""

    parameters: int | None = None
    layers: int | None = None
    width: int | None = None
    vocabulary: int | None = None


class NetworkSizes(NamedTuple):
    """What the work and the memory of a language model hang on."""

    parameters: int
    """All weights, embeddings included."""
    layers: int
    """Transformer blocks."""
    width: int
    """d."""
    vocabulary: int
    """Sub-words that the model knows."""
    heads: int
    """Attention heads."""
    feed_forward: int
    """Width inside a block's feed-forward layers."""
    tables: int = 1
    """Tables of one row per sub-word: 2 where the output embeddings are weights of their own."""
    positions: int | None = None
    """Longest input, where the configuration says so."""

    @property
    def body(self) -> int:
        """Weights that each sub-word is multiplied with: all but the tables."""
        return max(0, self.parameters - self.tables * self.vocabulary * self.width)


def facts_folder(settings: ModelSettings) -> Path | None:
    """The folder that tells a model's sizes, or None; of the hub's files only the small ones are fetched."""
    if settings.path is not None or settings.package is not None or settings.hub_id is None:
        try:
            return locate_model(settings)
        except LanguageModelError:
            return None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    folder: Path | None = None
    for name in FACTS:
        try:
            folder = Path(hf_hub_download(settings.hub_id, name, revision=settings.revision)).parent
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError):
            break
    return folder


def network_sizes(settings: ModelSettings, folder: Path | None, given: GivenSizes | None = None) -> NetworkSizes:
    """Sizes of a language model.

    Args:
        settings: kind, and the GGUF file if there is one.
        folder: holds config.json or the GGUF file; None where none can be reached.
        given: sizes that the user states.

    Raises:
        LanguageModelError: sizes that nothing tells; names the options that do.
    """
    stated = given or GivenSizes()
    facts = {} if folder is None else model_facts(folder, settings)
    numbers = {
        "layers": layers_of(facts),
        "width": width_of(facts),
        "vocabulary": first_fact(facts, "vocab_size"),
    }
    numbers |= {name: value for name, value in stated._asdict().items() if value is not None}
    missing = [name for name in ("layers", "width", "vocabulary") if numbers.get(name) is None]
    if not facts and stated.parameters is None:
        missing.insert(0, "parameters")
    if missing:
        raise LanguageModelError(
            f"model {settings.name}: nothing here tells its sizes ({', '.join(missing)}): give model.path, a "
            "folder with its config.json (no weights are needed), or state them: --parameters 6.7e9 "
            "--layers 32 --width 4096 --vocabulary 32000"
        )
    width = int(numbers["width"] or 0)
    sizes = NetworkSizes(
        parameters=0,
        layers=int(numbers["layers"] or 0),
        width=width,
        vocabulary=int(numbers["vocabulary"] or 0),
        heads=first_fact(facts, "num_attention_heads", "n_heads", "n_head") or max(1, width // _HEAD_WIDTH),
        feed_forward=first_fact(facts, "intermediate_size", "hidden_dim", "ffn_dim", "n_inner") or 4 * width,
        tables=2 if settings.kind is ModelKind.decoder and not facts.get("tie_word_embeddings", False) else 1,
        positions=first_fact(facts, "max_position_embeddings", "n_positions"),
    )
    counted = _parameters_in(settings, folder)
    return sizes._replace(parameters=stated.parameters or counted or _by_formula(sizes, facts))


def _by_formula(sizes: NetworkSizes, facts: Mapping[str, Any]) -> int:
    """Tables and matrices; biases, norms and positions are left out, less than 1% together."""
    width = sizes.width
    head = int(facts.get("head_dim") or width // sizes.heads)
    own = first_fact(facts, "num_key_value_heads") or sizes.heads
    attention = 2 * width * head * sizes.heads + 2 * width * head * own
    # Models with RMS norms (Llama's family) have gated feed-forward layers: three matrices.
    matrices = 3 if "rms_norm_eps" in facts else 2
    block = attention + matrices * width * sizes.feed_forward
    return sizes.tables * sizes.vocabulary * width + sizes.layers * block


def _parameters_in(settings: ModelSettings, folder: Path | None) -> int | None:
    """Weights counted in the headers of the files, where they are there."""
    if folder is None:
        return None
    if settings.gguf_file is not None:
        return read_gguf(folder, settings).parameters
    whole = folder / "model.safetensors"
    files = [whole] if whole.is_file() else sorted(folder.glob("*.safetensors"))
    return sum(map(_parameters_of_safetensors, files)) or None


def _parameters_of_safetensors(path: Path) -> int:
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > path.stat().st_size:
                return 0
            return sum(_elements(json.loads(stream.read(length))))
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError):
        return 0  # damage is the run's to report; the formula stands in


def _elements(header: Mapping[str, Any]) -> Iterator[int]:
    for name, tensor in header.items():
        if name != "__metadata__":
            yield math.prod(tensor["shape"])

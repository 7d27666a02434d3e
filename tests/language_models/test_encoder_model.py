"""Encoders are read as `transformers` itself would read them, whatever their family."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from families import ENCODERS, make_network
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

from clvq_exp.language_models.base import LanguageModelError
from clvq_exp.language_models.encoder import EncoderModel
from clvq_exp.settings import ModelSettings, SentencePooling

TEXTS = [
    "The acting is superb.",
    "I can't say more: dull, as was the script in its hero's journey!",
    "plot",
    "",
]
LONGEST = {"Roberta": 510, "XLMRoberta": 510, "MPNet": 510}
"""Tables of positions that begin behind the pad id; the others reach to the table's 512."""


@pytest.fixture(scope="module", params=list(ENCODERS))
def family(request: pytest.FixtureRequest, opened: Callable[..., Any]) -> tuple[str, EncoderModel]:
    return request.param, opened(request.param)


def test_encoder_model__knows_its_shape(model: EncoderModel):
    assert (model.n_layers, model.width, model.n_classes, model.max_length) == (4, 32, 2, 64)
    assert model.label_names == ("0", "1")
    assert model.pooling is SentencePooling.cls
    assert model.device == torch.device("cpu")


def test_encoder_model__is_frozen_and_in_evaluation(model: EncoderModel):
    assert not model.model.training
    assert not any(parameter.requires_grad for parameter in model.model.parameters())


def hooks(model: EncoderModel) -> int:
    """Hooks in the network; transformers leaves some of its own."""
    return sum(len(module._forward_hooks) for module in model.model.modules())


def test_run__keeps_the_asked_layers_only_and_leaves_no_hooks(model: EncoderModel):
    before = hooks(model)
    output = model.run(model.pad(model.encode(TEXTS)), [3, 1])
    assert set(output.hidden) == {1, 3}
    assert hooks(model) == before


def test_run__takes_its_hooks_off_after_an_error(model: EncoderModel):
    before = hooks(model)
    batch = model.pad(model.encode(TEXTS))
    beyond = batch._replace(input_ids=batch.input_ids + 10_000)
    with pytest.raises(IndexError):
        model.run(beyond, [0, 1])
    assert hooks(model) == before


def test_run__needs_no_gradient(model: EncoderModel):
    output = model.run(model.pad(model.encode(TEXTS)), [4])
    assert not output.logits.requires_grad
    assert not output.hidden[4].requires_grad


def test_class_logits__do_not_feel_padding(family: tuple[str, EncoderModel]):
    _, model = family
    together = model.class_logits(*model.pad(model.encode(TEXTS)))
    for row, text in enumerate(TEXTS):
        alone = model.class_logits(*model.pad(model.encode([text])))
        assert torch.allclose(together[row], alone[0], atol=1e-5), text


def test_class_logits__are_differentiable_in_the_embeddings(model: EncoderModel):
    seen: list[torch.Tensor] = []

    def follow(_module: object, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        seen.append(output.detach().requires_grad_())
        return seen[0]

    handle = model.layer_module(0).register_forward_hook(follow)
    model.class_logits(*model.pad(model.encode(TEXTS[:1])))[0, 1].backward()
    handle.remove()
    assert seen[0].grad is not None
    assert seen[0].grad.abs().sum() > 0


def test_pad__fills_with_the_pad_id_and_masks_it(family: tuple[str, EncoderModel]):
    _, model = family
    encoded = model.encode(TEXTS)
    batch = model.pad(encoded)
    assert batch.input_ids.dtype == batch.attention_mask.dtype == torch.int64
    for row, each in enumerate(encoded):
        length = len(each.input_ids)
        assert tuple(batch.input_ids[row, :length].tolist()) == each.input_ids
        assert bool((batch.input_ids[row, length:] == model.tokenizer.pad_token_id).all())
        assert batch.attention_mask[row].tolist() == [1] * length + [0] * (batch.input_ids.shape[1] - length)


def test_encode__marks_the_sentence_token_and_the_characters_of_sub_words(model: EncoderModel):
    (encoded,) = model.encode(["can't"])
    tokens = model.tokenizer.convert_ids_to_tokens(encoded.input_ids)
    assert tokens == ["[CLS]", "can", "'", "t", "[SEP]"]
    assert encoded.spans == (None, (0, 3), (3, 4), (4, 5), None)
    assert (encoded.sentence_token, encoded.cut) == (0, False)


def test_encode__an_empty_text_is_its_special_tokens(model: EncoderModel):
    for text in ("", "  \n "):
        (encoded,) = model.encode([text])
        assert encoded.spans == (None, None)
        assert not encoded.cut


def test_encode__a_text_is_the_same_alone_and_among_others(model: EncoderModel):
    together = model.encode(TEXTS)
    assert together == [model.encode([text])[0] for text in TEXTS]


def test_encode__cuts_at_the_limit_and_says_so(family: tuple[str, EncoderModel]):
    name, model = family
    longest = LONGEST.get(name, 512)
    assert model.max_length == longest
    (encoded,) = model.encode(["dull " * 600])
    assert len(encoded.input_ids) == longest
    assert encoded.cut
    assert encoded.spans[-1] is None
    assert torch.isfinite(model.class_logits(*model.pad([encoded]))).all()


def test_encode__a_text_of_just_the_limit_is_not_cut(model: EncoderModel):
    just, over = model.encode(["! " * (model.max_length - 2), "! " * (model.max_length - 1)])
    assert len(just.input_ids) == len(over.input_ids) == model.max_length
    assert (just.cut, over.cut) == (False, True)


def test_encode__the_settings_limit_wins_when_it_is_the_shortest(
    tiny_encoder: Path, settings: Callable[..., ModelSettings]
):
    model = EncoderModel.load(tiny_encoder, settings(max_length=9), ["0", "1"], torch.device("cpu"))
    assert len(model.encode(["! " * 50])[0].input_ids) == 9


def test_encode__cuts_the_end_even_where_the_tokenizer_would_cut_the_start(
    model: EncoderModel, settings: Callable[..., ModelSettings]
):
    tokenizer = copy.deepcopy(model.tokenizer)
    tokenizer.truncation_side = "left"
    other = EncoderModel(model.model, tokenizer, settings(), ["0", "1"], "f")
    (encoded,) = other.encode(["? " + "! " * 100])
    assert encoded.spans[1] == (0, 1)


def test_attribution_baseline__keeps_special_tokens_only(family: tuple[str, EncoderModel]):
    _, model = family
    encoded = model.encode(TEXTS)
    batch, baseline = model.pad(encoded), model.attribution_baseline(encoded)
    assert baseline.shape == batch.input_ids.shape
    for row, each in enumerate(encoded):
        for column, span in enumerate(each.spans):
            kept = each.input_ids[column] if span is None else model.tokenizer.pad_token_id
            assert baseline[row, column] == kept


def test_attribution_baseline__a_literal_separator_in_the_text_is_no_special_token(model: EncoderModel):
    encoded = model.encode(["a [SEP] b"])
    tokens = model.tokenizer.convert_ids_to_tokens(model.attribution_baseline(encoded)[0].tolist())
    assert tokens == ["[CLS]", "[PAD]", "[PAD]", "[PAD]", "[SEP]"]


def test_encoder_model__refuses_a_slow_tokenizer(model: EncoderModel, settings: Callable[..., ModelSettings]):
    slow = transformers.ByT5Tokenizer()
    with pytest.raises(LanguageModelError, match=r"tiny.*offsets.*tokenizer\.json.*model\.path"):
        EncoderModel(model.model, slow, settings(), ["0", "1"], "f")


def test_pad__without_a_pad_token_names_the_file_to_change(
    model: EncoderModel, settings: Callable[..., ModelSettings]
):
    tokenizer = copy.deepcopy(model.tokenizer)
    tokenizer.pad_token = None
    other = EncoderModel(model.model, tokenizer, settings(), ["0", "1"], "f")
    with pytest.raises(LanguageModelError, match=r"tiny.*no pad token.*tokenizer_config\.json"):
        other.pad(other.encode(TEXTS))


def test_load__reads_what_was_saved(
    tmp_path: Path, byte_level_tokenizer: PreTrainedTokenizerFast, settings: Callable[..., ModelSettings]
):
    names = {"id2label": None, "label2id": None}  # what transformers puts in their place carries no names
    network = make_network("Roberta", byte_level_tokenizer, **names)
    network.save_pretrained(tmp_path)
    byte_level_tokenizer.save_pretrained(tmp_path)
    loaded = EncoderModel.load(tmp_path, settings(), ["bad", "good"], torch.device("cpu"))
    assert loaded.label_names == ("bad", "good")
    batch = loaded.pad(loaded.encode(TEXTS))
    expected = network(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    assert torch.allclose(loaded.class_logits(*batch), expected, atol=1e-6)


def test_load__agrees_with_auto_classes(tiny_encoder: Path, model: EncoderModel):
    network = AutoModelForSequenceClassification.from_pretrained(tiny_encoder).eval()
    batch = model.pad(model.encode(TEXTS))
    expected = network(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    assert torch.allclose(model.class_logits(*batch), expected, atol=1e-6)


def test_load__pooling_comes_from_the_settings(tiny_encoder: Path, settings: Callable[..., ModelSettings]):
    pooled = dataclasses.replace(settings(), sentence_pooling=SentencePooling.mean)
    loaded = EncoderModel.load(tiny_encoder, pooled, ["0", "1"], torch.device("cpu"))
    assert loaded.pooling is SentencePooling.mean

"""Encoders are read as `transformers` itself would read them, whatever their family."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

from clvq_exp.language_models.base import LanguageModelError
from clvq_exp.language_models.encoder import EncoderModel
from clvq_exp.language_models.labels import label_order
from clvq_exp.settings import ModelSettings, SentencePooling

TEXTS = [
    "The acting is superb.",
    "I can't say more: dull, as was the script in its hero's journey!",
    "plot",
    "",
]
SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
FAMILIES = {
    "Bert": SMALL,
    "Roberta": {**SMALL, "pad_token_id": 1},
    "Camembert": {**SMALL, "pad_token_id": 1},
    "MPNet": {**SMALL, "pad_token_id": 1},
    "DistilBert": {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 24},
}
POSITIONS = 40
LONGEST = {"Bert": 40, "Roberta": 38, "Camembert": 38, "MPNet": 38, "DistilBert": 40}


def random_network(family: str, vocabulary: int) -> transformers.PreTrainedModel:
    config = getattr(transformers, f"{family}Config")(
        vocab_size=vocabulary,
        max_position_embeddings=POSITIONS,
        num_labels=2,
        initializer_range=0.3,
        **FAMILIES[family],
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return getattr(transformers, f"{family}ForSequenceClassification")(config).eval()


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(
    request: pytest.FixtureRequest,
    byte_level_tokenizer: PreTrainedTokenizerFast,
    settings: Callable[..., ModelSettings],
) -> tuple[str, EncoderModel]:
    tokenizer = copy.deepcopy(byte_level_tokenizer)
    network = random_network(request.param, len(tokenizer))
    return request.param, EncoderModel(network, tokenizer, settings(), ["0", "1"], "f")


def test_encoder_model__knows_its_shape(model: EncoderModel):
    assert (model.n_layers, model.width, model.n_classes, model.max_length) == (4, 32, 2, 64)
    assert model.label_names == ("0", "1")
    assert model.pooling is SentencePooling.cls
    assert model.device == torch.device("cpu")


def test_encoder_model__is_frozen_and_in_evaluation(model: EncoderModel):
    assert not model.model.training
    assert not any(parameter.requires_grad for parameter in model.model.parameters())


def test_run__hidden_states_are_those_of_transformers_at_every_layer(family: tuple[str, EncoderModel]):
    _, model = family
    batch = model.pad(model.encode(TEXTS))
    output = model.run(batch, range(model.n_layers + 1))
    expected = model.model(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, output_hidden_states=True
    )
    assert len(expected.hidden_states) == model.n_layers + 1
    for layer, states in enumerate(expected.hidden_states):
        assert torch.equal(output.hidden[layer], states), layer
    assert torch.equal(output.logits, expected.logits)


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


@pytest.mark.parametrize("layer", [-1, 5])
def test_layer_module__refuses_a_layer_that_is_not_there(model: EncoderModel, layer: int):
    with pytest.raises(LanguageModelError, match=rf"layer={layer}.*tiny.*0 \(embeddings\) to 4"):
        model.layer_module(layer)
    with pytest.raises(LanguageModelError, match=r"activations\.layers"):
        model.check_layer(layer, "activations.layers")


def test_after_final_norm__is_never_true_of_a_post_norm_encoder(model: EncoderModel):
    assert not any(model.after_final_norm(layer) for layer in range(5))


def test_embeddings_module__is_layer_0(model: EncoderModel):
    assert model.embeddings_module() is model.model.bert.embeddings
    assert model.layer_module(0) is model.embeddings_module()
    assert model.layer_module(4) is model.model.bert.encoder.layer[3]


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

    handle = model.embeddings_module().register_forward_hook(follow)
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
    assert model.max_length == LONGEST[name]
    (encoded,) = model.encode(["dull " * 200])
    assert len(encoded.input_ids) == LONGEST[name]
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


def test_encoder_model__takes_the_modules_that_are_named(
    model: EncoderModel, settings: Callable[..., ModelSettings]
):
    named = settings(embeddings_module="bert.embeddings.word_embeddings", blocks_module="bert.encoder.layer")
    other = EncoderModel(model.model, model.tokenizer, named, ["0", "1"], "f")
    assert other.embeddings_module() is model.model.bert.embeddings.word_embeddings
    assert other.layer_module(1) is model.layer_module(1)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("embeddings_module", "bert.nowhere"),
        ("blocks_module", "bert.nowhere"),
        ("blocks_module", "bert.encoder"),
        ("blocks_module", "classifier"),
    ],
)
def test_encoder_model__refuses_a_wrong_module_by_its_key(
    model: EncoderModel, settings: Callable[..., ModelSettings], key: str, value: str
):
    with pytest.raises(LanguageModelError, match=rf"model\.{key}={value}.*BertForSequenceClassification"):
        EncoderModel(model.model, model.tokenizer, settings(**{key: value}), ["0", "1"], "f")


def test_encoder_model__asks_for_the_blocks_where_the_structure_does_not_tell(
    byte_level_tokenizer: PreTrainedTokenizerFast, settings: Callable[..., ModelSettings]
):
    config = transformers.AlbertConfig(vocab_size=len(byte_level_tokenizer), embedding_size=8, **SMALL)
    network = transformers.AlbertForSequenceClassification(config)  # one block that is run three times
    with pytest.raises(LanguageModelError, match=r"0 lists of 3 blocks.*model\.blocks_module"):
        EncoderModel(network, copy.deepcopy(byte_level_tokenizer), settings(), ["0", "1"], "f")


def test_encoder_model__asks_for_the_embeddings_where_there_is_no_such_module(
    byte_level_tokenizer: PreTrainedTokenizerFast, settings: Callable[..., ModelSettings]
):
    config = transformers.XLNetConfig(vocab_size=len(byte_level_tokenizer), d_model=16, n_layer=2, n_head=2)
    network = transformers.XLNetForSequenceClassification(config)
    with pytest.raises(LanguageModelError, match=r"no embeddings module.*model\.embeddings_module"):
        EncoderModel(network, copy.deepcopy(byte_level_tokenizer), settings(), ["0", "1"], "f")


@pytest.mark.parametrize("name", ["Roberta", "MPNet", "DistilBert"])
def test_load__reads_what_was_saved(
    name: str,
    tmp_path: Path,
    byte_level_tokenizer: PreTrainedTokenizerFast,
    settings: Callable[..., ModelSettings],
):
    network = random_network(name, len(byte_level_tokenizer))
    network.save_pretrained(tmp_path)
    byte_level_tokenizer.save_pretrained(tmp_path)
    loaded = EncoderModel.load(tmp_path, settings(), ["bad", "good"], torch.device("cpu"))
    assert loaded.label_names == ("bad", "good")  # LABEL_0, LABEL_1 carry no names
    assert loaded.max_length == LONGEST[name]
    batch = loaded.pad(loaded.encode(TEXTS))
    expected = network(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    assert torch.allclose(loaded.class_logits(*batch), expected, atol=1e-6)


def test_load__agrees_with_auto_classes(tiny_encoder: Path, model: EncoderModel):
    network = AutoModelForSequenceClassification.from_pretrained(tiny_encoder).eval()
    batch = model.pad(model.encode(TEXTS))
    expected = network(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    assert torch.allclose(model.class_logits(*batch), expected, atol=1e-6)


def with_labels(source: Path, target: Path, labels: list[str]) -> Path:
    shutil.copytree(source, target)
    config = json.loads((target / "config.json").read_text())
    config["id2label"] = dict(enumerate(labels))
    config["label2id"] = {name: index for index, name in enumerate(labels)}
    (target / "config.json").write_text(json.dumps(config))
    return target


def test_load__matches_labels_whatever_their_case(
    tiny_encoder: Path, tmp_path: Path, settings: Callable[..., ModelSettings]
):
    folder = with_labels(tiny_encoder, tmp_path / "named", ["NEGATIVE", "POSITIVE"])
    loaded = EncoderModel.load(folder, settings(), ["negative", "positive"], torch.device("cpu"))
    assert loaded.label_names == ("negative", "positive")


def test_load__refuses_labels_in_another_order(
    tiny_encoder: Path, tmp_path: Path, settings: Callable[..., ModelSettings]
):
    folder = with_labels(tiny_encoder, tmp_path / "named", ["negative", "positive"])
    with pytest.raises(LanguageModelError, match=r"named.*\['negative', 'positive'\].*dataset\.label_names"):
        EncoderModel.load(folder, settings(), ["positive", "negative"], torch.device("cpu"))


def test_load__pooling_comes_from_the_settings(tiny_encoder: Path, settings: Callable[..., ModelSettings]):
    pooled = dataclasses.replace(settings(), sentence_pooling=SentencePooling.mean)
    loaded = EncoderModel.load(tiny_encoder, pooled, ["0", "1"], torch.device("cpu"))
    assert loaded.pooling is SentencePooling.mean


def test_label_order__by_hand():
    assert label_order(["a", "b", "c"], ["c", "a", "b"]) == [2, 0, 1]
    assert label_order(["LABEL_0", "LABEL_1"], ["bad", "good"]) == [0, 1]
    assert label_order(["LABEL_1", "LABEL_0"], ["label_0", "label_1"]) == [1, 0]


def test_label_order__an_exact_match_wins_over_one_without_case():
    assert label_order(["it", "IT"], ["IT", "it"]) == [1, 0]
    assert label_order(["it", "IT", "No"], ["NO", "it", "IT"]) == [2, 0, 1]


@given(st.lists(st.text("abcAB", min_size=1), unique=True, min_size=1, max_size=6), st.randoms())
def test_label_order__finds_every_permutation(names, random):
    shuffled = random.sample(names, len(names))
    assert [names[index] for index in label_order(names, shuffled)] == shuffled


def test_label_order__another_number_of_classes_says_what_to_do():
    with pytest.raises(LanguageModelError, match=r"2 classes.*has 3.*fine_tuning\.when=always"):
        label_order(["a", "b"], ["a", "b", "c"])


def test_label_order__an_unknown_label_is_named_as_it_was_written():
    with pytest.raises(LanguageModelError, match=r"'Neutral'.*\['a', 'b'\].*fine_tuning\.when=always"):
        label_order(["a", "b"], ["a", "Neutral"])


def test_layers_that_are_not_hidden_states__are_refused(
    byte_level_tokenizer: PreTrainedTokenizerFast, settings: Callable[..., ModelSettings]
) -> None:
    """ModernBERT's last hidden state has passed a norm that is no part of its last block."""
    tokenizer = copy.deepcopy(byte_level_tokenizer)
    special = {f"{name}_token_id": tokenizer.pad_token_id for name in ("pad", "cls", "sep", "bos", "eos")}
    config = transformers.ModernBertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=POSITIONS, num_labels=2, **special, **SMALL
    )
    with torch.random.fork_rng():
        network = transformers.ModernBertForSequenceClassification(config).eval()
    model = EncoderModel(network, tokenizer, settings(), ["0", "1"], "fingerprint")
    with pytest.raises(LanguageModelError, match=r"layer 3 as found in ModernBert.*model\.blocks_module"):
        model.check_layers()


def test_layers__of_the_known_families_are_their_hidden_states(family: tuple[str, EncoderModel]) -> None:
    family[1].check_layers()

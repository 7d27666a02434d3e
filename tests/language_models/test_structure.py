"""The layers of every family are those of `transformers`, and what is done to them is what was asked for."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from families import DECODERS, ENCODERS, FAMILIES, LAYERS, WIDTH, make_network
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from clvq_exp.activations.alignment import align
from clvq_exp.explanations.attribution import attribute
from clvq_exp.language_models.base import LanguageModelError
from clvq_exp.language_models.encoder import EncoderModel
from clvq_exp.language_models.transformer import TransformerModel
from clvq_exp.records import TokenBatch
from clvq_exp.settings import AttributionSettings, LastLayer, ModelSettings, NumberFormat

Opened = Callable[..., TransformerModel]
TEXTS = ["The acting is superb.", "I can't say more: dull, as was the script in its hero's journey!", "plot"]
NORMED = {"ModernBert", *DECODERS}
"""Families with a norm behind their last block."""
MOVED = {"Roberta", "XLMRoberta", "MPNet"}
"""Families that count positions without pad ids: in the baseline the last special token stands elsewhere."""
LAYER = list(range(LAYERS + 1))


@pytest.fixture(scope="module", params=list(FAMILIES))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(name: str, opened: Opened) -> TransformerModel:
    return opened(name)


@pytest.fixture(scope="module")
def untouched(name: str, folders: Any) -> Any:
    """The same network as transformers alone loads it."""
    auto: Any = (
        transformers.AutoModelForSequenceClassification if name in ENCODERS else transformers.AutoModelForCausalLM
    )
    return auto.from_pretrained(folders(name)).eval()


@pytest.fixture(scope="module")
def batch(model: TransformerModel) -> TokenBatch:
    return model.pad(model.encode(TEXTS))


@pytest.fixture(scope="module")
def own(untouched: Any, batch: TokenBatch) -> Any:
    """What transformers itself gives for the batch."""
    with torch.no_grad():
        return untouched(**batch._asdict(), output_hidden_states=True)


def hooks(network: Any) -> int:
    """Hooks in the network; the layers and transformers leave some of their own."""
    return sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in network.modules())


def logits_of(model: TransformerModel, batch: TokenBatch) -> Tensor:
    with torch.no_grad():
        return model.class_logits(*batch)


def changed_by_hand(model: Any, untouched: nn.Module, layer: int, states: Tensor, undo: ExitStack):
    """Hook the untouched network so that a layer is `states`: at the same modules, found by their names."""
    structure = model._taps.structure
    names = {module: name for name, module in model.model.named_modules()}

    def behind(_module: object, _args: object, output: Any) -> Any:
        return (states, *output[1:]) if isinstance(output, tuple) else states

    def before(_module: object, args: Any, kwargs: Any) -> Any:
        return ((states, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": states})

    made_by = {0: structure.embeddings, LAYERS: structure.final_norm or structure.blocks[-1]}.get(layer)
    if made_by is not None:
        handle = untouched.get_submodule(names[made_by]).register_forward_hook(behind)
    else:
        block = untouched.get_submodule(names[structure.blocks[layer]])
        handle = block.register_forward_pre_hook(before, with_kwargs=True)
    undo.callback(handle.remove)


def test_shape__is_read_from_the_network(model: TransformerModel):
    assert (model.n_layers, model.width, model.n_classes) == (LAYERS, WIDTH, 2)
    assert len(model.blocks_below(LAYERS)) == LAYERS
    assert not any(parameter.requires_grad for parameter in model.model.parameters())


def test_run__hidden_states_are_those_of_transformers(model: TransformerModel, batch: TokenBatch, own: Any):
    found = model.run(batch, LAYER).hidden
    assert len(own.hidden_states) == LAYERS + 1
    for layer in LAYER:
        assert torch.equal(found[layer], own.hidden_states[layer]), layer


def test_after_final_norm__is_true_of_the_last_layer_where_there_is_one(name: str, model: TransformerModel):
    assert [model.after_final_norm(layer) for layer in LAYER] == [False] * LAYERS + [name in NORMED]


def test_last_layer__before_the_norm_is_what_the_norm_gets(
    name: str, model: Any, batch: TokenBatch, opened: Opened
):
    before = opened(name, last_layer=LastLayer.before_norm)
    found, after = before.run(batch, LAYER), model.run(batch, LAYER)
    assert not any(before.after_final_norm(layer) for layer in LAYER)
    for layer in LAYER[:-1]:
        assert torch.equal(found.hidden[layer], after.hidden[layer])
    norm = model._taps.structure.final_norm
    last = found.hidden[LAYERS]
    with torch.no_grad():
        assert torch.equal(last if norm is None else norm.forward(last), after.hidden[LAYERS])
    assert torch.equal(last, after.hidden[LAYERS]) is (name not in NORMED)
    assert torch.equal(found.logits, after.logits)
    assert (before.fingerprint == model.fingerprint) is False


@pytest.mark.parametrize("layer", LAYER)
def test_states__are_those_of_a_whole_pass_and_no_block_above_is_run(
    model: TransformerModel, batch: TokenBatch, layer: int
):
    expected = model.run(batch, LAYER).hidden
    done: list[int] = []
    before = hooks(model.model)
    with ExitStack() as undo:
        for index, block in enumerate(model.blocks_below(LAYERS), 1):
            undo.callback(block.register_forward_pre_hook(lambda *_, index=index: done.append(index)).remove)
        found = model.states(batch, [0, layer])
    assert done == list(range(1, layer + 1))
    assert set(found) == {0, layer}
    assert all(torch.equal(states, expected[each]) for each, states in found.items())
    assert hooks(model.model) == before


@pytest.mark.parametrize("layer", LAYER)
def test_replacing__equals_a_hook_in_an_untouched_network(
    model: TransformerModel, untouched: Any, batch: TokenBatch, own: Any, layer: int
):
    changed = own.hidden_states[layer] + torch.linspace(-1, 1, WIDTH)
    with ExitStack() as undo, torch.no_grad():
        changed_by_hand(model, untouched, layer, changed, undo)
        expected = untouched(**batch._asdict()).logits
    if model.answers_at_end:
        last = batch.attention_mask.sum(1) - 1
        expected = expected[torch.arange(len(TEXTS)), last][:, list(model.answers.first)]  # type: ignore[attr-defined]
    plain = logits_of(model, batch)
    before = hooks(model.model)
    done: set[int] = set()
    with ExitStack() as undo, model.replacing(layer, changed):
        for index, block in enumerate(model.blocks_below(LAYERS), 1):
            for part in block.children():
                undo.callback(part.register_forward_hook(lambda *_, index=index: done.add(index)).remove)
        found = logits_of(model, batch)
    assert done == set(range(layer + 1, LAYERS + 1)), "what lies below is passed over"
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(found, plain, atol=1e-3)
    with pytest.raises(KeyError), model.replacing(layer, changed):
        raise KeyError
    assert hooks(model.model) == before
    assert not any("forward" in vars(block) for block in model.blocks_below(LAYERS))
    assert torch.equal(logits_of(model, batch), plain)


def test_replacing__with_what_is_there_changes_nothing(model: TransformerModel, batch: TokenBatch):
    output = model.run(batch, LAYER)
    for layer in LAYER:
        with model.replacing(layer, output.hidden[layer]):
            assert torch.allclose(logits_of(model, batch), output.logits, atol=1e-5), layer


def test_padding__is_not_felt(model: TransformerModel, batch: TokenBatch):
    together = model.run(batch, LAYER)
    for row, text in enumerate(TEXTS):
        alone = model.run(model.pad(model.encode([text])), LAYER)
        assert torch.allclose(together.logits[row], alone.logits[0], atol=1e-5), text
        for layer in LAYER:
            n = alone.hidden[layer].shape[1]
            assert torch.allclose(together.hidden[layer][row, :n], alone.hidden[layer][0], atol=1e-4)


def test_attribution__adds_up_at_layer_0(name: str, model: TransformerModel, batch: TokenBatch):
    encoded = model.encode(TEXTS)
    baseline = TokenBatch(model.attribution_baseline(encoded), batch.attention_mask)
    at_text, at_baseline = model.run(batch, [0]), model.run(baseline, [0])
    found = attribute(model, TEXTS, AttributionSettings(steps=64, adaptive=True, max_steps=1024))
    whole = 0
    for row, (text, each) in enumerate(zip(TEXTS, found, strict=True)):
        change = (at_text.logits - at_baseline.logits)[row]
        assert each.prediction == int(at_text.logits[row].argmax())
        assert each.logit_change == pytest.approx(float(change[each.prediction]), abs=1e-5)
        assert abs(each.convergence_delta) <= 0.05 * abs(each.logit_change) + 2e-3
        changed = (at_text.hidden[0] - at_baseline.hidden[0])[row].abs().amax(1) > 0
        owned = {index for word in align(text, encoded[row]).words if not word.special for index in word.sub_words}
        if set(changed.nonzero()[:, 0].tolist()) <= owned:  # else a special token or white space has a share
            whole += 1
            assert float(each.words.sum()) == pytest.approx(each.logit_change, rel=0.05, abs=2e-3)
    assert whole > 0 or name in MOVED


def test_bfloat16__layers_are_float32_and_attributions_near_those_of_float32(
    name: str, model: TransformerModel, batch: TokenBatch, opened: Opened
):
    short = opened(name, number_format=NumberFormat.bfloat16)
    assert {parameter.dtype for parameter in short.model.parameters()} == {torch.bfloat16}
    output = short.run(batch, LAYER)
    assert output.logits.dtype == torch.float32
    own = short.model(**batch._asdict(), output_hidden_states=True).hidden_states
    for layer in LAYER:
        assert output.hidden[layer].dtype == torch.float32
        assert torch.equal(output.hidden[layer], own[layer].float())
    given = AttributionSettings(steps=32, adaptive=False)
    near = 0
    for one, other in zip(attribute(short, TEXTS, given), attribute(model, TEXTS, given), strict=True):
        if abs(float(other.logits[0] - other.logits[1])) > 0.1:  # else rounding may explain the other class
            near += 1
            assert one.prediction == other.prediction
            difference, size = np.linalg.norm(one.words - other.words), np.linalg.norm(other.words)
            assert difference <= 0.15 * size + 0.02  # logits near 2 are 0.016 apart in bfloat16
    assert near > 0


# --- what cannot be read


@pytest.fixture(scope="module")
def bert(byte_level_tokenizer: PreTrainedTokenizerFast) -> Any:
    return make_network("Bert", byte_level_tokenizer)


@pytest.fixture
def read(
    byte_level_tokenizer: PreTrainedTokenizerFast, settings: Callable[..., ModelSettings]
) -> Callable[..., EncoderModel]:
    """Read a network, with what a test changes in the settings."""

    def read(network: Any, **changed: Any) -> EncoderModel:
        return EncoderModel(network, copy.deepcopy(byte_level_tokenizer), settings(**changed), ["0", "1"], "f")

    return read


def message(made: Callable[[], object]) -> str:
    with pytest.raises(LanguageModelError) as caught:
        made()
    return str(caught.value)


@pytest.mark.parametrize("layer", [-1, LAYERS + 1])
def test_layer_module__refuses_a_layer_that_is_not_there(opened: Opened, layer: int):
    model = opened("Llama")
    for asked in (model.layer_module, model.blocks_below, model.after_final_norm):
        assert message(lambda asked=asked: asked(layer)) == (
            f"layer={layer}: model Llama has layers 0 (embeddings) to {LAYERS}"
        )


NOT_BY_TURNS: dict[str, dict[str, Any]] = {
    "Albert": {  # one block that is run three times
        "embedding_size": 8,
        "hidden_size": 16,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "num_hidden_layers": 3,
    },
    "XLNet": {"d_model": 16, "n_layer": 3, "n_head": 2, "d_inner": 24},  # tokens come first, sentences second
    "Bart": {  # an encoder and a decoder, each with hidden states of its own
        **{"d_model": 16, "encoder_layers": 3, "decoder_layers": 3},
        **{
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 24,
            "decoder_ffn_dim": 24,
        },
    },
}


@pytest.mark.parametrize("family", list(NOT_BY_TURNS))
def test_blocks__that_do_not_take_turns_are_refused(
    read: Any, byte_level_tokenizer: PreTrainedTokenizerFast, family: str
):
    config = getattr(transformers, f"{family}Config")(vocab_size=len(byte_level_tokenizer), **NOT_BY_TURNS[family])
    with torch.random.fork_rng():
        network = getattr(transformers, f"{family}ForSequenceClassification")(config).eval()
    assert message(lambda: read(network)) == (
        f"model tiny: 0 lists of 3 blocks found in {family}ForSequenceClassification that pass its hidden states "
        "on one to the next; give the dotted name of the right one as model.blocks_module"
    )


def test_blocks__that_cannot_be_told_apart_are_refused_until_they_are_named(read: Any, bert: Any):
    network = copy.deepcopy(bert)
    network(torch.tensor([[0, 2]]), output_hidden_states=True)  # transformers looks for its blocks now, once
    network.bert.encoder.again = nn.ModuleList(network.bert.encoder.layer)
    assert message(lambda: read(copy.deepcopy(network))) == (
        "model tiny: 2 lists of 3 blocks found in BertForSequenceClassification that pass its hidden states on "
        "one to the next; give the dotted name of the right one as model.blocks_module"
    )
    named = read(network, blocks_module="bert.encoder.again")
    assert tuple(named.blocks_below(LAYERS)) == tuple(network.bert.encoder.layer)
    named.check_layers()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("blocks_module", "bert.nowhere", "BertForSequenceClassification has no such module"),
        ("final_norm_module", "bert.nowhere", "BertForSequenceClassification has no such module"),
        ("blocks_module", "bert.encoder", "not a list of the 3 blocks of BertForSequenceClassification"),
        ("blocks_module", "classifier", "not a list of the 3 blocks of BertForSequenceClassification"),
    ],
)
def test_names__of_modules_that_are_not_there_or_no_blocks_are_refused(
    read: Any, bert: Any, key: str, value: str, said: str
):
    assert message(lambda: read(copy.deepcopy(bert), **{key: value})) == f"model.{key}={value}: {said}"


def test_names__of_blocks_that_pass_nothing_on_are_refused(read: Any, bert: Any):
    network = copy.deepcopy(bert)
    network.bert.heads = nn.ModuleList(nn.Linear(2, 2) for _ in range(LAYERS))
    assert message(lambda: read(network, blocks_module="bert.heads")) == (
        "model tiny: 0 lists of 3 blocks found in BertForSequenceClassification that pass its hidden states on "
        "one to the next (model.blocks_module=bert.heads was asked for)"
    )


def test_names__of_the_right_modules_are_taken(opened: Opened):
    found = opened("Llama")
    named = opened("Llama", blocks_module="model.layers", final_norm_module="model.norm")
    batch = found.pad(found.encode(TEXTS))
    one, other = named.run(batch, LAYER), found.run(batch, LAYER)
    assert all(torch.equal(one.hidden[layer], other.hidden[layer]) for layer in LAYER)
    assert named.after_final_norm(LAYERS)


def test_names__of_another_norm_are_refused_when_the_layers_are_held_against_the_network(opened: Opened):
    wrong = "model.layers.0.input_layernorm"
    assert message(lambda: opened("Llama", final_norm_module=wrong)) == (
        "model Llama: layer 3 as found in LlamaForCausalLM is not its hidden_states; give the right modules as "
        "model.blocks_module and model.final_norm_module, or use another model"
    )


def test_final_norm__that_is_no_module_is_asked_for(read: Any, byte_level_tokenizer: PreTrainedTokenizerFast):
    network = make_network("ModernBert", byte_level_tokenizer)
    norm = network.model.final_norm
    del network.model.final_norm
    network.model.__dict__["final_norm"] = norm.forward
    assert message(lambda: read(network)) == (
        "model tiny: no module of ModernBertForSequenceClassification makes its last hidden state of what its "
        "last block puts out; give the dotted name of its final norm as model.final_norm_module"
    )


def test_names__of_several_networks_are_not_mixed_up(opened: Opened):
    models: Sequence[TransformerModel] = [opened("Bert"), opened("Bert")]
    batch = models[0].pad(models[0].encode(TEXTS))
    states = models[0].run(batch, [2]).hidden[2]
    with models[0].replacing(2, torch.zeros_like(states)):
        assert torch.equal(models[1].run(batch, [2]).hidden[2], states)

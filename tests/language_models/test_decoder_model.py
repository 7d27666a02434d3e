"""Decoders read a prompt with the text in it, whatever the text, and answer as `transformers` itself would."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from families import DECODERS, LAYERS, PROMPT, make_config
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from clvq_exp.activations.alignment import align
from clvq_exp.explanations.attribution import attribute
from clvq_exp.language_models.base import LanguageModelError
from clvq_exp.language_models.decoder import WITHOUT_CONTENT, ZERO_EMBEDDING, DecoderModel
from clvq_exp.language_models.prompt import Task
from clvq_exp.records import EncodedText
from clvq_exp.settings import AttributionSettings, LabelTokens, LastLayer, NumberFormat

TEXTS = ["The acting is superb.", "I can't say more: dull, as was the script in its hero's journey!", "plot"]
LITERALS = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<pad>", "<unk>"]
KINDS = {
    **{"prepended": "Llama", "replaced": "Gemma"},
    **{"bare_bytes": "GPT2", "chat_bytes": "Qwen2", "led_bytes": "OPT"},
}
"""A family for each kind of tokenizer."""
every_kind = pytest.mark.parametrize("kind", list(KINDS))
Open = Callable[..., DecoderModel]


@pytest.fixture(scope="module")
def of_kind(opened: Callable[..., Any]) -> Open:
    """A decoder with a tokenizer of a kind; the same one when it is asked for the same way again."""
    known: dict[str, DecoderModel] = {}

    def of_kind(kind: str, **changed: Any) -> DecoderModel:
        key = f"{kind} {changed}"
        if key not in known:
            known[key] = opened(KINDS[kind], **changed)
        return known[key]

    return of_kind


def own_ids(model: DecoderModel, text: str) -> list[int]:
    """The prompt with the text in it, as the tokenizer alone reads it."""
    whole = f"{model.prompt.before}{text}{model.prompt.after}"
    ids = model.tokenizer(whole, add_special_tokens=False)["input_ids"]
    return [*model.prompt.lead, *ids, *model.answers.common]


def prompt_ends(model: DecoderModel, encoded: EncodedText) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids before the first and behind the last sub-word of the text."""
    own = [index for index, span in enumerate(encoded.spans) if span is not None]
    return encoded.input_ids[: own[0]], encoded.input_ids[own[-1] + 1 :]


# --- what is read


@every_kind
def test_encode__is_the_prompt_with_the_text_in_it(of_kind: Open, kind: str):
    model = of_kind(kind)
    for text, each in zip([*TEXTS, ""], model.encode([*TEXTS, ""]), strict=True):
        assert list(each.input_ids) == own_ids(model, text)
        assert (each.sentence_token, each.cut) == (None, False)
    assert model.encode(TEXTS) == [model.encode([text])[0] for text in TEXTS]


@every_kind
def test_encode__spans_are_those_of_the_text_and_of_nothing_else(of_kind: Open, kind: str):
    model = of_kind(kind)
    for text in [*TEXTS, " dull  \u00e9\U0001f389 script \n", "Text: Answer:"]:
        (encoded,) = model.encode([text])
        spans = [span for span in encoded.spans if span is not None]
        assert encoded.spans[0] is None
        assert all(0 <= start <= end <= len(text) for start, end in spans)
        assert spans == sorted(spans)
        covered = {index for start, end in spans for index in range(start, end)}
        assert {index for index, character in enumerate(text) if not character.isspace()} <= covered
        decoded = model.tokenizer.decode(
            [token for token, span in zip(encoded.input_ids, encoded.spans, strict=True) if span is not None]
        )
        assert decoded.split() == text.split()
    assert all(span is None for span in model.encode([""])[0].spans)


@every_kind
def test_words__are_those_of_the_text_and_never_at_position_0(of_kind: Open, kind: str):
    model = of_kind(kind)
    for text in TEXTS:
        (encoded,) = model.encode([text])
        alignment = align(text, encoded)
        assert [word.text for word in alignment.words] == text.split()
        assert not any(word.special for word in alignment.words)
        assert min(index for word in alignment.words for index in word.sub_words) > 0


@every_kind
def test_encode__a_literal_special_token_stays_text(of_kind: Open, kind: str):
    model = of_kind(kind)
    added = model.tokenizer.added_tokens_decoder
    special = {token.content: index for index, token in added.items() if token.special}
    allowed = set(own_ids(model, "")) | {model.tokenizer.unk_token_id}
    literals = [literal for literal in LITERALS if literal in special]
    assert literals
    for literal in literals:
        text = f"dull {literal} x{literal}y script"
        (encoded,) = model.encode([text])
        assert not (set(encoded.input_ids) & set(special.values())) - allowed
        assert encoded.input_ids.count(special[literal]) == own_ids(model, "").count(special[literal])
        assert [word.text for word in align(text, encoded).words] == text.split()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "prepended"])
def test_encode__a_literal_special_token_leaves_the_prompt_as_it_is(of_kind: Open, kind: str):
    model = of_kind(kind)
    plain, literal = model.encode(["dull script", "dull <s></s><pad><|im_end|><|endoftext|> script"])
    assert prompt_ends(model, literal)[1] == prompt_ends(model, plain)[1]
    n = len(model.prompt.lead) + 2
    assert literal.input_ids[:n] == plain.input_ids[:n]


# --- what is too long


@every_kind
def test_encode__cuts_a_long_text_at_a_word_and_the_prompt_never(of_kind: Open, kind: str):
    whole = of_kind(kind)
    text = " ".join(["dull", "script,", "superb"] * 12)
    before, after = prompt_ends(whole, whole.encode([text])[0])
    n = len(whole.encode([text])[0].input_ids)
    kept_before = 0
    for limit in (n - 1, n - 13, n // 2 + 20):
        model = of_kind(kind, max_length=limit)
        (encoded,) = model.encode([text])
        assert encoded.cut
        assert len(encoded.input_ids) <= limit
        assert prompt_ends(model, encoded) == (before, after)
        alignment = align(text, encoded)
        kept = len(alignment.words)
        assert [word.text for word in alignment.words] == text.split()[:kept]
        assert alignment.truncated == tuple(range(kept, 36))
        assert list(encoded.input_ids) == own_ids(model, " ".join(text.split()[:kept]))
        one_more = own_ids(model, " ".join(text.split()[: kept + 1]))
        assert len(one_more) > limit, "no word was given up that fits"
        assert kept != kept_before
        kept_before = kept


@every_kind
def test_encode__a_text_of_just_the_limit_is_not_cut(of_kind: Open, kind: str):
    n = len(of_kind(kind).encode([TEXTS[1]])[0].input_ids)
    (just,), (over,) = (of_kind(kind, max_length=limit).encode([TEXTS[1]]) for limit in (n, n - 1))
    assert (just.cut, len(just.input_ids)) == (False, n)
    assert over.cut


@every_kind
def test_encode__a_single_word_that_is_too_long_is_cut_inside(of_kind: Open, kind: str):
    model = of_kind(kind, max_length=80)
    for text in ("x" * 300, "\U0001f389" * 100, f" {'x' * 300} dull"):
        (encoded,) = model.encode([text])
        assert encoded.cut
        assert 70 < len(encoded.input_ids) <= 80
        alignment = align(text, encoded)
        assert alignment.words == ()
        assert alignment.truncated == tuple(range(len(text.split())))


@every_kind
def test_encode__without_room_for_the_first_character_says_what_to_raise(of_kind: Open, kind: str):
    n = len(of_kind(kind).encode(["\U0001f389"])[0].input_ids)
    model = of_kind(kind, max_length=n - 1)
    for text in ("\U0001f389", "\U0001f389\U0001f389 dull"):
        with pytest.raises(LanguageModelError) as caught:
            model.encode([text])
        said = str(caught.value)
        assert said.startswith(f"model {KINDS[kind]}: its limit of {n - 1} sub-words leaves no room for a text")
        assert said.endswith(": raise model.max_length, or shorten dataset.prompt")


@every_kind
def test_load__with_a_limit_shorter_than_the_prompt_is_refused(opened: Callable[..., Any], kind: str):
    with pytest.raises(LanguageModelError, match=r"limit of 20 sub-words leaves no room.*model\.max_length"):
        opened(KINDS[kind], max_length=20)


HOSTILE = [
    "dull",
    " ",
    "  ",
    "\n",
    "\x00",
    "\u200b",
    "\u0301",
    "é",
    "▁",
    "Ġ",
    "电影",
    "\U0001f389",
    "½",
    "ﷺ",
    *LITERALS,
]


@every_kind
@examples(max_examples=60, deadline=None)
@given(text=st.text(max_size=80) | st.lists(st.sampled_from(HOSTILE), max_size=30).map("".join))
def test_encode__of_any_text_keeps_the_prompt_and_the_limit(of_kind: Open, kind: str, text: str):
    model = of_kind(kind, max_length=96)
    (encoded,) = model.encode([text])
    assert len(encoded.input_ids) == len(encoded.spans) <= 96
    assert encoded.spans[0] is None
    assert encoded.spans[-1] is None
    assert encoded.input_ids[-8:] == model.encode(["dull"])[0].input_ids[-8:]
    spans = [span for span in encoded.spans if span is not None]
    assert all(0 <= start <= end <= len(text) for start, end in spans)
    alignment = align(text, encoded)
    every = [*(word.position for word in alignment.words), *alignment.vanished, *alignment.truncated]
    assert sorted(every) == list(range(len(text.split())))


# --- what is answered


@pytest.fixture(scope="module", params=list(DECODERS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def untouched(name: str, folders: Any) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folders(name)).eval()


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {
            "label_tokens": LabelTokens.words,
            "task": Task(("a", "b", "c"), PROMPT, ("dull script", "dull ending", "dull acting")),
        },
    ],
    ids=["digits", "words"],
)
def test_class_logits__are_those_of_the_answers_in_an_untouched_network(
    name: str, untouched: Any, opened: Callable[..., Any], asked: dict[str, Any]
):
    model = opened(name, **dict(asked))
    found = model.class_logits(*model.pad(model.encode(TEXTS)))
    assert found.shape == (len(TEXTS), 3 if asked else 2)
    assert found.dtype == torch.float32
    for row, text in enumerate(TEXTS):
        with torch.no_grad():
            own = untouched(torch.tensor([own_ids(model, text)])).logits[0, -1]
        assert torch.allclose(found[row], own[list(model.answers.first)], atol=1e-5)
    assert bool(model.answers.common) is bool(asked)


def test_class_logits__keep_the_soft_cap_of_the_network(opened: Callable[..., Any]):
    model = opened("Gemma2")
    model._head.weight *= 1000
    logits = model.class_logits(*model.pad(model.encode(TEXTS)))
    assert logits.abs().max() <= 2.0
    assert logits.abs().min() > 1.9


def test_calibration__takes_off_the_answers_to_texts_without_content(opened: Callable[..., Any]):
    plain, calibrated = opened("GPT2"), opened("GPT2", calibration=True)
    logits = plain.class_logits(*plain.pad(plain.encode(TEXTS)))
    shares = [
        torch.softmax(plain.class_logits(*plain.pad(plain.encode([text])))[0], 0) for text in WITHOUT_CONTENT
    ]
    expected = logits - torch.log(torch.stack(shares).mean(0))
    assert torch.allclose(calibrated.class_logits(*plain.pad(plain.encode(TEXTS))), expected, atol=1e-5)
    without = torch.softmax(calibrated.class_logits(*plain.pad(plain.encode(["N/A"])))[0], 0)
    assert not torch.allclose(without, shares[0], atol=1e-3)


@pytest.mark.parametrize("family", ["Bert", "Roberta"])
def test_class_logits__keep_the_bias_of_the_answers(byte_level_tokenizer: Any, opened: Open, family: str):
    config = make_config(family, byte_level_tokenizer, is_decoder=True)
    network: Any = transformers.AutoModelForCausalLM.from_config(config).eval()
    network.get_output_embeddings().bias.data.uniform_(-3, 3)
    untouched = copy.deepcopy(network)
    task = Task(("negative", "positive"), PROMPT, ())
    model = DecoderModel(network, copy.deepcopy(byte_level_tokenizer), opened("GPT2").settings, task, "f")
    found = model.class_logits(*model.pad(model.encode(TEXTS)))
    for row, text in enumerate(TEXTS):
        with torch.no_grad():
            own = untouched(torch.tensor([own_ids(model, text)])).logits[0, -1]
        assert torch.allclose(found[row], own[list(model.answers.first)], atol=1e-5)


def test_network__without_linear_output_embeddings_is_refused(opened: Callable[..., Any]):
    model = opened("GPT2")
    network = copy.deepcopy(model.model)
    network.set_output_embeddings(torch.nn.Identity())
    with pytest.raises(LanguageModelError) as caught:
        DecoderModel(network, model.tokenizer, model.settings, Task(("a", "b"), PROMPT, ()), "f")
    assert str(caught.value) == (
        "model GPT2: GPT2LMHeadModel has no linear output embeddings to read answers from; use a model that "
        "AutoModelForCausalLM loads with a language model head"
    )


# --- the baseline


@pytest.mark.parametrize(("family", "pad"), [("GPT2", None), ("Llama", None), ("Gemma", 3), ("Qwen2", 0)])
def test_baseline__blanks_the_text_and_keeps_the_prompt(opened: Callable[..., Any], family: str, pad: int | None):
    model = opened(family)
    encoded = model.encode(TEXTS)
    assert model.tokenizer.pad_token_id == pad
    expected = ZERO_EMBEDDING if pad is None else pad
    ids, batch = model.attribution_baseline(encoded), model.pad(encoded)
    for row, each in enumerate(encoded):
        for column, span in enumerate(each.spans):
            assert ids[row, column] == (each.input_ids[column] if span is None else expected)
    assert torch.equal(ids[batch.attention_mask == 0], batch.input_ids[batch.attention_mask == 0])


@pytest.mark.parametrize("family", ["GPT2", "Llama", "GPTNeoX"])
def test_baseline__without_a_pad_token_is_an_embedding_of_zeros(opened: Callable[..., Any], family: str):
    model = opened(family)
    encoded = model.encode(TEXTS)
    batch = model.pad(encoded)
    layer_0 = model.run(batch._replace(input_ids=model.attribution_baseline(encoded)), [0]).hidden[0]
    plain = model.run(batch, [0]).hidden[0]
    for row, each in enumerate(encoded):
        for column, span in enumerate(each.spans):
            expected = plain[row, column] if span is None else torch.zeros(model.width)
            assert torch.equal(layer_0[row, column], expected)
    assert torch.equal(model.run(batch, [0]).hidden[0], plain), "nothing of it stays"


def test_attribution__of_a_zero_embedding_is_the_integral_by_hand(opened: Callable[..., Any], folders: Any):
    model = opened("GPT2")
    text = "dull plot"
    (found,) = attribute(model, [text], AttributionSettings(steps=200, adaptive=False))
    untouched: Any = transformers.AutoModelForCausalLM.from_pretrained(folders("GPT2")).eval()
    (encoded,) = model.encode([text])
    ids = torch.tensor([encoded.input_ids])
    in_text = torch.tensor([span is not None for span in encoded.spans])
    # GPT-2 adds its positions to what it is given: layer 0 of the baseline is zero when these are taken off.
    positions = untouched.transformer.wpe.weight[: ids.shape[1]][None]
    full = untouched.transformer.wte(ids).detach() + positions
    base = full.masked_fill(in_text[None, :, None], 0.0)
    total = torch.zeros_like(full)
    for step in range(600):
        at = (base + (step + 0.5) / 600 * (full - base)).requires_grad_()
        logits = untouched(inputs_embeds=at - positions).logits[0, -1]
        total += torch.autograd.grad(logits[model.answers.first[found.prediction]], at)[0] / 600
    scores = ((full - base) * total).sum(-1)[0].detach()
    words = [float(scores[list(word.sub_words)].sum()) for word in align(text, encoded).words]
    assert found.words == pytest.approx(words, rel=1e-2, abs=1e-3)


def test_class_logits__of_a_bfloat16_network_do_not_tie(opened: Callable[..., Any]):
    model = opened("Qwen2", number_format=NumberFormat.bfloat16)
    logits = model.class_logits(*model.pad(model.encode(["A good film", "A film", "Not a film at all"])))
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())


# --- what tells one model from another


def test_fingerprint__changes_with_all_that_is_asked(opened: Callable[..., Any]):
    other_prompt = Task(("negative", "positive"), PROMPT.replace("Which", "What"), ())
    other_words = Task(("negative", "positive"), PROMPT, ("bad", "good"))
    models = [
        opened("Qwen2"),
        opened("Qwen2", task=other_prompt),
        opened("Qwen2", task=other_words),
        opened("Qwen2", label_tokens=LabelTokens.words),
        opened("Qwen2", chat_template=False),
        opened("Qwen2", calibration=True),
        opened("Qwen2", last_layer=LastLayer.before_norm),
        opened("Qwen2", number_format=NumberFormat.bfloat16),
        opened("Qwen3"),
    ]
    assert len({model.fingerprint for model in models}) == len(models)
    assert opened("Qwen2").fingerprint == models[0].fingerprint


def test_asked__records_the_prompt_and_the_answers(opened: Callable[..., Any]):
    model = opened("GPT2")
    assert model.asked == {
        "prompt": {
            "before": "Text: ",
            "after": "\nWhich label fits this text? Answer 0 for negative or 1 for positive.\nAnswer:",
            "answers": (" 0", " 1"),
            "lead": (),
        },
        "answer_tokens": {"common": (), "first": model.answers.first},
        "calibration": False,
    }
    assert model.answers_at_end
    assert (model.n_layers, model.label_names) == (LAYERS, ("negative", "positive"))

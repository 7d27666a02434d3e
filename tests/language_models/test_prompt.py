"""What stands around the text, and which tokens answer, by hand for every kind of tokenizer."""

from __future__ import annotations

from typing import Any

import pytest
from families import CHAT, KINDS, PROMPT
from tiny import tiny_settings

from clvq_exp.language_models.base import LanguageModelError
from clvq_exp.language_models.prompt import AnswerTokens, Prompt, Task, answer_tokens, make_prompt
from clvq_exp.settings import LabelTokens

NAMES = ("negative", "positive")
BARE: dict[str, Any] = {"label_tokens": LabelTokens.words, "chat_template": False}


def prompt_of(
    kind: str, prompt: str = PROMPT, words: tuple[str, ...] = (), chat: str | None = None, **changed: Any
) -> Prompt:
    tokenizer = KINDS[kind]()
    if chat is not None:
        tokenizer.chat_template = chat
    names = tuple(f"class {index}" for index in range(len(words))) or NAMES
    return make_prompt(tokenizer, tiny_settings(**changed), Task(names, prompt, words))


def answers_of(kind: str, *answers: str, after: str = "\nAnswer:") -> list[Any]:
    """The tokens that all answers begin with, and the one of each that follows."""
    tokenizer = KINDS[kind]()
    common, first = answer_tokens(tokenizer, "tiny", Prompt("Text: ", after, answers, ()))
    return [[tokenizer.convert_ids_to_tokens(index) for index in ids] for ids in (common, first)]


def message(made: Any) -> str:
    with pytest.raises(LanguageModelError) as caught:
        made()
    return str(caught.value)


def test_prompt__is_filled_in_with_digits_and_what_they_stand_for():
    assert prompt_of("bare_bytes") == Prompt(
        before="Text: ",
        after="\nWhich label fits this text? Answer 0 for negative or 1 for positive.\nAnswer:",
        answers=(" 0", " 1"),
        lead=(),
    )


def test_prompt__of_words_lists_them():
    found = prompt_of("bare_bytes", words=("bad", "so so", "good"), label_tokens=LabelTokens.words)
    assert found.after == "\nWhich label fits this text? Answer bad, so so or good.\nAnswer:"
    assert found.answers == (" bad", " so so", " good")
    digits = prompt_of("bare_bytes", words=("bad", "so so", "good"))
    assert "Answer 0 for bad, 1 for so so or 2 for good." in digits.after
    assert digits.answers == (" 0", " 1", " 2")


def test_prompt__without_the_list_of_answers_or_with_it_before_the_text():
    assert prompt_of("bare_bytes", "Good? {text}\n").after == "\n"
    assert prompt_of("bare_bytes", "{answers}? {text}", **BARE) == Prompt(
        "negative or positive? ", "", ("negative", "positive"), ()
    )


@pytest.mark.parametrize(
    ("end", "answers"), [(":", (" 0", " 1")), (":\n", ("0", "1")), (": ", ("0", "1")), ("", ("0", "1"))]
)
def test_answers__get_a_space_where_the_prompt_does_not_end_with_one(end: str, answers: tuple[str, ...]):
    prompt = "Text: {text}" + (f"\nAnswer{end}" if end else "")
    assert prompt_of("bare_bytes", prompt).answers == answers


@pytest.mark.parametrize(("kind", "lead"), [("prepended", ["<s>"]), ("replaced", ["<s>"]), ("chat_bytes", [])])
def test_lead__is_what_the_tokenizer_puts_before_every_text(kind: str, lead: list[str]):
    found = prompt_of(kind, **BARE)
    assert KINDS[kind]().convert_ids_to_tokens(list(found.lead)) == lead


def test_chat_template__holds_the_prompt_and_begins_the_answer():
    assert prompt_of("chat_bytes", label_tokens=LabelTokens.words) == Prompt(
        before="<|im_start|>user\nText: ",
        after=(
            "\nWhich label fits this text? Answer negative or positive.\nAnswer:<|im_end|>\n"
            "<|im_start|>assistant\n"
        ),
        answers=("negative", "positive"),
        lead=(),
    )
    assert prompt_of("chat_bytes", **BARE).before == "Text: "


@pytest.mark.parametrize(
    ("template", "times"),
    [
        ("{{ messages[0].role }}", 0),
        ("{{ messages[0].content * 2 }}", 2),
        ("{{ messages[0].content | upper }}", 0),
    ],
)
def test_chat_template__that_loses_or_repeats_the_text_is_refused(template: str, times: int):
    assert message(lambda: prompt_of("bare_bytes", chat=template)) == (
        f"model tiny: its chat template holds the text {times} times, not once: set model.chat_template=false"
    )
    assert prompt_of("bare_bytes", chat=template, chat_template=False).before == "Text: "


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('no users here') }}", "{{ messages[0].content", "{{ 1 + messages }}"]
)
def test_chat_template__that_cannot_be_filled_in_is_refused_with_the_key(template: str):
    found = message(lambda: prompt_of("bare_bytes", chat=template))
    assert found.startswith("model tiny: its chat template cannot be filled in (")
    assert found.endswith("): set model.chat_template=false")


def test_chat_template__may_mark_the_text_off_from_what_is_around_it():
    found = prompt_of("chat_bytes", "{text}\nGood?", chat=CHAT)
    assert (found.before, found.answers) == ("<|im_start|>user\n", ("0", "1"))


def test_text__at_position_0_is_refused():
    said = (
        "model tiny: nothing stands before the text, so its first word would be at position 0, where decoders "
        "keep no content: begin dataset.prompt with a question"
    )
    assert message(lambda: prompt_of("bare_bytes", "{text}\nGood?")) == said
    assert message(lambda: prompt_of("bare_bytes", " {text}\nGood?")) == said
    assert message(lambda: prompt_of("bare_bytes", "{text}\nGood?", chat="{{ messages[0].content }}")) == said
    assert prompt_of("prepended", "{text}\nGood?").before == "", "its <s> comes first"


@pytest.mark.parametrize("kind", ["bare_bytes", "chat_bytes"])
def test_answer_tokens__are_the_first_in_which_the_answers_differ(kind: str):
    assert answers_of(kind, " dull", " superb") == [[], ["Ġdull", "Ġsuperb"]]


def test_answer_tokens__that_all_share_go_into_the_prompt():
    assert answers_of("bare_bytes", " dull script", " dull ending") == [["Ġdull"], ["Ġscript", "Ġending"]]
    assert answers_of("bare_bytes", "xzk", "xzq", "xzv", after="\n") == [["x", "z"], ["k", "q", "v"]]
    assert answers_of("prepended", " dull script", " dull ending") == [["▁dull"], ["▁script", "▁ending"]]


def test_answer_tokens__make_the_answers_when_they_follow_the_prompt():
    for kind in ("bare_bytes", "chat_bytes", "prepended", "replaced"):
        tokenizer = KINDS[kind]()
        prompt = prompt_of(kind, **BARE)
        whole = f"{prompt.before}text{prompt.after}"
        found: AnswerTokens = answer_tokens(tokenizer, "tiny", prompt)
        base = tokenizer(whole, add_special_tokens=False)["input_ids"]
        for answer, token in zip(prompt.answers, found.first, strict=True):
            begun = [*base, *found.common, token]
            assert tokenizer(whole + answer, add_special_tokens=False)["input_ids"][: len(begun)] == begun


@pytest.mark.parametrize(
    "answers", [(" dull", " dull script"), (" dull", " script", " script dull"), (" dull", " dull")]
)
def test_answer_tokens__that_cannot_be_told_apart_are_refused(answers: tuple[str, ...]):
    assert message(lambda: answers_of("bare_bytes", *answers)) == (
        f"model tiny: the answers {[answer.strip() for answer in answers]} cannot be told apart by the first "
        "token in which they differ: give dataset.label_words that begin differently, or model.label_tokens=digits"
    )


def test_answer_tokens__that_melt_into_the_prompt_are_refused():
    found = message(lambda: answers_of("bare_bytes", "dull", "superb", after="\nAnswer: "))
    assert found == (
        "model tiny: its tokenizer joins the answer 'dull' with the end of the prompt; end dataset.prompt with "
        "another character (a line break, say)"
    )

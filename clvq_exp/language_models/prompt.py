"""The prompt of a decoder: what stands around the text, and which tokens answer it."""

from __future__ import annotations

from typing import Any, NamedTuple

from clvq_exp.language_models.base import LanguageModelError
from clvq_exp.settings import LabelTokens, ModelSettings

TEXT = "{text}"
ANSWERS = "{answers}"
_MARK = "\ue000text\ue000"
"""Stands for the text while a chat template is filled in; private characters that no template has."""


class Task(NamedTuple):
    """What a language model is asked about a text."""

    label_names: tuple[str, ...]
    prompt: str
    """With `{text}` once, and perhaps `{answers}`."""
    label_words: tuple[str, ...]
    """What stands for each class where answers are words."""


class Prompt(NamedTuple):
    """What stands before and after the text, and the answers."""

    before: str
    after: str
    answers: tuple[str, ...]
    """As they follow `after`, a space before them where one is needed."""
    lead: tuple[int, ...]
    """Special tokens that come first and that no characters stand for; a chat template has its own in it."""


class AnswerTokens(NamedTuple):
    """How the answers begin."""

    common: tuple[int, ...]
    """What all answers begin with; read as part of the prompt."""
    first: tuple[int, ...]
    """The token of each class that comes next, all different."""


def make_prompt(tokenizer: Any, settings: ModelSettings, task: Task) -> Prompt:
    """Fill in the prompt, and the chat template where the tokenizer has one.

    Args:
        tokenizer: whose chat template is meant.
        settings: digits or words, and whether a chat template is wanted.
        task: the prompt and the words.

    Raises:
        LanguageModelError: a chat template that loses the text or cannot be filled in.
    """
    digits = settings.label_tokens is LabelTokens.digits
    words = task.label_words or task.label_names
    names = tuple(str(index) for index in range(len(task.label_names))) if digits else words
    shown = [f"{digit} for {word}" for digit, word in zip(names, words, strict=True)] if digits else names
    listed = f"{', '.join(shown[:-1])} or {shown[-1]}"
    filled = task.prompt.replace(ANSWERS, listed)
    template = settings.chat_template and bool(tokenizer.chat_template)
    filled = _in_template(tokenizer, settings.name, filled) if template else filled.replace(TEXT, _MARK)
    before, _, after = filled.partition(_MARK)
    spaced = template or not after or after[-1].isspace()
    lead = () if template else _leading_tokens(tokenizer)
    if not lead and not before.strip():
        raise LanguageModelError(
            f"model {settings.name}: nothing stands before the text, so its first word would be at position 0, "
            "where decoders keep no content: begin dataset.prompt with a question"
        )
    return Prompt(before, after, tuple(name if spaced else f" {name}" for name in names), lead)


def _in_template(tokenizer: Any, name: str, filled: str) -> str:
    from jinja2 import TemplateError

    messages = [{"role": "user", "content": filled.replace(TEXT, _MARK)}]
    try:
        rendered: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except (TemplateError, ValueError, TypeError) as error:
        raise LanguageModelError(
            f"model {name}: its chat template cannot be filled in ({error}): set model.chat_template=false"
        ) from error
    if rendered.count(_MARK) != 1:
        raise LanguageModelError(
            f"model {name}: its chat template holds the text {rendered.count(_MARK)} times, not once: set "
            "model.chat_template=false"
        )
    return rendered


def answer_tokens(tokenizer: Any, name: str, prompt: Prompt) -> AnswerTokens:
    """Tokenise the answers behind the prompt and find where they part.

    Raises:
        LanguageModelError: answers that begin with the same token, or that melt into the prompt.
    """
    whole = f"{prompt.before}text{prompt.after}"
    base = _plain_ids(tokenizer, whole)
    rests: list[list[int]] = []
    for answer in prompt.answers:
        ids = _plain_ids(tokenizer, whole + answer)
        if ids[: len(base)] != base or len(ids) == len(base):
            raise LanguageModelError(
                f"model {name}: its tokenizer joins the answer {answer!r} with the end of the prompt; end "
                "dataset.prompt with another character (a line break, say)"
            )
        rests.append(ids[len(base) :])
    shared = 0
    while all(len(rest) > shared for rest in rests) and len({rest[shared] for rest in rests}) == 1:
        shared += 1
    first = [rest[shared] if len(rest) > shared else None for rest in rests]
    if None in first or len(set(first)) < len(first):
        raise LanguageModelError(
            f"model {name}: the answers {[answer.strip() for answer in prompt.answers]} cannot be told apart by "
            "the first token in which they differ: give dataset.label_words that begin differently, or "
            f"model.label_tokens={LabelTokens.digits.value}"
        )
    return AnswerTokens(tuple(rests[0][:shared]), tuple(token for token in first if token is not None))


def _leading_tokens(tokenizer: Any) -> tuple[int, ...]:
    """What the tokenizer puts before every text."""
    plain = _plain_ids(tokenizer, "text")
    whole: list[int] = list(tokenizer("text")["input_ids"])
    return next(
        (tuple(whole[:start]) for start in range(len(whole)) if whole[start : start + len(plain)] == plain), ()
    )


def _plain_ids(tokenizer: Any, text: str) -> list[int]:
    """Ids of a text without special tokens around it."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])

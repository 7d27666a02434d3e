"""Text of a data set, made safe to look at.

A data set can hold anything: escape sequences that a terminal obeys, marks that turn the reading direction
around, words of 10,000 characters. What is shown of it goes through `visible` first.
"""

from __future__ import annotations

import unicodedata

_HIDDEN = frozenset(
    [
        0x061C,  # Arabic letter mark
        0x180E,
        0x200B,  # zero width space; the joiners next to it are part of ordinary words and stay
        0x200E,
        0x200F,
        *range(0x202A, 0x202F),  # bidirectional embeddings and overrides
        *range(0x2060, 0x2070),  # invisible operators, bidirectional isolates, deprecated formats
        0xFEFF,
        *range(0xFFF9, 0xFFFC),  # interlinear annotation
        *range(0xE0000, 0xE0080),  # tags: an invisible copy of ASCII
    ]
)
_HIDDEN_CATEGORIES = frozenset(["Cc", "Cs", "Zl", "Zp"])


def _is_hidden(character: str) -> bool:
    return ord(character) in _HIDDEN or unicodedata.category(character) in _HIDDEN_CATEGORIES


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def visible(text: str) -> str:
    r"""Replace what would act instead of showing by an escape that can be read.

    Control characters (so ANSI sequences, tabs and line ends too), lone surrogates, bidirectional controls,
    invisible characters and tags become `\x1b`, `\u202e`, `\U000e0041`. Everything else stays. The result
    has no line ends, and a second call changes nothing.

    Args:
        text: any text.

    Returns:
        The text with each such character written out.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(character) if _is_hidden(character) else character for character in text)


def shorten(text: str, limit: int = 80) -> str:
    """Cut an over-long text and say how long it was.

    Args:
        text: any text.
        limit: longest text, in characters, that stays whole.

    Returns:
        The text itself, or its first `limit` characters with the count of all of them.
    """
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)"

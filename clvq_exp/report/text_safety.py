"""Text of a data set, made safe to look at.

A data set can hold anything: escape sequences that a terminal obeys, marks that turn the reading direction
around, words of 10,000 characters. What is shown of it goes through `visible` first.
"""

from __future__ import annotations

import unicodedata

_JOINERS = (0x200C, 0x200D)
"""Zero width, but part of ordinary words and of emoji."""
_SIGNS = (*range(0x0600, 0x0606), 0x06DD, 0x070F, 0x0890, 0x0891, 0x08E2, 0x110BD, 0x110CD)
"""Format characters that have a shape."""
_SHOWN_FORMATS = frozenset([*_JOINERS, *_SIGNS])
_HIDDEN = frozenset(
    [
        0x034F,  # combining grapheme joiner
        *(0x115F, 0x1160, 0x3164, 0xFFA0),  # letters of Hangul without a shape
        *(0x17B4, 0x17B5),  # vowels of Khmer without a shape
        0x2065,  # unassigned like the next ones, but never shown
        *range(0xFFF0, 0xFFF9),
        *range(0xE0000, 0xE0100),  # tags, an invisible copy of ASCII, and what is kept free beside them
        *range(0xE01F0, 0xE1000),
    ]
)
_HIDDEN_CATEGORIES = frozenset(["Cc", "Cf", "Cs", "Zl", "Zp"])
_SELECTORS = frozenset([*range(0x180B, 0x180E), 0x180F, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)])
"""Choose the form of the character before them; a second one, or one on its own, only hides something."""


def _is_hidden(character: str, before: str) -> bool:
    code = ord(character)
    if code in _SELECTORS:
        return not before or before.isspace() or ord(before) in _SELECTORS or _is_hidden(before, "")
    if code in _HIDDEN:
        return True
    return unicodedata.category(character) in _HIDDEN_CATEGORIES and code not in _SHOWN_FORMATS


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def visible(text: str) -> str:
    r"""Replace what would act instead of showing by an escape that can be read.

    Control characters (so ANSI sequences, tabs and line ends too), lone surrogates, bidirectional controls,
    invisible characters and tags become `\x1b`, `\u202e`, `\U000e0041`. Everything else stays, joiners and the
    variation selector of an emoji too. The result has no line ends, and a second call changes nothing.

    Args:
        text: any text.

    Returns:
        The text with each such character written out.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _escape(character) if _is_hidden(character, before) else character
        for before, character in zip(("", *text), text, strict=False)
    )


def shorten(text: str, limit: int = 80) -> str:
    """Cut an over-long text and say how long it was.

    Args:
        text: any text.
        limit: longest text, in characters, that stays whole.

    Returns:
        The text itself, or its first `limit` characters with the count of all of them.
    """
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)"

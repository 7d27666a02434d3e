"""Words and the sub-words that make them.

A word is a white-space token, as `str.split` sees it. Sub-words are given to words by the characters that
they cover, so nothing is counted along and nothing can be shifted:

* a sub-word that covers characters of a word belongs to it (contractions, punctuation, emoji in bytes);
* one that covers two words belongs to both;
* one that covers white space only, or nothing, belongs to none;
* a word that no sub-word covers has *vanished* (control and zero-width characters, dropped by normalisers);
* a word after the cut of an over-long text, or cut in its middle, is *truncated*.

Vanished and truncated words have no activation; the others keep their position in the text.
"""

from __future__ import annotations

import re

from clvq_exp.records import AlignedWord, Alignment, EncodedText

_WORD = re.compile(r"\S+")


def white_space_tokens(text: str) -> list[tuple[int, int]]:
    """Character spans [start, end) of the words of a text, in order."""
    return [match.span() for match in _WORD.finditer(text)]


def align(text: str, encoded: EncodedText, sentence_token_text: str = "[CLS]") -> Alignment:
    """Give every sub-word to its word.

    Args:
        text: the text that was encoded.
        encoded: its sub-words and the characters that they cover.
        sentence_token_text: what the sentence token is called among the words.

    Returns:
        The words that have sub-words, in order (the sentence token first, at position -1), and the positions
        of those that vanished or were cut off.
    """
    words = white_space_tokens(text)
    members: list[list[int]] = [[] for _ in words]
    covered_to = [start for start, _ in words]
    first = 0
    last_end = 0
    for index, span in enumerate(encoded.spans):
        if span is None or span[0] >= span[1]:
            continue
        start, end = span
        last_end = max(last_end, end)
        while first < len(words) and words[first][1] <= start:
            first += 1
        for word in range(first, len(words)):
            word_start, word_end = words[word]
            if word_start >= end:
                break
            members[word].append(index)
            covered_to[word] = max(covered_to[word], min(end, word_end))
    cut_from = _first_truncated(words, covered_to, last_end) if encoded.cut else len(words)
    kept: list[AlignedWord] = []
    if encoded.sentence_token is not None:
        kept.append(AlignedWord(-1, sentence_token_text, (encoded.sentence_token,), special=True))
    vanished: list[int] = []
    for position, (start, end) in enumerate(words[:cut_from]):
        if members[position]:
            kept.append(AlignedWord(position, text[start:end], tuple(members[position]), special=False))
        else:
            vanished.append(position)
    return Alignment(tuple(kept), tuple(vanished), tuple(range(cut_from, len(words))))


def _first_truncated(words: list[tuple[int, int]], covered_to: list[int], last_end: int) -> int:
    """The first word that the cut reaches: not covered to its end, and nothing after it covered."""
    for position in range(len(words)):
        start, end = words[position]
        if start >= last_end or (end >= last_end and covered_to[position] < end):
            return position
    return len(words)

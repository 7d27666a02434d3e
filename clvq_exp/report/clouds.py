"""Word clouds: the words of a concept, as large as they are frequent."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from clvq_exp.report.text_safety import shorten

SIZE = (720, 360)
"""Pixels."""
MOST_WORDS = 60
_WORD_LIMIT = 24
"""Longest word, in characters, that is drawn whole."""
_FAMILY = "font-family:'Droid Sans Mono'"
"""The font that the words are measured with; others of one width for all letters take nearly the same room."""
_COLOURS = ("#0b4f8a", "#7a3b00", "#0b5d43", "#5b2a6e", "#1f2933")
"""Each has a contrast of at least 7 to 1 on white."""


class Cloud(NamedTuple):
    """A drawn cloud."""

    svg: str
    png: bytes
    description: str
    """The words in order, for those who do not see it."""

    @property
    def svg_address(self) -> str:
        """The SVG as an address of an image: what it holds cannot act on the page."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg.encode()).decode()


def draw_cloud(words: Sequence[tuple[str, int]], seed: int) -> Cloud | None:
    """Draw a word cloud.

    Args:
        words: neutralised words with their counts, the most frequent first.
        seed: of the places of the words.

    Returns:
        The cloud, or None without a word. The same words and seed give the same cloud.
    """
    from wordcloud import WordCloud

    counts: dict[str, int] = {}
    for word, count in words[:MOST_WORDS]:
        short = shorten(word.strip(), _WORD_LIMIT)
        if short and count > 0:
            counts.setdefault(short, count)
    if not counts:
        return None
    rank = {word: index for index, word in enumerate(counts)}

    def colour(word: str, **_: Any) -> str:
        return _COLOURS[rank[word] % len(_COLOURS)]

    made: Any = cast("Any", WordCloud)(
        width=SIZE[0],
        height=SIZE[1],
        margin=4,
        background_color="white",
        prefer_horizontal=1.0,
        relative_scaling=0.5,
        min_font_size=9,
        max_words=MOST_WORDS,
        color_func=colour,
        random_state=seed % 2**32,
    ).generate_from_frequencies(counts)
    buffer = io.BytesIO()
    made.to_image().save(buffer, format="PNG", optimize=True)
    svg: str = made.to_svg()
    return Cloud(svg.replace(_FAMILY, f"{_FAMILY},monospace"), buffer.getvalue(), ", ".join(counts))

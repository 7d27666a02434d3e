"""What a concept holds: the most frequent words among its training words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Int32
from torch import Tensor

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import ConceptModel
from clvq_exp.settings import Split

WORDS_SHOWN = 10


class ConceptWord(NamedTuple):
    """One of the most frequent words of a concept."""

    concept: int
    rank: int
    """0 for the most frequent."""
    word: str
    """Case-folded."""
    n_words: int
    """Training words of this form that the concept holds."""


@runtime_checkable
class KeepsSampledCodes(Protocol):
    """A concept model that may know which code was sampled for a word in training."""

    @property
    def sampled_codes(self) -> Int32[Tensor, " words"] | None:
        """Code last sampled for each training word, by its row, -1 where none was; None where not kept."""


def concept_words(
    model: ConceptModel, store: ActivationStore, layer: int, shown: int = WORDS_SHOWN
) -> list[ConceptWord]:
    """The most frequent words of every concept.

    A training word belongs to its nearest code; where the model kept them, to the code that was sampled for it in
    training, and to none if it was not trained on.

    Args:
        model: a fitted concept model.
        store: whose training words are counted.
        layer: layer l.
        shown: words per concept at most; ties go to the word that sorts first.
    """
    counts: list[Counter[str]] = [Counter() for _ in range(model.n_concepts)]
    words = store.word_column("word")
    for start, codes in _codes(model, store, layer):
        texts = words.slice(start, len(codes)).to_pylist()
        for code, text in zip(codes.tolist(), texts, strict=True):
            if code >= 0:
                counts[code][text.casefold()] += 1
    return [
        ConceptWord(concept, rank, word, count)
        for concept, counter in enumerate(counts)
        for rank, (word, count) in enumerate(sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:shown])
    ]


def _codes(model: ConceptModel, store: ActivationStore, layer: int) -> Iterator[tuple[int, Tensor]]:
    """The code of every training word, a block at a time, with the row of the block's first word."""
    sampled = model.sampled_codes if isinstance(model, KeepsSampledCodes) else None
    for start, block in store.iterate_words(layer, (Split.train,)):
        yield start, model.assign(block)[:, 0] if sampled is None else sampled[start : start + len(block)]

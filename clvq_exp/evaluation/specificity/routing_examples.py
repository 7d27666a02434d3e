"""Words that go to another code under another label, for the table of examples (revision 4.2.1, Table 16)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clvq_exp.evaluation.specificity.routing import (
    PairRouting,
    RoutingTable,
    route_pairs,
    word_starts,
    word_sums,
)


class RoutedWord(NamedTuple):
    """One side of an example: where a word goes under one of two labels."""

    seed: int
    word: str
    """Case-folded."""
    label: str
    against: str
    """The label that it is compared with; there is a row for each side."""
    code: int
    """The word's most frequent code under `label`, of equally frequent ones the first."""
    n_words: int
    """The word's occurrences under `label` that the code holds."""
    occurrences: int
    """The word's occurrences under `label`."""
    purity: float
    """Share of all words of the code that stand under `label`."""
    divergence: float
    """Jensen-Shannon divergence of the word's code distributions under the two labels, bits."""


class Names(NamedTuple):
    """What the numbers stand for."""

    forms: tuple[str, ...]
    """The content words."""
    labels: tuple[str, ...]
    """The classes."""


class _Example(NamedTuple):
    """An example; its fields are in the order by which examples are sorted."""

    purity: float
    """The smaller of the two codes' purities, negative: the purest come first."""
    n_words: int
    """The smaller of the two numbers of occurrences, negative: the most come first."""
    word: int
    labels: tuple[int, int]
    cells: tuple[int, int]
    divergence: float


def routed_words(
    table: RoutingTable,
    counts: NDArray[np.int64],
    code_counts: NDArray[np.int64],
    names: Names,
    seed: int,
    min_count: int,
    shown: int,
) -> list[RoutedWord]:
    """The table of examples, the purest codes first.

    Both codes must hold the word at least `min_count` times under their label, so that no example rests on a
    handful of words. The smaller of the two purities orders the examples; ties go to more occurrences, then to
    the word that sorts first.

    Args:
        table: which codes hold the content words.
        counts: occurrences of each cell under each label, `[cells, labels]`.
        code_counts: words of each code under each label, `[codes, labels]`.
        names: of words and labels.
        seed: of the concept model.
        min_count: occurrences needed.
        shown: examples at most; each gives two rows.
    """
    totals = word_sums(counts, table.word)
    purity = _purity(code_counts)
    examples = [
        example
        for labels, pair in route_pairs(table, counts, min_count)
        for example in _examples(table, counts, purity, labels, pair, min_count)
    ]
    return [
        RoutedWord(
            seed=seed,
            word=names.forms[table.form[each.word]],
            label=names.labels[label],
            against=names.labels[other],
            code=int(table.code[cell]),
            n_words=int(counts[cell, label]),
            occurrences=int(totals[each.word, label]),
            purity=float(purity[table.code[cell], label]),
            divergence=each.divergence,
        )
        for each in sorted(examples)[:shown]
        for label, other, cell in zip(each.labels, each.labels[::-1], each.cells, strict=True)
    ]


def _examples(
    table: RoutingTable,
    counts: NDArray[np.int64],
    purity: NDArray[np.float64],
    labels: tuple[int, int],
    pair: PairRouting,
    min_count: int,
) -> list[_Example]:
    """All examples of one pair of labels."""
    cells = np.stack([_most_frequent(counts[:, label], table.word)[pair.word] for label in labels], axis=1)
    fewest = counts[cells, labels].min(1)
    least_pure = purity[table.code[cells], labels].min(1)
    return [
        _Example(
            -float(least_pure[index]),
            -int(fewest[index]),
            int(pair.word[index]),
            labels,
            (int(cells[index, 0]), int(cells[index, 1])),
            float(pair.divergence[index]),
        )
        for index in np.flatnonzero(pair.differs & (fewest >= min_count))
    ]


def _purity(code_counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of each label among the words of each code, `[codes, labels]`; 0 for a code without words."""
    return code_counts / np.maximum(code_counts.sum(1, keepdims=True), 1)


def _most_frequent(counts: NDArray[np.int64], word: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each word the first of its cells with the largest count."""
    return np.lexsort((np.arange(len(counts)), -counts, word))[word_starts(word)]

"""Label-conditioned routing: does a word go to other codes under another label (revision 4.2.1, Table 16)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr


class RoutingTable(NamedTuple):
    """Which codes hold the content words. A cell is a word and a code that holds it."""

    cell: NDArray[np.int64]
    """Of each occurrence of a content word: its cell."""
    occurrence: NDArray[np.int64]
    """Of each occurrence of a content word: which of the words that were given it is, ascending."""
    word: NDArray[np.int64]
    """Of each cell: its word, ascending from 0."""
    code: NDArray[np.int64]
    """Of each cell: its code, ascending within a word."""
    form: NDArray[np.int64]
    """Of each word: the number of its form."""


class PairRouting(NamedTuple):
    """The content words that are frequent enough under both of two labels."""

    word: NDArray[np.int64]
    """Which words of the table they are, ascending."""
    differs: NDArray[np.bool_]
    """No code is the most frequent one under both labels; of equally frequent codes each counts as one."""
    divergence: NDArray[np.float64]
    """Jensen-Shannon divergence of the code distributions under the two labels, bits, 0 to 1."""


def routing_table(form: NDArray[np.int32], code: NDArray[np.int32], n_codes: int, min_count: int) -> RoutingTable:
    """The cells of all content words that can be frequent enough under two labels.

    Args:
        form: number of each word's form; -1 for one that is no content word.
        code: code of each word.
        n_codes: K.
        min_count: occurrences needed under each label.
    """
    frequent = np.bincount(form + 1) >= 2 * min_count
    frequent[:1] = False
    kept = np.flatnonzero(frequent[form + 1])
    keys, cell = np.unique(form[kept].astype(np.int64) * n_codes + code[kept], return_inverse=True)
    forms, word = np.unique(keys // n_codes, return_inverse=True)
    return RoutingTable(cell, kept, word, keys % n_codes, forms)


def cell_counts(table: RoutingTable, labels: NDArray[np.int64], n_labels: int) -> NDArray[np.int64]:
    """Occurrences of each cell under each label, `[cells, labels]`.

    Args:
        table: the cells.
        labels: class of each word that the table was made of.
        n_labels: number of classes.
    """
    n = len(table.word)
    flat = np.bincount(table.cell * n_labels + labels[table.occurrence], minlength=n * n_labels)
    return flat.reshape(n, n_labels)


def route_pairs(
    table: RoutingTable, counts: NDArray[np.int64], min_count: int
) -> Iterator[tuple[tuple[int, int], PairRouting]]:
    """Compare every pair of labels under which some word is frequent enough.

    Args:
        table: the cells.
        counts: occurrences of each cell under each label, `[cells, labels]`.
        min_count: occurrences needed under each label.
    """
    totals = word_sums(counts, table.word)
    enough = totals >= min_count
    for a, b in combinations(range(counts.shape[1]), 2):
        chosen = enough[:, a] & enough[:, b]
        if chosen.any():
            yield (a, b), _route_pair(table.word, counts[:, [a, b]], totals[:, [a, b]], chosen)


def _route_pair(
    word_of: NDArray[np.int64], counts: NDArray[np.int64], totals: NDArray[np.int64], chosen: NDArray[np.bool_]
) -> PairRouting:
    cells = chosen[word_of]
    counts, totals = counts[cells], totals[chosen]
    word = (np.cumsum(chosen) - 1)[word_of[cells]]
    starts = word_starts(word)
    most = counts == np.maximum.reduceat(counts, starts)[word]
    shared = np.logical_or.reduceat(most.all(1), starts)
    p = counts / totals[word]
    middle = (p[:, 0] + p[:, 1]) / 2
    nats = (rel_entr(p[:, 0], middle) + rel_entr(p[:, 1], middle)) / 2
    bits = np.add.reduceat(nats, starts) / np.log(2)
    return PairRouting(np.flatnonzero(chosen), ~shared, np.clip(bits, 0.0, 1.0))


def routing_measures(table: RoutingTable, counts: NDArray[np.int64], min_count: int) -> dict[str, Any]:
    """Means over words, then over pairs of labels.

    Args:
        table: the cells.
        counts: occurrences of each cell under each label, `[cells, labels]`.
        min_count: occurrences needed under each label.

    Returns:
        `words` (content words that are compared under some pair), `differing_share` and `divergence` (bits);
        NaN where no word can be compared.
    """
    pairs = [pair for _, pair in route_pairs(table, counts, min_count)]
    if not pairs:
        return {"words": 0, "differing_share": np.nan, "divergence": np.nan}
    return {
        "words": len(np.unique(np.concatenate([each.word for each in pairs]))),
        "differing_share": np.mean([each.differs.mean() for each in pairs]),
        "divergence": np.mean([each.divergence.mean() for each in pairs]),
    }


def label_pair_figures(
    table: RoutingTable, counts: NDArray[np.int64], label_names: Sequence[str], min_count: int
) -> list[dict[str, Any]]:
    """Words, share and divergence for each pair of labels; None where no word can be compared.

    Args:
        table: the cells.
        counts: occurrences of each cell under each label, `[cells, labels]`.
        label_names: names of the classes.
        min_count: occurrences needed under each label.
    """
    found = dict(route_pairs(table, counts, min_count))
    figures: list[dict[str, Any]] = []
    for a, b in combinations(range(len(label_names)), 2):
        pair = found.get((a, b))
        figures.append(
            {
                "labels": [label_names[a], label_names[b]],
                "words": len(pair.word) if pair else 0,
                "differing_share": float(pair.differs.mean()) if pair else None,
                "divergence": float(pair.divergence.mean()) if pair else None,
            }
        )
    return figures


def word_sums(counts: NDArray[np.int64], word: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sums over the cells of each word, `[words, labels]`."""
    if not len(word):
        return np.zeros((0, counts.shape[1]), dtype=np.int64)
    return np.add.reduceat(counts, word_starts(word))


def word_starts(word: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first cell of each word."""
    return np.flatnonzero(np.diff(word, prepend=-1))

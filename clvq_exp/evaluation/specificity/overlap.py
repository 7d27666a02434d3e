"""Overlap at controlled wording: do sentences of one label share more codes (revision 4.2.1, Table 17)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from clvq_exp.evaluation.specificity.baselines import Values

EDGES = (0.1, 0.3)
"""TF-IDF cosines that part the bands; a band begins with its lower edge."""
N_BANDS = len(EDGES) + 1
READINGS: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "bands": {"0-0.1": (0,), "0.1-0.3": (1,), "0.3-1": (2,)},
    "below": {"0.1": (0,), "0.3": (0, 1)},
    "at_least": {"0": (0, 1, 2), "0.1": (1, 2), "0.3": (2,)},
}
"""Reading -> cosines -> the bands that it adds up: each band alone, and cumulative both ways."""
PAIRS_AT_ONCE = 2**19
"""Pairs of sentences that are in memory at once: some sentences with all others."""
_COLUMNS_AT_ONCE = 512
"""Labellings times labels whose memberships are in memory at once."""


class PairSums(NamedTuple):
    """Sums over pairs of sentences by band; whole numbers."""

    pairs: NDArray[np.float64]
    """All pairs, `[bands]`."""
    same_pairs: NDArray[np.float64]
    """Pairs of one label, `[labellings, bands]`."""
    shared: NDArray[np.float64]
    """Codes that both sentences have, over all pairs, `[models, bands]`."""
    same_shared: NDArray[np.float64]
    """The same over pairs of one label, `[models, labellings, bands]`."""


def tfidf_rows(corpus: Callable[[], Iterable[str]], texts: Iterable[str]) -> sparse.csr_matrix:
    """TF-IDF vectors of norm 1 by scikit-learn's defaults, `[texts, terms]`; a text without terms is zero.

    Args:
        corpus: starts a pass over the texts whose document frequencies count.
        texts: that are turned into vectors.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer()
    analyze = vectorizer.build_analyzer()
    if not any(analyze(text) for text in corpus()):  # scikit-learn refuses texts without any term
        return sparse.csr_matrix((sum(1 for _ in texts), 1), dtype=np.float64)
    return sparse.csr_matrix(vectorizer.fit(corpus()).transform(texts))


def sentence_codes(
    codes: NDArray[np.int32], sentence: NDArray[np.int64], n_sentences: int, n_codes: int
) -> sparse.csr_matrix:
    """1 where a word of a sentence has a code, `[sentences, codes]`.

    Args:
        codes: code of each word.
        sentence: sentence of each word.
        n_sentences: number of sentences.
        n_codes: K.
    """
    cells = np.unique(sentence * n_codes + codes)
    where = (cells // n_codes, cells % n_codes)
    return sparse.csr_matrix((np.ones(len(cells)), where), shape=(n_sentences, n_codes))


def pair_sums(
    tfidf: sparse.csr_matrix,
    codes: Sequence[sparse.csr_matrix],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    at_once: int = PAIRS_AT_ONCE,
) -> PairSums:
    """Go over all pairs of sentences of different documents, some sentences at a time.

    Args:
        tfidf: vectors of norm 1, `[sentences, terms]`.
        codes: of each model, 1 where a sentence has a code, `[sentences, codes]`.
        labels: class of each sentence under each labelling, `[labellings, sentences]`.
        groups: document of each sentence.
        at_once: pairs that are in memory at once, as far as one sentence with all others allows.
    """
    n_labellings, n = labels.shape
    totals = np.zeros((1 + len(codes), N_BANDS))
    same = np.zeros((1 + len(codes), n_labellings, N_BANDS))
    size = max(1, at_once // max(1, n))
    for start in range(0, n, size):
        rows = slice(start, min(start + size, n))
        band = _bands(tfidf, groups, rows)
        weights = [np.ones(band.shape), *(_products(each, rows) for each in codes)]
        matrices = [[np.where(band == k, weight, 0.0) for k in range(N_BANDS)] for weight in weights]
        totals += [[matrix.sum() for matrix in bands] for bands in matrices]
        for drawn, one_hot in _memberships(labels[:, start:]):
            own = labels[drawn, rows].T[:, :, None]
            same[:, drawn] += np.array(
                [[_of_own_label(matrix, one_hot, own) for matrix in bands] for bands in matrices]
            ).transpose(0, 2, 1)
    return PairSums(totals[0], same[0], totals[1:], same[1:])


def _bands(tfidf: sparse.csr_matrix, groups: NDArray[np.int64], rows: slice) -> NDArray[np.int64]:
    """The band of some sentences with themselves and all later ones; -1 where a pair does not count."""
    band = np.digitize(_products(tfidf, rows), EDGES)
    later = np.arange(band.shape[1]) > np.arange(band.shape[0])[:, None]
    other_document = groups[rows, None] != groups[rows.start :]
    return np.where(later & other_document, band, -1)


def _products(vectors: sparse.csr_matrix, rows: slice) -> NDArray[np.float64]:
    """Inner products of some rows with themselves and all later ones."""
    return (vectors[rows] @ vectors[rows.start :].T).toarray()


def _memberships(labels: NDArray[np.int64]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Some labellings at a time: which ones, and 1 where a sentence has a label, `[sentences, drawn * labels]`."""
    n_labels = int(labels.max(initial=0)) + 1
    size = max(1, _COLUMNS_AT_ONCE // n_labels)
    for start in range(0, len(labels), size):
        drawn = labels[start : start + size].T
        one_hot = drawn[:, :, None] == np.arange(n_labels)
        yield slice(start, start + drawn.shape[1]), one_hot.reshape(len(drawn), -1).astype(np.float64)


def _of_own_label(
    matrix: NDArray[np.float64], one_hot: NDArray[np.float64], own: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The sum of a matrix over pairs of one label, under each labelling; exact, since all are whole numbers.

    Args:
        matrix: one number for each pair, `[rows, sentences]`.
        one_hot: 1 where a sentence has a label, `[sentences, labellings * labels]`.
        own: label of each row's sentence, `[rows, labellings, 1]`.
    """
    by_label = (matrix @ one_hot).reshape(*own.shape[:2], -1)
    return np.take_along_axis(by_label, own, axis=2).sum((0, 2))


def overlap_measures(sums: PairSums, model: int, bands: tuple[int, ...]) -> Values:
    """Mean number of codes that the two sentences of a pair share, in some bands together.

    Args:
        sums: over all pairs.
        model: which of the models.
        bands: that are added up.

    Returns:
        `same_label`, `different_label` and `ratio` (same over different) under each labelling, `[labellings]`;
        NaN where there are no such pairs, or where different labels share nothing.
    """
    of_bands = list(bands)
    same_pairs = sums.same_pairs[:, of_bands].sum(1)
    same_shared = sums.same_shared[model][:, of_bands].sum(1)
    same = _ratio(same_shared, same_pairs)
    different = _ratio(sums.shared[model, of_bands].sum() - same_shared, sums.pairs[of_bands].sum() - same_pairs)
    return {"same_label": same, "different_label": different, "ratio": _ratio(same, different)}


def pair_counts(sums: PairSums, bands: tuple[int, ...]) -> dict[str, int]:
    """Pairs of one label and of two under the gold labels, in some bands together."""
    of_bands = list(bands)
    same = int(sums.same_pairs[0, of_bands].sum())
    return {"same_pairs": same, "different_pairs": int(sums.pairs[of_bands].sum()) - same}


def _ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """a / b; NaN where b is 0 or either is NaN."""
    return np.divide(a, b, out=np.full(np.shape(a), np.nan), where=b > 0)

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from clvq_exp.evaluation.specificity.overlap import (
    READINGS,
    PairSums,
    overlap_measures,
    pair_counts,
    pair_sums,
    sentence_codes,
    tfidf_rows,
)


def rows(*vectors: list[float]) -> sparse.csr_matrix:
    return sparse.csr_matrix(np.array(vectors, dtype=np.float64))


def unit(cosine: float) -> list[float]:
    """A vector of norm 1 at this cosine to the first axis."""
    return [cosine, float(np.sqrt(1 - cosine**2))]


def by_hand(
    cosine: np.ndarray, codes: list[np.ndarray], labels: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, ...]:
    """The sums, pair by pair."""
    n_labellings, n = labels.shape
    pairs, same_pairs = np.zeros(3), np.zeros((n_labellings, 3))
    shared, same_shared = np.zeros((len(codes), 3)), np.zeros((len(codes), n_labellings, 3))
    for i in range(n):
        for j in range(i):
            if groups[i] == groups[j]:
                continue
            band = int(cosine[i, j] >= 0.1) + int(cosine[i, j] >= 0.3)
            common = np.array([int((each[i] * each[j]).sum()) for each in codes])
            same = labels[:, i] == labels[:, j]
            pairs[band] += 1
            same_pairs[same, band] += 1
            shared[:, band] += common
            same_shared[:, :, band] += common[:, None] * same
    return pairs, same_pairs, shared, same_shared


def test_tfidf__of_two_short_texts_by_hand() -> None:
    texts = ["a good film", "a bad film"]  # scikit-learn leaves out words of one letter
    vectors = tfidf_rows(lambda: texts, texts)
    rare = np.log(3 / 2) + 1  # of "good" and "bad"; "film" is in both texts and weighs 1
    assert (vectors @ vectors.T).toarray() == pytest.approx(
        np.array([[1, 1 / (1 + rare**2)], [1 / (1 + rare**2), 1]])
    )


def test_tfidf__weighs_terms_by_the_whole_corpus() -> None:
    texts = ["good film", "bad film"]
    vectors = tfidf_rows(lambda: [*texts, "dull play", "dull book"], texts).toarray()
    rare, film = np.log(5 / 2) + 1, np.log(5 / 3) + 1
    assert vectors[0] @ vectors[1] == pytest.approx(film**2 / (film**2 + rare**2))


@pytest.mark.parametrize("corpus", [["!", "? !"], ["!", "good film"]])
def test_tfidf__of_a_text_without_terms_is_zero(corpus: list[str]) -> None:
    vectors = tfidf_rows(lambda: corpus, ["! !", "?"]).toarray()
    assert len(vectors) == 2
    assert not vectors.any()


def test_sentence_codes__count_a_code_once() -> None:
    codes, sentence = np.array([1, 1, 0, 2], dtype=np.int32), np.array([0, 0, 2, 0])
    assert sentence_codes(codes, sentence, 3, 4).toarray().tolist() == [[0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]]


def test_overlap__of_four_sentences_by_hand() -> None:
    # cosines: 0-1 0.5, 0-2 0.2, 0-3 0; 1-2 at least 0.3, 1-3 and 2-3 at least 0.3
    tfidf = rows(unit(1.0), unit(0.5), unit(0.2), unit(0.0))
    codes = rows([1, 1, 0], [1, 1, 0], [1, 0, 0], [0, 1, 1])
    sums = pair_sums(tfidf, [codes], np.array([[0, 0, 0, 1]]), np.arange(4))
    assert pair_counts(sums, (0,)) == {"same_pairs": 0, "different_pairs": 1}
    assert pair_counts(sums, (0, 1, 2)) == {"same_pairs": 3, "different_pairs": 3}
    strict = overlap_measures(sums, 0, (2,))
    assert strict["same_label"] == pytest.approx([(2 + 1) / 2])  # 0-1, 1-2
    assert strict["different_label"] == pytest.approx([(1 + 0) / 2])  # 1-3, 2-3
    assert strict["ratio"] == pytest.approx([3.0])
    whole = overlap_measures(sums, 0, (0, 1, 2))
    assert whole["same_label"] == pytest.approx([(2 + 1 + 1) / 3])
    assert whole["different_label"] == pytest.approx([(1 + 1 + 0) / 3])


def test_overlap__counts_a_cosine_on_an_edge_in_the_upper_band() -> None:
    sums = pair_sums(rows([1.0, 0.0], [0.1, 0.0], [0.3, 0.0]), [], np.zeros((1, 3), dtype=np.int64), np.arange(3))
    assert sums.pairs.tolist() == [1, 1, 1]  # 0.1 * 0.3, 0.1, 0.3


def test_overlap__leaves_out_pairs_of_one_document() -> None:
    codes = rows(*[[1.0]] * 4)
    sums = pair_sums(rows(*[[1.0]] * 4), [codes], np.zeros((1, 4), dtype=np.int64), np.array([0, 1, 1, 1]))
    assert pair_counts(sums, (2,)) == {"same_pairs": 3, "different_pairs": 0}


def test_overlap__without_such_pairs_or_shared_codes_is_not_defined() -> None:
    sums = pair_sums(rows([1.0], [1.0], [1.0]), [rows([1], [1], [0])], np.array([[0, 0, 1]]), np.arange(3))
    found = overlap_measures(sums, 0, (2,))
    assert (found["same_label"][0], found["different_label"][0]) == (1, 0)
    assert np.isnan(found["ratio"][0])
    assert np.isnan([each[0] for each in overlap_measures(sums, 0, (0,)).values()]).all()


@pytest.fixture(scope="module")
def many() -> tuple[np.ndarray, list[np.ndarray], np.ndarray, np.ndarray]:
    """37 sentences in 9 documents, two models, 300 labellings of three labels."""
    generator = np.random.default_rng(1)
    vectors = generator.random((37, 6)) * (generator.random((37, 6)) < 0.4)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    codes = [(generator.random((37, k)) < 0.3).astype(np.float64) for k in (5, 8)]
    return vectors, codes, generator.integers(0, 3, (300, 37)), generator.integers(0, 9, 37)


@pytest.mark.parametrize("at_once", [1, 37 * 5, 2**19])
def test_overlap__is_the_sum_over_all_pairs_whatever_the_block(
    many: tuple[np.ndarray, list[np.ndarray], np.ndarray, np.ndarray], at_once: int
) -> None:
    vectors, codes, labels, groups = many
    found = pair_sums(
        sparse.csr_matrix(vectors), [sparse.csr_matrix(each) for each in codes], labels, groups, at_once
    )
    expected = by_hand(vectors @ vectors.T, codes, labels, groups)
    assert (expected[0] > 0).all()
    for name, a, b in zip(PairSums._fields, found, expected, strict=True):
        assert np.array_equal(a, b), name


def test_readings__cover_all_bands_in_both_directions() -> None:
    assert list(READINGS["bands"].values()) == [(0,), (1,), (2,)]
    assert list(READINGS["below"].values()) == [(0,), (0, 1)]
    assert list(READINGS["at_least"].values()) == [(0, 1, 2), (1, 2), (2,)]

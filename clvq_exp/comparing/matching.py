"""Two codebooks side by side: matched one to one, and held against each other on the words that both have."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from clvq_exp.comparing.concepts import Concepts, Word, has_concepts, read_concepts, read_word_codes
from clvq_exp.comparing.figures import Pair
from clvq_exp.evaluation.specificity.codebooks import MatchedCodes, agreement, code_cosines, match_codes
from clvq_exp.seeding import numpy_generator

LARGEST = 4096
"""Codes of the larger codebook up to which codebooks are matched: the time grows with its cube."""
SHOWN_PAIRS = 5
"""Matched pairs that are shown from each end."""
_NOISE_DRAWS = 3
_ONE_DRAW_ABOVE = 1024
"""Codes of the larger codebook above which one codebook of noise is drawn."""
_DIGITS = 9
"""Similarities that are the same so far are equal."""
COSINES, WORDS = "cosines", "shared words"
"""What codebooks are matched by."""


class MatchedPair(NamedTuple):
    """Two codes that stand for each other."""

    base: int
    other: int
    similarity: float
    base_words: tuple[Word, ...]
    other_words: tuple[Word, ...]


class SeedMatching(NamedTuple):
    """One fit of each run."""

    seeds: tuple[int, int]
    codes: tuple[int, int]
    """Codes that are matched: those that hold training words."""
    similarity: float
    """Mean over the matched pairs."""
    random: float
    """Mean over all pairs: what matching at random gives on average."""
    noise: float | None
    """Mean over the pairs matched with noise of the other codebook's mean and covariance; None by words."""
    all_codes: float | None
    """Mean over the matched pairs where codes without words take part; None by words."""
    pairs: tuple[MatchedPair, ...]
    """The most similar first."""


class Matching(NamedTuple):
    """Two codebooks, matched for each pair of seeds."""

    by: str
    """`COSINES` or `WORDS`."""
    seeds: tuple[SeedMatching, ...]

    def mean(self, name: str) -> float | None:
        """The mean of a figure over the pairs of seeds that have it."""
        found = [value for value in (getattr(each, name) for each in self.seeds) if value is not None]
        return math.fsum(found) / len(found) if found else None


class SeedAgreement(NamedTuple):
    """One fit of each run on the same words."""

    seeds: tuple[int, int]
    words: int
    """Dev words that have a code in both."""
    agreement: float
    """Adjusted mutual information: 1 for the same partition, 0 by chance."""


class Codebooks(NamedTuple):
    """Two codebooks side by side."""

    matching: Matching | None
    agreement: tuple[SeedAgreement, ...]
    notes: tuple[str, ...]
    """What could not be compared, and why."""


def codebooks(pair: Pair) -> Codebooks:
    """Match the codebooks of two runs' own methods, and measure how far they put words together alike.

    Args:
        pair: the runs. Seeds that both have are held against each other; where they have none in common, the first
            of each.
    """
    notes: list[str] = []
    seeds = _seed_pairs(pair, notes)
    matching = _matching(pair, seeds, notes)
    return Codebooks(matching, _agreement(pair, seeds, notes), tuple(notes))


def _seed_pairs(pair: Pair, notes: list[str]) -> list[tuple[int, int]]:
    base, other = pair.base.seeds, pair.other.seeds
    both = [seed for seed in base if seed in other]
    if not both and base and other:
        notes.append(f"No seed is in both runs: seed {base[0]} is held against seed {other[0]}.")
        return [(base[0], other[0])]
    if len(both) < max(len(base), len(other)):
        notes.append(f"Seeds that only one run has are left out: {_listed(set(base) ^ set(other))}.")
    return [(seed, seed) for seed in both]


def _listed(seeds: set[int]) -> str:
    return ", ".join(str(seed) for seed in sorted(seeds))


def _matching(pair: Pair, seeds: Sequence[tuple[int, int]], notes: list[str]) -> Matching | None:
    for subject in (pair.base, pair.other):
        if not has_concepts(subject):
            notes.append(
                f"Codes are not matched: the tables of {subject.letter} hold no row for each concept, an older "
                "version wrote them. Move its folder away and run it again: what was fitted comes from the cache."
            )
            return None
    found: list[SeedMatching] = []
    by: str | None = None
    for a, b in seeds:
        base, other = read_concepts(pair.base, a), read_concepts(pair.other, b)
        if base is None or other is None:
            continue
        largest = max(len(base.train_words), len(other.train_words))
        if largest > LARGEST:
            notes.append(f"Codes are not matched: {largest:,} are more than {LARGEST:,}.")
            return None
        if by is None:
            by = _matched_by(pair, base, other, notes)
        if len(base.in_use) and len(other.in_use):
            found.append(_match((a, b), base, other, by))
    if not found or by is None:
        notes.append("Codes are not matched: no pair of seeds with concepts that hold words is in both runs.")
        return None
    return Matching(by, tuple(found))


def _matched_by(pair: Pair, base: Concepts, other: Concepts, notes: list[str]) -> str:
    """What two codebooks can be matched by; where it is their words, why."""
    reasons: list[str] = []
    if base.vectors is None or other.vectors is None:
        reasons.append("the tables hold no vectors")
    elif base.vectors.shape[1] != other.vectors.shape[1]:
        reasons.append(f"their widths are {base.vectors.shape[1]} and {other.vectors.shape[1]}")
    models = pair.base.language_model, pair.other.language_model
    if None in models or models[0] != models[1]:
        reasons.append("the weights of their language models are not the same")
    if pair.base.vector_layer != pair.other.vector_layer:
        reasons.append(f"their vectors are of layers {pair.base.vector_layer} and {pair.other.vector_layer}")
    if reasons:
        notes.append(
            f"Vectors do not live in one space: {', and '.join(reasons)}. Codes are matched by words alone."
        )
    return WORDS if reasons else COSINES


def _match(seeds: tuple[int, int], base: Concepts, other: Concepts, by: str) -> SeedMatching:
    """One fit of each run; both have codes in use."""
    codes = base.in_use, other.in_use
    noise = all_codes = None
    if by == COSINES and base.vectors is not None and other.vectors is not None:
        vectors = base.vectors[codes[0]], other.vectors[codes[1]]
        matched = match_codes(_cosines(*vectors))
        noise = _noise(*vectors, seeds)
        whole = match_codes(_cosines(base.vectors, other.vectors))
        all_codes = float(whole.similarity.mean())
    else:
        matched = match_codes(_shared_words(base, other))
    return SeedMatching(
        seeds,
        (len(codes[0]), len(codes[1])),
        float(matched.similarity.mean()),
        matched.random,
        noise,
        all_codes,
        tuple(_pairs(matched, base, other)),
    )


def _cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    return code_cosines(torch.from_numpy(np.ascontiguousarray(a)), torch.from_numpy(np.ascontiguousarray(b)))


def _noise(a: NDArray[np.float32], b: NDArray[np.float32], seeds: tuple[int, int]) -> float:
    """Mean matched cosine of one codebook with Gaussian vectors that have the other's mean and covariance."""
    n = len(b)
    mean = b.mean(0)
    spread = (b - mean) / math.sqrt(max(1, n - 1))
    generator = numpy_generator("codebook of noise", *seeds)
    draws = _NOISE_DRAWS if max(len(a), n) <= _ONE_DRAW_ABOVE else 1
    found: list[float] = []
    for _ in range(draws):
        drawn = mean + generator.standard_normal((n, n), dtype=np.float32) @ spread
        found.append(float(match_codes(_cosines(a, drawn.astype(np.float32))).similarity.mean()))
    return math.fsum(found) / draws


def _shared_words(base: Concepts, other: Concepts) -> NDArray[np.float64]:
    """How much of what two concepts hold is the same words: of both, the shares of each word, the smaller one."""
    found = np.zeros((len(base.in_use), len(other.in_use)))
    of_word: dict[str, tuple[list[tuple[int, float]], list[tuple[int, float]]]] = {}
    for side, concepts in enumerate((base, other)):
        for place, word, share in _shares(concepts):
            of_word.setdefault(word, ([], []))[side].append((place, share))
    for left, right in of_word.values():
        if left and right:
            rows, columns = (np.array([place for place, _ in each]) for each in (left, right))
            shares = [np.array([share for _, share in each]) for each in (left, right)]
            found[np.ix_(rows, columns)] += np.minimum.outer(*shares)
    return found


def _shares(concepts: Concepts) -> Iterator[tuple[int, str, float]]:
    """Place among the concepts in use, word, and its share of the words that are named of that concept."""
    for place, concept in enumerate(concepts.in_use.tolist()):
        words = concepts.words.get(concept, ())
        total = sum(each.n_words for each in words)
        for each in words:
            yield place, each.word, each.n_words / total


def _pairs(matched: MatchedCodes, base: Concepts, other: Concepts) -> Iterator[MatchedPair]:
    """The most similar first; of equal ones, by the number of the base's code."""
    codes = base.in_use[matched.a], other.in_use[matched.b]
    for place in np.argsort(-matched.similarity.round(_DIGITS), kind="stable"):
        a, b = int(codes[0][place]), int(codes[1][place])
        words = tuple(base.words.get(a, ())), tuple(other.words.get(b, ()))
        yield MatchedPair(a, b, float(matched.similarity[place]), *words)


def _agreement(pair: Pair, seeds: Sequence[tuple[int, int]], notes: list[str]) -> tuple[SeedAgreement, ...]:
    if pair.base_sentences is None or pair.other_sentences is None or pair.shared is None:
        notes.append("Agreement on words is not measured: the dev sentences of both runs are not known.")
        return ()
    if not len(pair.shared.base):
        notes.append("Agreement on words is not measured: no dev sentence is in both runs.")
        return ()
    found: list[SeedAgreement] = []
    for a, b in seeds:
        base = read_word_codes(pair.base, a, pair.base_sentences, pair.shared.base)
        other = read_word_codes(pair.other, b, pair.other_sentences, pair.shared.other)
        if base is None or other is None:
            missing = " and ".join(
                each.letter for each, codes in ((pair.base, base), (pair.other, other)) if codes is None
            )
            notes.append(f"Agreement on words is not measured: {missing} has no codes of dev words.")
            return ()
        _, left, right = np.intersect1d(base.keys, other.keys, assume_unique=True, return_indices=True)
        codes = base.codes[left], other.codes[right]
        value = agreement(*codes)
        if value is not None:
            found.append(SeedAgreement((a, b), int(((codes[0] >= 0) & (codes[1] >= 0)).sum()), value))
    return tuple(found)

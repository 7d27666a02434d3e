"""The concepts of a run as its tables hold them: vectors, most frequent words, and the codes of dev words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clvq_exp.artifacts import DamagedArtifactError
from clvq_exp.comparing.sentences import DevSentences
from clvq_exp.comparing.subjects import Subject

CONCEPT_COLUMNS = ("concept", "train_words", "vector")
WORD_COLUMNS = ("concept", "rank", "word", "count")
_CODE_COLUMNS = ("sentence", "position", "code")
_OF_METHODS = frozenset(["method", "seed"])


class Word(NamedTuple):
    """A frequent word of a concept."""

    word: str
    n_words: int
    """Training words of this form that the concept holds."""


class Concepts(NamedTuple):
    """The concepts of one fit, by their numbers; arrays of `[k]`."""

    train_words: NDArray[np.int64]
    vectors: NDArray[np.float32] | None
    """`[k, d]`; None where the table holds none."""
    words: Mapping[int, Sequence[Word]]
    """Concept -> its most frequent words, the most frequent first."""

    @property
    def in_use(self) -> NDArray[np.int64]:
        """The concepts that hold training words, ascending."""
        return np.flatnonzero(self.train_words > 0)


class WordCodes(NamedTuple):
    """The concepts of the dev words of one fit, by sentence and position; arrays of `[n]`."""

    keys: NDArray[np.int64]
    """Place of the sentence and position of the word, ascending."""
    codes: NDArray[np.int32]
    """-1 for a word that has none."""


def has_concepts(subject: Subject) -> bool:
    """Whether its tables hold a row for each concept, and the words of each."""
    return {*CONCEPT_COLUMNS, *_OF_METHODS} <= subject.columns_of("concepts") and {
        *WORD_COLUMNS,
        *_OF_METHODS,
    } <= subject.columns_of("concept_words")


def read_concepts(subject: Subject, seed: int) -> Concepts | None:
    """The concepts of its own method; None where it has none under this seed.

    Raises:
        DamagedArtifactError: the concepts are not numbered from 0, or their vectors have several lengths.
    """
    chosen: dict[str, str | int] = {"method": subject.method, "seed": seed}
    batches = list(subject.batches("concepts", CONCEPT_COLUMNS, **chosen))
    numbers = np.concatenate([np.empty(0, np.int64), *(_integers(batch, "concept") for batch in batches)])
    if not len(numbers):
        return None
    order = np.argsort(numbers)
    if not np.array_equal(numbers[order], np.arange(len(numbers))):
        raise DamagedArtifactError(f"{subject.run.folder / 'concepts.parquet'}: concepts are not numbered from 0")
    train = np.concatenate([_integers(batch, "train_words") for batch in batches])
    words: dict[int, list[tuple[int, Word]]] = {}
    for batch in subject.batches("concept_words", WORD_COLUMNS, **chosen):
        for row in batch.to_pylist():
            words.setdefault(row["concept"], []).append((row["rank"], Word(row["word"], row["count"])))
    return Concepts(
        train[order],
        _vectors(subject, batches, order),
        {concept: [word for _, word in sorted(found)] for concept, found in words.items()},
    )


def read_word_codes(
    subject: Subject, seed: int, sentences: DevSentences, chosen: NDArray[np.int64]
) -> WordCodes | None:
    """The concepts of the words of some dev sentences, sentence tokens left out; None where the run holds none.

    Args:
        subject: the run.
        seed: of the fit.
        sentences: its own.
        chosen: places of the sentences among its own; a key holds the place in this list.
    """
    if not {*_CODE_COLUMNS, "seed", "split"} <= subject.columns_of("assignments"):
        return None
    numbers = sentences.numbers[chosen]
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    keys: list[NDArray[np.int64]] = []
    codes: list[NDArray[np.int32]] = []
    for batch in subject.batches("assignments", _CODE_COLUMNS, seed=seed, split="dev"):
        sentence, position, code = (_integers(batch, name) for name in _CODE_COLUMNS)
        places = np.searchsorted(ordered, sentence)
        known = (places < len(ordered)) & (position >= 0)
        known[known] = ordered[places[known]] == sentence[known]
        keys.append((order[places[known]] << 32) + position[known])
        codes.append(code[known].astype(np.int32))
    if not keys:
        return None
    whole, first = np.unique(np.concatenate(keys), return_index=True)
    return WordCodes(whole, np.concatenate(codes)[first])


def _integers(batch: Any, column: str) -> NDArray[np.int64]:
    return batch.column(column).to_numpy(zero_copy_only=False).astype(np.int64)


def _vectors(subject: Subject, batches: Sequence[Any], order: NDArray[np.int64]) -> NDArray[np.float32] | None:
    columns = [batch.column("vector") for batch in batches]
    if any(column.null_count for column in columns):
        return None
    flat = np.concatenate([column.flatten().to_numpy(zero_copy_only=False) for column in columns])
    lengths = {length.as_py() for column in columns for length in column.value_lengths().unique()}
    if len(lengths) != 1:
        raise DamagedArtifactError(f"{subject.run.folder / 'concepts.parquet'}: vectors of {len(lengths)} lengths")
    return flat.astype(np.float32).reshape(len(order), lengths.pop())[order]

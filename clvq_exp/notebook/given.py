"""Activations of the caller's own with what belongs to them, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from clvq_exp.notebook.rows import NotebookError, Rows
from clvq_exp.seeding import numpy_generator


class OwnActivations(NamedTuple):
    """What a caller gave, checked; rows are the caller's."""

    lower: Rows
    upper: Rows | None
    """None where the concepts rebuild their own layer."""
    words: Sequence[Any] | None
    special: NDArray[np.bool_]
    """Rows that are sentence tokens."""
    first: NDArray[np.int64]
    """First row of each sentence."""
    lengths: NDArray[np.int64]
    """Rows of each sentence."""
    ids: list[str]
    """Of the sentences."""
    labels: NDArray[np.int64] | None
    """Class of each sentence."""
    label_names: tuple[str, ...]
    validation: NDArray[np.bool_]
    """Sentences that training is stopped on."""

    @property
    def order(self) -> NDArray[np.int64]:
        """The sentences in the order of the store: those to train on first."""
        return np.concatenate([np.flatnonzero(~self.validation), np.flatnonzero(self.validation)])

    @property
    def train_words(self) -> int:
        """Rows that are trained on."""
        return int(self.lengths[~self.validation].sum())


def check_activations(
    lower: Any,
    upper: Any = None,
    words: Any = None,
    sentences: Any = None,
    labels: Any = None,
    label_names: Sequence[str] | None = None,
    sentence_tokens: Any = None,
    validation: Any = 0.1,
    split_seed: int = 0,
) -> OwnActivations:
    """Look at what a caller gives; no activation is read yet.

    Args:
        lower: `[n, d]`, one row for each word.
        upper: the same words at the layer to rebuild; None, or `lower` itself, for the same layer.
        words: the n words.
        sentences: sentence of each word, `[n]`; the words of a sentence lie side by side. None: each for itself.
        labels: class of each sentence in the order in which they come, or of each word.
        label_names: names of the classes.
        sentence_tokens: which rows are sentence tokens, `[n]` of bool.
        validation: share of the sentences that training is stopped on, or which, as bool per sentence or word.
        split_seed: of the draw.

    Raises:
        NotebookError: shapes that differ, or values that do not fit.
    """
    low = Rows(lower, "lower")
    high = None if upper is None or upper is lower else Rows(upper, "upper")
    if high is not None and (high.n, high.width) != (low.n, low.width):
        raise NotebookError(
            f"lower has the shape {[low.n, low.width]} and upper {[high.n, high.width]}: give the same words in "
            "the same order at two layers of one width"
        )
    words = _listed(words)
    if words is not None and len(words) != low.n:
        raise NotebookError(f"words has {len(words)} entries and lower {low.n} rows: give one word for each row")
    first, ids = _sentences(sentences, low.n)
    lengths = np.diff(np.append(first, low.n))
    found, names = _labels(labels, label_names, first, lengths)
    special = np.zeros(low.n, np.bool_) if sentence_tokens is None else np.asarray(sentence_tokens, np.bool_)
    if special.shape != (low.n,):
        raise NotebookError(
            f"sentence_tokens has the shape {list(special.shape)}: give one bool for each of {low.n} rows"
        )
    kept = _validation(validation, first, lengths, split_seed)
    return OwnActivations(low, high, words, special, first, lengths, ids, found, names, kept)


def _listed(words: Any) -> Sequence[Any] | None:
    """Words as a list, whether they stand in an array, a column of a data frame or one of Arrow."""
    for name in ("to_pylist", "tolist"):
        if hasattr(words, name):
            found: list[Any] = getattr(words, name)()
            return found
    return words


def _sentences(sentences: Any, n: int) -> tuple[NDArray[np.int64], list[str]]:
    """First row and id of each sentence."""
    if sentences is None:
        return np.arange(n, dtype=np.int64), [str(row) for row in range(n)]
    of_word = np.asarray(_on_cpu(sentences))
    if of_word.shape != (n,):
        raise NotebookError(
            f"sentences has the shape {list(of_word.shape)}: give the sentence of each of the {n} rows of lower"
        )
    first = np.flatnonzero(np.append(True, of_word[1:] != of_word[:-1])).astype(np.int64)
    ids = [str(each) for each in of_word[first].tolist()]
    seen: dict[str, int] = {}
    for row, name in zip(first.tolist(), ids, strict=True):
        if name in seen:
            raise NotebookError(
                f"sentence {name} begins in row {seen[name]} and again in row {row}: the words of a sentence lie "
                "side by side; sort all arguments by order = np.argsort(sentences, kind='stable')"
            )
        seen[name] = row
    if len(first) < 2:
        raise NotebookError("sentences names one sentence: two are the least, one to train on and one to stop on")
    return first, ids


def _per_sentence(
    values: NDArray[Any], name: str, first: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[Any]:
    """One value for each sentence, from as many or from one for each word."""
    n = int(lengths.sum())
    if values.shape == (len(first),):
        return values
    if values.shape != (n,):
        raise NotebookError(
            f"{name} has the shape {list(values.shape)}: give one for each of the {len(first)} sentences, or for "
            f"each of the {n} words"
        )
    found = values[first]
    differs = np.flatnonzero(values != np.repeat(found, lengths))
    if len(differs):
        raise NotebookError(f"{name} changes within a sentence, first in row {differs[0]}: a sentence has one")
    return found


def _labels(
    labels: Any, names: Sequence[str] | None, first: NDArray[np.int64], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """The class of each sentence, and the names of the classes."""
    if labels is None:
        return None, ()
    given = _per_sentence(np.asarray(_on_cpu(labels)), "labels", first, lengths)
    if names is None:
        kinds, numbers = np.unique(given, return_inverse=True)
        return numbers.astype(np.int64), tuple(str(each) for each in kinds.tolist())
    known = tuple(str(each) for each in names)
    if np.issubdtype(given.dtype, np.integer):
        outside = given[(given < 0) | (given >= len(known))]
        if len(outside):
            raise NotebookError(f"labels holds the class {outside[0]}, label_names only 0 to {len(known) - 1}")
        return given.astype(np.int64), known
    unknown = sorted({str(each) for each in given.tolist()} - set(known))
    if unknown:
        raise NotebookError(f"labels holds {unknown[0]!r}, which is none of label_names={list(known)}")
    return np.array([known.index(str(each)) for each in given.tolist()], np.int64), known


def _validation(
    given: Any, first: NDArray[np.int64], lengths: NDArray[np.int64], split_seed: int
) -> NDArray[np.bool_]:
    """Which sentences training is stopped on."""
    n = len(first)
    if np.ndim(_on_cpu(given)) == 0:
        if not 0 < float(given) < 1:
            raise NotebookError(f"validation={given}: give a share between 0 and 1, or a bool for each sentence")
        if n < 2:
            raise NotebookError("there is one row: two are the least, one to train on and one to stop on")
        chosen = numpy_generator(split_seed, "validation").permutation(n)[
            : min(max(1, round(float(given) * n)), n - 1)
        ]
        kept = np.zeros(n, np.bool_)
        kept[chosen] = True
        return kept
    kept = _per_sentence(np.asarray(_on_cpu(given)), "validation", first, lengths)
    if kept.dtype != np.bool_ or kept.all() or not kept.any():
        raise NotebookError("validation: give bools, some of them true (to stop on) and some false (to train on)")
    return kept


def _on_cpu(values: Any) -> Any:
    return values.detach().cpu() if isinstance(values, torch.Tensor) else values

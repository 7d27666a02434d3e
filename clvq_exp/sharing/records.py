"""What is told of a concept model beside its weights: where it comes from, and what its concepts hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from clvq_exp.concepts.base import ConceptModel
from clvq_exp.config import Method

HELD_SCHEMA = pa.schema(
    [
        ("concept", pa.int64()),
        ("n_words", pa.int64()),
        ("words", pa.list_(pa.string())),
        ("word_counts", pa.list_(pa.int64())),
        ("labels", pa.list_(pa.string())),
        ("label_words", pa.list_(pa.int64())),
    ]
)
"""Of `concepts.parquet`: one row for each concept."""


class SharingError(ValueError):
    """A concept model that cannot be written, read or sent as asked; the message says what to do."""


class WordCount(NamedTuple):
    """A word of a concept."""

    word: str
    """Case-folded."""
    n_words: int
    """Training words of this form that the concept holds."""


class LabelCount(NamedTuple):
    """A label of the sentences that a concept's words stand in."""

    label: str
    n_words: int
    """Training words under it, sentence tokens left out."""


class Held(NamedTuple):
    """What a concept holds."""

    n_words: int
    """Training words."""
    words: tuple[WordCount, ...] = ()
    """The most frequent ones, the commonest first; none where words were not given, or are not shared."""
    labels: tuple[LabelCount, ...] = ()
    """None where labels were not given."""


@dataclass(frozen=True)
class Subject:
    """A language model or a data set, as a reader can find it again."""

    name: str | None = None
    hub_id: str | None = None
    """On the Hugging Face hub."""
    revision: str | None = None


@dataclass(frozen=True)
class Origin:
    """What a concept model was fitted to."""

    language_model: Subject = Subject()
    fine_tuned: bool = False
    """Whether the language model was fine-tuned on the data set before its activations were read."""
    dataset: Subject = Subject()
    layer_pair: tuple[int, int] | None = None
    """Lower and upper layer; None where nobody said which they are."""
    protocol: str | None = None
    label_names: tuple[str, ...] = ()
    content_warning: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    """`train` and `validation` sentences, `evaluation` sentences of a run, and stored `words`."""


class SharedModel(NamedTuple):
    """A fitted concept model with all that is told of it."""

    model: ConceptModel
    method: Method
    settings: Mapping[str, Any]
    """Section -> key -> value."""
    seed: int
    origin: Origin
    held: Sequence[Held]
    """By concept."""
    codebook: Mapping[str, Any]
    """Figures of its codebook, as `codebook.seeds` of `metrics.json` has them."""
    metrics: Mapping[str, Any] | None = None
    """`metrics.json` of the run that it comes from; None outside of a run."""

    @property
    def width(self) -> int:
        """d of the activations that it assigns."""
        return int(self.model.vectors().shape[1])


def held_table(held: Iterable[Held], with_words: bool = True) -> pa.Table:
    """One row for each concept.

    Args:
        held: by concept.
        with_words: whether the words themselves are in it.
    """
    rows = [
        {
            "concept": concept,
            "n_words": each.n_words,
            "words": [word.word for word in each.words] if with_words else [],
            "word_counts": [word.n_words for word in each.words] if with_words else [],
            "labels": [label.label for label in each.labels],
            "label_words": [label.n_words for label in each.labels],
        }
        for concept, each in enumerate(held)
    ]
    return pa.Table.from_pylist(rows, schema=HELD_SCHEMA)


def held_of_table(table: pa.Table, n_concepts: int) -> list[Held]:
    """What `held_table` made.

    Raises:
        ValueError: another schema, or other concepts than there are.
    """
    if not table.schema.equals(HELD_SCHEMA):
        raise ValueError(f"its columns are {table.schema.names}, not {HELD_SCHEMA.names} in their types")
    if table.column("concept").to_pylist() != list(range(n_concepts)):
        raise ValueError(f"its rows are not those of {n_concepts} concepts")
    return list(_rows(table))


def _rows(table: pa.Table) -> Iterator[Held]:
    for row in table.to_pylist():
        words = zip(row["words"] or [], row["word_counts"] or [], strict=True)
        labels = zip(row["labels"] or [], row["label_words"] or [], strict=True)
        yield Held(
            row["n_words"],
            tuple(WordCount(*each) for each in words),
            tuple(LabelCount(*each) for each in labels),
        )

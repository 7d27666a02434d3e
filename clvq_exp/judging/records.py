"""What passes between the files of this room."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class JudgingError(Exception):
    """What keeps an evaluation from being made; one line for each thing."""


class Representation(NamedTuple):
    """What stands for a concept; both are empty for one that holds no training word."""

    words: tuple[str, ...] = ()
    """Its ten most frequent training words."""
    sentences: tuple[str, ...] = ()
    """Up to five training sentences, where more than half of what it holds are sentence tokens."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing can be shown: rated 1 without a judge."""
        return not self.words and not self.sentences

    @property
    def text(self) -> str:
        """In one line, for tables."""
        return ", ".join(self.words) if self.words else " / ".join(self.sentences)


class Instance(NamedTuple):
    """A dev sentence with the concept that each method gives its salient word."""

    id: str
    text: str
    group: str
    """Unit of the bootstrap: its document, or its own id."""
    label: int
    prediction: int
    word: str
    """The salient one."""
    concepts: Mapping[str, int]
    """Method -> number of its concept; -1 where it gives none."""


class Configuration(NamedTuple):
    """A language model on a data set (A.4.1), with its methods and the sentences that all of them explain."""

    model: str
    dataset: str
    layers: str
    label_names: tuple[str, ...]
    label_meanings: tuple[str, ...]
    guidance: str
    """What judges are told about the data set (A.3.2)."""
    warning: str | None
    """Content warning of the data set."""
    methods: tuple[str, ...]
    instances: tuple[Instance, ...]
    representations: Mapping[str, Mapping[int, Representation]]
    """Method -> concept -> what stands for it; a concept that is not there is empty."""
    notes: tuple[str, ...] = ()
    """What a reader has to know about it."""

    @property
    def name(self) -> str:
        """`roberta on jigsaw (8-12)`."""
        return f"{self.model} on {self.dataset} ({self.layers})"

    def shown(self, method: str, instance: Instance) -> Representation:
        """What stands for the concept that a method gives an instance."""
        return self.representations[method].get(instance.concepts[method], Representation())


class Arm(NamedTuple):
    """One concept representation of a question, under a neutral name."""

    name: str
    """`Config_A`: what the judge sees."""
    method: str
    """The method; `FLOOR` for the concept of another sentence."""
    representation: Representation


FLOOR = "floor"
"""Name of the arm that shows another sentence's concept."""


class Question(NamedTuple):
    """What one judge is asked about one instance."""

    configuration: int
    """Place of the configuration."""
    instance: int
    """Place of the instance among those that were drawn."""
    judge: int
    """Place of the judge."""
    arms: tuple[Arm, ...]
    """In the order in which they are shown; empty concepts are not among them."""
    empty: tuple[str, ...]
    """Methods whose concept is empty: rated 1."""
    prompt: str
    """Empty where nothing is left to ask."""


class Rated(NamedTuple):
    """What one arm got, and why."""

    rating: int
    reason: str


class Outcome(NamedTuple):
    """What came of a question."""

    ratings: Mapping[str, Rated] | None
    """Method -> rating, of the arms that were shown; None: missing."""
    asked: int
    """Times that the judge answered."""
    problem: str = ""
    """Why it is missing."""
    keys: tuple[str, ...] = ()
    """Of its answers in the store."""

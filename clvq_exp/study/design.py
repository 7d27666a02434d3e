"""What a study consists of: sentences, methods, and a word cloud for each of both. Never changed once drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from clvq_exp.artifacts import plain

FORMAT_VERSION = 1
LOWEST, HIGHEST = 1, 10
"""Ends of the scale of confidence (section 4.2.2)."""


class StudyError(ValueError):
    """What cannot be drawn, opened or scored; the message is one line for the user."""


@dataclass(frozen=True)
class Label:
    """A class as annotators choose it."""

    name: str
    """As they read it."""
    meaning: str
    """What the class stands for; empty where the data set does not say."""


@dataclass(frozen=True)
class Method:
    """A method whose clouds are shown."""

    name: str
    """Unique in the study: the method's name, with the letter of its run where two runs have it."""
    method: str
    """As `metrics.json` names it."""
    run: str
    """The run folder, as it was given."""
    cell: str
    """Fingerprint of the run's cell."""
    left_out: int
    """Sentences of the pool whose concept holds no word that could be drawn."""


@dataclass(frozen=True)
class Sentence:
    """A sentence whose prediction is guessed. Annotators never see it."""

    id: str
    group: str
    """Its document; its own id where it has none."""
    text: str
    label: int
    """Gold class."""
    prediction: int
    """Class that the language model answers: what annotators are held against."""
    stratum: str
    """Its kind of outcome: `True positive` say."""


@dataclass(frozen=True)
class Item:
    """A word cloud: what one method says of one sentence."""

    method: int
    """Place in the design's methods."""
    sentence: int
    """Place in the design's sentences."""
    concept: int
    """The concept of the salient word."""
    cloud: str
    """Name of the picture in the study's folder of clouds."""
    words: str
    """The words of the picture, the most frequent first, for those who do not see it."""


@dataclass(frozen=True)
class Design:
    """A whole study."""

    model: str
    dataset: str
    layer_pair: str
    labels: tuple[Label, ...]
    methods: tuple[Method, ...]
    sentences: tuple[Sentence, ...]
    items: tuple[Item, ...]
    """Method by method, sentence by sentence."""
    pool: Mapping[str, int]
    """Stratum -> sentences that could have been drawn, in the order of the strata."""
    seed: int
    """Of the draw, the clouds and the orders."""
    content_warning: str
    """The data set's; empty where it has none."""
    introduction: str
    """What annotators read first, in the words of whoever runs the study; empty where nothing was given."""

    def to_json(self) -> dict[str, Any]:
        """What `study.json` holds."""
        content: dict[str, Any] = plain(self)
        return {
            "format_version": FORMAT_VERSION,
            **content,
            "pool": [{"stratum": name, "sentences": n} for name, n in self.pool.items()],
        }


class Drawn(NamedTuple):
    """A study before it is written."""

    design: Design
    clouds: Mapping[str, bytes]
    """Name of each picture -> PNG."""
    notes: list[str]
    """What whoever runs the study should know, a line each."""


def design_of(content: Mapping[str, Any]) -> Design:
    """A study as `study.json` holds it.

    Raises:
        StudyError: of another format, or not a study's.
    """
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise StudyError(f"the study has format {version}, and this version reads format {FORMAT_VERSION}")
    try:
        return Design(
            model=content["model"],
            dataset=content["dataset"],
            layer_pair=content["layer_pair"],
            labels=tuple(Label(**each) for each in content["labels"]),
            methods=tuple(Method(**each) for each in content["methods"]),
            sentences=tuple(Sentence(**each) for each in content["sentences"]),
            items=tuple(Item(**each) for each in content["items"]),
            pool={each["stratum"]: each["sentences"] for each in content["pool"]},
            seed=content["seed"],
            content_warning=content["content_warning"],
            introduction=content["introduction"],
        )
    except (KeyError, TypeError) as error:
        raise StudyError(f"study.json is not that of a study: {error}") from error

"""What is estimated: parts of the work, each under the name of what it leaves, and what a cell needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

LANGUAGE_MODEL = "language_model"
ACTIVATIONS = "activations"
ATTRIBUTION = "attribution"
CONCEPTS = "concepts"
ABLATION = "ablation"
INTERVENTION = "intervention"
SPECIFICITY = "specificity"
REPORT = "report"
STEPS = (LANGUAGE_MODEL, ACTIVATIONS, ATTRIBUTION, CONCEPTS, ABLATION, INTERVENTION, SPECIFICITY, REPORT)
"""In the order of a run, under the names that `provenance.json` gives them."""


class Rates(NamedTuple):
    """How fast this machine multiplies matrices, in FLOP/s."""

    network: float
    """In the language model's number format and width."""
    training: float
    """In float32 and the same width: fine-tuning and concept models."""
    host: float | None = None
    """The same on the processor; None where the run has no other device."""
    threads: int = 1
    """That the processor computes with."""

    @property
    def processor(self) -> float:
        """In float32 on the processor: k-means, clustering, and the evaluation of concept models."""
        return self.training if self.host is None else self.host


class Part(NamedTuple):
    """A piece of work that is done once and kept, or done again in every cell."""

    step: str
    """One of `STEPS`."""
    key: str | None
    """Names what it leaves in the cache; None: nothing is kept, every cell does it."""
    seconds: float
    cache_bytes: int = 0
    """What it leaves in the cache."""
    working_bytes: int = 0
    """What it writes beside that and removes again."""
    method: str | None = None
    """The concept method that it belongs to; of several that share it the first."""


class StepMemory(NamedTuple):
    """Peak memory of one step, in bytes."""

    host: int
    gpu: int
    """0 where the run has no GPU."""


class MethodMemory(NamedTuple):
    """Memory of one concept method beside its fitted models, in bytes."""

    fit: int
    """Peak of a fit, on the device of the run."""
    fit_host: int
    """Peak of what a fit computes on the processor, whatever the device."""
    left: int
    """What of it is not given back when the fit is done."""
    assigning: int
    """While a block of words is given to its concepts, on the device of the run."""
    training: int = 0
    """What of a fit each of several processes takes that train together, on its device."""


class MethodNeeds(NamedTuple):
    """What one concept method of a cell needs, and what the evaluation has to know of it."""

    name: str
    """Of its rows."""
    parts: tuple[Part, ...]
    """Its fits, over all seeds; what it shares with others first."""
    models: tuple[str, ...]
    """What the fitted model of each seed hangs on: equal names are the same model."""
    concepts: int
    """K, or neurons."""
    removals: Mapping[str, int]
    """Removal -> directions that it takes away at once; in the method's order."""
    sure_concepts: int
    """Concepts that every word has: where a removal takes more, random directions beside it hang on the method."""
    word_seconds: float
    """Of giving one word to its concepts."""
    model_bytes: int
    """One fitted model, on the disk and in memory."""
    memory: MethodMemory
    lowered_by: str
    """The key that lowers the memory of its fit."""
    trains: bool
    """Whether early stopping may end its fit, and several processes may share it."""
    problem: str | None = None
    """An argument that its class will not take, so that it is counted as CLVQ-VAE; None where all are well."""


class CellEstimate(NamedTuple):
    """What one cell needs."""

    parts: tuple[Part, ...]
    methods: tuple[MethodNeeds, ...]
    """The cell's own method first."""
    memory: Mapping[str, StepMemory]
    """Step -> peak."""
    fits: Mapping[str, StepMemory]
    """Concept method -> peak while it is fitted."""
    weights: StepMemory
    """Of the language model alone."""
    store_bytes: int
    """Activations of all asked layers, in the cache."""
    run_bytes: int
    """The run folder."""

    @property
    def peak(self) -> StepMemory:
        """The largest of all steps."""
        return largest(self.memory.values())


class Total(NamedTuple):
    """Seconds and disk of some parts, what they share counted once."""

    seconds: dict[str, float]
    """Step -> seconds."""
    cache_bytes: dict[str, int]
    """Step -> bytes left in the cache."""
    working_bytes: int
    """The largest amount that is written beside and removed again."""


def both(one: StepMemory, other: StepMemory) -> StepMemory:
    """What two things take that are in memory at once."""
    return StepMemory(one.host + other.host, one.gpu + other.gpu)


def largest(peaks: Iterable[StepMemory]) -> StepMemory:
    """The largest of each kind of memory."""
    found = tuple(peaks)
    return StepMemory(max(each.host for each in found), max(each.gpu for each in found))


def once(parts: Iterable[Part], done: Iterable[str] = ()) -> list[Part]:
    """The parts that are left when each key is made once.

    Args:
        parts: in the order of the work.
        done: keys that are there already.
    """
    seen = set(done)
    kept: list[Part] = []
    for part in parts:
        if part.key is not None and part.key in seen:
            continue
        if part.key is not None:
            seen.add(part.key)
        kept.append(part)
    return kept


def total(parts: Iterable[Part]) -> Total:
    """Seconds and bytes by step; each key counts once."""
    kept = once(parts)
    return Total(
        {step: sum(part.seconds for part in kept if part.step == step) for step in STEPS},
        {step: sum(part.cache_bytes for part in kept if part.step == step) for step in STEPS},
        max((part.working_bytes for part in kept), default=0),
    )

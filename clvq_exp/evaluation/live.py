"""The live intervention as an artifact: named by the directions that are removed, made once whoever asks."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tqdm import tqdm

from clvq_exp.artifacts import ArtifactCache
from clvq_exp.evaluation.controls import (
    BLOCK,
    MEAN_DIRECTION,
    OTHER_WORD,
    PERTURBED,
    RANDOM_DIRECTION,
    Removal,
    Subjects,
)
from clvq_exp.evaluation.intervention import Found, LiveOutcomes, Sentences, intervene, places
from clvq_exp.language_models.base import LanguageModel

OF_CONCEPTS = (PERTURBED, OTHER_WORD)
"""Conditions that remove what a concept model gives."""
OF_NO_CONCEPT = (RANDOM_DIRECTION, MEAN_DIRECTION)
"""Conditions that are the same for every concept model: an artifact of their own, which all methods share."""
CONDITIONS = (PERTURBED, RANDOM_DIRECTION, MEAN_DIRECTION, OTHER_WORD)
"""All conditions that are run in the live model."""

_FILE = "outcomes.safetensors"


def live_outcomes(
    cache: ArtifactCache,
    model: LanguageModel,
    removals: Mapping[int, Removal],
    batch_tokens: int,
    description: str,
    block: int = BLOCK,
) -> Found:
    """What the live model does when the directions of one removal are taken out of it.

    Args:
        cache: where the outcomes are kept.
        model: the language model.
        removals: seed -> one and the same removal by the model of that seed.
        batch_tokens: sub-words of one pass.
        description: shown on the progress bar, if anything has to be run.
        block: sentences in memory at once. Batches are formed within a block.

    Returns:
        place -> condition -> outcomes, over the seeds in `removals`.
    """
    found: Found = {place: {} for place in places(model)}
    for conditions, shown in ((OF_CONCEPTS, description), (OF_NO_CONCEPT, f"{description}, controls")):
        run = _Run(model, removals, conditions, batch_tokens, block, shown)
        folder = cache.get_or_make("interventions", run.inputs(), run.make)
        for place, outcomes in _read(folder).items():
            found[place] |= outcomes
    return {place: {name: outcomes[name] for name in CONDITIONS} for place, outcomes in found.items()}


class _Run(NamedTuple):
    """Some conditions of one removal, over all seeds and sentences."""

    model: LanguageModel
    removals: Mapping[int, Removal]
    conditions: Collection[str]
    batch_tokens: int
    block: int
    description: str

    @property
    def who(self) -> Subjects:
        """The sentences, the same for every seed."""
        return next(iter(self.removals.values())).who

    def inputs(self) -> dict[str, Any]:
        """All that can change an outcome. Concept models and settings are in the digests of the bases."""
        who = self.who
        positions = who.store.word_column("position", who.salient_rows).to_numpy()
        return {
            "model": self.model.fingerprint,
            "store": who.store.tables.name,
            "layer": who.layer,
            "batch_tokens": self.batch_tokens,
            "block": self.block,
            "device": self.model.device.type,
            "sentences": _digest(who.sentences),
            "salient_positions": _digest(positions.astype(np.int64)),
            "places": places(self.model),
            "conditions": tuple(self.conditions),
            "seeds": tuple(self.removals),
            "bases": {seed: self._digests(removal) for seed, removal in self.removals.items()},
        }

    def _digests(self, removal: Removal) -> dict[str, str]:
        """SHA-256 of each condition's bases, fed a block of sentences at a time."""
        digests = {name: hashlib.sha256() for name in self.conditions}
        for _, bases in removal.blocks(self.conditions, self.block):
            for name, basis in bases.items():
                digests[name].update(basis.contiguous().numpy().tobytes())
        return {name: f"{removal.rank} {digest.hexdigest()}" for name, digest in digests.items()}

    def make(self, out: Path) -> None:
        """Run the model and write the outcomes."""
        blocks: list[Found] = []
        labels = self.who.labels.numpy()
        passes = zip(
            *(removal.blocks(self.conditions, self.block) for removal in self.removals.values()), strict=True
        )
        with tqdm(total=len(self.who), desc=self.description, unit="sentence") as progress:
            for of_seeds in passes:
                rows = of_seeds[0].rows
                sentences = _sentences(self.who, rows, labels[rows])
                bases = {
                    name: {seed: block.bases[name] for seed, block in zip(self.removals, of_seeds, strict=True)}
                    for name in self.conditions
                }
                layer = self.who.layer
                blocks.append(intervene(self.model, layer, sentences, bases, self.batch_tokens, progress))
        _write(blocks, out)


def _sentences(who: Subjects, rows: NDArray[np.int64], labels: NDArray[np.int64]) -> Sentences:
    return Sentences(
        who.store.sentence_column("text", who.sentences[rows]).to_pylist(),
        labels,
        who.store.word_column("position", who.salient_rows[rows]).to_numpy().astype(np.int64),
    )


def _digest(values: NDArray[np.int64]) -> str:
    return hashlib.sha256(values.tobytes()).hexdigest()


def _write(blocks: list[Found], out: Path) -> None:
    arrays = {
        f"{place}.{name}.{measure}": np.concatenate(
            [getattr(each[place][name], measure) for each in blocks], axis=1
        )
        for place, outcomes in blocks[0].items()
        for name in outcomes
        for measure in LiveOutcomes._fields
    }
    save_file(arrays, out / _FILE)


def _read(folder: Path) -> Found:
    found: Found = {}
    arrays = load_file(folder / _FILE)
    for key in arrays:
        place, name, _ = key.split(".")
        measures = {measure: arrays[f"{place}.{name}.{measure}"] for measure in LiveOutcomes._fields}
        found.setdefault(place, {})[name] = LiveOutcomes(**measures)
    return found

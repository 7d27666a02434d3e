"""The dev sentences of runs: which two runs share, what is salient in them, and what came out for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clvq_exp.comparing.subjects import Subject

_COLUMNS = ("sentence", "id", "text", "position", "prediction")
_GROUP = "group"
"""Document of a sentence; tables without it have none."""
_OUTCOMES = ("seed", "condition", "sentence", "correct")


@dataclass(frozen=True, eq=False)
class DevSentences:
    """The evaluated sentences of a run, in the order of its table; arrays of `[n]`."""

    names: tuple[bytes, ...]
    """Digest of id and text; a sentence that stands there twice has two."""
    numbers: NDArray[np.int64]
    """Row of each in the run's store of activations."""
    groups: tuple[str, ...]
    """Document of each; its own id where the table names no documents."""
    has_groups: bool
    """The table names documents."""
    positions: NDArray[np.int64]
    """White-space token that is salient, -1 for the sentence token."""
    predictions: tuple[str, ...]
    """Class that the language model predicts, by its name."""

    def __len__(self) -> int:
        """How many there are."""
        return len(self.names)


class SharedSentences(NamedTuple):
    """The dev sentences that two runs have in common; arrays of `[shared]`."""

    base: NDArray[np.int64]
    """Place of each among those of the base."""
    other: NDArray[np.int64]
    """Place of each among those of the other run."""
    are_all: bool
    """Neither run has another one."""


class Salience(NamedTuple):
    """How far two language models agree on some sentences."""

    sentences: int
    same_word: int
    """Sentences whose salient word stands at the same place."""
    same_prediction: int
    """Sentences for which the same class is predicted."""


Outcomes = Mapping[str, NDArray[np.bool_]]
"""condition -> correct or not, `[seeds, sentences]`."""


def dev_sentences(subject: Subject) -> DevSentences | None:
    """The evaluated sentences of a run; None where its tables do not name them."""
    present = subject.columns_of("salient_words")
    if not {*_COLUMNS, "split"} <= present:
        return None
    columns = [*_COLUMNS, _GROUP] if _GROUP in present else list(_COLUMNS)
    labels = subject.run.cell.get("label_names")
    label_names = [str(each) for each in labels] if isinstance(labels, list) else []
    seen: dict[bytes, int] = {}
    names: list[bytes] = []
    numbers: list[int] = []
    groups: list[str] = []
    positions: list[int] = []
    predictions: list[str] = []
    for batch in subject.batches("salient_words", columns, split="dev"):
        for row in batch.to_pylist():
            name = blake2b(f"{row['id']}\0{row['text']}".encode(errors="surrogatepass"), digest_size=16).digest()
            seen[name] = seen.get(name, -1) + 1
            names.append(name + seen[name].to_bytes(4, "big"))
            numbers.append(row["sentence"])
            groups.append(str(row.get(_GROUP) or row["id"]))
            positions.append(row["position"])
            place = row["prediction"]
            predictions.append(label_names[place] if 0 <= place < len(label_names) else str(place))
    return DevSentences(
        tuple(names),
        np.array(numbers, np.int64),
        tuple(groups),
        _GROUP in present,
        np.array(positions, np.int64),
        tuple(predictions),
    )


def shared_sentences(base: DevSentences, other: DevSentences) -> SharedSentences:
    """The sentences with one id and text in both, in the order of the base."""
    places = {name: place for place, name in enumerate(other.names)}
    pairs = [(place, places[name]) for place, name in enumerate(base.names) if name in places]
    found = np.array(pairs, np.int64).reshape(-1, 2)
    return SharedSentences(found[:, 0], found[:, 1], len(pairs) == len(base) == len(other))


def salience(base: DevSentences, other: DevSentences, shared: SharedSentences) -> Salience:
    """On how many of the shared sentences the same word is salient, and the same class predicted."""
    same_word = base.positions[shared.base] == other.positions[shared.other]
    same_class = [
        base.predictions[a] == other.predictions[b] for a, b in zip(shared.base, shared.other, strict=True)
    ]
    return Salience(len(same_class), int(same_word.sum()), sum(same_class))


def sentence_outcomes(subject: Subject, removal: str, sentences: DevSentences) -> Outcomes:
    """What came out for each sentence under each condition of the run's own method.

    Args:
        subject: the run.
        removal: of its method.
        sentences: its own, whose order the columns have.

    Returns:
        The conditions that have an outcome for each seed and sentence; empty where the run has no such table.
    """
    if not {*_OUTCOMES, "method", "removal"} <= subject.columns_of("sentences"):
        return {}
    order = np.argsort(sentences.numbers, kind="stable")
    ordered = sentences.numbers[order]
    found: dict[str, dict[int, NDArray[np.int8]]] = {}
    for batch in subject.batches("sentences", _OUTCOMES, method=subject.method, removal=removal):
        columns = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in _OUTCOMES}
        places = np.searchsorted(ordered, columns["sentence"])
        known = places < len(ordered)
        known[known] = ordered[places[known]] == columns["sentence"][known]
        for condition in np.unique(columns["condition"]):
            for seed in np.unique(columns["seed"]):
                rows = known & (columns["condition"] == condition) & (columns["seed"] == seed)
                of_seed = found.setdefault(str(condition), {}).setdefault(
                    int(seed), np.full(len(ordered), -1, np.int8)
                )
                of_seed[order[places[rows]]] = columns["correct"][rows]
    stacked = {
        name: np.stack([each[seed] for seed in sorted(each)]) for name, each in found.items() if len(ordered)
    }
    n_seeds = max((len(each) for each in stacked.values()), default=0)
    return {name: each > 0 for name, each in stacked.items() if len(each) == n_seeds and (each >= 0).all()}

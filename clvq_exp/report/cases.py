"""Cases in detail: one sentence of each kind of outcome, with the cloud of its salient word's concept (A.10)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clvq_exp.report.access import Metrics, seeds
from clvq_exp.report.clouds import Cloud, draw_cloud
from clvq_exp.report.examples import Example, examples_of, label_names
from clvq_exp.report.representation import ConceptFiles, Representation
from clvq_exp.report.run_files import Row, read_rows

POSITIVE = 1
"""Class that counts as positive where there are two."""
BINARY = ("True positive", "False positive", "True negative", "False negative")
OTHERWISE = ("Right", "Wrong")


class Case(NamedTuple):
    """One sentence with what its salient word's concept holds."""

    kind: str
    """One of `BINARY`, or of `OTHERWISE` where there are more classes than two."""
    example: Example
    representation: Representation
    cloud: Cloud | None
    """None where the concept is shown by sentences, or holds nothing."""


def kind_of(label: int, prediction: int, n_classes: int) -> str:
    """The kind of outcome of a sentence."""
    if n_classes != 2:
        return OTHERWISE[0] if label == prediction else OTHERWISE[1]
    right, positive = label == prediction, prediction == POSITIVE
    return f"{'True' if right else 'False'} {'positive' if positive else 'negative'}"


def choose_cases(rows: Sequence[Row], n_classes: int, seed: int) -> dict[str, Row]:
    """One sentence of each kind, drawn by the seed; a kind that no sentence is of is left out.

    Args:
        rows: rows of `salient_words`, of dev.
        n_classes: number of classes.
        seed: of the draw.
    """
    found: dict[str, Row] = {}
    for index in np.random.default_rng(seed).permutation(len(rows)):
        row = rows[int(index)]
        found.setdefault(kind_of(int(row["label"]), int(row["prediction"]), n_classes), row)
    return {kind: found[kind] for kind in (BINARY if n_classes == 2 else OTHERWISE) if kind in found}


def read_cases(folder: Path, metrics: Metrics, concepts: ConceptFiles) -> list[Case]:
    """The cases of a run, drawn by its first seed.

    Args:
        folder: the run folder, with `salient_words` and `attributions`.
        metrics: the content of `metrics.json`.
        concepts: the inventory.

    Returns:
        None of them where the run has no inventory.
    """
    if not concepts.rows:
        return []
    labels, seed = label_names(metrics), next(iter(seeds(metrics)), 0)
    chosen = choose_cases(read_rows(folder, "salient_words", split="dev"), len(labels), seed)
    found = examples_of(list(chosen.values()), folder, concepts.words, labels)
    return [make_case(kind, each, concepts, seed) for kind, each in zip(chosen, found, strict=True)]


def make_case(kind: str, example: Example, concepts: ConceptFiles, seed: int) -> Case:
    """A case with its cloud.

    Args:
        kind: of its outcome.
        example: the sentence.
        concepts: the inventory.
        seed: of the cloud.
    """
    if example.code is None or example.code < 0:
        return Case(kind, example, Representation((), ()), None)
    stands_for = concepts.representation(example.code)
    cloud = None if stands_for.sentences else draw_cloud(concepts.words.get(example.code, ()), seed)
    return Case(kind, example, stands_for, cloud)

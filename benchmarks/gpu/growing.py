"""One point of the growth of cost: a width and a number of sentences, step by step, and its estimate."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from clvq_exp.config import Config
from clvq_exp.estimate import work
from clvq_exp.estimate.corpus import Tokens, corpus_of
from clvq_exp.estimate.methods import methods_of
from clvq_exp.estimate.names import Names
from clvq_exp.estimate.records import Rates
from clvq_exp.estimate.subject import Subject
from clvq_exp.fitting import ConceptFit, fitted
from clvq_exp.records import LabelledTexts
from gpu.shapes import network, of_width
from gpu.steps import BenchedCell, composed, network_sizes
from gpu.texts import DIVIDED, labelled

EXTRACTION, ATTRIBUTION, KMEANS, TRAINING, WARD = "activations", "attribution", "kmeans", "concepts", "clustering"
MEASURED = (EXTRACTION, ATTRIBUTION, KMEANS, TRAINING, WARD)
"""Steps whose cost is measured, in order."""
ESTIMATE = "estimate"
_WORDS = 23
"""Training words of a sentence, those for early stopping left out."""
_DEV_SHARE = 16
"""Training sentences for each of dev: 13,878 / 856."""
_CPU = torch.device("cpu")


class Point(NamedTuple):
    """What is measured at once."""

    width: int
    sentences: int
    """Training sentences, those for early stopping among them."""

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"d{self.width}-n{self.sentences}"


class Setting(NamedTuple):
    """What all points have in common."""

    layers: int
    """Of the language model."""
    overrides: tuple[str, ...]
    """Of the cell."""
    ward_share: int = 8
    """Words of the store for each that Ward's method clusters, in a time that grows with their square."""

    def clustering(self, point: Point) -> tuple[str, str]:
        """Overrides of a cell of Ward's clusters; fewer words than the method takes at most."""
        most = round(_WORDS * point.sentences / self.ward_share)
        return "baseline=clustering", f"baseline.max_words={most}"


def points(base: int, factors: Sequence[int], widths: Sequence[int]) -> list[Point]:
    """All sentences at the least width, and every width at the fewest sentences."""
    least, fewest = min(widths), min(factors)
    every = [Point(least, base * factor) for factor in sorted(factors)]
    return [*every, *(Point(width, base * fewest) for width in sorted(widths) if width != least)]


def cell_of(point: Point, setting: Setting, folder: Path, *more: str) -> BenchedCell:
    """A cell of the point's size."""
    shape = of_width(point.width, setting.layers)
    own = ["beside=none", "trainer.device=cpu", *more, *setting.overrides]
    return BenchedCell(composed(shape, own), shape, texts_of(point), folder, _CPU)


def texts_of(point: Point) -> LabelledTexts:
    """Made-up texts, dev growing with the rest."""
    return labelled(point.sentences, max(2, point.sentences // _DEV_SHARE))


def run_step(name: str, point: Point, setting: Setting, folder: Path) -> dict[str, Any]:
    """Run a step of a point, or estimate all of them; what is noted of it."""
    if name == ESTIMATE:
        return estimated(point, setting, folder)
    if name == WARD:
        cell = cell_of(point, setting, folder, *setting.clustering(point))
        store = cell.store()
        (method,) = cell.config.methods.values()
        with cell.steps.step(WARD):
            fitted(ConceptFit(cell.config, method, store, 0, _CPU, folder), cell.cache)
        return {}
    cell = cell_of(point, setting, folder)
    steps: dict[str, Callable[[], Any]] = {
        EXTRACTION: cell.extract,
        ATTRIBUTION: cell.attribute,
        KMEANS: cell.cluster,
        TRAINING: cell.train,
    }
    steps[name]()
    return {"words": cell.store().n_words} if name == EXTRACTION else {}


def estimated(point: Point, setting: Setting, folder: Path) -> dict[str, float]:
    """Seconds of each step by the formulas of `clvq estimate`, at a rate by the processor's clock."""
    shape = of_width(point.width, setting.layers)
    rate = processor_rate(point.width)
    made = network(shape, "float32", "meta")
    sizes = network_sizes(made)
    tokens = Tokens(1 + DIVIDED, 2, int(shape.sizes["max_position_embeddings"]), True, True)

    def subject_of(*more: str) -> Subject:
        config: Config = cell_of(point, setting, folder, *more).config
        corpus = corpus_of(config, texts_of(point), tokens)
        return Subject(config, sizes, corpus, "cpu", False, False, Rates(rate, rate))

    subject = subject_of()
    config, corpus = subject.config, subject.corpus
    (own,) = methods_of(subject, Names(subject))
    starting, fit = (part.seconds for part in own.parts)
    clustering = subject_of(*setting.clustering(point))
    (ward,) = methods_of(clustering, Names(clustering))
    attributed = sum(
        work.attribution_seconds(config, sizes, words, corpus.tokens.of(words), subject.rates)
        for words in (corpus.dev, corpus.refit)
    )
    return {
        EXTRACTION: work.extraction_seconds(config, sizes, corpus, subject.rates, config.layer_pair.upper),
        ATTRIBUTION: attributed,
        KMEANS: starting,
        TRAINING: fit,
        WARD: sum(part.seconds for part in ward.parts),
    }


def processor_rate(width: int, times: int = 10) -> float:
    """A plain matrix product `[1024, d] x [d, 4d]`: operations for each second of the processor."""
    weights, rows = torch.ones(width, 4 * width), torch.ones(1024, width)
    fastest = float("inf")
    for _ in range(times):
        start = time.process_time()
        torch.matmul(rows, weights)
        fastest = min(fastest, time.process_time() - start)
    return 2 * len(rows) * weights.numel() / max(fastest, 1e-9)

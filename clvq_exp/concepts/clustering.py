"""Clustering (Yu et al. 2024): Ward's clusters of training words at layer l, without any training."""

from __future__ import annotations

import hashlib
import logging
import operator
import warnings
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from clvq_exp.activations.store import BLOCK, ActivationStore
from clvq_exp.concepts.base import ConceptError, ConceptSettings, FitRun, FitSummary, perplexity
from clvq_exp.concepts.codebook_model import CodebookModel
from clvq_exp.concepts.ward import WardTree, cut, ward_tree
from clvq_exp.concepts.word_filter import AT_LEAST, AT_MOST, frequent_words
from clvq_exp.seeding import numpy_generator
from clvq_exp.settings import LayerPair, Split

_TREE = "tree.safetensors"
_ITERATIONS = 200
"""Of the logistic regression, at most."""

log = logging.getLogger(__name__)


class Assignment(Enum):
    """How a word finds its cluster."""

    nearest = "nearest"  # the nearest centroid
    logistic = "logistic"  # a logistic regression from activations to clusters, as in LACOAT


class ClusteredWords(Enum):
    """Which training words are clustered."""

    all = "all"
    frequent = "frequent"  # at least 5 of a word type, at most 20 kept of each


class Clustering(CodebookModel):
    """Codes are the centroids of Ward's clusters; the basis of a concept is its centroid under both assignments.

    Args:
        settings: `quantizer.codebook_size` is the number of clusters.
        assignment: `nearest` or `logistic`.
        words: `all` or `frequent`.
        max_words: words that are clustered at most; of more, a seeded sub-sample. Its size stands in the summary.

    Raises:
        ValueError: an option that there is not.
    """

    name: ClassVar[str] = "clustering"

    def __init__(
        self,
        settings: ConceptSettings,
        assignment: str = Assignment.nearest.value,
        words: str = ClusteredWords.all.value,
        max_words: int = 50_000,
    ) -> None:
        super().__init__(settings)
        self.assignment = Assignment(assignment)
        self.words = ClusteredWords(words)
        self.max_words = operator.index(max_words)
        if self.max_words < 1:
            raise ValueError(f"max_words={max_words} is below 1")
        self._centroids: Tensor | None = None
        self._classifier: _Classifier | None = None

    def identity(self, store: ActivationStore, pair: LayerPair) -> dict[str, Any]:
        """Layer, words, K and how words are assigned."""
        kept = [AT_LEAST, AT_MOST] if self.words is ClusteredWords.frequent else None
        return {
            "method": self.name,
            "layer": store.layer_fingerprint(pair.lower),
            "words": [self.words, kept, self.max_words],
            "codebook_size": self.n_concepts,
            "assignment": self.assignment,
        }

    def fit(self, run: FitRun) -> None:
        """Cluster words, or cut the tree that was made of the same words before.

        Raises:
            ConceptError: fewer distinct words than clusters, or activations that are not finite.
        """
        store, layer = run.store, run.pair.lower
        rows = self._rows(store, run.seed)
        labels = cut(self._tree(run, rows), self.n_concepts)
        self._centroids = _means(store, layer, rows, labels, self.n_concepts)
        chosen: dict[str, float] = {"clustered_words": len(rows)}
        if self.assignment is Assignment.logistic:
            self._classifier, chosen["logistic_accuracy"] = _fit_classifier(
                store.gather_words(layer, torch.from_numpy(rows)), labels, self.n_concepts
            )
        self.collect_members(store, layer)
        counts, in_use = self.codes_in_use(store, layer)
        self.summary = FitSummary(perplexity(counts), in_use, chosen=chosen)

    def _rows(self, store: ActivationStore, seed: int) -> NDArray[np.int64]:
        """The words to cluster: their rows, ascending."""
        start, end = store.word_range(Split.train)
        rows = (
            frequent_words(store, seed)
            if self.words is ClusteredWords.frequent
            else np.arange(start, end, dtype=np.int64)
        )
        if len(rows) > self.max_words:
            generator = numpy_generator(seed, "words to cluster")
            rows = np.sort(generator.choice(rows, self.max_words, replace=False))
        log.info("clustering %d of %d training words (words=%s)", len(rows), end - start, self.words.value)
        if len(rows) < self.n_concepts:
            raise ConceptError(
                f"quantizer.codebook_size={self.n_concepts}, but only {len(rows)} words to cluster of "
                f"{end - start} training words (words={self.words.value}, max_words={self.max_words}): lower "
                "quantizer.codebook_size, raise max_words, or use more sentences (trainer.sentences.concepts)"
            )
        return rows

    def _tree(self, run: FitRun, rows: NDArray[np.int64]) -> WardTree:
        """The tree of these words, made once for every K and for every seed that clusters the same words."""
        layer = run.pair.lower
        inputs = {
            "layer": run.store.layer_fingerprint(layer),
            "rows": hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest(),
        }
        folder = run.cache.get_or_make("ward_trees", inputs, lambda out: _make_tree(out, run.store, layer, rows))
        tree = WardTree(**load_file(folder / _TREE))
        distinct = int(tree.distinct)
        if distinct < self.n_concepts:
            raise ConceptError(
                f"quantizer.codebook_size={self.n_concepts}, but only {distinct} distinct activations among "
                f"the {len(rows)} words to cluster: set quantizer.codebook_size to at most {distinct}, raise "
                "max_words, or use more sentences (trainer.sentences.concepts)"
            )
        return tree

    def encode(self, activations: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The identity."""
        return activations

    def assign(self, activations: Float[Tensor, "n d"]) -> Int64[Tensor, "n 1"]:
        """The nearest centroid of each activation, or the cluster that the logistic regression names."""
        if self._classifier is None:
            return super().assign(activations)
        weights, bias = self._classifier
        blocks = activations.to(weights.device, torch.float32).split(BLOCK)
        return torch.cat([torch.addmm(bias, block, weights.T).argmax(1) for block in blocks])[:, None]

    def vectors(self) -> Float[Tensor, "K d"]:
        """The centroids."""
        assert self._centroids is not None, "fit or load the model first"
        return self._centroids

    def tensors(self) -> dict[str, Tensor]:
        """What is saved of it."""
        classifier = self._classifier._asdict() if self._classifier else {}
        return {"centroids": self.vectors(), **classifier}

    def set_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take what was saved."""
        self._centroids = tensors.pop("centroids")
        self._classifier = _Classifier(**tensors) if tensors else None


class _Classifier(NamedTuple):
    """A logistic regression from activations to clusters."""

    weights: Float[Tensor, "K d"]
    bias: Float[Tensor, " K"]


def _make_tree(out: Path, store: ActivationStore, layer: int, rows: NDArray[np.int64]) -> None:
    vectors = store.gather_words(layer, torch.from_numpy(rows))
    finite = vectors.isfinite().all(1)
    if not bool(finite.all()):
        row = int(rows[int((~finite).nonzero()[0])])
        raise ConceptError(
            f"layer {layer}: the activation of the word in row {row} of {store.tables} is not finite: set "
            "layer_pair.lower to another layer, or activations.dtype=float32"
        )
    tree = ward_tree(vectors)
    save_file({name: each.contiguous() for name, each in tree._asdict().items()}, out / _TREE)


def _means(
    store: ActivationStore, layer: int, rows: NDArray[np.int64], labels: Int64[Tensor, " n"], n_clusters: int
) -> Float[Tensor, "K d"]:
    """The mean activation of each cluster."""
    sums = torch.zeros((n_clusters, store.width), dtype=torch.float64)
    for block, owners in zip(torch.from_numpy(rows).split(BLOCK), labels.split(BLOCK), strict=True):
        sums.index_add_(0, owners, store.gather_words(layer, block).double())
    return (sums / torch.bincount(labels, minlength=n_clusters)[:, None]).float()


def _fit_classifier(
    vectors: Float[Tensor, "n d"], labels: Int64[Tensor, " n"], n_clusters: int
) -> tuple[_Classifier, float]:
    """A logistic regression from activations to clusters, and the share of the words that it puts right."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if n_clusters == 1:
        return _Classifier(torch.zeros((1, vectors.shape[1])), torch.zeros(1)), 1.0
    centre = vectors.mean(0)  # moves nothing but the bias, which is not penalised, and helps the solver
    centred = (vectors - centre).numpy()
    model = LogisticRegression(max_iter=_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(centred, labels.numpy())
    if int(model.n_iter_.max()) >= _ITERATIONS:
        log.warning("the logistic regression stopped after %d iterations before it converged", _ITERATIONS)
    weights = torch.from_numpy(np.atleast_2d(model.coef_)).float()
    bias = torch.from_numpy(np.atleast_1d(model.intercept_)).float()
    if n_clusters == 2:  # of two classes scikit-learn holds the second's score only
        weights, bias = torch.cat([torch.zeros_like(weights), weights]), torch.cat([torch.zeros_like(bias), bias])
    accuracy = float(model.score(centred, labels.numpy()))
    return _Classifier(weights, bias - weights @ centre), accuracy

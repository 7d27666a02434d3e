"""What is removed: the concept, and every control that a drop has to be held against."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from numpy.typing import NDArray
from torch import Tensor

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import ConceptModel, orthonormal, unit_rows
from clvq_exp.evaluation.projection import component, remove, remove_matched, without_direction
from clvq_exp.seeding import derived_seed, numpy_generator, torch_generator
from clvq_exp.settings import Split

ORIGINAL = "original"
PERTURBED = "perturbed"
RANDOM_DIRECTION = "random_direction"
RANDOM_ACTIVE_CODE = "random_active_code"
MEAN_DIRECTION = "mean_direction"
CENTRED_CONCEPT = "centred_concept"
OWN_CODE = "own_code"
OTHER_WORD = "other_word"
CLASS_MEANS = "class_means"
REFIT = "refit"
REFIT_ORIGINAL = "refit_original"
MATCHED = "_norm_matched"

BASES = (
    PERTURBED,
    RANDOM_DIRECTION,
    RANDOM_ACTIVE_CODE,
    MEAN_DIRECTION,
    CENTRED_CONCEPT,
    OWN_CODE,
    OTHER_WORD,
    CLASS_MEANS,
)
"""Conditions that remove directions of their own; norm-matched ones use those of others."""
BLOCK = 512
"""Sentences whose bases and representations are in memory at once."""

SPECIFIC_AGAINST = (RANDOM_DIRECTION, RANDOM_ACTIVE_CODE, MEAN_DIRECTION, OWN_CODE, OTHER_WORD)
"""Controls whose largest drop is taken off the concept's drop."""


@dataclass(frozen=True, eq=False)
class Subjects:
    """The sentences that are ablated, at layer l; their activations stay in the store until they are asked for."""

    store: ActivationStore
    layer: int
    sentences: NDArray[np.int64]
    """Rows of the sentences in the store."""
    salient_rows: NDArray[np.int64]
    """Row of each one's salient word in the store."""

    def __len__(self) -> int:
        """How many sentences there are."""
        return len(self.sentences)

    @property
    def labels(self) -> Int64[Tensor, " n"]:
        """Gold classes."""
        return torch.from_numpy(self.store.sentences.label[self.sentences])

    def h(self, rows: NDArray[np.int64]) -> Float[Tensor, "n d"]:
        """Representations of some of the sentences, by their position."""
        return self.store.gather_sentences(self.layer, self.sentences[rows])

    def salient(self, rows: NDArray[np.int64]) -> Float[Tensor, "n d"]:
        """Raw activation of the salient word of some of the sentences."""
        return self.store.gather_words(self.layer, torch.from_numpy(self.salient_rows[rows]))

    def blocks(self, size: int) -> Iterator[NDArray[np.int64]]:
        """Positions of all sentences, in order, some at a time."""
        return (np.arange(start, min(start + size, len(self))) for start in range(0, len(self), size))


class Directions(NamedTuple):
    """Directions of the layer that hang on no concept."""

    mean: Float[Tensor, " d"]
    """Unit mean of the training words."""
    class_means: Float[Tensor, "c d"]
    """Orthonormal basis of the differences of class means of h, the widest first."""


class BasisBlock(NamedTuple):
    """What is removed from some sentences under each condition."""

    rows: NDArray[np.int64]
    """Positions of the sentences among all that are ablated."""
    bases: dict[str, Float[Tensor, "n r d"]]
    """Condition -> orthonormal basis; zero rows remove nothing."""


def layer_directions(store: ActivationStore, layer: int) -> Directions:
    """The mean direction of the training words and the span of the class means of the training sentences."""
    total = torch.zeros(store.width, dtype=torch.float64)
    for _, block in store.iterate_words(layer, (Split.train,)):
        total += block.double().sum(0)
    means = _class_means(store, layer)
    spread = means - means.mean(0)
    _, _, directions = torch.linalg.svd(spread, full_matrices=False)
    return Directions(unit_rows(total.float()), directions[: len(means) - 1].float())


def _class_means(store: ActivationStore, layer: int) -> Float64[Tensor, "c d"]:
    sentences, labels = store.sentence_ids(Split.train), store.labels(Split.train)
    classes, class_of = labels.unique(return_inverse=True)
    sums = torch.zeros((len(classes), store.width), dtype=torch.float64)
    for start in range(0, len(sentences), BLOCK):
        h = store.gather_sentences(layer, sentences[start : start + BLOCK])
        sums.index_add_(0, class_of[start : start + BLOCK], h.double())
    return sums / torch.bincount(class_of)[:, None]


@dataclass(frozen=True, eq=False)
class Removal:
    """One removal by one fitted model, and the controls beside it: what each sentence loses.

    Where a word has fewer concepts than the removal has directions, the random directions, codes and words beside
    it take away no more than its own do. Bases are made when they are asked for, some sentences at a time. What is
    random hangs on the seed and on the sentence's position, however many are asked for at once.
    """

    model: ConceptModel
    who: Subjects
    fixed: Directions
    """Mean direction and class means of the layer."""
    active: NDArray[np.int64]
    """Concepts that hold training words."""
    name: str
    """One of the model's removals."""
    seed: int
    """Of random directions, codes and words."""

    def blocks(self, conditions: Collection[str] = BASES, size: int = BLOCK) -> Iterator[BasisBlock]:
        """The bases of all sentences, in order, some sentences at a time.

        Args:
            conditions: which bases, of `BASES`.
            size: sentences of a block.
        """
        width = self.who.store.width
        draws = _Draws(
            normal_rows(len(self.who), self.rank, width, torch_generator(self.seed, RANDOM_DIRECTION)),
            numpy_generator(derived_seed(self.seed, RANDOM_ACTIVE_CODE)),
            numpy_generator(derived_seed(self.seed, OTHER_WORD)),
        )
        for rows in self.who.blocks(size):
            yield BasisBlock(rows, {name: self._basis(name, rows, draws) for name in conditions})

    @cached_property
    def rank(self) -> int:
        """Directions that are removed at once, at most: every sentence's basis has this many rows."""
        return self.own_basis(np.arange(1)).shape[1]

    @cached_property
    def ranks(self) -> NDArray[np.int64]:
        """Directions of each sentence: fewer than `rank` where the salient word has fewer concepts."""
        return np.minimum((self._salient_ids.numpy() >= 0).sum(1), self.rank)

    def own_basis(self, rows: NDArray[np.int64]) -> Float[Tensor, "n r d"]:
        """What the concepts of some sentences' salient words remove."""
        return self._directions(self._salient_ids[torch.from_numpy(rows)])

    @cached_property
    def _salient_ids(self) -> Int64[Tensor, "n c"]:
        return torch.cat([self._ids(self.who.salient(rows)) for rows in self.who.blocks(BLOCK)])

    def _basis(self, condition: str, rows: NDArray[np.int64], draws: _Draws) -> Float[Tensor, "n r d"]:
        fixed, n = self.fixed, len(rows)
        if condition == PERTURBED:
            return self.own_basis(rows)
        if condition == RANDOM_DIRECTION:
            drawn = orthonormal(torch.stack(list(islice(draws.normal, n))))
            return drawn * torch.from_numpy(np.arange(self.rank) < self.ranks[rows, None])[..., None]
        if condition == RANDOM_ACTIVE_CODE:
            own = self._salient_ids.numpy()[rows]
            ids = _random_active(own, self.ranks[rows], self.active, draws.codes)
            return self._directions(torch.from_numpy(ids))
        if condition == MEAN_DIRECTION:
            return fixed.mean.expand(n, 1, -1)
        if condition == CENTRED_CONCEPT:
            return without_direction(self.own_basis(rows), fixed.mean)
        if condition == OWN_CODE:
            return self._directions(self._no_more_than_own(self._ids(self.who.h(rows)), rows))
        if condition == OTHER_WORD:
            words = _other_words(self.who, rows, draws.words)
            activations = self.who.store.gather_words(self.who.layer, torch.from_numpy(np.maximum(words, 0)))
            ids = self._no_more_than_own(self._ids(activations), rows)
            return self._directions(torch.where(torch.from_numpy(words >= 0)[:, None], ids, -1))
        assert condition == CLASS_MEANS, condition
        return fixed.class_means[: self.rank].expand(n, -1, -1)

    def _ids(self, activations: Float[Tensor, "n d"]) -> Int64[Tensor, "n c"]:
        return self.model.assign(activations).cpu()

    def _no_more_than_own(self, ids: Int64[Tensor, "n c"], rows: NDArray[np.int64]) -> Int64[Tensor, "n c"]:
        """The first concepts of other activations: as many as these sentences lose by their own."""
        return torch.where(torch.from_numpy(np.arange(ids.shape[1]) < self.ranks[rows, None]), ids, -1)

    def _directions(self, ids: Int64[Tensor, "n c"]) -> Float[Tensor, "n r d"]:
        """Zero rows where there is no concept; a method that always gives one need not know of -1."""
        known = ids[:, :1] >= 0
        return self.model.directions(torch.where(known, ids, 0), self.name).cpu() * known[..., None]


class _Draws(NamedTuple):
    """Where the random numbers of the next sentences come from."""

    normal: Iterator[Tensor]
    codes: np.random.Generator
    words: np.random.Generator


def perturbed(
    h: Float[Tensor, "n d"], bases: Mapping[str, Float[Tensor, "n r d"]]
) -> Iterator[tuple[str, Float[Tensor, "n d"]]]:
    """The representations after each removal, one condition after another; norm-matched controls at the end.

    Args:
        h: untouched representations.
        bases: condition -> what is removed, all of `BASES`.
    """
    for name, basis in bases.items():
        yield name, remove(h, basis)
    norms = component(h, bases[PERTURBED]).norm(dim=1)
    for name in (RANDOM_DIRECTION, RANDOM_ACTIVE_CODE):
        yield name + MATCHED, remove_matched(h, bases[name], norms)


def normal_rows(n: int, rank: int, width: int, generator: torch.Generator) -> Iterator[Float[Tensor, "r d"]]:
    """The rows of `torch.randn((n, rank, width))`, to the bit, without holding them all at once.

    torch turns uniform numbers into normal ones sixteen at a time, and draws the last sixteen anew where the
    number of values does not come out even: so it is asked for sixteen rows at a time, and for the last rows
    together with those before.
    """
    whole = max(0, n // 16 - 1)
    for size in [16] * whole + [n - 16 * whole]:
        yield from torch.randn((size, rank, width), generator=generator)


def _random_active(
    own: NDArray[np.int64], wanted: NDArray[np.int64], active: NDArray[np.int64], generator: np.random.Generator
) -> NDArray[np.int64]:
    """For each row, some active concepts that are none of the row's own; -1 where there are too few."""
    chosen = np.full(own.shape, -1, dtype=np.int64)
    for row, n in enumerate(wanted):
        candidates = active[~np.isin(active, own[row])]
        if 0 < n <= len(candidates):
            chosen[row, :n] = generator.choice(candidates, n, replace=False)
    return chosen


def _other_words(who: Subjects, rows: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """For each sentence, the row of a random word that is not the salient one; -1 where there is none."""
    table = who.store.sentences
    chosen = np.full(len(rows), -1, dtype=np.int64)
    for index, (sentence, salient) in enumerate(zip(who.sentences[rows], who.salient_rows[rows], strict=True)):
        first, n_words = int(table.first_word[sentence]), int(table.n_words[sentence])
        if n_words > 1:
            drawn = first + int(generator.integers(n_words - 1))
            chosen[index] = drawn + (drawn >= salient)
    return chosen

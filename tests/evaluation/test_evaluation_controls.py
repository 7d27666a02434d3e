from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from clvq_exp.activations.store import ActivationStore
from clvq_exp.evaluation.controls import (
    BASES,
    Directions,
    Removal,
    Subjects,
    layer_directions,
    normal_rows,
    perturbed,
)
from clvq_exp.evaluation.projection import component
from clvq_exp.settings import Split

LAYER = 2
CONCEPT = "concept"
NAMES = {
    *("perturbed", "random_direction", "random_direction_norm_matched", "random_active_code"),
    *("random_active_code_norm_matched", "mean_direction", "centred_concept", "own_code", "other_word"),
    "class_means",
}


class Condition(NamedTuple):
    h: Tensor
    basis: Tensor


def dev_subjects(store: ActivationStore, n: int | None = None) -> Subjects:
    rows = store.sentence_ids(Split.dev)[:n]
    return Subjects(store, LAYER, rows, store.sentences.first_word[rows] + 1)


def all_of(who: Subjects) -> np.ndarray:
    return np.arange(len(who))


def conditions(removal: Removal, size: int = 10_000) -> dict[str, Condition]:
    """All conditions of a removal, over all its sentences, made `size` sentences at a time."""
    parts: dict[str, list[Condition]] = {}
    for rows, bases in removal.blocks(size=size):
        for name, h in perturbed(removal.who.h(rows), bases):
            parts.setdefault(name, []).append(Condition(h, bases[name.removesuffix("_norm_matched")]))
    return {name: Condition(*(torch.cat(each) for each in zip(*of, strict=True))) for name, of in parts.items()}


def made(
    model: Any, store: ActivationStore, active: list[int], removal: str = CONCEPT, seed: int = 0
) -> tuple[Subjects, Directions, dict[str, Condition]]:
    who, fixed = dev_subjects(store), layer_directions(store, LAYER)
    return who, fixed, conditions(Removal(model, who, fixed, np.array(active), removal, seed))


def axis(condition: Condition) -> Tensor:
    """Which axis each sentence loses; -1 where nothing is removed."""
    basis = condition.basis[:, 0]
    return torch.where(basis.abs().sum(1) > 0, basis.abs().argmax(1), -1)


def test_subjects__collect_the_right_rows(labelled_store: ActivationStore) -> None:
    chosen = labelled_store.sentence_ids(Split.dev)[[3, 7, 100]]
    salient = labelled_store.sentences.first_word[chosen] + 2
    who = Subjects(labelled_store, LAYER, chosen, salient)
    words, some = labelled_store.words(LAYER), np.array([2, 0])
    assert torch.equal(who.h(some), words[torch.from_numpy(labelled_store.sentences.first_word[chosen[some]])])
    assert torch.equal(who.salient(some), words[torch.from_numpy(salient[some])])
    assert who.labels.tolist() == labelled_store.sentences.label[chosen].tolist()
    assert [block.tolist() for block in who.blocks(2)] == [[0, 1], [2]]


def test_conditions__are_those_of_the_documentation(labelled_store: ActivationStore, axes: Any) -> None:
    who, _, found = made(axes, labelled_store, [0, 1, 2, 3])
    assert set(found) == NAMES
    for name, each in found.items():
        assert each.h.shape == (len(who), 12), name
        assert each.basis.shape[0::2] == (len(who), 12), name


def test_removals__leave_nothing_along_their_basis(labelled_store: ActivationStore, axes: Any) -> None:
    who, _, found = made(axes, labelled_store, [0, 1, 2, 3])
    h = who.h(all_of(who))
    for name, each in found.items():
        if not name.endswith("_norm_matched"):
            assert torch.einsum("nd,nrd->nr", each.h, each.basis).abs().max() < 1e-5, name
            assert torch.allclose(each.h, h - component(h, each.basis), atol=1e-6), name


def test_matched_controls__move_as_far_as_the_concept(labelled_store: ActivationStore, axes: Any) -> None:
    who, _, found = made(axes, labelled_store, [0, 1, 2, 3])
    h = who.h(all_of(who))
    length = (h - found["perturbed"].h).norm(dim=1)
    for name in ("random_direction_norm_matched", "random_active_code_norm_matched"):
        assert torch.allclose((h - found[name].h).norm(dim=1), length, atol=1e-4), name
        assert torch.equal(found[name].basis, found[name.removesuffix("_norm_matched")].basis)


def test_random_direction__is_unit_and_anew_for_each_sentence(labelled_store: ActivationStore, axes: Any) -> None:
    _, _, found = made(axes, labelled_store, [0, 1, 2, 3])
    basis = found["random_direction"].basis[:, 0]
    assert torch.allclose(basis.norm(dim=1), torch.ones(len(basis)), atol=1e-5)
    assert (basis @ basis.T - torch.eye(len(basis))).abs().max() < 0.99
    again = made(axes, labelled_store, [0, 1, 2, 3])[2]["random_direction"].basis
    other = made(axes, labelled_store, [0, 1, 2, 3], seed=1)[2]["random_direction"].basis
    assert torch.equal(found["random_direction"].basis, again)
    assert not torch.equal(other, again)


def test_random_active_code__is_active_and_never_the_own(labelled_store: ActivationStore, axes: Any) -> None:
    who, _, found = made(axes, labelled_store, [0, 1, 3])
    own, drawn = axes.assign(who.salient(all_of(who)))[:, 0], axis(found["random_active_code"])
    assert (drawn != own).all()
    assert set(drawn.tolist()) == {1, 3}, "concept 2 holds no word"
    assert 0.3 < (drawn == 1).float().mean() < 0.7


def test_random_active_code__removes_nothing_where_there_is_no_other(
    labelled_store: ActivationStore, axes: Any
) -> None:
    who, _, found = made(axes, labelled_store, [0])
    assert (axis(found["random_active_code"]) == -1).all()
    assert torch.equal(found["random_active_code"].h, who.h(all_of(who)))
    assert torch.equal(found["random_active_code_norm_matched"].h, who.h(all_of(who)))


def test_other_word__is_another_word_of_the_same_sentence(make_store: Any, sentence: Any, axes: Any) -> None:
    def one(*concepts: int) -> Any:
        return sentence(torch.eye(4, 12)[list(concepts)], 0)

    dev = [one(0, 1, 2, 3)] * 60 + [one(2, 3)] * 5 + [one(1)] * 5
    store = make_store({Split.train: [one(0, 1), one(2, 3)], Split.dev: dev})
    rows = store.sentence_ids(Split.dev)
    offset = np.array([1] * 60 + [0] * 10)
    who = Subjects(store, LAYER, rows, store.sentences.first_word[rows] + offset)
    found = conditions(Removal(axes, who, layer_directions(store, LAYER), np.arange(4), CONCEPT, 0))
    drawn = axis(found["other_word"])
    assert set(drawn[:60].tolist()) == {0, 2, 3}, "every word but the salient one"
    assert drawn[60:65].tolist() == [3] * 5
    assert drawn[65:].tolist() == [-1] * 5, "a sentence of one word has no other"
    assert torch.equal(found["other_word"].h[65:], who.h(all_of(who)[65:]))


def test_own_code__is_the_code_of_the_representation(labelled_store: ActivationStore, axes: Any) -> None:
    who, _, found = made(axes, labelled_store, [0, 1, 2, 3])
    assert torch.equal(axis(found["own_code"]), axes.assign(who.h(all_of(who)))[:, 0])


def test_mean_direction__is_unit_and_the_same_for_every_method(labelled_store: ActivationStore, axes: Any) -> None:
    start, end = labelled_store.word_range(Split.train)
    mean = labelled_store.words(LAYER)[start:end].double().mean(0)
    _, fixed, found = made(axes, labelled_store, [0, 1, 2, 3])
    assert torch.allclose(fixed.mean.double(), mean / mean.norm(), atol=1e-6)
    fewer = type(axes)(2, 12)
    other = made(fewer, labelled_store, [0, 1], "member_mean", seed=9)[2]
    assert torch.equal(other["mean_direction"].h, found["mean_direction"].h)


def test_centred_concept__has_lost_the_mean_direction(labelled_store: ActivationStore, axes: Any) -> None:
    _, fixed, found = made(axes, labelled_store, [0, 1, 2, 3])
    basis = found["centred_concept"].basis[:, 0]
    assert (basis @ fixed.mean).abs().max() < 1e-6
    assert torch.allclose(basis.norm(dim=1), torch.ones(len(basis)), atol=1e-5)


def test_class_means__of_two_classes_are_their_difference(labelled_store: ActivationStore) -> None:
    h, labels = (
        labelled_store.sentence_representations(LAYER, Split.train),
        labelled_store.labels(Split.train),
    )
    difference = h[labels == 1].mean(0) - h[labels == 0].mean(0)
    directions = layer_directions(labelled_store, LAYER).class_means
    assert directions.shape == (1, 12)
    assert abs(float(directions[0] @ difference / difference.norm())) == pytest.approx(1, abs=1e-5)


def test_class_means__of_three_classes_span_their_differences(make_store: Any, sentence: Any) -> None:
    centres = torch.tensor([[5.0, 0, 0, 1], [-5.0, 0, 0, 1], [0, 2.0, 0, 1]])
    store = make_store({Split.train: [sentence(centres[i % 3][None].repeat(2, 1), i % 3) for i in range(12)]})
    directions = layer_directions(store, LAYER).class_means
    assert directions.shape == (2, 4)
    assert torch.allclose(directions @ directions.T, torch.eye(2), atol=1e-5)
    spread = centres - centres.mean(0)
    assert torch.allclose(component(spread, directions.expand(3, -1, -1)), spread, atol=1e-5)
    assert abs(float(directions[0, 0])) > 0.99, "the widest first"


def test_class_means__take_no_more_than_the_removal_s_rank(make_store: Any, sentence: Any, axes: Any) -> None:
    words = torch.eye(4, 12)
    store = make_store({split: [sentence(words[[i % 3, 3]], i % 3) for i in range(9)] for split in Split})
    _, fixed, found = made(axes, store, [0, 1, 2, 3])
    assert len(fixed.class_means) == 2
    assert found["perturbed"].basis.shape[1] == found["class_means"].basis.shape[1] == 1
    assert found["random_direction"].basis.shape[1] == found["random_active_code"].basis.shape[1] == 1


# --- words with several concepts, fewer, or none


@pytest.fixture
def neurons(axes: Any) -> Any:
    """Concept i is active on what lies along axis i beyond 0.5; up to ten of a word, the most active first."""

    class Neurons(type(axes)):
        removals = ("top_10", "top_1")

        def assign(self, activations: Tensor) -> Tensor:
            top = activations.topk(10, dim=1)
            return torch.where(top.values > 0.5, top.indices, -1)

        def directions(self, ids: Tensor, removal: str) -> Tensor:
            kept = ids[:, : int(removal.removeprefix("top_"))]
            return self.vectors()[kept.clamp(min=0)] * (kept >= 0)[..., None]

    return Neurons(24, 24)


def active_along(*axes: int, width: int = 24) -> Tensor:
    """A word; the axis named first is the most active."""
    word = torch.zeros(width)
    word[list(axes)] = torch.arange(len(axes), 0, -1) + 1.0
    return word


def several(make_store: Any, sentence: Any) -> tuple[ActivationStore, Subjects]:
    """Three sentences: sentence token, salient word, another word, with 2, 3, 4; 4, 12, 1; and 3, 0, 2 neurons."""
    words = (
        (active_along(0, 1), active_along(2, 3, 4), active_along(5, 6, 7, 8)),
        (active_along(9, 10, 11, 12), active_along(*range(12)), active_along(13)),
        (active_along(0, 1, 2), active_along(), active_along(3, 4)),
    )
    dev = [sentence(torch.stack(each), index % 2) for index, each in enumerate(words)]
    train = [sentence(torch.stack([active_along(axis), active_along(0)]), axis % 2) for axis in range(24)]
    store = make_store({Split.train: train, Split.dev: dev})
    rows = store.sentence_ids(Split.dev)
    return store, Subjects(store, LAYER, rows, store.sentences.first_word[rows] + 1)


@pytest.fixture
def of_several(make_store: Any, sentence: Any, neurons: Any) -> Callable[..., dict[str, Tensor]]:
    """removal, active concepts -> condition -> bases of the three sentences."""
    store, who = several(make_store, sentence)
    return lambda removal, active=range(24): bases_of(neurons, store, who, removal, active)


def bases_of(
    neurons: Any, store: ActivationStore, who: Subjects, removal: str, active: Sequence[int]
) -> dict[str, Tensor]:
    asked = Removal(neurons, who, layer_directions(store, LAYER), np.array(active), removal, 0)
    assert asked.ranks.tolist() == {"top_10": [3, 10, 0], "top_1": [1, 1, 0]}[removal]
    assert asked.rank == int(removal.removeprefix("top_")), "whatever the first sentence has"
    return {name: each.basis for name, each in conditions(asked).items()}


def axes_of(basis: Tensor) -> list[set[int]]:
    """The axes that each sentence loses."""
    return [set(each.abs().argmax(1)[each.abs().sum(1) > 0].tolist()) for each in basis]


def test_several_concepts__the_own_ones_are_removed(of_several: Any) -> None:
    assert axes_of(of_several("top_10")["perturbed"]) == [{2, 3, 4}, set(range(10)), set()]
    assert axes_of(of_several("top_1")["perturbed"]) == [{2}, {0}, set()]


@pytest.mark.parametrize(("removal", "ranks"), [("top_10", (3, 10, 0)), ("top_1", (1, 1, 0))])
def test_several_concepts__random_directions_are_as_many(
    of_several: Any, removal: str, ranks: tuple[int, ...]
) -> None:
    basis = of_several(removal)["random_direction"]
    for each, rank in zip(basis, ranks, strict=True):
        gram = torch.zeros(len(each), len(each))
        gram[:rank, :rank] = torch.eye(rank)
        assert torch.allclose(each @ each.T, gram, atol=1e-5)


def test_several_concepts__random_active_ones_are_as_many_and_none_of_the_own(of_several: Any) -> None:
    lost = axes_of(of_several("top_10", range(1, 24))["random_active_code"])
    assert [len(each) for each in lost] == [3, 10, 0]
    assert not lost[0] & {0, 2, 3, 4}, "concept 0 is not active"
    assert not lost[1] & set(range(10))
    one = axes_of(of_several("top_1", [2, 3, 4, 5])["random_active_code"])
    assert one == [{5}, set(), set()], "none of a word's own, though one alone is removed"


def test_several_concepts__too_few_active_ones_leave_the_sentence_untouched(of_several: Any) -> None:
    lost = axes_of(of_several("top_10", [2, 20, 21, 22])["random_active_code"])
    assert lost == [{20, 21, 22}, set(), set()]


def test_several_concepts__other_words_lose_no_more_than_the_salient_one(of_several: Any) -> None:
    found = of_several("top_10")
    assert axes_of(found["own_code"]) == [{0, 1}, {9, 10, 11, 12}, set()], "the sentence token's neurons"
    lost = axes_of(found["other_word"])
    assert lost[0] in ({0, 1}, {5, 6, 7}), "three of the last word's four"
    assert lost[1] in ({9, 10, 11, 12}, {13})
    assert lost[2] == set()


def test_several_concepts__matched_controls_move_as_far_whatever_the_block(
    make_store: Any, sentence: Any, neurons: Any
) -> None:
    store, who = several(make_store, sentence)
    removal = Removal(neurons, who, layer_directions(store, LAYER), np.arange(24), "top_10", 0)
    found = conditions(removal)
    h = who.h(all_of(who))
    length = (h - found["perturbed"].h).norm(dim=1)
    # No sentence token lies along what is removed but the second's, by its axis 9 alone: 5 of (5, 4, 3, 2).
    torch.testing.assert_close(length, torch.tensor([0.0, 5.0, 0.0]))
    torch.testing.assert_close((h - found["random_direction_norm_matched"].h).norm(dim=1), length)
    for size in (1, 2):
        again = conditions(removal, size)
        assert all(torch.equal(again[name].basis, each.basis) for name, each in found.items())


# --- some sentences at a time


@pytest.mark.parametrize("size", [1, 7, 16, 64, 199, 200, 1000])
def test_blocks__their_size_changes_no_bit(labelled_store: ActivationStore, axes: Any, size: int) -> None:
    who, fixed = dev_subjects(labelled_store), layer_directions(labelled_store, LAYER)
    removal = Removal(axes, who, fixed, np.arange(4), CONCEPT, 3)
    whole, parts = conditions(removal), conditions(removal, size)
    assert set(whole) == set(parts) == NAMES
    for name in whole:
        assert torch.equal(parts[name].basis, whole[name].basis), name
        assert torch.equal(parts[name].h, whole[name].h), name


def test_blocks__a_condition_is_the_same_without_the_others(labelled_store: ActivationStore, axes: Any) -> None:
    who, fixed = dev_subjects(labelled_store), layer_directions(labelled_store, LAYER)
    removal = Removal(axes, who, fixed, np.arange(4), CONCEPT, 3)
    whole = conditions(removal)
    for name in BASES:
        alone = torch.cat([block.bases[name] for block in removal.blocks([name], 50)])
        assert torch.equal(alone, whole[name].basis), name


@pytest.mark.parametrize(("n", "rank", "width"), [(1, 1, 5), (15, 1, 3), (33, 1, 3), (50, 2, 12), (700, 1, 384)])
def test_normal_rows__are_those_of_one_draw(n: int, rank: int, width: int) -> None:
    rows = normal_rows(n, rank, width, torch.Generator().manual_seed(5))
    assert torch.equal(
        torch.stack(list(rows)), torch.randn((n, rank, width), generator=torch.Generator().manual_seed(5))
    )


def test_layer_directions__do_not_hang_on_the_block(
    labelled_store: ActivationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = layer_directions(labelled_store, LAYER)
    monkeypatch.setattr("clvq_exp.evaluation.controls.BLOCK", 7)
    parts = layer_directions(labelled_store, LAYER)
    torch.testing.assert_close(parts.class_means, whole.class_means)
    assert torch.equal(parts.mean, whole.mean)

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from clvq_exp.activations.store import ActivationStore
from clvq_exp.evaluation.controls import Removal, Subjects, layer_directions
from clvq_exp.evaluation.faithfulness import AblationPlan, RemovalOutcomes, ablate, ablate_all, train_probes
from clvq_exp.evaluation.probe import FoldProbes
from clvq_exp.settings import ProbeSettings, ProbeTrainedOn, Split

LAYER = 2
PROBE = ProbeSettings(hidden=8, learning_rate=1e-2, max_epochs=12, dropout=0.0)


def plan(store: ActivationStore, word: int = 1, n_refit: int = 100) -> AblationPlan:
    """Salient is word `word` of every sentence: 1 carries the label, 2 does not."""
    dev, train = store.sentence_ids(Split.dev), store.sentence_ids(Split.train)[:n_refit]
    first = store.sentences.first_word
    return AblationPlan(
        store,
        LAYER,
        2,
        Subjects(store, LAYER, dev, first[dev] + word),
        Subjects(store, LAYER, train, first[train] + word),
        layer_directions(store, LAYER),
        PROBE,
    )


def outcomes(of: AblationPlan, model: Any, seeds: tuple[int, ...] = (0,)) -> dict[str, RemovalOutcomes]:
    probes = {seed: train_probes(of, seed) for seed in seeds}
    return ablate_all(of, dict.fromkeys(seeds, model), probes)[0]


def test_label_carrying_direction__takes_the_accuracy_to_chance(
    labelled_store: ActivationStore, axes: Any
) -> None:
    found = outcomes(plan(labelled_store), axes, (0, 1))["concept"]
    means = {name: each.mean() for name, each in found.correct.items()}
    assert found.correct["original"].shape == (2, 200)
    assert means["original"] > 0.98
    assert 0.35 < means["perturbed"] < 0.65
    assert 0.35 < means["own_code"] < 0.65, "h itself belongs to the label's axis"
    assert 0.35 < means["class_means"] < 0.65
    for name in ("random_direction", "random_active_code", "mean_direction"):
        assert means[name] > 0.95, name
    assert 0.35 < means["refit"] < 0.65, "no information is left for a new probe"
    assert means["refit_original"] > 0.95
    assert found.rank == 1
    assert found.empty == 0


def test_direction_without_label__changes_nothing(labelled_store: ActivationStore, axes: Any) -> None:
    found = outcomes(plan(labelled_store, word=2), axes)["concept"]
    assert found.correct["perturbed"].mean() > 0.98
    assert found.correct["refit"].mean() > 0.95


def test_removed_norm__is_the_mean_share_of_h(labelled_store: ActivationStore, axes: Any) -> None:
    of = plan(labelled_store)
    found = outcomes(of, axes)["concept"].removed_norm
    h = of.dev.h(np.arange(len(of.dev)))
    assert found["perturbed"] == pytest.approx(float((h[:, 0].abs() / h.norm(dim=1)).mean()))
    assert found["random_direction_norm_matched"] == pytest.approx(found["perturbed"], rel=1e-4)
    assert found["random_direction"] < found["perturbed"]
    assert "refit" not in found


def test_empty_concepts__are_counted_and_remove_nothing(
    make_store: Any, sentence: Any, labelled_store: ActivationStore, axes: Any
) -> None:
    def dev(index: int) -> Any:
        concept = 3 if index < 50 else 0  # the last concept has no direction under member_mean
        return sentence(torch.stack([torch.eye(12)[0] * (2 * (index % 2) - 1), torch.eye(12)[concept]]), index % 2)

    train = [sentence(labelled_store.words(LAYER)[4 * i : 4 * i + 4].clone(), i % 2) for i in range(120)]
    store = make_store(
        {Split.train: train[:100], Split.validation: train[100:], Split.dev: [dev(index) for index in range(200)]}
    )
    found = outcomes(plan(store), axes)
    assert found["concept"].empty == 0
    assert found["member_mean"].empty == 0.25
    kept = found["member_mean"].correct["perturbed"][:, :50]
    assert np.array_equal(kept, found["member_mean"].correct["original"][:, :50])
    rest = found["member_mean"].correct["perturbed"][:, 50:]
    assert not np.array_equal(rest, found["member_mean"].correct["original"][:, 50:])


def test_refit__is_absent_without_refit_sentences(labelled_store: ActivationStore, axes: Any) -> None:
    for n in (0, 1):
        found = outcomes(plan(labelled_store, n_refit=n), axes)["concept"].correct
        assert not {"refit", "refit_original"} & set(found), f"{n} sentences train no probe"


def test_ablation__is_the_same_again(labelled_store: ActivationStore, axes: Any) -> None:
    torch.manual_seed(1)
    one = outcomes(plan(labelled_store), axes)["concept"]
    torch.manual_seed(2)
    two = outcomes(plan(labelled_store), axes)["concept"]
    assert all(np.array_equal(one.correct[name], two.correct[name]) for name in one.correct)
    assert one.removed_norm == two.removed_norm


@pytest.mark.parametrize("size", [1, 7, 64, 199])
def test_ablation__some_sentences_at_a_time_changes_no_bit(
    labelled_store: ActivationStore, axes: Any, size: int
) -> None:
    of = plan(labelled_store, n_refit=20)
    probes = train_probes(of, 0)
    removal = Removal(axes, of.dev, of.fixed, np.arange(4), "concept", 0)
    whole, parts = (ablate(of, removal, probes, block) for block in (1000, size))
    assert set(parts.correct) == set(whole.correct)
    for name in whole.correct:
        assert torch.equal(parts.correct[name], whole.correct[name]), name
    for name in whole.removed_share:
        assert torch.equal(parts.removed_share[name], whole.removed_share[name]), name
    assert torch.equal(parts.empty, whole.empty)


def test_ablate_all__gives_the_removals_of_each_seed(labelled_store: ActivationStore, axes: Any) -> None:
    of = plan(labelled_store, n_refit=0)
    probes = {seed: train_probes(of, seed) for seed in (3, 5)}
    _, removals = ablate_all(of, {3: axes, 5: axes}, probes)
    assert {name: list(of_seeds) for name, of_seeds in removals.items()} == {
        "concept": [3, 5],
        "member_mean": [3, 5],
    }
    assert [(each.name, each.seed) for each in removals["member_mean"].values()] == [
        ("member_mean", 3),
        ("member_mean", 5),
    ]
    a, b = (next(removals["concept"][seed].blocks()).bases for seed in (3, 5))
    assert not torch.equal(a["random_direction"], b["random_direction"])
    assert torch.equal(a["perturbed"], b["perturbed"])


def test_dev_folds__read_every_dev_sentence_with_the_probe_of_its_fold(
    labelled_store: ActivationStore, axes: Any
) -> None:
    settings = replace(PROBE, trained_on=ProbeTrainedOn.dev_folds, folds=5)
    of = plan(labelled_store, n_refit=0)._replace(probe=settings)
    probes = train_probes(of, 0)
    assert isinstance(probes.original, FoldProbes)
    assert torch.bincount(probes.original.folds).tolist() == [40] * 5
    found = ablate_all(of, {0: axes}, {0: probes})[0]["concept"].correct
    assert found["original"].mean() > 0.95
    assert 0.35 < found["perturbed"].mean() < 0.65
    h = of.dev.h(np.arange(len(of.dev)))
    by_hand = torch.stack(
        [
            probes.original.probes[fold].predict(h[row : row + 1])[0]
            for row, fold in enumerate(probes.original.folds)
        ]
    )
    assert np.array_equal(found["original"][0], (by_hand == of.dev.labels).numpy())


def test_dev_folds__take_no_probe_from_the_training_split(labelled_store: ActivationStore) -> None:
    settings = replace(PROBE, trained_on=ProbeTrainedOn.dev_folds, folds=2, max_epochs=1)
    of = plan(labelled_store, n_refit=20)._replace(probe=settings)
    folds, split = (
        train_probes(of, 0),
        train_probes(of._replace(probe=replace(settings, trained_on=PROBE.trained_on)), 0),
    )
    assert not isinstance(split.original, FoldProbes)
    assert folds.refit_original is not None
    assert torch.equal(folds.refit_original.layers[0].weight, split.refit_original.layers[0].weight)

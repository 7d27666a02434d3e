from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from clvq_exp.evaluation.specificity.baselines import (
    OF_SENTENCES,
    OF_WORDS,
    SHUFFLED,
    SHUFFLED_GROUPS,
    SHUFFLED_WITHIN_WORDS,
    Labellings,
    as_values,
    mean_figures,
    mean_values,
    with_baselines,
)
from clvq_exp.evaluation.specificity.purity import label_counts, purity_measures
from clvq_exp.evaluation.specificity.routing import cell_counts, routing_measures, routing_table

GOLD = np.array([0, 0, 0, 1, 1, 2])
DOCUMENTS = np.array([2, 2, 0, 1, 1, 3])
SENTENCE = np.repeat(np.arange(6, dtype=np.int32), 3)
"""Of each word: every sentence has three."""
FORM = np.tile(np.array([2, 0, 1, 1, 0, 0], dtype=np.int32), 3)


def labellings_of(groups: np.ndarray, shuffles: int, seed: int = 0) -> Labellings:
    return Labellings(GOLD, groups, SENTENCE, FORM, shuffles, seed)


def test_labellings__begin_with_the_gold_one_and_permute_the_rest() -> None:
    labellings = labellings_of(np.arange(6), shuffles=20)
    drawn = list(labellings.of_sentences())
    assert len(drawn) == 21
    assert np.array_equal(drawn[0], GOLD)
    assert all(sorted(each) == sorted(GOLD) for each in drawn)
    assert len({tuple(each) for each in drawn}) > 10
    assert labellings.rows == {SHUFFLED: slice(1, 21), SHUFFLED_WITHIN_WORDS: slice(21, 41)}


def test_labellings__keep_documents_whole() -> None:
    labellings = labellings_of(DOCUMENTS, shuffles=30)
    drawn = list(labellings.of_sentences())
    whole = drawn[labellings.rows[SHUFFLED_GROUPS]]
    for each in whole:
        assert each[0] == each[1]
        assert each[3] == each[4]
        assert sorted(each[[0, 2, 3, 5]]) == [0, 0, 1, 2]
    assert len({tuple(each) for each in whole}) > 5
    assert any(each[0] != each[1] for each in drawn[labellings.rows[SHUFFLED]])


def test_labellings__of_documents_with_several_labels_leave_documents_out() -> None:
    assert set(labellings_of(np.array([0, 0, 0, 0, 1, 2]), 3).rows) == {SHUFFLED, SHUFFLED_WITHIN_WORDS}


def test_labels_of_words__are_those_of_their_sentences() -> None:
    labellings = labellings_of(DOCUMENTS, shuffles=2)
    of_words = list(labellings.of_words())
    for labels, words in zip(labellings.of_sentences(), of_words[:5], strict=True):
        assert words.tolist() == np.repeat(labels, 3).tolist()
    assert len(of_words) == 7


def test_labels_within_words__keep_how_often_each_form_has_each_label() -> None:
    labellings = labellings_of(DOCUMENTS, shuffles=30)
    gold, *drawn = (each for each in labellings.of_words())
    within = drawn[60:]
    for form in range(3):
        assert all(sorted(each[form == FORM]) == sorted(gold[form == FORM]) for each in within)
    assert len({tuple(each) for each in within}) > 20


def test_labellings__are_the_same_each_time_and_others_for_another_seed() -> None:
    drawn = [np.stack(list(labellings_of(DOCUMENTS, 5, seed).of_words())) for seed in (3, 3, 4)]
    assert np.array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any(1).sum() > 10


def test_labellings__without_shuffles_are_the_gold_one() -> None:
    labellings = labellings_of(DOCUMENTS, 0)
    assert len(list(labellings.of_sentences())) == len(list(labellings.of_words())) == 1
    figures = with_baselines({"x": np.array([0.5])}, labellings.rows, OF_SENTENCES, 0.95)
    assert figures == {"x": 0.5, SHUFFLED: None, SHUFFLED_GROUPS: None}


def test_baseline__is_mean_and_percentiles_of_the_draws() -> None:
    values = {
        "x": np.array([9.0, 1, 2, 3, 4, 5]),
        "partly": np.array([np.nan, np.nan, 2, np.nan, 4, np.nan]),
        "never": np.full(6, np.nan),
        "parts": np.array([[9.0, 8], [0, 1], [0, 1], [0, 1], [0, 1], [5, 1]]),
    }
    figures = with_baselines(values, {SHUFFLED: slice(1, 6)}, OF_SENTENCES, 0.5)
    assert (figures["x"], figures["partly"], figures["never"], figures["parts"]) == (9, None, None, [9, 8])
    assert figures[SHUFFLED] == {
        "x": {"mean": 3, "low": 2, "high": 4},
        "partly": {"mean": 3, "low": 2.5, "high": 3.5},
        "never": None,
        "parts": [1, 1],
    }
    assert figures[SHUFFLED_GROUPS] is None
    assert SHUFFLED_WITHIN_WORDS not in figures


def test_means__are_over_the_seeds_that_define_a_figure() -> None:
    of_seeds = [{"x": np.array([1.0, np.nan, np.nan])}, {"x": np.array([3.0, 4.0, np.nan])}]
    assert np.array_equal(mean_values(of_seeds)["x"], [2, 4, np.nan], equal_nan=True)
    found = mean_figures([{"a": 1, "b": 2.0, "c": None, "d": 1}, {"a": 3, "b": None, "c": None, "d": 2}])
    assert found == {"a": 2, "b": 2.0, "c": None, "d": 1.5}
    assert isinstance(found["a"], int)
    assert isinstance(found["b"], float)


def measured(codes: np.ndarray, form: np.ndarray, gold: np.ndarray, sentence: np.ndarray) -> list[dict[str, Any]]:
    """Purity and routing of 20 codes, with 60 draws of each baseline and intervals that cover 99%."""
    labellings = Labellings(gold, np.arange(len(gold)), sentence, form, shuffles=60, seed=1)
    table = routing_table(form, codes, 20, 5)
    found = [
        (
            purity_measures(label_counts(codes, labels, 20, 2)),
            routing_measures(table, cell_counts(table, labels, 2), 5),
        )
        for labels in labellings.of_words()
    ]
    figures = zip(*found, strict=True)
    return [with_baselines(as_values(each), labellings.rows, OF_WORDS, 0.99) for each in figures]


@pytest.mark.parametrize("planted", [False, True])
def test_purity_and_divergence__are_at_every_baseline_unless_codes_know_the_label(planted: bool) -> None:
    generator = np.random.default_rng(1)
    gold, sentence = generator.permutation(np.arange(300) % 2), np.repeat(np.arange(300, dtype=np.int32), 8)
    form = generator.integers(0, 30, len(sentence)).astype(np.int32)
    codes = generator.integers(0, 20, len(sentence)).astype(np.int32)
    if planted:  # two words of three go to ten codes of their label's own
        own = codes % 10 + 10 * gold[sentence]
        codes = np.where(generator.random(len(codes)) < 2 / 3, own, codes).astype(np.int32)
    purity, routing = measured(codes, form, gold, sentence)
    assert 0.5 < purity[SHUFFLED]["weighted_mean"]["mean"] < 0.56  # the larger share of a sample is above 1/2
    assert (purity["weighted_mean"] > 0.8) == planted
    for figure, baselines in ((purity["weighted_mean"], purity), (routing["divergence"], routing)):
        for name in (SHUFFLED, SHUFFLED_WITHIN_WORDS):
            chance = baselines[name]["weighted_mean" if baselines is purity else "divergence"]
            assert (figure > 1.2 * chance["high"]) == planted
            assert (chance["low"] <= figure <= chance["high"]) != planted


def test_codes_that_know_the_word_only__are_at_the_baseline_within_words() -> None:
    generator = np.random.default_rng(2)
    gold, sentence = np.arange(300) % 2, np.repeat(np.arange(300, dtype=np.int32), 8)
    # each word stands mostly under one label, and has four codes of its own, whatever the label
    form = (generator.integers(0, 10, len(sentence)) * 2 + gold[sentence]).astype(np.int32)
    form = np.where(generator.random(len(form)) < 0.2, form ^ 1, form).astype(np.int32)
    codes = ((form + 4 * generator.integers(0, 4, len(form))) % 20).astype(np.int32)
    purity, routing = measured(codes, form, gold, sentence)
    assert purity["weighted_mean"] > purity[SHUFFLED]["weighted_mean"]["high"] + 0.1
    within = purity[SHUFFLED_WITHIN_WORDS]["weighted_mean"]
    assert within["low"] <= purity["weighted_mean"] <= within["high"]
    within = routing[SHUFFLED_WITHIN_WORDS]["divergence"]
    assert within["low"] <= routing["divergence"] <= within["high"]
    assert routing[SHUFFLED_WITHIN_WORDS]["words"] == {"mean": 20, "low": 20, "high": 20}

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from sklearn.metrics import mutual_info_score

from clvq_exp.evaluation.specificity.routing import (
    RoutingTable,
    cell_counts,
    label_pair_figures,
    route_pairs,
    routing_measures,
    routing_table,
)
from clvq_exp.evaluation.specificity.routing_examples import Names, routed_words

Held = tuple[int, int, int, int]
"""Form, label, code, how often."""
LOPSIDED = 0.31127812445913283
"""Jensen-Shannon divergence of (1, 0) and (1/2, 1/2), bits."""
K = 4


def table_of(held: Sequence[Held], min_count: int = 5, reverse: bool = False) -> tuple[RoutingTable, np.ndarray]:
    """A table, and the label of each word."""
    rows = np.array([row[:3] for row in held for _ in range(row[3])]).reshape(-1, 3)
    rows = rows[::-1] if reverse else rows
    form, code = rows[:, 0].astype(np.int32), rows[:, 2].astype(np.int32)
    return routing_table(form, code, K, min_count), rows[:, 1].astype(np.int64)


THREE_WORDS: list[Held] = [
    (0, 0, 0, 5),  # goes from code 0 to code 1
    (0, 1, 1, 5),
    (3, 0, 2, 6),  # stays
    (3, 1, 2, 9),
    (5, 0, 0, 5),  # one of its two most frequent codes stays
    (5, 1, 0, 3),
    (5, 1, 1, 3),
    (6, 0, 0, 50),  # too rare under label 1
    (6, 1, 1, 4),
    (-1, 0, 0, 20),  # no content word
    (-1, 1, 1, 20),
]


@pytest.mark.parametrize("reverse", [False, True])
def test_routing__is_that_of_three_words_by_hand(reverse: bool) -> None:
    table, labels = table_of(THREE_WORDS, reverse=reverse)
    ((pair, found),) = route_pairs(table, cell_counts(table, labels, 2), 5)
    assert pair == (0, 1)
    assert table.form[found.word].tolist() == [0, 3, 5]
    assert found.differs.tolist() == [True, False, False]
    assert found.divergence == pytest.approx([1.0, 0.0, LOPSIDED])
    assert routing_measures(table, cell_counts(table, labels, 2), 5) == pytest.approx(
        {"words": 3, "differing_share": 1 / 3, "divergence": (1 + LOPSIDED) / 3}
    )


def test_routing__differs_where_no_most_frequent_code_is_common() -> None:
    table, labels = table_of([(0, 0, 0, 3), (0, 0, 1, 3), (0, 0, 2, 2), (0, 1, 2, 4), (0, 1, 3, 4), (0, 1, 0, 3)])
    ((_, found),) = route_pairs(table, cell_counts(table, labels, 2), 5)
    assert found.differs.tolist() == [True]


def test_divergence__is_scipy_s() -> None:
    generator = np.random.default_rng(0)
    counts = generator.integers(0, 9, size=(30, 2, K))
    held = [(w, a, c, int(counts[w, a, c])) for w in range(30) for a in range(2) for c in range(K)]
    table, labels = table_of(held, min_count=1)
    ((_, found),) = route_pairs(table, cell_counts(table, labels, 2), 1)
    assert found.divergence == pytest.approx([jensenshannon(p, q, base=2) ** 2 for p, q in counts])
    modes = [{name: each[name].max() for name in range(2)} for each in counts]
    shared = [
        any(p[c] == m[0] and q[c] == m[1] for c in range(K)) for (p, q), m in zip(counts, modes, strict=True)
    ]
    assert found.differs.tolist() == [not each for each in shared]
    assert 0 < sum(shared) < 30


def test_divergence__is_the_information_of_code_about_label_where_both_are_equally_frequent() -> None:
    table, labels = table_of([(0, 0, 0, 6), (0, 0, 1, 2), (0, 1, 1, 3), (0, 1, 2, 5)])
    ((_, found),) = route_pairs(table, cell_counts(table, labels, 2), 5)
    nats = mutual_info_score(None, None, contingency=np.array([[6, 2, 0], [0, 3, 5]]))
    assert found.divergence == pytest.approx([nats / np.log(2)])


def test_routing__is_the_mean_over_pairs_of_labels() -> None:
    # word 0 under labels 0 and 1, word 1 under 0 and 2: nothing is frequent under both 1 and 2
    table, labels = table_of(
        [(0, 0, 0, 5), (0, 1, 1, 5), (1, 0, 2, 5), (1, 2, 2, 5), (2, 0, 0, 5), (2, 1, 0, 5), (2, 2, 0, 4)]
    )
    counts = cell_counts(table, labels, 3)
    found = routing_measures(table, counts, 5)
    assert found == {"words": 3, "differing_share": (0.5 + 0) / 2, "divergence": (0.5 + 0) / 2}
    figures = label_pair_figures(table, counts, "abc", 5)
    assert [each["labels"] for each in figures] == [["a", "b"], ["a", "c"], ["b", "c"]]
    assert [each["words"] for each in figures] == [2, 1, 0]
    assert [each["differing_share"] for each in figures] == [0.5, 0.0, None]
    assert [each["divergence"] for each in figures] == [0.5, 0.0, None]


@pytest.mark.parametrize(
    "held", [[], [(-1, 0, 0, 9), (-1, 1, 1, 9)], [(0, 0, 0, 50)], [(0, 0, 0, 9), (0, 1, 1, 4)]]
)
def test_routing__of_words_that_cannot_be_compared_is_not_defined(held: list[Held]) -> None:
    table, labels = table_of(held)
    counts = cell_counts(table, labels, 2)
    found = routing_measures(table, counts, 5)
    assert found["words"] == 0
    assert np.isnan([found["differing_share"], found["divergence"]]).all()
    assert label_pair_figures(table, counts, "ab", 5)[0]["divergence"] is None


def examples(held: list[Held], code_counts: list[list[int]], shown: int = 10) -> list[tuple[object, ...]]:
    table, labels = table_of(held)
    names = Names(("ant", "bee", "cat", "dog"), ("bad", "good"))
    counts = cell_counts(table, labels, 2)
    return [tuple(row) for row in routed_words(table, counts, np.array(code_counts), names, 3, 5, shown)]


def test_examples__show_both_sides_of_a_word() -> None:
    held = [(2, 0, 3, 6), (2, 0, 1, 2), (2, 1, 1, 5), (2, 1, 2, 5)]
    divergence = jensenshannon([2, 0, 6], [5, 5, 0], base=2) ** 2
    assert examples(held, [[0, 0], [2, 8], [0, 5], [9, 1]]) == [
        (3, "cat", "bad", "good", 3, 6, 8, 0.9, pytest.approx(divergence)),
        (3, "cat", "good", "bad", 1, 5, 10, 0.8, pytest.approx(divergence)),
    ]


def test_examples__begin_with_the_purest_codes_and_are_cut() -> None:
    held = [(0, 0, 0, 9), (0, 1, 1, 9), (1, 0, 0, 9), (1, 1, 2, 9), (3, 0, 0, 10), (3, 1, 1, 10)]
    code_counts = [[28, 2], [19, 21], [1, 9], [0, 0]]
    assert [row[1] for row in examples(held, code_counts)] == ["bee", "bee", "dog", "dog", "ant", "ant"]
    assert [row[1] for row in examples(held, code_counts, shown=1)] == ["bee", "bee"]
    assert examples(held, code_counts, shown=0) == []


def test_examples__need_codes_that_hold_the_word_often() -> None:
    assert examples([(0, 0, 0, 4), (0, 0, 1, 3), (0, 1, 2, 8)], [[9, 0], [9, 0], [0, 9], [0, 0]]) == []


def test_examples__leave_out_words_that_stay() -> None:
    shown = Counter(row[1] for row in examples([(0, 0, 0, 8), (0, 1, 0, 8), (0, 1, 1, 8)], [[9, 9]] * K))
    assert not shown

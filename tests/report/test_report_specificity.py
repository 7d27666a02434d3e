from __future__ import annotations

import copy

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from report.nine_methods import HOSTILE_LABEL, routed_rows, specificity

from clvq_exp.report.access import Interval
from clvq_exp.report.plots import Figure
from clvq_exp.report.purity_figure import purity_figure
from clvq_exp.report.routed import read_routed
from clvq_exp.report.shuffles import Measured, described
from clvq_exp.report.specificity import (
    cosine_grid,
    label_pairs_grid,
    overlap_grid,
    purity_grid,
    routing_grid,
    seeds_grid,
    stability_grid,
)
from clvq_exp.report.specificity_page import specificity_block
from clvq_exp.report.specificity_reading import counted, overlap_edge, readings


def test_measured__above_the_upper_end_of_the_interval() -> None:
    beside = {"shuffled": Interval(0.5, 0.4, 0.6), "shuffled_groups": None}
    assert Measured(0.61, beside).above("shuffled") is True
    assert Measured(0.6, beside).above("shuffled") is False
    assert Measured(0.6, beside).above("shuffled_groups") is None
    assert Measured(0.6, beside).above("shuffled_within_words") is None
    assert Measured(None, beside).above("shuffled") is None


def test_purity_grid__beside_each_shuffle_with_its_interval(run) -> None:
    grid = purity_grid(run.metrics)
    assert grid is not None
    assert [head.title for head in grid.heads] == [
        "Codes",
        "Words",
        "Purity, mean over words",
        "Codes that hold one label only",
    ]
    assert [column.title for column in grid.columns[2:6]] == [
        "as it is",
        "labels shuffled",
        "documents shuffled",
        "shuffled within words",
    ]
    main = grid.rows[0]
    assert (main.title, main.key) == ("CLVQ-VAE", True)
    assert [cell.main for cell in main.cells[:6]] == ["7", "1,090", "71.0%", "55.0%", "60.0%", "58.0%"]
    assert main.cells[4].below == "[58.0%, 62.0%]"
    assert {cell.mark for cell in main.cells} == {""}


def test_routing_grid__what_is_not_above_is_marked(run) -> None:
    grid = routing_grid(run.metrics)
    assert grid is not None
    words, share, shuffled, documents, within, divergence, *_ = grid.rows[0].cells
    assert (words.main, share.main, divergence.main) == ("120", "63.0%", "0.410")
    assert (shuffled.mark, documents.mark, within.mark) == ("", "", "not above")
    assert within == ("62.0%", "[60.0%, 64.0%]", "not above")


def test_grids__a_shuffle_that_no_method_has_is_left_out(run) -> None:
    for values in (run.metrics["specificity"], run.metrics["beside"]["kmeans_codes"]["specificity"]):
        values["purity"]["shuffled_groups"] = None
    grid = purity_grid(run.metrics)
    assert grid is not None
    assert "documents shuffled" not in {column.title for column in grid.columns}
    run.metrics["specificity"]["purity"]["shuffled_within_words"] = None
    grid = purity_grid(run.metrics)
    assert grid is not None
    assert grid.rows[0].cells[4].main == "–"  # the other method has it
    assert grid.rows[1].cells[4].main == "58.0%"


def test_overlap_grid__bands_with_their_pairs(run) -> None:
    grid = overlap_grid(run.metrics, "bands")
    assert grid is not None
    assert [head.title for head in grid.heads] == [
        "0 to 0.1: 400 / 500 pairs",
        "0.1 to 0.3: 400 / 500 pairs",
        "0.3 to 1: 0 / 0 pairs",
    ]
    low, _, _, middle, shuffled, documents, high = grid.rows[0].cells
    assert low == ("1.10", "2.20 / 2.00", "")
    assert middle == ("1.40", "2.80 / 2.00", "")
    assert shuffled == ("1.00", "[0.90, 1.10]", "")
    assert documents == ("1.35", "[1.25, 1.45]", "not above")
    assert high.main == "–"


@pytest.mark.parametrize(
    ("reading", "titles"), [("below", ["below 0.1", "below 0.3"]), ("at_least", ["all", "0.1 and above"])]
)
def test_overlap_grid__cumulative(run, reading: str, titles: list[str]) -> None:
    grid = overlap_grid(run.metrics, reading)
    assert grid is not None
    assert [head.title.split(":")[0] for head in grid.heads][:2] == titles


def test_label_pairs_grid__only_with_more_than_two_labels(run) -> None:
    assert label_pairs_grid(run.metrics) is None
    run.metrics["specificity"] = specificity(("world", "sports", "business"))
    grid = label_pairs_grid(run.metrics)
    assert grid is not None
    assert [column.title for column in grid.columns][:2] == ["world / sports", "world / business"]
    assert grid.rows[0].cells[1] == ("63.0%", "0.410, 120 words", "")


def test_cosine_grid__quantiles_from_low_to_high(run) -> None:
    grid = cosine_grid(run.metrics)
    assert grid is not None
    assert [cell.main for cell in grid.rows[0].cells] == [
        "0.310",
        "−0.400",
        "−0.100",
        "0.100",
        "0.300",
        "0.500",
        "0.700",
        "1.000",
    ]


def test_stability_grid__and_one_seed(run) -> None:
    grid = stability_grid(run.metrics)
    assert grid is not None
    assert [cell.main for cell in grid.rows[0].cells] == ["0.810", "0.300", "0.850", "0.330", "0.440"]
    assert seeds_grid(run.metrics) is not None
    for values in (run.metrics, run.metrics["beside"]["kmeans_codes"]):
        values["specificity"] = specificity(seeds=(0,))
    assert stability_grid(run.metrics) is None
    assert seeds_grid(run.metrics) is None
    assert "stability" not in readings(run.metrics)


def test_seeds_grid__a_row_for_each_method_and_seed(run) -> None:
    grid = seeds_grid(run.metrics)
    assert grid is not None
    assert [(row.title, row.below) for row in grid.rows][:3] == [
        ("CLVQ-VAE", "seed 0"),
        ("CLVQ-VAE", "seed 1"),
        ("k-means codes", "seed 0"),
    ]
    assert [cell.main for cell in grid.rows[0].cells] == ["71.0%", "25.0%", "63.0%", "0.410", "0.310"]


def test_readings__routing_counts_only_above_the_shuffle_within_words(run) -> None:
    text = readings(run.metrics)["routing"]
    assert "63.0% of 120 content words" in text
    assert "no more than with labels shuffled within words, 62.0% [60.0%, 64.0%]" in text
    run.metrics["specificity"]["routing"]["differing_share"] = 0.65
    assert (
        "more than with labels shuffled within words, 62.0% [60.0%, 64.0%]: the codes follow"
        in readings(run.metrics)["routing"]
    )
    run.metrics["specificity"]["routing"]["shuffled_within_words"] = None
    assert "cannot be read" in readings(run.metrics)["routing"]


def test_readings__purity_against_whole_documents_where_there_are_some(run) -> None:
    assert "under shuffled labels 60.0% [58.0%, 62.0%]. That is above chance." in readings(run.metrics)["purity"]
    run.metrics["specificity"]["purity"] |= {"shuffled_groups": None, "weighted_mean": 0.56}
    text = readings(run.metrics)["purity"]
    assert "under shuffled labels 55.0% [53.0%, 57.0%]. That is not above chance." in text


def test_readings__overlap_at_the_highest_cosine_that_is_defined(run) -> None:
    assert overlap_edge(run.metrics) == "0.1"
    text = readings(run.metrics)["overlap"]
    assert text.startswith("At a TF-IDF cosine of 0.1 and above, those of one label share 1.40 times")
    assert "1.35 [1.25, 1.45]. That is not above chance." in text
    run.metrics["specificity"]["overlap"]["at_least"]["0.1"]["ratio"] = None
    assert readings(run.metrics)["overlap"].startswith("Of all pairs of sentences, those of one label share 1.15")


def test_specificity_block__nothing_measured(run) -> None:
    run.metrics["specificity"] = None
    run.metrics["beside"] = None
    assert described(run.metrics) == []
    assert specificity_block(run.folder, run.metrics) is None
    assert counted(run.metrics) is None
    assert readings(run.metrics) == {}
    assert purity_figure(run.metrics) is None


def test_specificity_block__no_shuffles(run) -> None:
    values = run.metrics["specificity"]
    values["shuffles"] = 0
    for measures in (values["purity"], values["routing"]):
        measures |= dict.fromkeys(("shuffled", "shuffled_groups", "shuffled_within_words"))
    del run.metrics["beside"]
    block = specificity_block(run.folder, run.metrics)
    assert block is not None
    assert block.shuffles == []
    assert "shuffled labels" not in (block.counted or "")
    assert block.purity is not None
    assert [column.title for column in block.purity.columns] == ["Codes", "Words", "as it is", "as it is"]


def test_purity_figure__shares_of_the_codes_beside_their_shuffles(nine) -> None:
    plot = purity_figure(nine.metrics)
    assert plot is not None
    bars, *lines = plot.data[:4]
    assert bars["type"] == "bar"
    assert bars["x"][0] == pytest.approx(0.475)  # the bin before the first that anything falls into
    assert bars["y"][2] == 3 / 7
    assert bars["y"][-1] == 4 / 7
    assert sum(bars["y"]) == 1
    assert [line["name"] for line in lines] == ["labels shuffled", "documents shuffled", "shuffled within words"]
    assert lines[0]["y"][1:4] == [2 / 7, 3 / 7, 2 / 7]
    for key in ("color", "dash"):
        assert len({line["line"][key] for line in lines}) == 3
    assert len({line["marker"]["symbol"] for line in lines}) == 3
    assert panels_of(plot) == 9
    assert "SAE 2048 25.0% of 7" in plot.description


def test_purity_figure__legend_once_and_whole(nine) -> None:
    nine.metrics["specificity"]["purity"]["shuffled_groups"] = None
    plot = purity_figure(nine.metrics)
    assert plot is not None
    assert sorted(trace["name"] for trace in plot.data if trace["showlegend"]) == [
        "as it is",
        "documents shuffled",
        "labels shuffled",
        "shuffled within words",
    ]


def panels_of(plot: Figure) -> int:
    return len({trace["xaxis"] for trace in plot.data})


def test_read_routed__pairs_of_the_first_seed_neutralised(nine) -> None:
    own, sparse = read_routed(nine.folder, nine.metrics)
    assert (own.title, own.seed, sparse.title) == ("CLVQ-VAE", 0, "SAE 2048")
    first, second, *_ = own.examples
    assert first.word == "entertainment"
    assert [side.label for side in first.sides] == ["negative", HOSTILE_LABEL]
    assert [(side.code, side.n_words, side.occurrences) for side in first.sides] == [(0, 6, 9), (1, 7, 10)]
    assert [side.purity for side in first.sides] == [0.91, pytest.approx(0.97)]
    assert second.word == "<script>alert(1)</script>"  # the page escapes it
    words = [example.word for example in own.examples]
    assert "\\x1b[31mred" in words
    assert not any("A" * 61 in word for word in words)
    assert len(read_routed(nine.folder, nine.metrics, wanted=2)[0].examples) == 2


def test_read_routed__a_main_method_without_examples_stays_first(nine) -> None:
    rows = routed_rows("sae_2048", ("film",), ("negative", "positive"))
    pq.write_table(pa.Table.from_pylist(rows), nine.folder / "routed_words.parquet")
    own, sparse = read_routed(nine.folder, nine.metrics)
    assert (own.title, own.examples) == ("CLVQ-VAE", ())
    assert [example.word for example in sparse.examples] == ["film"]


def test_read_routed__no_file(run) -> None:
    assert read_routed(run.folder, run.metrics) == []


def test_specificity__leaves_the_metrics_as_they_are(nine) -> None:
    before = copy.deepcopy(nine.metrics)
    specificity_block(nine.folder, nine.metrics)
    purity_figure(nine.metrics)
    assert nine.metrics == before

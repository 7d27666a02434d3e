from __future__ import annotations

from report.nine_methods import BESIDE

from clvq_exp.report.access import methods, own_removal
from clvq_exp.report.codebook_tables import bypass_grid, codebook_grid, codebook_rows
from clvq_exp.report.figures import faithfulness_figure
from clvq_exp.report.grid import Grid, GridColumn, GridRow, plain_cells, without_empty_columns
from clvq_exp.report.method_tables import comparison_grid, comparison_rows, overview_grid, overview_rows
from clvq_exp.report.plots import axis_name
from clvq_exp.report.run_files import read_rows
from clvq_exp.report.tables import faithfulness_table, intervention_table, own_columns
from clvq_exp.report.training_figures import training_figures


def test_methods__in_the_order_asked_for_though_the_file_is_sorted(nine) -> None:
    assert list(nine.metrics["beside"]) == sorted(BESIDE)
    assert methods(nine.metrics) == ["clvq_vae", *BESIDE]


def test_methods__one_that_is_compared_but_absent_is_left_out(run) -> None:
    run.metrics["comparisons"][0]["methods"] = ["clvq_vae", "gone"]
    assert methods(run.metrics) == ["clvq_vae", "kmeans_codes"]


def test_own_removal__the_comparisons_tell_it(nine) -> None:
    assert own_removal(nine.metrics, "sae_2048") == "encoder_top_10"
    assert own_removal(nine.metrics, "clustering") == "concept"
    nine.metrics["comparisons"] = [
        {"methods": ["clvq_vae", "sae_2048"], "removals": ["member_mean", "encoder_top_5"]},
        {"methods": ["clvq_vae", "sae_2048"], "removals": ["concept", "concept"]},
    ]
    assert own_removal(nine.metrics, "sae_2048") == "encoder_top_5"
    assert own_removal(nine.metrics, "clvq_vae") == "member_mean"


def test_own_removal__of_a_method_that_stands_alone() -> None:
    def alone(*removals: str) -> str | None:
        blocks = {name: {"drop": None, "original": 0.5} for name in sorted(removals)}
        return own_removal({"cell": {"method": "m"}, "faithfulness": blocks}, "m")

    assert alone("concept", "member_mean", "encoder_top_1", "encoder_top_10") == "encoder_top_10"
    assert alone("member_mean", "concept") == "concept"
    assert alone() is None
    assert own_removal({"cell": {"method": "m"}, "faithfulness": {"concept": None}}, "m") is None


def test_own_columns__every_method_once(nine) -> None:
    columns = own_columns(nine.metrics)
    assert [column.method for column in columns] == ["clvq_vae", *BESIDE]
    assert [column.removal for column in columns[-3:]] == ["encoder_top_10"] * 3
    assert faithfulness_table(nine.metrics, "own").columns == columns
    assert intervention_table(nine.metrics, "own").columns == columns


def test_notes__of_many_columns_only_what_forbids_to_read(nine) -> None:
    nine.metrics["beside"]["sae_2048"]["faithfulness"]["encoder_top_10"] |= {
        "readable": False,
        "readable_p_value": 0.34,
    }
    notes = faithfulness_table(nine.metrics, "own").notes
    assert any(note.startswith("SAE 2048, its top 10 neurons: the original accuracy") for note in notes)
    assert not any("could not be detected" in note for note in notes)
    assert any(
        "could not be detected" in note for note in faithfulness_table(nine.metrics, "own", BESIDE[:3]).notes
    )


def test_overview_grid__a_row_for_each_method_by_its_own_removal(nine) -> None:
    block = nine.metrics["beside"]["sae_2048"]["faithfulness"]["encoder_top_10"]
    block |= {"readable": False, "inverted": ["perturbed"], "perturbed": {"mean": 0.3, "low": 0.25, "high": 0.35}}
    grid = overview_grid(nine.metrics)
    assert grid is not None
    assert [row.title for row in grid.rows][:2] == ["CLVQ-VAE", "k-means codes"]
    assert [row.key for row in grid.rows] == [True] + [False] * 8
    row = next(row for row in grid.rows if row.title == "SAE 2048")
    assert row.below == "its top 10 neurons"
    original, perturbed, drop, control, specific, without_token, detectable, empty = row.cells
    assert original == ("0.800", "[0.780, 0.820]", "not readable")
    assert perturbed == ("0.300", "[0.250, 0.350]", "inverted")
    assert drop.main == "25.0%"
    assert control == ("17.5%", "Another word's concept", "")
    assert specific == ("7.5%", "[5.5%, 9.5%]", "")
    assert without_token == ("10.0%", "[8.0%, 12.0%]", "")
    assert (detectable.main, empty.main) == ("0.031", "5.0%")


def test_overview_grid__not_of_one_method(run) -> None:
    del run.metrics["beside"]
    assert overview_grid(run.metrics) is None
    assert len(overview_rows(run.metrics)) == 1


def test_comparison_rows__own_pairs_and_pairs_with_the_main_method(nine) -> None:
    rows = comparison_rows(nine.metrics)
    assert sum(row.own for row in rows) == 9 * 8 // 2
    assert sum(row.own and row.with_main for row in rows) == 8
    # of the 36 pairs, 15 are of methods whose own removal is the concept: those have one more, the others two
    assert len(rows) == 36 + 15 + 2 * 21
    mixed = next(row for row in rows if (row.first, row.second) == ("CLVQ-VAE", "SAE 2048"))
    assert mixed.removal == "the concept vector / its top 10 neurons"


def test_comparison_grid__interval_effect_and_holm(nine) -> None:
    grid = comparison_grid(comparison_rows(nine.metrics)[:1], "Pairs")
    (row,) = grid.rows
    assert row.title == "CLVQ-VAE − k-means codes"
    assert row.below == "by the concept vector"
    assert row.cells == (
        ("−0.040", "[−0.070, −0.010]", ""),
        ("−0.08", "", ""),
        ("0.002", "", ""),
        ("0.072", "", ""),
    )


def test_codebook_grid__figures_of_sparse_methods(nine) -> None:
    grid = codebook_grid(codebook_rows(nine.metrics), "Codebooks")
    titles = [column.title for column in grid.columns]
    assert titles[-4:] == ["Variance explained", "L0", "Dead neurons", "Chosen"]
    shown = {row.title: [cell.main for cell in row.cells][-4:] for row in grid.rows}
    assert shown["SAE 2048"] == ["62.5%", "31.4", "12", "L1 0.03, 0.045"]
    assert shown["Clustering"] == ["–"] * 4
    by_seed = codebook_grid(codebook_rows(nine.metrics, per_seed=True), "By seed")
    chosen = [row.cells[-1].main for row in by_seed.rows if row.title == "SAE 2048"]
    assert chosen == ["L1 0.03", "L1 0.045"]


def test_codebook_grid__no_column_for_what_no_method_has(run) -> None:
    grid = codebook_grid(codebook_rows(run.metrics), "Codebooks")
    titles = {column.title for column in grid.columns}
    assert not titles & {"Seed", "Variance explained", "L0", "Dead neurons", "Chosen"}
    assert "Alpha" in titles
    assert grid.note == ""


def test_bypass_grid__methods_with_a_decoder(nine) -> None:
    grid = bypass_grid(codebook_rows(nine.metrics))
    assert grid is not None
    assert len(grid.rows) == 4  # three starts of CLVQ-VAE and the single layer
    assert [cell.main for cell in grid.rows[0].cells] == ["0.1166", "0.1167", "0.2200", "0.2100"]
    assert bypass_grid(()) is None


def test_faithfulness_figure__many_methods_are_the_rows(nine) -> None:
    table = faithfulness_table(nine.metrics, "own")
    plot = faithfulness_figure(table, "accuracy-own", 0.5)
    assert plot is not None
    assert plot.layout["yaxis"]["ticktext"][-1] == "Sparse transcoder"
    assert len(plot.data) == len(table.rows)
    shown = [trace["name"] for trace in plot.data if trace.get("visible") != "legendonly"]
    assert shown[:2] == ["Original", "Concept removed"]
    assert len(shown) == 7  # those two and the controls
    perturbed = plot.data[1]
    assert perturbed["x"][0] == 0.6
    assert perturbed["error_x"]["array"][0] == 0.62 - 0.6
    styles = {(trace["marker"]["color"], trace["marker"]["symbol"]) for trace in plot.data}
    assert len(styles) == len(plot.data)
    assert len({trace["marker"]["symbol"] for trace in plot.data}) == len(plot.data)


def test_training_figures__methods_with_the_same_curves_share_a_figure(nine) -> None:
    dense, sparse = training_figures(read_rows(nine.folder, "history"), nine.metrics)
    assert legend(dense) == {"CLVQ-VAE": True, "Single-Layer": False}
    assert legend(sparse) == {"seed 0": True, "seed 1": True}
    assert headings(dense) == ["Loss", "Reconstruction", "Commitment", "Perplexity", "Alpha", "Learning rate"]
    assert {"Sparsity", "Variance explained", "L0", "Dead neurons"} < set(headings(sparse))
    for figure in (dense, sparse):
        for place in range(len(headings(figure))):
            drawn = [trace for trace in figure.data if trace["xaxis"] == f"x{axis_name(place)}"]
            assert any(trace["y"] and trace.get("visible") != "legendonly" for trace in drawn)


def test_training_figures__a_click_moves_all_curves_of_a_method(nine) -> None:
    dense, _ = training_figures(read_rows(nine.folder, "history"), nine.metrics)
    own = [trace for trace in dense.data if trace["legendgroup"] == "Single-Layer"]
    assert {trace["visible"] for trace in own} == {"legendonly"}
    assert sum(trace["showlegend"] for trace in own) == 1
    assert {trace["line"]["dash"] for trace in own} == {"solid", "dash"}


def legend(figure) -> dict[str, bool]:
    """Entries of the legend, and whether they are shown at first."""
    return {t["name"]: t.get("visible") != "legendonly" for t in figure.data if t["showlegend"]}


def headings(figure) -> list[str]:
    return [note["text"].removeprefix("<b>").removesuffix("</b>") for note in figure.layout["annotations"]]


def test_grid__heads_cover_the_columns() -> None:
    columns = (GridColumn("n"), GridColumn("a", "one"), GridColumn("b", "one"), GridColumn("a", "two"))
    grid = Grid("", "", "Method", columns, ())
    assert grid.heads == (("n", 1, False), ("one", 2, True), ("two", 1, True))
    assert grid.firsts == (False, True, False, True)


def test_without_empty_columns() -> None:
    rows = (GridRow("x", plain_cells(["1", "–", "2"])), GridRow("y", plain_cells(["–", "–", "–"])))
    grid = without_empty_columns(Grid("", "", "", tuple(GridColumn(t) for t in "abc"), rows), "–")
    assert [column.title for column in grid.columns] == ["a", "c"]
    assert [cell.main for cell in grid.rows[0].cells] == ["1", "2"]

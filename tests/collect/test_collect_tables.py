"""Which runs stand in which table, in which rows, beside what of the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from collect.made_runs import DEMO_CELL, PAPER_CELL, block, gathered, history, rows_of, write_run

from clvq_exp.collect.catalogue import KEYS
from clvq_exp.collect.gather import gather
from clvq_exp.collect.runs import find_runs
from clvq_exp.collect.tables import Row

K = "quantizer.codebook_size"
BESIDE_TABLE1 = (
    *("kmeans_codes", "clvq_vae_random", "clvq_vae_spherical_kmeans", "single_layer", "clustering"),
    *("sae_2048", "sae_4096", "transcoder"),
)
SPARSE = ("sae_2048", "sae_4096", "transcoder")
TOP = ("encoder_top_1", "encoder_top_5", "encoder_top_10")


def methods(rows: list[Row]) -> list[str]:
    return [row.method for row in rows]


def settings(rows: list[Row], method: str = "clvq_vae") -> list[tuple[str, ...]]:
    return [tuple(value for _, value in row.setting) for row in rows if row.method == method]


def ours(row: Row, figure: str) -> float | None:
    found = row.figures[figure].ours
    return None if found is None else found.mean


def tables_with_ours(folder: Path) -> set[str]:
    return {
        each.spec.key for each in gather(find_runs([folder]).runs) if any(row.is_ours for row in each.filled.rows)
    }


def sweep(folder: Path, *cell: str, **values: Any) -> None:
    """A run for each value of one key."""
    ((key, each),) = values.items()
    for value in each:
        write_run(folder / f"{key}-{value}", *cell, settings={key.replace("__", "."): value})


# ---------------------------------------------------------------- which table


def test_sweep__runs_that_differ_in_what_is_swept_alone_belong(tmp_path: Path) -> None:
    sweep(tmp_path, *DEMO_CELL, quantizer__codebook_size=[100, 20, 50])
    rows = rows_of(tmp_path, "v1_table08")
    assert settings(rows) == [("20",), ("50",), ("100",)]
    assert rows_of(tmp_path, "v1_table13") == []
    assert rows_of(tmp_path, "v1_table14") == []
    assert rows_of(tmp_path, "v1_table16") == []


def test_sweep__a_single_run_of_another_cell_belongs_to_none(tmp_path: Path) -> None:
    write_run(tmp_path / "run", *DEMO_CELL, settings={K: 20})
    assert rows_of(tmp_path, "v1_table08") == []
    assert "v2_table13" in tables_with_ours(tmp_path)  # so that no run is lost


def test_sweep__two_differences_are_no_sweep_and_what_a_method_does_not_read_is_none(tmp_path: Path) -> None:
    codes = {"kmeans_codes": block()}
    write_run(tmp_path / "a", *DEMO_CELL, settings={K: 20}, beside=codes)
    write_run(tmp_path / "b", *DEMO_CELL, settings={K: 50, "trainer.learning_rate": 0.01}, beside=codes)
    assert methods(rows_of(tmp_path, "v1_table08")) == ["kmeans_codes", "kmeans_codes"]


def test_sweep__a_run_that_a_row_of_the_paper_matches_belongs_alone(tmp_path: Path) -> None:
    write_run(tmp_path / "run", *PAPER_CELL)
    assert tables_with_ours(tmp_path) == {
        *("v1_table01", "v1_table05", "v1_table08", "v1_table09", "v1_table10", "v1_table11", "v1_table13"),
        *("v1_table14", "v1_table16", "v2_table13", "v2_figure02", "v2_table17", "controls", "concepts"),
    }
    (row,) = rows_of(tmp_path, "v1_table08")
    assert row.setting == ((K, "400"),)
    assert row.figures["perplexity"].paper is not None
    assert row.figures["perplexity"].paper.printed == "139.208"


def test_sweep__a_row_of_the_paper_asks_for_its_own_value_and_table_11_for_the_others(tmp_path: Path) -> None:
    write_run(tmp_path / "run", *PAPER_CELL, settings={K: 800, "quantizer.temperature": 2.0})
    assert rows_of(tmp_path, "v1_table08") == []
    assert rows_of(tmp_path, "v1_table14") == []


def test_sweep__strategies_of_alpha_are_one_sweep(tmp_path: Path) -> None:
    curves = history("clvq_vae", {0: [1.0, 2.0]})
    for name, value in (
        ("a", {"encoder.alpha_mode": "adaptive"}),
        ("b", {"encoder.alpha_mode": "fixed", "encoder.alpha": 0.4}),
    ):
        write_run(tmp_path / name, *DEMO_CELL, settings=value, curves=curves)
    assert settings(rows_of(tmp_path, "v1_table12")) == [("adaptive",), ("fixed", "0.4")]


def test_sweep__layer_pairs_of_one_model_and_data_set(tmp_path: Path) -> None:
    for lower in (0, 2, 4):
        pair = {"layer_pair": {"lower": lower, "upper": lower + 2}}
        write_run(tmp_path / str(lower), *DEMO_CELL, settings=pair, main=block(0.1 * lower))
    rows = rows_of(tmp_path, "v1_table16")
    assert [(row.layers, ours(row, "perturbed")) for row in rows] == [("0-2", 0.0), ("2-4", 0.2), ("4-6", 0.4)]
    # what stands off the model's own pair is not repeated where nothing is swept
    assert [row.layers for row in rows_of(tmp_path, "v1_table10")] == ["4-6"]


def test_sweep__what_reads_nothing_of_it_stands_beside_it_once(tmp_path: Path) -> None:
    for top_k in (1, 10):
        write_run(
            tmp_path / str(top_k),
            *DEMO_CELL,
            settings={"quantizer.top_k": top_k},
            main=block(0.1 * top_k),
            beside={"kmeans_codes": block(0.5)},
        )
    rows = rows_of(tmp_path, "v1_table15")
    assert methods(rows) == ["clvq_vae", "clvq_vae", "kmeans_codes", ""]
    assert rows[2].setting == ()
    assert len(rows[2].runs) == 2
    assert list(rows[3].figures) == ["original", "random_direction"]


def test_methods__two_of_the_table_on_one_cell_belong(tmp_path: Path) -> None:
    beside = {
        name: block(removals=("concept", *TOP) if name in SPARSE else ("concept",)) for name in BESIDE_TABLE1
    }
    write_run(tmp_path / "run", *DEMO_CELL, "beside=table1", beside=beside)
    assert set(methods(rows_of(tmp_path, "v1_table01"))) == {
        *("clvq_vae", "single_layer", "clustering", "sae_2048", "sae_4096", "transcoder", "kmeans_codes"),
    }
    starts = {"clvq_vae", "clvq_vae_random", "clvq_vae_spherical_kmeans", "kmeans_codes"}
    assert set(methods(rows_of(tmp_path, "v1_table05"))) == starts
    sparse = rows_of(tmp_path, "v2_table10")
    assert [(row.method, row.removal) for row in sparse] == [
        (name, removal) for name in ("sae_2048", "sae_4096") for removal in TOP
    ]
    assert [row.removal for row in rows_of(tmp_path, "v2_table12")] == [*TOP, "concept"]


def test_methods__of_two_runs_under_the_same_settings_are_compared_too(tmp_path: Path) -> None:
    write_run(tmp_path / "a", *DEMO_CELL)
    write_run(tmp_path / "b", *DEMO_CELL, "baseline=single_layer")
    assert methods(rows_of(tmp_path, "v1_table01")) == ["clvq_vae", "single_layer"]
    write_run(tmp_path / "other" / "c", *DEMO_CELL)
    write_run(tmp_path / "other" / "d", *DEMO_CELL, "baseline=single_layer", settings={"probe.hidden": 8})
    assert rows_of(tmp_path / "other", "v1_table01") == []


def test_methods__the_untrained_codebook_alone_makes_no_comparison(tmp_path: Path) -> None:
    write_run(tmp_path / "run", *DEMO_CELL, beside={"kmeans_codes": block()})
    assert rows_of(tmp_path, "v1_table01") == []


def test_grid__what_a_sweep_holds_is_not_repeated_there(tmp_path: Path) -> None:
    sweep(tmp_path, *DEMO_CELL, quantizer__codebook_size=[20, 400])
    (row,) = rows_of(tmp_path, "v2_table13")
    assert row.runs == (str(tmp_path / "quantizer__codebook_size-400"),)


# ---------------------------------------------------------------- rows


def test_row__stands_beside_the_papers_figures(tmp_path: Path) -> None:
    write_run(tmp_path / "run", *PAPER_CELL, main=block(0.0694, original=0.8777))
    row = next(row for row in rows_of(tmp_path, "v1_table01") if row.method == "clvq_vae")
    perturbed = row.figures["perturbed"]
    assert perturbed.difference == pytest.approx(0.01)  # the paper prints 0.0594
    assert perturbed.paper_in_interval  # 0.0594 to 0.0794
    drop = row.figures["drop_percent"]
    assert drop.difference == pytest.approx(100 * (0.8777 - 0.0694) / 0.8777 - 93.2)
    assert row.figures["specific_drop_percent"].difference is None
    assert row.departures == ()
    (cell,) = rows_of(tmp_path, "v1_table10")
    assert cell.figures["original"].difference == 0
    assert cell.figures["random_direction"].paper_in_interval  # 0.8277 less 0.8190 is below 0.01
    (layers,) = [row for row in rows_of(tmp_path, "v1_table16")]
    assert {name for name, figure in layers.figures.items() if figure.paper} == {
        *("perturbed", "original", "random_direction")
    }


def test_row__outside_the_interval_and_without_one(tmp_path: Path) -> None:
    write_run(tmp_path / "run", *PAPER_CELL, main=block(0.2, perplexities=[150.0]), settings={"seeds": [0]})
    (row,) = rows_of(tmp_path, "v1_table08")
    assert row.figures["perturbed"].paper_in_interval is False
    assert row.figures["perplexity"].difference == pytest.approx(150 - 139.208)
    assert row.figures["perplexity"].paper_in_interval is None
    assert row.departures == ("seeds=[0], not [0,1,2]",)


def test_row__a_range_of_the_paper_holds_ours_or_not(tmp_path: Path) -> None:
    write_run(tmp_path / "run", *PAPER_CELL)
    (row,) = rows_of(tmp_path, "v2_figure02")
    assert row.figures["purity"].ours_in_range is True  # 0.7 in 0.60 to 0.76
    assert row.figures["purity"].paper_in_interval is None
    assert row.figures["purity_shuffled"].difference == pytest.approx(0.03)
    assert row.figures["purity_shuffled"].paper_in_interval is None  # its interval is over shuffles


def test_row__the_papers_ranges_are_of_its_own_cells(tmp_path: Path) -> None:
    write_run(tmp_path / "run", *DEMO_CELL)
    for key in ("v2_figure02", "v2_table17"):
        (row,) = rows_of(tmp_path, key)
        assert all(figure.paper is None for figure in row.figures.values())


def test_rows__of_other_protocols_and_settings_are_never_put_together(tmp_path: Path) -> None:
    write_run(tmp_path / "a", *PAPER_CELL, main=block(0.1))
    write_run(tmp_path / "b", *PAPER_CELL, "protocol=strict", main=block(0.2))
    write_run(tmp_path / "c", *PAPER_CELL, settings={"trainer.max_epochs": 3}, main=block(0.3))
    rows = {row.apart: row for row in rows_of(tmp_path, "v1_table08")}
    assert {apart: ours(row, "perturbed") for apart, row in rows.items()} == {
        ("protocol=paper", "trainer.max_epochs=100"): 0.1,
        ("protocol=strict", "trainer.max_epochs=100"): 0.2,
        ("protocol=paper", "trainer.max_epochs=3"): 0.3,
    }
    assert {len(row.departures) for row in rows.values()} == {0, 1}
    assert all(row.figures["perturbed"].paper is not None for row in rows.values())


def test_rows__the_same_settings_and_figures_are_one_row(tmp_path: Path) -> None:
    write_run(tmp_path / "a", *PAPER_CELL, beside={"kmeans_codes": block()})
    write_run(tmp_path / "b", *PAPER_CELL, "beside=none")
    (row,) = [row for row in rows_of(tmp_path, "v1_table08") if row.method == "clvq_vae"]
    assert len(row.runs) == 2
    assert row.apart == ()


def test_rows__the_same_settings_with_other_figures_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    write_run(tmp_path / "a", *PAPER_CELL, beside={"kmeans_codes": block()})
    write_run(tmp_path / "b", *PAPER_CELL, "beside=none", main=block(0.3))
    rows = [row for row in rows_of(tmp_path, "v1_table08") if row.method == "clvq_vae"]
    assert [(row.apart, ours(row, "perturbed")) for row in rows] == [(("run=a",), 0.2), (("run=b",), 0.3)]


def test_rows__the_papers_order_first_then_ours_by_number(tmp_path: Path) -> None:
    sweep(tmp_path, *PAPER_CELL, quantizer__codebook_size=[1200, 20, 50, 6])
    filled = gathered(tmp_path, "v1_table08").filled
    assert [(row.setting[0][1], row.is_ours) for row in filled.rows] == [
        ("50", True),
        ("100", False),
        ("400", False),
        ("800", False),
        ("1200", True),
        ("6", True),
        ("20", True),
    ]


def test_table9__a_row_for_each_data_set_whatever_the_model(tmp_path: Path) -> None:
    write_run(tmp_path / "a", *PAPER_CELL)
    write_run(tmp_path / "b", "model=bert", "dataset=eraser_movie")
    write_run(tmp_path / "c", *DEMO_CELL)
    rows = rows_of(tmp_path, "v1_table09")
    assert [(row.dataset, ours(row, "train_sentences"), len(row.runs)) for row in rows] == [
        ("eraser_movie", 13_878, 2),
        ("rotten_tomatoes", 1_500, 1),
    ]
    assert [figure.difference for figure in rows[0].figures.values()] == [0, 0, 0]


def test_table11__the_settings_of_the_runs_beside_the_papers(tmp_path: Path) -> None:
    write_run(tmp_path / "a", *PAPER_CELL)
    write_run(tmp_path / "b", *PAPER_CELL, settings={"trainer.batch_size": 64})
    write_run(tmp_path / "c", *PAPER_CELL, "baseline=kmeans_codes", "beside=none")
    rows = rows_of(tmp_path, "v1_table11")
    sizes = [row for row in rows if row.setting[0][0] == "trainer.batch_size"]
    assert [(row.apart, ours(row, "value"), row.departures) for row in sizes] == [
        (("1 of 2 runs",), 128.0, ()),
        (("1 of 2 runs",), 64.0, ("trainer.batch_size=64, not 128",)),
    ]
    assert sizes[1].figures["value"].difference == -64
    (mode,) = [row for row in rows if row.setting[0][0] == "encoder.alpha_mode"]
    shown = mode.figures["value"].ours
    assert shown is not None
    assert shown.text == "adaptive"
    assert mode.departures == ()


@pytest.mark.parametrize("key", ["v1_table02", "v1_table03", "v1_table04", "v1_table06", "v1_table07"])
def test_tables_of_judges_and_people__have_the_papers_figures_alone(tmp_path: Path, key: str) -> None:
    write_run(tmp_path / "run", *PAPER_CELL)
    found = gathered(tmp_path, key)
    assert found.filled.rows
    assert not any(row.is_ours for row in found.filled.rows)
    assert found.sheet.missing == ""
    assert all(line.paper != "–" for line in found.sheet.lines)


def test_gather__the_wanted_tables_in_the_papers_order(tmp_path: Path) -> None:
    write_run(tmp_path / "run", *PAPER_CELL)
    runs = find_runs([tmp_path]).runs
    assert [each.spec.key for each in gather(runs, ["v1_table10", "v1_table01"])] == ["v1_table01", "v1_table10"]
    assert tuple(each.spec.key for each in gather(runs)) == KEYS

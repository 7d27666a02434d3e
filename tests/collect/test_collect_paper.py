"""The paper's figures: what follows from what, and that the tables know them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from clvq_exp.collect.catalogue import KEYS, TABLES
from clvq_exp.collect.measures import ELSEWHERE, MEASURES
from clvq_exp.collect.paper import PaperRow, paper, read_paper

HEAD = "table,model,dataset,layers,method,setting,figure,value,deviation,note\n"


def row(table: str, *cell: str, method: str = "", setting: str = "") -> PaperRow:
    """The row of a table with these names."""
    pairs = tuple((key, value) for key, _, value in (each.partition("=") for each in setting.split()))
    (found,) = [
        each
        for each in paper()[table]
        if (each.model, each.dataset)[: len(cell)] == cell and each.method == method and each.setting == pairs
    ]
    return found


def test_paper_figures__every_drop_follows_from_the_original_accuracy_within_rounding() -> None:
    originals = {each.cell: each.figures["original"].value for each in paper()["v1_table10"]}
    drops = [
        (each.cell, each.figures["perturbed"].value, each.figures["drop_percent"].value)
        for table in ("v1_table01", "v1_table05")
        for each in paper()[table]
    ]
    assert len(drops) == 60 + 36
    for cell, perturbed, drop in drops:
        original = originals[cell]
        assert original is not None
        assert perturbed is not None
        # the drop is rounded to 0.05, the accuracies that it is made of to 0.00005
        assert 100 * (original - perturbed) / original == pytest.approx(drop, abs=0.05 + 0.02), cell


def test_paper_figures__every_utilisation_is_the_perplexity_as_a_share_of_the_codes() -> None:
    for each in paper()["v1_table08"]:
        ((_, size),) = each.setting
        perplexity = each.figures["perplexity"].value
        assert perplexity is not None
        assert 100 * perplexity / int(size) == pytest.approx(each.figures["utilisation_percent"].value, abs=0.051)


def test_paper_figures__what_two_tables_print_of_one_cell_is_the_same_where_no_note_says_otherwise() -> None:
    first = {(each.cell, each.method): each.figures["perturbed"] for each in paper()["v1_table01"]}
    for each in paper()["v1_table05"]:
        if each.method == "clvq_vae":
            assert each.figures["perturbed"].printed == first[each.cell, "clvq_vae"].printed
    originals = {each.cell: each.figures for each in paper()["v1_table10"]}
    for each in paper()["v1_table16"]:
        if each.layers == "8-12" and not each.method:
            assert [figure.printed for figure in each.figures.values()] == [
                figure.printed for figure in originals[each.cell].values()
            ]


@pytest.mark.parametrize(
    ("found", "figure", "printed", "deviation"),
    [
        (row("v1_table01", "qwen2_5_3b", "jigsaw", method="sae_4096"), "perturbed", "0.8347", 0.0043),
        (row("v1_table05", "roberta", "jigsaw", method="clvq_vae_random"), "perturbed", "0.7171", 0.1033),
        (row("v1_table10", "llama2_7b", "agnews"), "random_direction", "0.8900", None),
        (
            row("v1_table12", method="clvq_vae", setting="encoder.alpha_mode=fixed encoder.alpha=0.75"),
            "perplexity_epoch_30",
            "27.517",
            None,
        ),
        (
            row("v1_table13", "roberta", "jigsaw", method="clvq_vae", setting="quantizer.commitment_weight=0.6"),
            "perplexity",
            "81.38",
            None,
        ),
        (row("v1_table02", method="clustering"), "rating", "1.578", 0.348),
        (row("v1_table09", "", "agnews"), "train_sentences", "16000", None),
    ],
)
def test_paper_figures__are_as_printed(
    found: PaperRow, figure: str, printed: str, deviation: float | None
) -> None:
    assert (found.figures[figure].printed, found.figures[figure].deviation) == (printed, deviation)


def test_paper_figures__stand_in_a_table_of_the_catalogue_under_a_name_that_it_has() -> None:
    assert set(paper()) <= set(KEYS)
    for table in TABLES:
        known = {*table.figures, *table.reference}
        assert known <= {*MEASURES, *ELSEWHERE}
        for each in paper().get(table.key, []):
            assert set(each.figures) <= known, table.key


def test_paper_figures__the_contradiction_of_400_codes_is_noted() -> None:
    notes = {
        each.figures[figure].note
        for each in paper()["v1_table08"]
        for figure in each.figures
        if each.setting == (("quantizer.codebook_size", "400"),)
    }
    assert len(notes) == 1
    assert "210.63" in notes.pop()


def test_paper_figures__the_two_ends_of_a_range_are_one_figure() -> None:
    figures = row("v2_figure02", "", "agnews", method="clvq_vae").figures
    assert figures["purity"][:4] == ("0.35 to 0.47", None, 0.35, 0.47)
    assert figures["purity"].digits == 2


def test_read_paper__refuses_a_figure_that_stands_there_twice(tmp_path: Path) -> None:
    path = tmp_path / "figures.csv"
    path.write_text(HEAD + "t,m,d,1-2,x,,perturbed,0.5,,\n" * 2)
    with pytest.raises(ValueError, match="line 3: perturbed stands there twice"):
        read_paper(path)


@pytest.mark.parametrize("end", ["lowest", "highest"])
def test_read_paper__refuses_half_a_range(tmp_path: Path, end: str) -> None:
    path = tmp_path / "figures.csv"
    path.write_text(f"{HEAD}t,m,d,1-2,x,,purity_{end},0.5,,\n")
    with pytest.raises(ValueError, match="one end of a range only"):
        read_paper(path)

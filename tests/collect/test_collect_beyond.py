"""Tables that the paper does not have: a row of ours in one line, its figures side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from collect.made_runs import DEMO_CELL, block, gathered, interval, rows_of, write_run

from clvq_exp.collect.gather import gather
from clvq_exp.collect.latex import latex
from clvq_exp.collect.markdown import markdown
from clvq_exp.collect.page import page
from clvq_exp.collect.runs import find_runs
from clvq_exp.collect.sheets import Kind, WideLine


def live(concept: float, other_word: float) -> dict[str, Any]:
    """What the live model does at all words: flips as shares, accuracies 0.9 without and 0.7 with the removal."""
    flips = {"perturbed": concept, "other_word": other_word, "mean_direction": 0.02, "random_direction": 0.0}
    accuracies = {"original": 0.9, "perturbed": 0.7}
    return {
        "all_words": {
            name: {
                "flips": interval(flips.get(name, 0.0), 0.05),
                "accuracy": interval(accuracies.get(name, 0.9)),
            }
            for name in (*flips, "original")
        }
    }


def whole(folder: Path) -> None:
    """CLVQ-VAE with two removals, and the sparse autoencoder with its top neuron beside it."""
    own = block(0.3, removals=("concept", "member_mean"))
    own["faithfulness"]["concept"]["refit"] = interval(0.78)
    own["intervention"] = {"concept": live(0.4, 0.1)}
    sparse = block(0.5, removals=("concept", "encoder_top_1"))
    write_run(folder / "run", *DEMO_CELL, main=own, beside={"sae_2048": sparse})


def test_controls__every_method_and_removal_is_a_row(tmp_path: Path) -> None:
    whole(tmp_path)
    found = gathered(tmp_path, "controls")
    assert [(row.method, row.removal) for row in found.filled.rows] == [
        ("clvq_vae", "concept"),
        ("clvq_vae", "member_mean"),
        ("sae_2048", "concept"),
        ("sae_2048", "encoder_top_1"),
    ]
    assert not found.filled.missing
    sheet = found.sheet
    assert sheet.head[:4] == ("Method", "Removal", "Notes", "Original accuracy")
    assert sheet.kinds == (Kind.text, Kind.text, Kind.marks, *[Kind.number] * 15)
    first = sheet.lines[0]
    assert isinstance(first, WideLine)
    of = dict(zip(sheet.head, first.cells, strict=True))
    assert of["Accuracy after removal"] == "0.3000 [0.2900, 0.3100]"
    assert of["Drop, %"] == "62.5 [60.5, 64.5]"  # 0.5 of 0.8
    assert of["Random active code"] == "0.7000 [0.6900, 0.7100]"
    assert of["Refit probe"] == "0.7800 [0.7700, 0.7900]"
    assert of["Class means"] == "–", "the run does not have it"
    assert [line.starts for line in sheet.lines] == [True, False, True, False]


def test_live_model__flips_stand_beside_those_of_another_word(tmp_path: Path) -> None:
    whole(tmp_path)
    (row,) = rows_of(tmp_path, "live_model")
    assert (row.method, row.removal) == ("clvq_vae", "concept")
    found = {name: figure.ours.mean for name, figure in row.figures.items() if figure.ours is not None}
    assert found == {
        "live_original": 0.9,
        "live_perturbed": 0.7,
        "flips_all_words": 40.0,
        "flips_all_words_other_word": 10.0,
        "flips_all_words_mean_direction": 2.0,
        "flips_all_words_random_direction": 0.0,
    }


def test_formats__columns_and_cells_agree(tmp_path: Path) -> None:
    whole(tmp_path)
    (found,) = gather(find_runs([tmp_path]).runs, ["controls"])
    sheet = found.sheet
    rows = [line for line in markdown(sheet).splitlines() if line.startswith("| ")]
    assert {row.count(" | ") for row in rows} == {len(sheet.head) - 1}
    assert rows[1] == "| --- | --- | --- |" + " ---: |" * 15
    text = latex(sheet)
    assert r"\begin{longtable}{@{}lllrrrrrrrrrrrrrrr@{}}" in text
    assert text.count(" & ") == (2 + len(sheet.lines)) * (len(sheet.head) - 1)
    shown = page([sheet], [], [])
    assert shown.count('<td class="number">') == 15 * len(sheet.lines)
    assert "Paper in interval" not in shown

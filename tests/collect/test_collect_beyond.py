"""Tables that the paper does not have: a row of ours in one line, its figures side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from collect.made_runs import DEMO_CELL, PAPER_CELL, block, gathered, interval, rows_of, write_run

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


def test_concepts__figures_of_the_codebook_and_of_its_words(tmp_path: Path) -> None:
    own = block(perplexities=(190.0, 210.0))
    for seed, permuted in (("0", 0.2), ("1", 0.24)):
        own["codebook"]["seeds"][seed] |= {
            "codes_in_use": 390,
            "variance_explained": 0.6,
            "codes_alone": {"linear_map": 0.5, "code_mean": 0.4},
            "bypass": {"as_is": 0.2, "permuted": permuted},
        }
    own["specificity"]["stability"] = {"agreement": 0.7, "matched_cosine_in_use": 0.9, "random_cosine_in_use": 0.3}
    shuffled = {"differing_share": interval(0.2), "divergence": interval(0.1)}
    own["specificity"]["routing"]["shuffled_within_words"] = shuffled
    write_run(tmp_path / "run", *DEMO_CELL, main=own, beside={"kmeans_codes": block()})
    rows = rows_of(tmp_path, "concepts")
    assert [row.method for row in rows] == ["clvq_vae", "kmeans_codes"]
    found = {name: figure.ours.mean for name, figure in rows[0].figures.items() if figure.ours is not None}
    assert found == pytest.approx(
        {
            "concepts_in_use": 390,
            "perplexity": 200,
            "purity": 0.7,
            "pure_share_percent": 25,
            "differing_percent": 50,
            "differing_within_words_percent": 20,
            "divergence": 0.75,
            "divergence_within_words": 0.1,
            "agreement": 0.7,
            "matched_cosine": 0.9,
            "matched_noise": 0.3,
            "variance_percent": 60,
            "variance_alone_percent": 50,
            "variance_of_means_percent": 40,
            "permuted_percent": 10,  # 0% for the first seed, 20% for the second
        }
    )
    within = rows[0].figures["differing_within_words_percent"].ours
    assert within is not None
    assert within.over == "shuffles"


def comparison(methods: tuple[str, str], removals: tuple[str, str], difference: float) -> dict[str, Any]:
    return {
        "methods": list(methods),
        "removals": list(removals),
        "difference": interval(difference, 0.02),
        "p_value": 0.012,
        "p_holm": 0.036,
        "cohens_h": -0.25,
    }


def test_differences__every_pair_of_methods_is_a_row(tmp_path: Path) -> None:
    pairs = [
        comparison(("clvq_vae", "clvq_vae_random"), ("concept", "concept"), -0.1),
        comparison(("clvq_vae", "sae_2048"), ("concept", "encoder_top_10"), -0.3),
    ]
    others = {"clvq_vae_random": block(), "sae_2048": block(removals=("concept", "encoder_top_10"))}
    write_run(tmp_path / "run", *DEMO_CELL, "beside=table1", main=block(), beside=others, comparisons=pairs)
    found = gathered(tmp_path, "differences")
    first, second = found.filled.rows
    assert (first.method, first.removal) == ("clvq_vae - clvq_vae_random", "concept")
    assert (second.method, second.removal) == ("clvq_vae - sae_2048", "concept / encoder_top_10")
    figures = {name: figure.ours for name, figure in second.figures.items()}
    assert figures["difference"] is not None
    assert figures["difference"][:3] == pytest.approx((-0.3, -0.32, -0.28))
    assert [figures[name][0] for name in ("p_value", "p_holm", "cohens_h")] == [0.012, 0.036, -0.25]
    line = found.sheet.lines[0]
    assert isinstance(line, WideLine)
    assert line.names[0] == "CLVQ-VAE − CLVQ-VAE, random start"
    assert line.figures == ("−0.1000 [−0.1200, −0.0800]", "0.0120", "0.0360", "−0.25")


def test_differences__departures_are_those_of_either_method(tmp_path: Path) -> None:
    pairs = [comparison(("clvq_vae", "sae_2048"), ("concept", "concept"), -0.1)]
    changed = {"beside.sae_2048.learning_rate": 0.5, "quantizer.top_k": 3}
    write_run(
        tmp_path / "run",
        *PAPER_CELL,
        "beside=table1",
        main=block(),
        beside={"sae_2048": block()},
        comparisons=pairs,
        settings=changed,
    )
    (row,) = rows_of(tmp_path, "differences")
    assert {text.partition("=")[0] for text in row.departures} >= {"quantizer.top_k", "method.learning_rate"}


def test_differences__a_run_of_one_method_has_none(tmp_path: Path) -> None:
    write_run(tmp_path / "run", *DEMO_CELL, main=block())
    assert not gathered(tmp_path, "differences").filled.rows


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

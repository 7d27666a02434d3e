"""The tables that a real run leaves for judges, and an evaluation of it."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from explaining import MadeRun, make_run
from judging.asking_panels import judge, write_panel
from judging.scripted_server import serving
from running import tiny_cell

from clvq_exp.commands import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path, reviews: Path) -> MadeRun:
    home = tmp_path_factory.mktemp("judged")
    cell = [*tiny_cell(tiny_encoder, reviews), "evaluation.intervention=false", "specificity.shuffles=0"]
    more = ["+baseline@beside.clustering=clustering", "attribution.sentence_token_can_be_salient=true"]
    return make_run(home / "run", home / "cache", *cell, *more)


def test_salient_concepts__are_those_of_the_salient_words(made: MadeRun) -> None:
    dev = {row["sentence"]: row for row in made.dev()}
    rows = made.rows("salient_concepts")
    by_method = defaultdict(list)
    for row in rows:
        by_method[row["method"]].append(row)
        assert row["position"] == dev[row["sentence"]]["position"]
    assert set(by_method) == {"clvq_vae", "kmeans_codes", "clustering"}
    assert all(len(found) == len(dev) for found in by_method.values())
    assert all(row["concept"] == dev[row["sentence"]]["code"] for row in by_method["clvq_vae"])
    known = {(row["method"], row["concept"]) for row in made.rows("concepts")}
    assert {(row["method"], row["concept"]) for row in rows} <= known


def test_concept_sentences__are_those_whose_token_the_concept_holds(made: MadeRun) -> None:
    rows = made.rows("concept_sentences")
    assert {row["method"] for row in rows} == {"clvq_vae", "kmeans_codes", "clustering"}
    tokens = {row["sentence"]: row["code"] for row in made.rows("assignments", split="train", position=-1)}
    held = {(row["method"], row["concept"]): row["sentence_tokens"] for row in made.rows("concepts")}
    for row in rows:
        assert 5 <= len(row["text"].split()) <= 30
        if row["method"] == "clvq_vae":
            assert tokens[row["sentence"]] == row["concept"]
    for place, n in Counter((row["method"], row["concept"]) for row in rows).items():
        assert n == min(5, n)
        assert n <= held[place]
    drawn = [(row["concept"], row["sentence"]) for row in rows if row["method"] == "clvq_vae"]
    examples = [
        (row["concept"], row["sentence"]) for row in made.rows("concept_examples", split="train", special=True)
    ]
    assert drawn == examples


def test_judges__rate_all_methods_of_the_run(
    made: MadeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(rate=lambda _name, text: 1 + len(text) % 3) as server:
        panel = write_panel(tmp_path / "panel.yaml", [judge(name, server.url) for name in "abc"])
        monkeypatch.setenv("CLVQ_EXP_CACHE", str(tmp_path / "cache"))
        out = tmp_path / "out"
        assert main(["judge", str(made.folder), "--panel", str(panel), "--instances", "8", "--out", str(out)]) == 0
    with (out / "ratings.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    dev = {row["id"]: row["code"] for row in made.dev()}
    words = defaultdict(list)
    for row in made.rows("concept_words", method="clvq_vae"):
        words[row["concept"]].append(row["word"])
    for row in rows:
        assert row["rating"] in ("1", "2", "3")
        if row["method"] == "clvq_vae":
            assert int(row["concept"]) == dev[row["sentence"]]
            if row["representation"] and "/" not in row["representation"]:
                assert row["representation"] == ", ".join(words[int(row["concept"])][:10])
    assert {row["method"] for row in rows} == {"clvq_vae", "kmeans_codes", "clustering", "floor"}

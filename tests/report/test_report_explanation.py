"""Explanations as text and as a page, and what a run folder tells of a concept."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from clvq_exp.report.explanation import (
    ConceptWord,
    ExplainedBy,
    ExplainedWord,
    Explanation,
    HeldConcept,
    Outcome,
    Prediction,
    as_json,
)
from clvq_exp.report.explanation_concepts import ConceptSource
from clvq_exp.report.explanation_page import explanation_page
from clvq_exp.report.explanation_text import print_explanations
from clvq_exp.report.explanation_words import shown_explanation

BY = ExplainedBy(
    run="outputs/run",
    model="minilm",
    dataset="reviews",
    layer_pair="4-6",
    method="clvq_vae",
    seed=3,
    removal="concept",
    label_names=("rotten", "fresh"),
    attribution_unit="logits",
    probes=1,
    content_warning=None,
)
BEFORE = Prediction("fresh", 0.75, (0.25, 0.75))
AFTER = Prediction("rotten", 0.6, (0.6, 0.4))
WORDS = (
    ExplainedWord(-1, "[CLS]", -0.5, 2),
    ExplainedWord(0, "Superb", 2.0, 7),
    ExplainedWord(1, "film", 0.2, None),
    ExplainedWord(2, "\u200b", None, None),
)
FOUND = Explanation(
    text="Superb film \u200b",
    prediction=BEFORE,
    words=WORDS,
    salient=WORDS[1],
    concept=HeldConcept(
        7, (ConceptWord("superb", 1200), ConceptWord("moving", 30)), 1300, {"rotten": 300, "fresh": 900}
    ),
    removed=(7,),
    removed_share=0.5,
    probe=Outcome("probe", BEFORE, AFTER, -0.35),
    live=(
        Outcome("sentence_token", BEFORE, BEFORE._replace(confidence=0.7), -0.05),
        Outcome("all_words", BEFORE, AFTER, -0.35),
    ),
    steps=16,
    convergence_delta=0.01,
    truncated=0,
    vanished=1,
)


def printed(*explanations: Explanation, by: ExplainedBy = BY, width: int = 100) -> str:
    stream = io.StringIO()
    print_explanations(by, explanations, Console(file=stream, width=width))
    return stream.getvalue()


class Reader(HTMLParser):
    """Texts of a page, its tags, and whether every tag is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        del attrs
        self.tags.append(tag)
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


# ---------------------------------------------------------------- what is shown


def test_text__says_what_was_found() -> None:
    lines = [" ".join(line.split()) for line in printed(FOUND).splitlines()]
    assert lines[0] == "minilm · reviews · layers 4-6 · CLVQ-VAE · seed 3 · removing the concept vector"
    assert "[CLS] −0.500 [Superb] 2.000 film 0.200 \\u200b –" in lines
    assert "predicted fresh (75.0%)" in lines
    assert "‘Superb’ → concept 7: superb (1,200), moving (30)" in lines
    assert "its 1,200 training words stand under rotten 25.0%, fresh 75.0%" in lines
    assert "note: 1 word is dropped by the model's tokenizer" in lines
    assert "Probe fresh 75.0% rotten 60.0% −0.350 flips" in lines
    assert "Sentence token fresh 75.0% fresh 70.0% −0.050" in lines
    assert "All words fresh 75.0% rotten 60.0% −0.350 flips" in lines


def test_text__unit_of_the_attribution_probes_and_content_warning() -> None:
    plain = printed(FOUND)
    assert "in logits" in plain
    assert "folds" not in plain
    other = printed(FOUND, by=replace(BY, attribution_unit="share", probes=5, content_warning="slurs"))
    assert "as shares of the norm" in other
    assert "mean probability over the 5 probes of the folds of dev" in other
    assert "content warning: slurs" in other


def test_text__fits_the_width() -> None:
    long = replace(FOUND, words=tuple(ExplainedWord(i, f"word{i}", 0.1, 1) for i in range(300)))
    assert max(len(line) for line in printed(long, width=60).splitlines()) <= 60


def test_shown__shades_are_shares_of_the_strongest_word_and_long_words_are_cut() -> None:
    shown = shown_explanation(FOUND)
    assert [word.shade for word in shown.words] == [-1, 5, 0, 0]
    assert [word.salient for word in shown.words] == [False, True, False, False]
    none = replace(FOUND, words=tuple(word._replace(attribution=0.0) for word in WORDS))
    assert [word.shade for word in shown_explanation(none).words] == [0, 0, 0, 0]
    (word,) = shown_explanation(replace(FOUND, words=(ExplainedWord(0, "a" * 10_000, 1.0, 1),))).words
    assert word.text == "a" * 60 + "… (10,000 characters)"


def test_without_a_concept__that_is_said() -> None:
    nothing = replace(FOUND, concept=None, removed=(), removed_share=0.0, vanished=0)
    assert nothing.notes == ("the salient word has no concept, so nothing is removed",)
    assert "‘Superb’ → concept none\n" in "\n".join(line.rstrip() for line in printed(nothing).splitlines())
    assert "No concept of ‘Superb’" in Reader(explanation_page(BY, [nothing])).text
    assert as_json(BY, [nothing])["explanations"][0]["concept"] is None
    empty = replace(FOUND, removed_share=0.0, vanished=0)
    assert empty.notes == ("the concept has no direction to remove, so nothing changes",)


def test_concept_that_the_run_tells_nothing_of__is_named() -> None:
    bare = replace(FOUND, concept=HeldConcept(7, (), None, None))
    assert "‘Superb’ → concept 7" in printed(bare)
    assert "training words" not in printed(bare)
    unused = replace(FOUND, concept=HeldConcept(7, (), 0, {"rotten": 0, "fresh": 0}))
    assert "it holds no training word" in printed(unused)


def test_page__says_the_same_and_every_tag_is_closed() -> None:
    page = explanation_page(replace(BY, probes=5, content_warning="slurs"), [FOUND, FOUND])
    read = Reader(page)
    for said in ("Predicted fresh", "Concept 7 of ‘Superb’", "1,200", "−0.350", "flips", "2 sentences", "slurs"):
        assert said in read.text
    assert "means over the 5 probes of the folds of dev" in read.text
    assert read.tags.count("article") == 2
    assert "its 1,200 training words stand under rotten 25.0%, fresh 75.0%" in read.text


def test_page__hostile_text_is_text() -> None:
    hostile = "</style><script>alert(1)</script>"
    by = replace(
        BY, run=hostile, model=hostile, dataset="{{7*7}}", label_names=(hostile, "b"), content_warning=hostile
    )
    word = ExplainedWord(0, hostile, 1.0, 7)
    concept = HeldConcept(7, (ConceptWord(hostile, 1),), 1, {hostile: 1, "b": 0})
    prediction = Prediction(hostile, 1.0, (1.0, 0.0))
    found = replace(
        FOUND,
        prediction=prediction,
        words=(word,),
        salient=word,
        concept=concept,
        probe=Outcome("probe", prediction, prediction, 0.0),
    )
    page = explanation_page(by, [found])
    read = Reader(page)
    assert "script" not in read.tags
    assert read.tags.count("style") == 1
    assert read.text.count(hostile) >= 6
    assert "{{7*7}}" in read.text
    assert "default-src 'none'" in page
    assert "script-src" not in page
    assert "http" not in page.replace("http-equiv", "")


# ---------------------------------------------------------------- what a run folder tells of a concept


def write(folder: Path, table: str, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{table}.parquet")


@pytest.fixture
def source(tmp_path: Path) -> ConceptSource:
    names = [
        {"method": method, "seed": seed, "concept": code}
        for method in ("clvq_vae", "kmeans_codes")
        for seed in (0, 1)
        for code in (0, 1)
    ]
    words = [
        {
            **name,
            "rank": rank,
            "word": f"{name['method']}-{name['seed']}-{name['concept']}-{rank}",
            "count": 50 - rank,
        }
        for name in names
        for rank in range(11, -1, -1)
        if name["concept"] == 1
    ]
    write(tmp_path, "concept_words", words)
    write(tmp_path, "concepts", [{**name, "train_words": 9, "label_words": [2, 5]} for name in names])
    return ConceptSource(tmp_path, "clvq_vae", 1, ("rotten", "fresh"))


def test_concept__ten_most_frequent_words_of_this_method_and_seed(source: ConceptSource) -> None:
    found = source.concept(1)
    assert found.words == tuple(ConceptWord(f"clvq_vae-1-1-{rank}", 50 - rank) for rank in range(10))
    assert found.train_words == 9
    assert found.label_words == {"rotten": 2, "fresh": 5}


def test_concept__without_words(source: ConceptSource) -> None:
    assert source.concept(0).words == ()


def test_concept__of_a_run_that_tells_nothing(tmp_path: Path, source: ConceptSource) -> None:
    assert source._replace(folder=tmp_path / "absent").concept(1) == HeldConcept(1, (), None, None)
    row = {"method": "clvq_vae", "seed": 1, "concept": 1}
    write(tmp_path, "concepts", [{**row, "rank": rank, "word": "a", "count": 1} for rank in range(3)])
    (tmp_path / "concept_words.parquet").unlink()
    assert source.concept(1) == HeldConcept(1, (), None, None)


def test_concept__counts_of_other_labels_are_not_taken(source: ConceptSource) -> None:
    assert source._replace(label_names=("a", "b", "c")).concept(1).label_words is None


def test_import__is_light() -> None:
    program = (
        "import sys, clvq_exp.commands.explain, clvq_exp.report.explanation_concepts\n"
        "print(sorted({'torch', 'transformers', 'numpy', 'pyarrow', 'rich', 'jinja2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

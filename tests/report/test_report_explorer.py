"""Concepts and sentences as the page shows them: what stands for them, cases, clouds, data and plots."""

from __future__ import annotations

import base64
import io
import json
import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from report.conftest import HOSTILE_WORDS, WORDS

from clvq_exp.report import explorer as explorer_module
from clvq_exp.report.cases import choose_cases, kind_of, make_case
from clvq_exp.report.clouds import MOST_WORDS, SIZE, draw_cloud
from clvq_exp.report.codebook_figures import concept_map, cosine_map
from clvq_exp.report.examples import examples_of, label_names
from clvq_exp.report.explorer import explorer
from clvq_exp.report.representation import read_concepts
from clvq_exp.report.run_files import read_rows


def test_representation__ten_words_or_sentences_or_nothing(run) -> None:
    found = read_concepts(run.folder, run.metrics)
    assert found.representation(1).words == tuple((word, 60 - 5 * rank) for rank, word in enumerate(WORDS))
    assert found.representation(1).sentences == ()
    assert found.representation(1, wanted=2).words == (("great", 60), ("dull", 55))
    assert found.representation(0) == ((), ()), "it holds no training word"
    of_tokens = found.representation(6)  # nine sentence tokens of nine
    assert of_tokens.words == ()
    assert len(of_tokens.sentences) == 1
    assert found.representation(7).sentences, "two of three are more than half"


def test_read_concepts__of_the_first_seed_and_neutralised(run) -> None:
    found = read_concepts(run.folder, run.metrics)
    assert [row.concept for row in found.rows] == list(range(8))
    assert found.rows[2].label_words == (113, 37)
    assert found.rows[2].nearest[0] == (1, 0.9)
    assert found.rows[0].place is None
    assert found.rows[4].place == (0.5, -0.5)
    assert not any("seed1" in word for words in found.words.values() for word, _ in words)


def test_read_concepts__of_a_run_without_an_inventory(run) -> None:
    for name in ("concepts", "concept_words", "concept_examples"):
        (run.folder / f"{name}.parquet").unlink()
    found = read_concepts(run.folder, run.metrics)
    assert found == ((), {}, {})
    assert explorer(run.folder, run.metrics, found) is None
    assert concept_map(found, ["a", "b"]) is None
    assert cosine_map(run.folder, run.metrics, found) is None


@pytest.mark.parametrize(
    ("label", "prediction", "classes", "expected"),
    [
        (1, 1, 2, "True positive"),
        (0, 1, 2, "False positive"),
        (0, 0, 2, "True negative"),
        (1, 0, 2, "False negative"),
        (3, 3, 4, "Right"),
        (3, 1, 4, "Wrong"),
    ],
)
def test_kind__of_two_classes_and_of_more(label: int, prediction: int, classes: int, expected: str) -> None:
    assert kind_of(label, prediction, classes) == expected


def test_cases__one_of_each_kind_by_the_seed(run) -> None:
    rows = read_rows(run.folder, "salient_words", split="dev")
    drawn = [choose_cases(rows, 2, seed) for seed in range(20)]
    for cases in drawn:
        assert list(cases) == ["True positive", "False positive", "True negative", "False negative"]
        assert all(kind_of(row["label"], row["prediction"], 2) == kind for kind, row in cases.items())
    assert drawn[3] == choose_cases(rows, 2, 3)
    assert len({cases["True positive"]["sentence"] for cases in drawn}) > 5


def test_cases__a_class_that_is_never_predicted(run) -> None:
    rows = [row for row in read_rows(run.folder, "salient_words", split="dev") if row["prediction"] == 0]
    assert list(choose_cases(rows, 2, 0)) == ["True negative", "False negative"]
    assert choose_cases([], 2, 0) == {}


def test_case__is_shown_by_a_cloud_by_sentences_or_by_nothing(run) -> None:
    concepts, labels = read_concepts(run.folder, run.metrics), label_names(run.metrics)
    rows = read_rows(run.folder, "salient_words", split="dev")
    of_concept = {row["code"]: row for row in rows}
    found = {
        code: make_case(
            "Right", examples_of([of_concept[code]], run.folder, concepts.words, labels)[0], concepts, 0
        )
        for code in (0, 1, 6)
    }
    assert found[1].cloud is not None
    assert found[1].cloud.description == ", ".join(WORDS)
    assert (found[0].cloud, found[0].representation) == (None, ((), ()))
    assert found[6].cloud is None
    assert len(found[6].representation.sentences) == 1


def test_cloud__draws_the_words_larger_the_more_frequent() -> None:
    cloud = draw_cloud([("great", 100), ("dull", 40), ("plot", 5)], seed=0)
    assert cloud is not None
    sizes = {text.text: float(text.attrib["font-size"]) for text in texts(cloud.svg)}
    assert sizes["great"] > sizes["dull"] > sizes["plot"]
    with Image.open(io.BytesIO(cloud.png)) as image:
        assert image.size == SIZE
        assert len(np.unique(np.asarray(image.convert("L")))) > 10, "something is drawn"
    assert cloud == draw_cloud([("great", 100), ("dull", 40), ("plot", 5)], seed=0)
    assert base64.b64decode(cloud.svg_address.partition(",")[2]).decode() == cloud.svg


def texts(svg: str) -> list[ElementTree.Element]:
    return [node for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("text")]


def test_cloud__of_hostile_words_is_an_image_without_markup_of_theirs() -> None:
    words = [(word, 10) for word in ("<script>alert(1)</script>", "a&b", '"><img src=x>', "שלום", "...", "42")]
    cloud = draw_cloud(words, seed=1)
    assert cloud is not None
    assert {node.tag.rpartition("}")[2] for node in ElementTree.fromstring(cloud.svg).iter()} == {
        *("svg", "style", "rect", "text")
    }
    assert any(each.text is not None and each.text.startswith("<script>") for each in texts(cloud.svg))


@pytest.mark.parametrize("words", [[], [("", 3)], [("  ", 3)], [("gone", 0)]])
def test_cloud__of_no_word(words: list[tuple[str, int]]) -> None:
    assert draw_cloud(words, seed=0) is None


def test_cloud__of_many_and_of_endless_words() -> None:
    cloud = draw_cloud([(f"w{index}" + "x" * 10_000, 1) for index in range(200)], seed=0)
    assert cloud is not None
    assert 0 < len(texts(cloud.svg)) <= MOST_WORDS
    assert len(cloud.svg) < 50_000


def test_explorer__has_what_the_tables_have(run) -> None:
    write_outcomes(run)
    data = explored(run)
    assert data["labels"] == ["negative", "positive"]
    concepts = {each["concept"]: each for each in data["concepts"]}
    assert len(concepts) == 8, "the one that holds no word is salient in dev"
    assert concepts[1]["train"] == 400
    assert concepts[1]["words"][0] == ["great", 60]
    assert concepts[1]["salient"] == sum(
        row["code"] == 1 for row in read_rows(run.folder, "salient_words", split="dev")
    )
    assert concepts[1]["label_words"] == [300, 100]
    assert concepts[7]["examples"][1]["sentence"] is None, "a training sentence has no page"
    assert (
        concepts[3]["examples"][0]
        == {
            **{"split": "dev", "sentence": 3, "label": "positive"},
            **{"before": "acting", "word": "plot", "after": "and"},
        }
        or concepts[3]["examples"][0]["sentence"] == 3
    )
    sentences = {each["sentence"]: each for each in data["sentences"]}
    assert len(sentences) == 36
    assert sentences[2]["kind"] == "True negative"
    assert sentences[2]["probe"] == [True, False]
    assert sentences[3]["probe"] == [False, None]
    salient = [word for word in sentences[2]["words"] if word[3] % 2]
    assert [word[0] for word in salient] == [sentences[2]["salient_word"]]


def explored(run) -> dict[str, Any]:
    found = explorer(run.folder, run.metrics, read_concepts(run.folder, run.metrics))
    assert found is not None
    return found


def write_outcomes(run) -> None:
    rows = [
        {
            "method": "clvq_vae",
            "removal": "concept",
            "seed": 0,
            "condition": condition,
            "sentence": 2,
            "correct": right,
        }
        for condition, right in (("original", True), ("perturbed", False), ("own_code", True))
    ]
    rows += [
        {**rows[0], "seed": 1, "correct": False},
        {**rows[0], "sentence": 3, "correct": False},
        {**rows[1], "removal": "member_mean", "correct": True},
    ]
    pq.write_table(pa.Table.from_pylist(rows), run.folder / "sentences.parquet")


def test_explorer__every_text_is_neutral(run) -> None:
    text = json.dumps(explored(run), ensure_ascii=False)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert re.search("A{61}", text) is None
    assert HOSTILE_WORDS[0] in text, "it is shown, as text"


def test_explorer__stays_small(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explorer_module, "MOST_CONCEPTS", 3)
    monkeypatch.setattr(explorer_module, "MOST_SENTENCES", 10)
    data = explored(run)
    assert [len(data["concepts"]), len(data["sentences"])] == [3, 10]
    assert data["left_out"] == {"concepts": 5, "sentences": 26}
    monkeypatch.setattr(explorer_module, "MOST_SENTENCES", 1000)
    monkeypatch.setattr(explorer_module, "_MOST_WORDS", 100)
    few = len(explored(run)["sentences"])
    assert 5 <= few <= 10, "about ten words each"
    monkeypatch.setattr(explorer_module, "_LONGEST", 4)
    cut = explored(run)["sentences"][-1]
    assert len(cut["words"]) == 4
    assert cut["more_words"] > 0


def test_concept_map__a_marker_and_a_colour_for_each_label(run) -> None:
    figure = concept_map(read_concepts(run.folder, run.metrics), ["negative", "positive"])
    assert figure is not None
    negative, tokens = figure.data
    assert negative["customdata"] == [1, 2, 3, 4, 5, 7]
    assert tokens["customdata"] == [6]
    assert negative["marker"]["symbol"] != tokens["marker"]["symbol"]
    assert "&lt;script&gt;" in negative["text"][1]
    go.Figure(data=figure.data, layout=figure.layout)


def test_cosine_map__by_hand_with_like_beside_like(run) -> None:
    figure = cosine_map(run.folder, run.metrics, read_concepts(run.folder, run.metrics))
    assert figure is not None
    (trace,) = figure.data
    assert sorted(trace["x"]) == [f"#{concept}" for concept in range(1, 8)], "one that holds nothing is left out"
    at = {name: index for index, name in enumerate(trace["x"])}
    expected = (1 + 0.25 * 1.75) / np.sqrt((1 + 0.25**2) * (1 + 1.75**2))
    assert trace["z"][at["#1"]][at["#7"]] == pytest.approx(expected, abs=0.005)
    assert abs(at["#6"] - at["#7"]) == 1
    go.Figure(data=figure.data, layout=figure.layout)

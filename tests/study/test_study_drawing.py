"""What is drawn from runs: balance, clouds, and runs that no study can be made of."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from study.made_studies import BESIDE, Row, concept_words, drawn, make_run, rows, seal, write

from clvq_exp.artifacts import DamagedArtifactError
from clvq_exp.report.clouds import draw_cloud
from clvq_exp.study.design import StudyError, design_of
from clvq_exp.study.drawing import draw, quotas, strata_of, stratum_of

KINDS = ("True positive", "False positive", "True negative", "False negative")


def test_quotas__of_19_over_four_kinds_are_5_5_5_and_4() -> None:
    assert list(quotas(dict.fromkeys(KINDS, 100), 19).values()) == [5, 5, 5, 4]
    assert list(quotas(dict(zip(KINDS, (100, 100, 100, 2), strict=True)), 19).values()) == [6, 6, 5, 2]
    assert list(quotas(dict(zip(KINDS, (0, 3, 0, 0), strict=True)), 19).values()) == [0, 3, 0, 0]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.integers(0, 100))
def test_quotas__are_as_equal_as_the_sizes_allow(sizes: list[int], wanted: int) -> None:
    found = list(quotas({str(place): size for place, size in enumerate(sizes)}, wanted).values())
    assert sum(found) == min(wanted, sum(sizes))
    assert all(n <= size for n, size in zip(found, sizes, strict=True))
    most = max(found)
    assert all(n >= most - 1 for n, size in zip(found, sizes, strict=True) if n < size)


def test_strata__of_two_classes_and_of_more() -> None:
    assert strata_of(["no", "yes"]) == ("True positive", "False positive", "True negative", "False negative")
    assert [
        stratum_of(label, prediction, ["no", "yes"]) for label, prediction in ((1, 1), (0, 1), (0, 0), (1, 0))
    ] == [*KINDS]
    three = ["a", "b", "c"]
    assert strata_of(three) == ("a, right", "a, wrong", "b, right", "b, wrong", "c, right", "c, wrong")
    assert stratum_of(2, 2, three) == "c, right"
    assert stratum_of(1, 0, three) == "b, wrong"


def test_draw__takes_each_sentence_once_and_hangs_on_the_seed_alone() -> None:
    strata = [KINDS[place % 4] for place in range(200)]
    found = draw(strata, KINDS, 19, 0)
    assert len(set(found)) == 19
    assert Counter(strata[place] for place in found) == dict(zip(KINDS, (5, 5, 5, 4), strict=True))
    assert draw(strata, KINDS, 19, 0) == found
    assert draw(strata, KINDS, 19, 1) != found
    everybody = Counter(place for seed in range(200) for place in draw(strata, KINDS, 20, seed))
    assert len(everybody) == 200  # each has a chance
    assert max(everybody.values()) < 60  # of 200 draws, 20 on average


def test_study__every_sentence_under_every_method_with_the_words_of_its_salient_concept(tmp_path: Path) -> None:
    found = drawn(make_run(tmp_path / "run"))
    design = found.design
    assert [each.name for each in design.methods] == ["clvq_vae", BESIDE]
    assert Counter(each.stratum for each in design.sentences) == dict(zip(KINDS, (5, 5, 5, 4), strict=True))
    assert [(each.method, each.sentence) for each in design.items] == [
        (method, sentence) for method in range(2) for sentence in range(19)
    ]
    given_rows = rows()
    for item in design.items:
        sentence = design.sentences[item.sentence]
        row = given_rows[int(sentence.id.removeprefix("dev-"))]
        assert (sentence.label, sentence.prediction) == row[:2]
        assert item.concept == row.concepts[item.method]
        words = concept_words(item.concept, design.methods[item.method].method)
        assert item.words == ", ".join(words)  # of the first seed
        cloud = draw_cloud(list(words.items()), 0)
        assert cloud is not None
        assert found.clouds[item.cloud] == cloud.png
    # concept 7 of the method beside has no words: its sentences are left out under both
    assert [each.left_out for each in design.methods] == [0, 6]
    assert all(item.concept != 7 for item in design.items if item.method == 1)
    assert sum(design.pool.values()) == 42
    assert design_of(design.to_json()) == design


def test_study__of_two_runs_that_have_no_methods_beside(tmp_path: Path) -> None:
    ours = make_run(tmp_path / "ours", beside=False)
    theirs = make_run(
        tmp_path / "theirs",
        [Row(row.label, row.prediction, (3, 0)) for row in rows()],
        "model=minilm",
        "dataset=rotten_tomatoes",
        "baseline=clustering",
        beside=False,
    )
    design = drawn(ours, theirs).design
    assert [each.name for each in design.methods] == ["clvq_vae", "clustering"]
    assert {item.concept for item in design.items if item.method == 1} == {3}
    with pytest.raises(StudyError, match="two methods or more, and there is 1"):
        drawn(ours)


def test_study__methods_by_name_and_two_runs_of_one_method(tmp_path: Path) -> None:
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b", settings={"quantizer.codebook_size": 50})
    names = [each.name for each in drawn(a, b).design.methods]
    assert names == ["clvq_vae A", "clvq_vae B", f"{BESIDE} A", f"{BESIDE} B"]
    chosen = drawn(a, b, methods=["clvq_vae B", f"{BESIDE} A"]).design
    assert [(each.name, each.run) for each in chosen.methods] == [("clvq_vae B", str(b)), (f"{BESIDE} A", str(a))]
    with pytest.raises(StudyError, match="--methods sae: the runs have clvq_vae A"):
        drawn(a, b, methods=["sae", "clvq_vae A"])


def test_study__of_three_classes_is_balanced_over_right_and_wrong_of_each(tmp_path: Path) -> None:
    cell = {"dataset.label_names": ["a", "b", "c"], "dataset.label_meanings": ["", "", ""]}
    design = drawn(make_run(tmp_path / "run", rows(60, 3), settings=cell), sentences=12).design
    assert set(Counter(each.stratum for each in design.sentences).values()) == {2}
    assert [each.name for each in design.labels] == ["a", "b", "c"]


def test_study__a_kind_with_too_few_is_filled_from_the_others_and_said(tmp_path: Path) -> None:
    few = [row for row in rows(80) if row[:2] != (1, 0)] + [Row(1, 0, (1, 1))]
    found = drawn(make_run(tmp_path / "run", few))
    counts = Counter(each.stratum for each in found.design.sentences)
    assert counts["False negative"] == 1
    assert sum(counts.values()) == 19
    assert "the draw is not balanced: false negative has 1; the other kinds fill up" in found.notes


def test_study__content_warnings_labels_and_introductions_go_in(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", rows(), "model=bert", "dataset=jigsaw", beside=True)
    design = drawn(run, labels=["polite\u202e", "rude"], introduction="Hello").design
    assert [each.name for each in design.labels] == ["polite\\u202e", "rude"]
    assert design.labels[1].meaning.startswith("the comment is rude")
    assert design.introduction == "Hello"
    with pytest.raises(StudyError, match="--labels has 3 names"):
        drawn(run, labels=["a", "b", "c"])


def test_study__words_of_the_data_set_are_neutralised(tmp_path: Path) -> None:
    words = {each: {"\x1b[31mred": 9, "<script>": 8} for each in range(8)}
    design = drawn(make_run(tmp_path / "run", words=words)).design
    assert design.items[0].words == "\\x1b[31mred, <script>"


def test_study__equal_texts_are_drawn_once(tmp_path: Path) -> None:
    same = dict.fromkeys(range(0, 48, 2), "the same text")
    design = drawn(make_run(tmp_path / "run", texts=same), sentences=12).design
    assert Counter(each.text for each in design.sentences)["the same text"] <= 1


def test_study__runs_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    other = [Row(row.label, 1 - row.prediction, row.concepts) if not at else row for at, row in enumerate(rows())]
    with pytest.raises(StudyError, match=r"another label or prediction than .* for 1 of 48 sentences"):
        drawn(run, make_run(tmp_path / "other", other))
    apart = make_run(tmp_path / "apart", texts={place: f"another text {place}" for place in range(48)})
    with pytest.raises(StudyError, match="no dev sentence in common"):
        drawn(run, apart)
    classes = {"dataset.label_names": ["x", "y"]}
    with pytest.raises(StudyError, match="has the classes x, y, and"):
        drawn(run, make_run(tmp_path / "classes", settings=classes))
    with pytest.raises(StudyError, match=r"only 42 sentences .* lower --sentences"):
        drawn(run, sentences=43)


def test_study__tables_that_are_damaged_or_not_there_are_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    table = run / "salient_concepts.parquet"
    content = table.read_bytes()
    table.write_bytes(content[:-10] + b"x" + content[-9:])
    with pytest.raises(DamagedArtifactError, match=r"salient_concepts\.parquet"):
        drawn(run)
    bare = make_run(tmp_path / "bare")
    write(bare, "salient_words", [{"sentence": 1, "id": "x"}])
    seal(bare)
    with pytest.raises(StudyError, match="has no table of salient words: run its command again"):
        drawn(bare)

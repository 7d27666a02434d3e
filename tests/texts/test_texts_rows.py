"""What a row becomes, and what is said about rows that cannot be used."""

from __future__ import annotations

import json

import pytest

from clvq_exp.settings import DatasetSettings
from clvq_exp.texts import TextsError, load_texts
from clvq_exp.texts.rows import Labels


def message(settings: DatasetSettings) -> str:
    with pytest.raises(TextsError) as caught:
        load_texts(settings, False)
    return str(caught.value)


def everything(settings: DatasetSettings):
    texts = load_texts(settings, False)
    return {sentence.id: sentence for sentence in texts.train + texts.validation + texts.dev}


class TestLabels:
    @pytest.mark.parametrize("raw", [1, "1", 1.0, "positive", "POSITIVE", "01"])
    def test_class_ids_and_names__are_both_understood(self, settings, raw):
        assert Labels(settings()).class_id(raw) == 1

    @pytest.mark.parametrize("raw", [2, -1, "2", "-1", 0.5, None, "", True, [1], {"a": 1}, "²", "9" * 50, "1.0"])
    def test_other_values__are_unknown(self, settings, raw):
        assert Labels(settings()).class_id(raw) is None

    def test_names_that_are_digits__win_over_class_ids(self, settings):
        labels = Labels(settings(label_names=["1", "2", "3"]))
        assert [labels.class_id(raw) for raw in (1, "2", 3, 0)] == [0, 1, 2, 0]

    def test_names_that_differ_by_case_only__need_the_exact_one(self, settings):
        labels = Labels(settings(label_names=["it", "IT"]))
        assert [labels.class_id(raw) for raw in ("it", "IT", "It")] == [0, 1, None]

    def test_label_values__replace_names_and_ids(self, settings):
        labels = Labels(settings(label_values={"bad": 0, "good": 1, "fine": 1, "true": 1}))
        assert [labels.class_id(raw) for raw in ("bad", "Good", "fine", True)] == [0, 1, 1, 1]
        assert [labels.class_id(raw) for raw in ("positive", 1, "0")] == [None, None, None]

    def test_unknown_label__shows_value_and_known_ones(self, settings, write, rows):
        path = write("a.jsonl", [*rows(4), {"text": "a", "label": "maybe"}, {"text": "b", "label": None}])
        assert message(settings(path)) == (
            f"2 of 6 rows of {path} cannot be used\n"
            "  line 5: unknown label 'maybe'\n"
            "  line 6: unknown label null\n"
            "2 x unknown label: known labels are 'negative', 'positive', 0 to 1; set dataset.label_names or "
            "dataset.label_values, or leave rows out by dataset.drop_labels"
        ).replace("2 of 6", "dataset reviews: 2 of 6")

    def test_dropped_labels__are_left_out_whatever_their_text(self, settings, write, rows):
        path = write("a.jsonl", [{"text": "", "label": "plot"}, *rows(6), {"text": None, "label": 7}])
        assert len(everything(settings(path, drop_labels=["plot", "7"], dev_size=2))) == 6

    def test_everything_dropped__names_the_key(self, settings, write, rows):
        path = write("a.jsonl", rows(4))
        assert message(settings(path, drop_labels=["0", "1"])) == (
            f"dataset reviews: all 4 rows of {path} are left out by dataset.drop_labels=['0', '1']"
        )

    def test_one_class_only__is_refused(self, settings, write):
        path = write("a.csv", [{"text": f"t{index}", "label": 1} for index in range(5)])
        assert message(settings(path, dev_size=2)) == (
            f"dataset reviews: all 5 rows of {path} have the label 'positive'; at least two classes are "
            "needed: check dataset.label_column=label and dataset.drop_labels"
        )


class TestNames:
    def test_ids__are_the_source_s_own_or_the_row_s_number(self, settings, write, rows):
        given = rows(5)
        given[1]["id"] = "second"
        given[2]["id"] = 33
        given[3]["id"] = None
        assert set(everything(settings(write("a.jsonl", given), dev_size=2))) == {
            "row-1",
            "second",
            "33",
            "row-4",
            "row-5",
        }

    def test_numbered_ids__say_the_split_and_the_row_of_the_spreadsheet(self, settings, write, rows, tmp_path):
        write("train.csv", rows(2))
        write("test.jsonl", rows(2))
        given = settings(tmp_path, id_column=None, validation_share=0)
        assert list(everything(given)) == ["train-2", "train-3", "dev-1", "dev-2"]

    def test_repeated_id__names_both_rows(self, settings, write, rows):
        given = [row | {"id": name} for row, name in zip(rows(4), "abab", strict=True)]
        path = write("a.csv", given)
        assert message(settings(path)) == (
            f"dataset reviews: 2 of 4 rows of {path} cannot be used\n"
            "  row 4: the id 'a' is that of row 2\n"
            "  row 5: the id 'b' is that of row 3\n"
            "2 x repeated id: ids must differ; dataset.id_column=null numbers the rows"
        )
        assert len(everything(settings(path, id_column=None, dev_size=2, validation_share=0))) == 4

    def test_group__reaches_into_nested_json_and_falls_back_to_the_id(self, settings, write, rows):
        given = rows(6)
        given[0]["evidence"] = {"docid": "d1"}
        given[1]["evidence"] = {"docid": 7}
        given[2]["evidence"] = {"docid": None}
        given[3]["evidence"] = {}
        given[4]["evidence"] = "flat"
        found = everything(settings(write("a.jsonl", given), group_column="evidence.docid", dev_size=2))
        assert {name: sentence.group for name, sentence in found.items()} == {
            "row-1": "d1",
            "row-2": "7",
            "row-3": "row-3",
            "row-4": "row-4",
            "row-5": "row-5",
            "row-6": "row-6",
        }

    def test_group_column_with_a_dot_in_its_name__is_found(self, settings, write, rows):
        given = [row | {"meta.author": "ann"} for row in rows(6)]
        found = everything(settings(write("a.csv", given), group_column="meta.author", dev_size=2))
        assert {sentence.group for sentence in found.values()} == {"ann"}

    def test_group_column_that_no_row_has__is_an_error(self, settings, write, rows):
        path = write("a.jsonl", [row | {"evidence": {"docid": "d", "end": 3}} for row in rows(4)])
        assert message(settings(path, group_column="evidence.document")) == (
            f"dataset reviews: {path} has no column 'evidence.document' (dataset.group_column) in any row; "
            "columns there: 'text', 'label', 'evidence.docid', 'evidence.end': name one of them, or set "
            "dataset.group_column=null to take each sentence by itself"
        )

    @pytest.mark.parametrize("value", [["a"], {"b": 1}, "\ud800"])
    def test_group_or_id_that_is_no_name__is_refused(self, settings, write, rows, value):
        path = write("a.jsonl", "\n".join(json.dumps(row | {"id": value}) for row in rows(4)))
        assert "line 1: " in (found := message(settings(path)))
        assert "in column 'id' is no name" in found
        assert "set dataset.id_column (now id) or dataset.group_column (now null)" in found


class TestProblems:
    def test_all_problems_of_a_file__are_said_at_once(self, settings, write):
        path = write(
            "a.jsonl",
            '{"text": "fine", "label": 0}\n'
            '{"text": "", "label": 0}\n'
            '{"text": " \\t\\u00a0", "label": 0}\n'
            '{"text": "fine", "label": 0\n'
            "\n"
            "[1, 2]\n"
            '{"body": "x", "label": 0}\n'
            '{"text": "x", "class": 0}\n'
            '{"text": 5, "label": 0}\n'
            '{"text": null, "label": 1}\n'
            '{"text": "half \\ud83d", "label": 1}\n'
            '{"text": "fine", "label": 9}\n',
        )
        columns = "take these rows out of the file, or name another column in dataset.text_column (now text)"
        assert message(settings(path)).splitlines() == [
            f"dataset reviews: 10 of 11 rows of {path} cannot be used",
            "  line 2: the text is empty",
            "  line 3: the text is white space only",
            "  line 4: broken JSON at character 28: Expecting ',' delimiter",
            "  line 6: [1, 2] is no JSON object",
            "  line 7: no column 'text'; columns there: 'body', 'label'",
            "  and 5 more",
            f"2 x text that is empty or white space only: {columns}",
            "2 x broken row: mend the file, or give another as dataset.path",
            "1 x row without the text's column: name the column in dataset.text_column (now text)",
            "1 x row without the label's column: name the column in dataset.label_column (now label)",
            f"2 x text that is not a string: {columns}",
            f"1 x text with half a character: {columns}",
            "1 x unknown label: known labels are 'negative', 'positive', 0 to 1; set dataset.label_names or "
            "dataset.label_values, or leave rows out by dataset.drop_labels",
        ]

    def test_rows_of_another_width__are_named(self, settings, write):
        path = write("a.csv", "text,label\nfine,1\none, two,0\nalone\n")
        found = message(settings(path)).splitlines()
        assert found[:3] == [
            f"dataset reviews: 2 of 3 rows of {path} cannot be used",
            "  row 3: 3 cells where the header has 2",
            "  row 4: 1 cells where the header has 2",
        ]

    @pytest.mark.parametrize("line", ["[" * 100_000, '{"text": "a", "label": ' + "9" * 5000 + "}"])
    def test_json_that_python_refuses__is_a_broken_line(self, settings, write, line):
        assert "line 1: broken JSON" in message(settings(write("a.jsonl", line + "\n")))

    def test_long_values__are_cut(self, settings, write):
        path = write("a.jsonl", [{"text": "a", "label": "x" * 500}])
        assert f"  line 1: unknown label '{'x' * 56}...\n" in message(settings(path))

    def test_other_columns__can_be_named(self, settings, write, rows):
        given = [{"body": row["text"], "stars": row["label"], "key": f"k{row['text']}"} for row in rows(6)]
        named = settings(
            write("a.csv", given), text_column="body", label_column="stars", id_column="key", dev_size=2
        )
        assert everything(named)["ktext 3"].text == "text 3"

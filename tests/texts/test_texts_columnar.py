"""Parquet files and folders saved by the library `datasets`."""

from __future__ import annotations

import datetime
import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clvq_exp.settings import DatasetSettings
from clvq_exp.texts import TextsError, columnar, load_texts


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[..., Path]:
    def parquet(name: str, rows: Sequence[dict[str, Any]], **options: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(list(rows)), path, **options)
        return path

    return parquet


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    def saved(name: str, **splits: Sequence[dict[str, Any]]) -> Path:
        from datasets import ClassLabel, Dataset, DatasetDict

        made = DatasetDict()
        for split, rows in splits.items():
            dataset = Dataset.from_list(list(rows))
            made[split] = dataset.cast_column("label", ClassLabel(names=["good", "bad"]))
        path = tmp_path / name
        (made if len(splits) > 1 else next(iter(made.values()))).save_to_disk(str(path))
        return path

    return saved


def message(settings: DatasetSettings) -> str:
    with pytest.raises(TextsError) as caught:
        load_texts(settings, False)
    return str(caught.value)


class TestParquet:
    def test_rows__are_those_of_the_same_jsonl(self, settings, parquet, write, rows):
        given = [
            row | {"id": f"n{index}", "meta": {"author": f"a{index % 3}"}} for index, row in enumerate(rows(30))
        ]
        changed = {"group_column": "meta.author", "dev_size": 6}
        one = load_texts(settings(parquet("a.parquet", given), **changed), False)
        other = load_texts(settings(write("a.jsonl", given), **changed), False)
        assert (one.train, one.validation, one.dev) == (other.train, other.validation, other.dev)

    @pytest.mark.parametrize("stem", ["dev", "validation", "val", "test"])
    def test_folder__has_a_train_and_a_dev_file(self, settings, parquet, rows, tmp_path, stem):
        parquet("train.parquet", rows(10))
        parquet(f"{stem}.parquet", rows(6, word="dev"))
        texts = load_texts(settings(tmp_path), False)
        assert [s.text for s in texts.dev] == [f"dev {index}" for index in range(6)]
        assert [s.id for s in texts.dev][:2] == ["dev-1", "dev-2"]

    def test_many_batches_and_row_groups__keep_all_rows_in_order(self, settings, parquet, rows):
        source = columnar.ParquetFile(settings(), parquet("a.parquet", rows(5000), row_group_size=1500))
        found = list(source.rows())
        assert [row.number for row in found] == list(range(1, 5001))
        assert [row.values["text"] for row in found] == [f"text {index}" for index in range(5000)]

    def test_large_row_group__is_not_in_memory_at_once(self, settings, parquet):
        noise = [{"text": random.Random(index).randbytes(500).hex(), "label": 0} for index in range(16_000)]
        path = parquet("a.parquet", noise, compression="none", use_dictionary=False)
        before = pa.total_allocated_bytes()
        rows = columnar.ParquetFile(settings(), path).rows()
        next(rows)
        assert path.stat().st_size > 16_000_000
        assert pa.total_allocated_bytes() - before < 8_000_000
        rows.close()

    def test_other_columns__are_not_read(self, settings, parquet, rows):
        given = [row | {"image": b"x" * 100, "when": datetime.datetime(2020, 1, 1)} for row in rows(4)]
        source = columnar.ParquetFile(settings(), parquet("a.parquet", given))
        assert next(source.rows()).values == {"text": "text 0", "label": 0}

    def test_group_column_with_a_dot_in_its_name__is_found(self, settings, parquet, rows):
        path = parquet("a.parquet", [row | {"meta.author": "ann"} for row in rows(6)])
        texts = load_texts(settings(path, group_column="meta.author", dev_size=2), False)
        assert {s.group for s in texts.dev} == {"ann"}

    def test_label_names__are_understood(self, settings, parquet):
        given = [{"text": f"t{index}", "label": ("negative", "positive")[index % 2]} for index in range(8)]
        texts = load_texts(settings(parquet("a.parquet", given), dev_size=2), False)
        assert {s.label for s in texts.dev} == {0, 1}

    @pytest.mark.parametrize(("key", "column"), [("text_column", "body"), ("label_column", "stars")])
    def test_missing_column__lists_those_there(self, settings, parquet, rows, key, column):
        path = parquet("a.parquet", rows(4))
        assert message(settings(path, **{key: column})) == (
            f"dataset reviews: {path} has no column {column!r} (dataset.{key}); its columns are 'text', 'label': "
            f"set dataset.{key} to one of them"
        )

    def test_values_of_other_types__are_rows_that_cannot_be_used(self, settings, parquet):
        given = [{"text": "a", "label": 7}, {"text": None, "label": 0}, {"text": " ", "label": None}]
        found = message(settings(parquet("a.parquet", given)))
        assert (
            "  row 1: unknown label 7\n  row 2: the text is no string but null\n  row 3: the text is white"
            in found
        )

    @pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet" * 100])
    def test_damaged_file__is_named(self, settings, write, content):
        path = write("a.parquet", content)
        assert message(settings(path)).startswith(f"dataset reviews: {path} cannot be read: ")

    def test_truncated_file__is_named(self, settings, parquet, rows):
        path = parquet("a.parquet", rows(500))
        path.write_bytes(path.read_bytes()[:-30])
        assert message(settings(path)).startswith(f"dataset reviews: {path} cannot be read: ")

    def test_text_that_is_not_utf_8__names_the_file(self, settings, tmp_path):
        texts = pa.array([b"fine", b"\xff"]).cast(pa.string(), safe=False)
        path = tmp_path / "a.parquet"
        pq.write_table(pa.table({"text": texts, "label": [0, 1]}), path)
        assert message(settings(path)).startswith(f"dataset reviews: {path} cannot be read: ")

    def test_empty_table__is_said_to_be_empty(self, settings, tmp_path):
        pq.write_table(pa.table({"text": pa.array([], pa.string()), "label": []}), tmp_path / "a.parquet")
        assert "is empty: it has no rows" in message(settings(tmp_path / "a.parquet"))

    def test_changed_file__has_another_fingerprint(self, settings, parquet, rows):
        prints = {
            load_texts(settings(parquet("a.parquet", rows(n)), dev_size=4), False).fingerprint for n in (20, 21)
        }
        assert len(prints) == 2


class TestSavedFolder:
    def test_splits__are_read_with_class_labels_as_ids(self, settings, saved, rows):
        path = saved("here", train=rows(10), test=rows(6, word="dev"))
        texts = load_texts(settings(path), False)
        assert [(s.text, s.label) for s in texts.dev] == [(f"dev {index}", index % 2) for index in range(6)]
        assert len(texts.train) + len(texts.validation) == 10

    def test_dev_split__goes_by_the_first_of_its_names(self, settings, saved, rows):
        path = saved("here", train=rows(6), test=rows(6, word="test"), validation=rows(6, word="validation"))
        assert load_texts(settings(path), False).dev[0].text == "validation 0"

    def test_one_data_set__is_split_by_the_draw(self, settings, saved, rows):
        assert len(load_texts(settings(saved("here", train=rows(20)), dev_size=4), False).dev) == 4

    def test_many_batches__keep_all_rows_in_order(self, settings, saved, rows):
        source = columnar.SavedSplit(settings(), saved("here", train=rows(2500)))
        assert [(row.number, row.values["text"]) for row in source.rows()] == [
            (index + 1, f"text {index}") for index in range(2500)
        ]

    def test_folder_without_train__lists_its_splits(self, settings, saved, rows):
        path = saved("here", fold_1=rows(4), test=rows(4))
        assert message(settings(path)) == (
            f"dataset reviews: the saved data set {path} (dataset.path) has no split called train; splits there: "
            "fold_1, test. Rename one, or give one split's folder as dataset.path"
        )

    def test_missing_column__lists_those_there(self, settings, saved, rows):
        path = saved("here", train=rows(4), test=rows(4))
        assert message(settings(path, text_column="body")) == (
            f"dataset reviews: {path}/test has no column 'body' (dataset.text_column); its columns are 'text', "
            "'label': set dataset.text_column to one of them"
        )

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("state.json", "{"),
            ("state.json", "{}"),
            ("state.json", "[]"),
            ("dataset_info.json", '{"features": 5}'),
            ("data-00000-of-00001.arrow", "no arrow"),
            ("data-00000-of-00001.arrow", None),
        ],
    )
    def test_damaged_folder__says_to_save_it_again(self, settings, saved, rows, name, content):
        path = saved("here", train=rows(8))
        (path / name).unlink()
        if content is not None:
            (path / name).write_text(content)
        found = message(settings(path, dev_size=2))
        assert found.startswith(
            f"dataset reviews: {path} cannot be read as a folder saved by the library datasets: "
        )
        assert found.endswith("; save it again with save_to_disk, or give another as dataset.path")

    def test_same_rows_saved_again__have_the_same_fingerprint(self, settings, saved, rows, tmp_path):
        prints = [
            load_texts(settings(saved(f"{index}", train=rows(n)), dev_size=4), False).fingerprint
            for index, n in enumerate((20, 20, 21))
        ]
        state = json.loads((tmp_path / "0" / "state.json").read_text())
        (tmp_path / "0" / "state.json").write_text(json.dumps(state | {"_fingerprint": "another"}))
        prints.append(load_texts(settings(tmp_path / "0", dev_size=4), False).fingerprint)
        assert prints[0] == prints[1] == prints[3] != prints[2]

    def test_plain_files_beside_it__do_not_matter(self, settings, saved, write, rows):
        path = saved("here", train=rows(10), dev=rows(6, word="dev"))
        shutil.copy(write("train.jsonl", rows(4)), path / "train.jsonl")
        assert load_texts(settings(path), False).dev[0].text == "dev 0"

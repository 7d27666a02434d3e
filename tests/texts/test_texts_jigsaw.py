"""Kaggle's file of toxic comments: where it is found, what is taken from it, and zip files that mean harm."""

from __future__ import annotations

import csv
import gzip
import io
import logging
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from clvq_exp.settings import DatasetSettings, OriginalForm
from clvq_exp.texts import TextsError, jigsaw, load_texts

HEADER = ["id", "comment_text", "toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"]


def kaggle(civil: int, toxic: int) -> bytes:
    """Comments as Kaggle writes them: many civil ones first, line breaks and doubled quotes inside."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(HEADER)
    for index in range(civil + toxic):
        bad = int(index >= civil)
        writer.writerow([f"{index:016x}", f'"Comment"\nnumber {index}', bad, 0, bad, 0, 0, 0])
    return stream.getvalue().encode()


def zipped(*members: tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


@pytest.fixture
def comments(settings: Callable[..., DatasetSettings]) -> Callable[..., DatasetSettings]:
    def comments(path: Path, **changed: object) -> DatasetSettings:
        given = {"original": OriginalForm.jigsaw, "dev_size": 4, "validation_share": 0}
        return settings(path, **(given | changed))

    return comments


def message(settings: DatasetSettings) -> str:
    with pytest.raises(TextsError) as caught:
        load_texts(settings, False)
    return str(caught.value)


def test_comments__come_with_their_id_text_and_toxicity(comments, write):
    texts = load_texts(comments(write("train.csv", kaggle(6, 4))), False)
    found = {sentence.id: sentence for sentence in texts.train + texts.dev}
    assert len(found) == 10
    assert found["0000000000000005"].text == '"Comment"\nnumber 5'
    assert [found[f"{index:016x}"].label for index in (0, 5, 6, 9)] == [0, 0, 1, 1]


@pytest.mark.parametrize("toxic", [40, 8])
def test_sample__has_as_many_of_each_label_as_there_are(comments, write, toxic, caplog):
    path = write("train.csv", kaggle(100, toxic))
    with caplog.at_level(logging.WARNING):
        texts = load_texts(comments(path, train_size=20, dev_size=6), False)
    assert Counter(sentence.label for sentence in texts.dev) == {0: 3, 1: 3}
    left = min(10, toxic - 3)
    assert Counter(sentence.label for sentence in texts.train) == {0: 20 - left, 1: left}
    warnings = [record.getMessage() for record in caplog.records]
    expected = [
        "dataset reviews: dataset.train_size=20 asks for as many sentences of each label, and some labels have "
        "too few; taken are 15 negative, 5 positive"
    ]
    assert warnings == (expected if toxic == 8 else [])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.csv", kaggle(6, 4)),
        ("train.csv.gz", gzip.compress(kaggle(6, 4))),
        ("train.csv.zip", zipped(("train.csv", kaggle(6, 4)))),
    ],
)
def test_folder__is_searched_for_the_file_and_its_test_file_is_not_read(comments, write, tmp_path, name, content):
    path = write(f"kaggle/{name}", content)
    write("kaggle/test.csv", 'id,comment_text\n0,"no label"\n')
    write("kaggle/test_labels.csv", "id,toxic\n0,-1\n")
    from_file, from_folder = (load_texts(comments(each), False) for each in (path, tmp_path / "kaggle"))
    assert from_file == from_folder
    assert len(from_file.train) == 6


def test_unpacked_file__wins_over_the_zip_beside_it(comments, write, tmp_path):
    write("train.csv", kaggle(6, 4))
    write("train.csv.zip", zipped(("train.csv", kaggle(60, 40))))
    assert len(load_texts(comments(tmp_path), False).train) == 6


def test_other_files__are_read_as_ever(comments, write, rows, tmp_path):
    for name in ("train.csv", "dev.jsonl"):
        write(name, rows(8))
    texts = load_texts(comments(tmp_path, dev_size=0), False)
    assert [len(texts.train), len(texts.dev)] == [8, 8]


@pytest.mark.parametrize(
    ("row", "problem"),
    [("0,hello", "row 4: 2 cells where the header has 8"), ("0,hello,-1,0,0,0,0,0", "row 4: unknown label '-1'")],
)
def test_row_that_cannot_be_used__is_named(comments, write, row, problem):
    assert problem in message(comments(write("train.csv", kaggle(1, 1) + f"{row}\n".encode())))


class TestZip:
    @pytest.mark.parametrize(
        ("members", "found"),
        [
            ([("train.csv", kaggle(2, 2)), ("test.csv", b"x")], "'train.csv', 'test.csv'"),
            ([("train.csv.zip", b"x")], "'train.csv.zip'"),
            ([("train\x1b[2J.json", b"x")], r"'train\x1b[2J.json'"),
            ([], "nothing"),
        ],
    )
    def test_other_members__are_listed(self, comments, write, members, found):
        path = write("train.csv.zip", zipped(*members))
        assert message(comments(path)) == (
            f"dataset reviews: {path} (dataset.path) must hold one CSV file and nothing else; found: {found}. "
            "Unpack it first"
        )

    def test_huge_member__is_refused_by_its_declared_size(self, comments, write, monkeypatch):
        monkeypatch.setattr(jigsaw, "UNPACKED_LIMIT", 100)
        path = write("train.csv.zip", zipped(("train.csv", kaggle(6, 4))))
        size = len(kaggle(6, 4))
        assert f"its member 'train.csv' says that it has {size} bytes, more than the 100" in message(
            comments(path)
        )

    def test_member_longer_than_it_says__is_not_read_further(self, comments, write):
        content = kaggle(6, 4)
        size, said = len(content).to_bytes(4, "little"), (50).to_bytes(4, "little")
        data = zipped(("train.csv", content)).replace(size, said)
        assert "train.csv.zip cannot be read: " in message(comments(write("train.csv.zip", data)))

    @pytest.mark.parametrize("harm", ["cut", "foreign", "flipped"])
    def test_damage__names_the_file(self, comments, write, harm):
        data = zipped(("train.csv", kaggle(60, 40)))
        harmed = {"cut": data[:-30], "foreign": b"no zip", "flipped": data[:200] + b"\0\0\0\0" + data[204:]}[harm]
        path = write("train.csv.zip", harmed)
        assert message(comments(path)).startswith(f"dataset reviews: {path} cannot be read: ")

    def test_encrypted_member__asks_to_unpack_it(self, comments, write):
        data = bytearray(zipped(("train.csv", kaggle(2, 2))))
        data[6] |= 1
        data[data.index(b"PK\x01\x02") + 8] |= 1
        assert "cannot be unpacked: " in message(comments(write("train.csv.zip", bytes(data))))

    @pytest.mark.parametrize(
        ("found", "harmed"), [(b"PK\x03\x04\x14", b"PK\x03\x04\xff"), (b"train.csv", b"tr\xefin.csv")]
    )
    def test_odd_headers__name_the_file(self, comments, write, found, harmed):
        data = bytearray(zipped(("train.csv", kaggle(2, 2))).replace(found, harmed))
        data[data.index(b"PK\x01\x02") + 6 : data.index(b"PK\x01\x02") + 10] = b"\xff\x00\x00\x08"
        path = write("train.csv.zip", bytes(data))
        assert message(comments(path)).startswith(f"dataset reviews: {path} (dataset.path) cannot be unpacked: ")

    def test_name_of_the_member__is_never_used(self, comments, write, tmp_path):
        path = write("in/train.csv.zip", zipped(("../../train.csv", kaggle(6, 4))))
        assert len(load_texts(comments(path), False).train) == 6
        assert list(tmp_path.iterdir()) == [tmp_path / "in"]


@pytest.mark.parametrize("name", ["train.csv", "train.csv.zip"])
def test_changed_file__has_another_fingerprint(comments, write, name):
    prints = set()
    for content in (kaggle(6, 4), kaggle(6, 5)):
        path = write(name, zipped(("train.csv", content)) if name.endswith("zip") else content)
        prints.add(load_texts(comments(path), False).fingerprint)
    assert len(prints) == 2

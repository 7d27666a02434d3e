"""Texts that cannot be used, read as a cell reads them: the whole message that the user sees."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clvq_exp.config import ConfigError
from clvq_exp.preflight import Preflight
from clvq_exp.settings import DatasetSettings
from clvq_exp.texts import TextsError, load_texts

GOOD = [{"text": f"review {index}", "label": index % 2} for index in range(8)]
OTHER_TEXTS = "take these rows out of the file, or name another column in dataset.text_column (now text)"


def message(settings: DatasetSettings) -> str:
    with pytest.raises(TextsError) as caught:
        load_texts(settings, remove_duplicates=False)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(
            [*GOOD, {"text": "so so", "label": "maybe"}],
            "1 of 9 rows of {path} cannot be used\n"
            "  line 9: unknown label 'maybe'\n"
            "1 x unknown label: known labels are 'negative', 'positive', 0 to 1; set dataset.label_names or "
            "dataset.label_values, or leave rows out by dataset.drop_labels",
            id="unknown label",
        ),
        pytest.param(
            [row | {"label": "positive"} for row in GOOD],
            "all 8 rows of {path} have the label 'positive'; at least two classes are needed: check "
            "dataset.label_column=label and dataset.drop_labels",
            id="one class only",
        ),
        pytest.param(
            [{"text": "", "label": 0}, *GOOD],
            "1 of 9 rows of {path} cannot be used\n"
            "  line 1: the text is empty\n"
            f"1 x text that is empty or white space only: {OTHER_TEXTS}",
            id="empty text",
        ),
        pytest.param(
            [*GOOD, {"text": " \t\u00a0\u2003\n", "label": 0}],
            "1 of 9 rows of {path} cannot be used\n"
            "  line 9: the text is white space only\n"
            f"1 x text that is empty or white space only: {OTHER_TEXTS}",
            id="white space only",
        ),
        pytest.param(b"", "{path} is empty: it has no rows; give another file as dataset.path", id="empty file"),
        pytest.param(
            [{"text": "fine", "stars": 1}, *GOOD],
            "1 of 9 rows of {path} cannot be used\n"
            "  line 1: no column 'label'; columns there: 'text', 'stars'\n"
            "1 x row without the label's column: name the column in dataset.label_column (now label)",
            id="a missing column",
        ),
        pytest.param(
            '{"text": "fine", "label": 1}\n{"text": "Ärger", "label": 0}\n'.encode("latin-1"),
            "{path} is not UTF-8: byte 39 (0xc4) cannot be decoded; convert the file to UTF-8, or give another "
            "as dataset.path",
            id="wrong encoding",
        ),
        pytest.param(
            '{"text": "fine", "label": 1}\n'.encode("utf-16"),
            "{path} is not UTF-8: byte 0 (0xff) cannot be decoded; convert the file to UTF-8, or give another "
            "as dataset.path",
            id="UTF-16",
        ),
        pytest.param(
            GOOD[:1],
            "{path} holds one sentence only; needed are two of each of at least two classes to train on, and "
            "one of each for dev: give another file as dataset.path",
            id="one sentence",
        ),
    ],
)
def test_bad_file__exact_message(
    write: Callable[..., Path], dataset: Callable[..., DatasetSettings], content: Any, expected: str
) -> None:
    path = write("reviews.jsonl", content)
    assert message(dataset(path, dev_size=2)) == f"dataset reviews: {expected.format(path=path)}"


@pytest.mark.parametrize(("key", "header"), [("text_column", "body,label"), ("label_column", "text,stars")])
def test_missing_column_of_a_table__exact_message(
    write: Callable[..., Path], dataset: Callable[..., DatasetSettings], key: str, header: str
) -> None:
    path = write("reviews.csv", f"{header}\nfine,1\n")
    column, there = key.removesuffix("_column"), header.split(",")
    assert message(dataset(path)) == (
        f"dataset reviews: {path} has no column '{column}' (dataset.{key}); its first row must name the "
        f"columns and names '{there[0]}', '{there[1]}': set dataset.{key} to one of them"
    )


@pytest.mark.parametrize("part", ["train", "dev"])
def test_one_sentence_in_a_part__names_its_file(
    write: Callable[..., Path], dataset: Callable[..., DatasetSettings], tmp_path: Path, part: str
) -> None:
    for name in ("train", "dev"):
        write(f"{name}.jsonl", GOOD[:1] if name == part else GOOD)
    assert message(dataset(tmp_path)) == (
        f"dataset reviews: {tmp_path / part}.jsonl holds one sentence only; needed are two of each of at least "
        "two classes to train on, and one of each for dev: give another file as dataset.path"
    )


@pytest.mark.parametrize("repeats", [1, 5])
def test_one_text_of_each_class__leaves_none_for_early_stopping(
    write: Callable[..., Path], dataset: Callable[..., DatasetSettings], tmp_path: Path, repeats: int
) -> None:
    write("train.jsonl", GOOD[:2] * repeats)
    write("dev.jsonl", GOOD[:2])
    assert message(dataset(tmp_path)) == (
        f"dataset reviews: none of its {2 * repeats} training sentences can be kept back for early stopping "
        "(dataset.validation_share=0.1): give at least two different texts of each class as dataset.path"
    )


def test_two_texts_of_each_class__are_enough(
    write: Callable[..., Path], dataset: Callable[..., DatasetSettings], tmp_path: Path
) -> None:
    write("train.jsonl", GOOD[:4])
    write("dev.jsonl", GOOD[:2])
    texts = load_texts(dataset(tmp_path), remove_duplicates=False)
    assert [len(texts.train), len(texts.validation), len(texts.dev)] == [2, 2, 2]
    assert {sentence.label for sentence in texts.train} == {0, 1}


@pytest.mark.parametrize("name", ["reviews.jsonl", "reviews.csv"])
def test_text_of_100_000_words__is_read_whole(
    write: Callable[..., Path], dataset: Callable[..., DatasetSettings], name: str
) -> None:
    rows = [*GOOD, {"text": "dull " * 100_000, "label": 0}]
    lines = [f"{row['text']},{row['label']}" for row in rows]
    content = "\n".join(["text,label", *lines] if name.endswith("csv") else [json.dumps(row) for row in rows])
    texts = load_texts(dataset(write(name, content + "\n"), dev_size=2), remove_duplicates=False)
    longest = max((*texts.train, *texts.validation, *texts.dev), key=lambda sentence: len(sentence.text))
    assert longest.text == "dull " * 100_000


def test_archive_that_means_harm__is_reported_with_the_other_errors(
    before_a_cell: Callable[..., Preflight], tmp_path: Path
) -> None:
    link = tarfile.TarInfo("movies/docs/negR_000.txt")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(tmp_path / "movies.tar.gz", "w:gz") as archive:
        archive.addfile(link)
    path = f"dataset.path={tmp_path / 'movies.tar.gz'}"
    with pytest.raises(ConfigError) as caught:
        before_a_cell("dataset=eraser_movie", path, "dataset.label_names=['0','1']", "layer_pair.upper=9")
    assert caught.value.problems == [
        "layer_pair.upper=9: model tiny has layers 0 (embeddings) to 4",
        f"dataset eraser_movie: {tmp_path}/movies.tar.gz holds 'movies/docs/negR_000.txt', which is a symbolic "
        "link and no plain file; give the benchmark's own movies.tar.gz, or the folder that it unpacks to, as "
        "dataset.path",
    ]


def test_hub_beside_a_path__does_not_change_the_cell(before_a_cell: Callable[..., Preflight]) -> None:
    hub = ("dataset.hub_id=some/where", "dataset.revision=abc", "dataset.hub_dev=test", "dataset.hub_train=x")
    assert before_a_cell(*hub).fingerprint == before_a_cell().fingerprint
    assert before_a_cell("dataset.train_size=40").fingerprint != before_a_cell().fingerprint

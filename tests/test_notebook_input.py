"""What a caller gives to a fit: how it lies in the store, and what is said where it does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from stores import MadeSentence, write_store

from clvq_exp.activations.store import BLOCK, ActivationStore
from clvq_exp.artifacts import ArtifactCache
from clvq_exp.config import ConfigError
from clvq_exp.notebook import Concepts, NotebookError, own_store
from clvq_exp.notebook.given import check_activations
from clvq_exp.notebook.rows import Rows
from clvq_exp.settings import LayerPair, Split

PAIR = LayerPair(0, 1)


def numbers(n: int = 12, width: int = 4) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, width)).astype(np.float32)


def stored(tmp_path: Path, *arrays: Any, **given: Any) -> ActivationStore:
    checked = check_activations(*arrays, **given)
    pair = LayerPair(0, 0) if checked.upper is None else PAIR
    return own_store.write_store(ArtifactCache(tmp_path / "cache"), checked, pair)


def fit(*arrays: Any, **given: Any) -> Concepts:
    return Concepts.fit(*arrays, **{"method": "kmeans_codes", "codebook_size": 3, **given})


# --- the store ---


def test_store__is_that_of_the_same_sentences(tmp_path: Path) -> None:
    lengths, kept = [3, 1, 4, 2], [False, True, False, True]
    lower, upper = numbers(10), numbers(10) ** 2
    ends = np.cumsum(lengths)
    spans = [slice(end - n, end) for end, n in zip(ends, lengths, strict=True)]
    words = [f"w{row}" for row in range(10)]
    made = [
        MadeSentence({0: lower[span], 1: upper[span]}, index % 2, words[span]) for index, span in enumerate(spans)
    ]
    expected = write_store(
        tmp_path / "expected",
        {Split.train: [made[0], made[2]], Split.validation: [made[1], made[3]]},
        sentence_token=False,
    )
    store = stored(
        tmp_path,
        lower,
        upper,
        words=words,
        sentences=np.repeat([5, 2, 9, 7], lengths),
        labels=[0, 1, 0, 1],
        validation=np.array(kept),
    )
    for layer in (0, 1):
        assert torch.equal(store.words(layer), expected.words(layer))
        for split in (Split.train, Split.validation):
            mine, theirs = (each.sentence_representations(layer, split) for each in (store, expected))
            assert torch.allclose(mine, theirs, atol=1e-6)
    for name in ("sentence", "position", "word", "special"):
        assert store.word_column(name).to_pylist() == expected.word_column(name).to_pylist(), name
    for name in ("text", "label", "split", "first_word", "n_words"):
        assert store.sentence_column(name).to_pylist() == expected.sentence_column(name).to_pylist(), name
    assert store.sentence_column("id").to_pylist() == ["5", "9", "2", "7"]


@pytest.mark.parametrize(
    "same",
    [
        lambda values: torch.from_numpy(values),
        lambda values: values.astype(np.float64),
        lambda values: torch.from_numpy(values).requires_grad_(),
        lambda values: np.asfortranarray(values),
        lambda values: values.tolist(),
    ],
)
def test_store__does_not_hang_on_the_kind_of_array(tmp_path: Path, same: Any) -> None:
    values = numbers()
    first, other = stored(tmp_path, values), stored(tmp_path, same(values))
    assert first.layer_fingerprint(0) == other.layer_fingerprint(0)


def test_store__takes_a_memory_mapped_array_and_half_precision(tmp_path: Path) -> None:
    values = numbers().astype(np.float16)
    np.save(tmp_path / "values.npy", values)
    mapped = np.load(tmp_path / "values.npy", mmap_mode="r")
    of_brain = torch.from_numpy(values.astype(np.float32)).bfloat16()
    assert np.array_equal(
        np.sort(stored(tmp_path, mapped).words(0).numpy(), 0), np.sort(values.astype(np.float32), 0)
    )
    assert torch.equal(stored(tmp_path, of_brain).words(0).sort(0).values, of_brain.float().sort(0).values)


def test_store__is_another_for_other_words_labels_and_splits(tmp_path: Path) -> None:
    values, words = numbers(), [f"w{row}" for row in range(12)]
    sentences = np.repeat(np.arange(4), 3)
    fingerprints = {
        stored(
            tmp_path, values, sentences=sentences, words=given, labels=labels, validation=kept
        ).layer_fingerprint(0)
        for given, labels, kept in (
            (words, [0, 1, 0, 1], 0.25),
            ([*words[:-1], "x"], [0, 1, 0, 1], 0.25),
            (words, [0, 0, 1, 1], 0.25),
            (words, [0, 1, 0, 1], np.array([True, False, False, False])),
            (words, [0, 1, 0, 1], np.array([False, False, False, True])),
        )
    }
    assert len(fingerprints) >= 4  # the drawn split may be one of the two that are given


@pytest.mark.parametrize("kind", [list, np.array, pa.array, pd.Series])
def test_words__may_stand_in_a_list_an_array_or_a_column(tmp_path: Path, kind: Any) -> None:
    words = [f"w{row}" for row in range(12)]
    store = stored(tmp_path, numbers(), words=kind(words))
    assert sorted(store.word_column("word").to_pylist()) == sorted(words)


def test_store__is_written_by_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    before = Rows.__getitem__

    def counted(self: Rows, rows: Any) -> Any:
        found = before(self, rows)
        asked.append(len(found))
        return found

    monkeypatch.setattr(Rows, "__getitem__", counted)
    n = 3 * BLOCK
    stored(tmp_path, np.ones((n, 2), np.float32), sentences=np.arange(n) // 10)
    assert max(asked) <= BLOCK
    assert sum(asked) == 2 * n  # once to look at every value, once to write it


def test_validation__is_a_share_of_whole_sentences(tmp_path: Path) -> None:
    store = stored(tmp_path, numbers(60), sentences=np.arange(60) // 3, validation=0.25)
    assert len(store.sentence_ids(Split.validation)) == 5
    assert len(store.sentence_ids(Split.train)) == 15
    assert not len(store.sentence_ids(Split.dev))


def test_labels__may_stand_by_word_or_by_sentence(tmp_path: Path) -> None:
    sentences = np.repeat([0, 1, 2], 4)
    by_sentence = check_activations(numbers(), sentences=sentences, labels=["b", "a", "b"])
    by_word = check_activations(numbers(), sentences=sentences, labels=np.repeat(["b", "a", "b"], 4))
    assert by_sentence.labels is not None
    assert by_word.labels is not None
    assert by_sentence.labels.tolist() == by_word.labels.tolist() == [1, 0, 1]
    assert by_sentence.label_names == by_word.label_names == ("a", "b")
    named = check_activations(numbers(), sentences=sentences, labels=["b", "a", "b"], label_names=["b", "c", "a"])
    assert named.labels is not None
    assert named.labels.tolist() == [0, 2, 0]


# --- what does not fit ---


def not_finite(value: float, row: int) -> np.ndarray:
    values = numbers().astype(np.float64)
    values[row, 1] = value
    return values


@pytest.mark.parametrize(
    ("arrays", "given", "said"),
    [
        ([numbers().reshape(3, 4, 4)], {}, r"lower has the shape \[3, 4, 4\]: give \[n, d\].*lower\[mask\]"),
        ([numbers()[0]], {}, r"lower has the shape \[4\]"),
        ([numbers()[:0]], {}, "there is nothing in it"),
        ([np.array([["a", "b"]])], {}, "give real numbers"),
        ([torch.zeros(3, 4, dtype=torch.complex64)], {}, "give real numbers"),
        ([numbers(), numbers(11)], {}, r"lower has the shape \[12, 4\] and upper \[11, 4\]: give the same words"),
        ([numbers(), numbers(12, 5)], {}, "two layers of one width"),
        ([not_finite(np.nan, 7)], {}, "lower holds a value that is not finite.*first in row 7"),
        ([not_finite(1e300, 3)], {}, "too large for float32.*first in row 3"),
        ([numbers(), not_finite(np.inf, 2)], {}, "upper holds a value that is not finite.*first in row 2"),
        ([numbers()], {"words": ["a"]}, "words has 1 entries and lower 12 rows"),
        ([numbers()], {"words": ["a"] * 11 + [None]}, r"words\[11\] is None: give text"),
        ([numbers()], {"words": ["a"] * 11 + ["\ud800"]}, r"words\[11\] is '\\ud800': give text without lone"),
        ([numbers()], {"sentences": [1, 2]}, r"sentences has the shape \[2\]"),
        ([numbers()], {"sentences": [0] * 5 + [1] * 5 + [0] * 2}, "sentence 0 begins in row 0 and again in row 1"),
        ([numbers()], {"sentences": [0] * 12}, "names one sentence: two are the least"),
        ([numbers()], {"labels": [0, 1]}, r"labels has the shape \[2\]: give one for each of the 12 sentences"),
        (
            [numbers()],
            {"sentences": np.repeat([0, 1], 6), "labels": [0] * 5 + [1] * 7},
            "labels changes within a sentence, first in row 5",
        ),
        ([numbers()], {"labels": [2] * 12, "label_names": ["a", "b"]}, "class 2, label_names only 0 to 1"),
        ([numbers()], {"labels": ["c"] * 12, "label_names": ["a", "b"]}, "'c', which is none of label_names"),
        ([numbers()], {"sentence_tokens": [True]}, r"sentence_tokens has the shape \[1\]"),
        ([numbers()], {"validation": 1.5}, "validation=1.5: give a share between 0 and 1"),
        ([numbers()], {"validation": np.zeros(12, bool)}, "some of them true"),
        ([numbers()[:1]], {"codebook_size": 1}, "there is one row"),
        ([numbers()], {"codebook_size": 12}, "12 concepts are asked for, but there are 11 words to train on"),
        ([numbers()], {"upper": numbers() ** 2, "method": "clvq_vae", "heads": 3},
         "heads=3 do not divide the width 4.*one of 1, 2, 4"),
        ([numbers()], {"upper": numbers() ** 2, "layer_pair": (4, 4)}, r"layer_pair=\(4, 4\): give the"),
        ([numbers()], {"layer_pair": (-1, 2)}, r"layer_pair=\(-1, 2\): give the"),
        ([numbers()], {"protocol": "reference"}, "trains on frequent words: give words"),
        ([numbers()], {"method": "clustering_filtered"}, "trains on frequent words: give words"),
    ],
)  # fmt: skip
def test_fit__says_what_does_not_fit(arrays: list[Any], given: dict[str, Any], said: str) -> None:
    with pytest.raises(NotebookError, match=said):
        fit(*arrays, **given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"codebok_size": 3}, "codebok_size is no setting of this method; did you mean codebook_size?"),
        ({"method": "clvq_va"}, "method='clvq_va' is none of those shipped; did you mean clvq_vae?"),
        ({"protocol": "papre"}, "protocol='papre' is none of those shipped; did you mean paper?"),
        ({"init": "kmean"}, "init='kmean' is none of those shipped; did you mean kmeans?"),
        ({"settings": {"quantiser.top_k": 3}}, "quantiser.top_k is no key here; did you mean quantizer.top_k?"),
        ({"codebook_size": "many"}, "quantizer.codebook_size='many'"),
        ({"codebook_size": 0}, "quantizer.codebook_size=0 is below 1"),
        ({"codebook_size": "${oc.env:HOME}"}, "a value is taken as it stands"),
        ({"learning_rate": 0.1}, "trainer.learning_rate changes nothing in a fit of kmeans_codes"),
        (
            {"method": "transcoder", "codebook_size": 50},
            "quantizer.codebook_size changes nothing in a fit of transc",
        ),
    ],
)
def test_settings__say_what_is_wrong(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        fit(numbers(40), **{"codebook_size": 5, **given})


def test_settings__of_where_a_fit_runs_are_always_taken() -> None:
    assert len(fit(numbers(), device="cpu", num_workers=0)) == 3


def test_one_method__takes_its_own_argument_before_the_trainers() -> None:
    made = Concepts.fit(
        numbers(40), method="transcoder", k=1, expansion=1, learning_rate=0.01, batch_words=8, max_epochs=1
    )
    assert made.settings["trainer"]["learning_rate"] == 0.005
    assert made.model.identity(made.store, LayerPair(0, 0))["learning_rate"] == 0.01  # pyright: ignore

"""What is stored is what the language model says, one sentence at a time; and it is computed once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clvq_exp.activations import extraction, tables
from clvq_exp.activations.alignment import align
from clvq_exp.activations.extraction import extract
from clvq_exp.activations.store import ActivationStore
from clvq_exp.activations.tables import ActivationError
from clvq_exp.artifacts import ArtifactCache
from clvq_exp.language_models.encoder import EncoderModel
from clvq_exp.records import Alignment, Sentence, TokenBatch
from clvq_exp.settings import ActivationSettings, SentencePooling, Split, StoreDtype, SubWord

Splits = Mapping[Split, Sequence[Sentence]]
Hidden = dict[int, Tensor]
SETTINGS = ActivationSettings(batch_tokens=256)


def unchanged(_: Hidden) -> None:
    pass


class Passes:
    """Counts forward passes, and lets a test change what they give."""

    def __init__(self, model: EncoderModel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.layers: list[tuple[int, ...]] = []
        self.sizes: list[tuple[int, ...]] = []
        self.change: Callable[[Hidden], None] = unchanged
        states = model.states

        def counted(batch: TokenBatch, layers: Sequence[int]) -> Hidden:
            self.layers.append(tuple(layers))
            self.sizes.append(tuple(batch.input_ids.shape))
            hidden = states(batch, layers)
            self.change(hidden)
            return hidden

        monkeypatch.setattr(model, "states", counted)


@pytest.fixture
def passes(model: EncoderModel, monkeypatch: pytest.MonkeyPatch) -> Passes:
    return Passes(model, monkeypatch)


@pytest.fixture
def fresh(tmp_path: Path) -> ArtifactCache:
    return ArtifactCache(tmp_path / "cache")


Alone = list[tuple[Alignment, tuple[Tensor, ...]]]


@pytest.fixture(scope="module")
def alone(model: EncoderModel, splits: Splits) -> Alone:
    """The words and transformers' own hidden states of each sentence, run by itself."""
    found: Alone = []
    for sentence in (each for split in Split for each in splits[split]):
        (encoded,) = model.encode([sentence.text])
        ids = torch.tensor([encoded.input_ids])
        states = model.model(input_ids=ids, output_hidden_states=True).hidden_states
        found.append((align(sentence.text, encoded), states))
    return found


def one_at_a_time(alone: Alone, layer: int, sub_word: SubWord = SubWord.last) -> tuple[Tensor, Tensor, Tensor]:
    """Words, and sentence representations by [CLS] and by mean, in a plain loop."""
    words: list[Tensor] = []
    first, means = [], []
    for alignment, hidden in alone:
        states = hidden[layer][0]
        own = []
        for word in alignment.words:
            members = states[list(word.sub_words)]
            vector = {"last": members[-1], "first": members[0], "mean": members.mean(0)}[sub_word.value]
            words.append(vector)
            if not word.special:
                own.append(vector)
        first.append(states[0])
        means.append(torch.stack(own).mean(0) if own else torch.zeros(states.shape[1]))
    return torch.stack(words), torch.stack(first), torch.stack(means)


def assert_close(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    scale = expected.norm(dim=-1).clamp(min=1e-6)
    assert float(((found - expected).norm(dim=-1) / scale).max()) <= 1e-5


def everything(store: ActivationStore, layer: int) -> Tensor:
    return torch.cat([store.sentence_representations(layer, split) for split in Split])


@pytest.mark.parametrize("sub_word", list(SubWord))
def test_extract__words_are_those_of_one_sentence_at_a_time(
    cache: ArtifactCache, model: EncoderModel, splits: Splits, sub_word: SubWord, alone: Alone
):
    settings = dataclasses.replace(SETTINGS, sub_word=sub_word)
    store = extract(cache, model, splits, [0, 1, 4], settings, model.max_length)
    for layer in (0, 1, 4):
        words, first, _ = one_at_a_time(alone, layer, sub_word)
        assert_close(store.words(layer), words)
        assert_close(everything(store, layer), first)


@pytest.mark.parametrize("sub_word", list(SubWord))
def test_extract__mean_pooling_is_over_the_sentence_s_own_words(
    cache: ArtifactCache, load: Callable[..., EncoderModel], splits: Splits, sub_word: SubWord, alone: Alone
):
    model = load(sentence_pooling=SentencePooling.mean)
    settings = dataclasses.replace(SETTINGS, sub_word=sub_word)
    store = extract(cache, model, splits, [2], settings, model.max_length)
    words, _, means = one_at_a_time(alone, 2, sub_word)
    assert_close(store.words(2), words)
    assert_close(everything(store, 2), means)


def test_extract__sub_words_differ_where_a_word_has_several(
    cache: ArtifactCache, model: EncoderModel, splits: Splits
):
    stores = [
        extract(cache, model, splits, [1], dataclasses.replace(SETTINGS, sub_word=each), model.max_length)
        for each in SubWord
    ]
    last, first, mean = (store.words(1) for store in stores)
    assert not torch.allclose(last, first)
    assert not torch.allclose(last, mean)


def test_extract__labels_are_those_of_the_sentences(store: ActivationStore, splits: Splits):
    for split in Split:
        assert store.labels(split).tolist() == [sentence.label for sentence in splits[split]]


def test_extract__tables_say_what_each_row_is(store: ActivationStore, model: EncoderModel, splits: Splits):
    sentences = [sentence for split in Split for sentence in splits[split]]
    for name in ("id", "text", "group", "label"):
        assert store.sentence_column(name).to_pylist() == [getattr(each, name) for each in sentences]
    encoded = [model.encode([sentence.text])[0] for sentence in sentences]
    alignments = [align(each.text, code) for each, code in zip(sentences, encoded, strict=True)]
    rows = [(index, word) for index, alignment in enumerate(alignments) for word in alignment.words]
    assert store.word_column("sentence").to_pylist() == [index for index, _ in rows]
    assert store.word_column("position").to_pylist() == [word.position for _, word in rows]
    assert store.word_column("word").to_pylist() == [word.text for _, word in rows]
    assert store.word_column("special").to_pylist() == [word.special for _, word in rows]
    assert store.sentence_column("vanished").to_pylist() == [len(each.vanished) for each in alignments]
    assert store.sentence_column("truncated").to_pylist() == [len(each.truncated) for each in alignments]
    assert max(store.sentence_column("truncated").to_pylist()) > 0
    assert store.sentences.n_tokens.tolist() == [len(each.input_ids) for each in encoded]


def test_extract__tables_are_whole_over_several_blocks(
    fresh: ArtifactCache,
    model: EncoderModel,
    splits: Splits,
    store: ActivationStore,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(tables, "TABLE_CHUNK", 7)
    again = extract(fresh, model, splits, [1], SETTINGS, model.max_length)
    for name in ("sentence", "position", "word", "special"):
        assert again.word_column(name).to_pylist() == store.word_column(name).to_pylist()
    assert again.sentences.first_word.tolist() == store.sentences.first_word.tolist()
    assert torch.equal(again.words(1), store.words(1))


def test_extract__several_layers_take_one_pass(
    fresh: ArtifactCache, model: EncoderModel, splits: Splits, passes: Passes
):
    extract(fresh, model, splits, [4, 0, 2, 2], SETTINGS, model.max_length)
    assert set(passes.layers) == {(0, 2, 4)}
    assert sum(rows for rows, _ in passes.sizes) == sum(len(each) for each in splits.values())


def test_extract__batches_are_within_the_budget_and_longest_first(
    fresh: ArtifactCache, model: EncoderModel, splits: Splits, passes: Passes
):
    settings = dataclasses.replace(SETTINGS, batch_tokens=100)
    extract(fresh, model, splits, [1], settings, model.max_length)
    assert all(rows == 1 or rows * columns <= 100 for rows, columns in passes.sizes)
    columns = [columns for _, columns in passes.sizes]
    assert columns == sorted(columns, reverse=True)
    assert len(columns) > 5


def test_extract__the_budget_changes_no_more_than_the_last_bits(
    fresh: ArtifactCache, model: EncoderModel, splits: Splits, store: ActivationStore
):
    single = extract(fresh, model, splits, [3], dataclasses.replace(SETTINGS, batch_tokens=1), model.max_length)
    assert_close(single.words(3), store.words(3))


def test_extract__what_is_there_never_runs_the_model_again(
    fresh: ArtifactCache, model: EncoderModel, splits: Splits, passes: Passes
):
    first = extract(fresh, model, splits, [1, 3], SETTINGS, model.max_length)
    done = len(passes.layers)
    again = extract(fresh, model, splits, [3, 1], SETTINGS, model.max_length)
    extract(ArtifactCache(fresh.root), model, splits, [3], SETTINGS, model.max_length)
    assert len(passes.layers) == done
    assert again.layers == first.layers == (1, 3)
    assert torch.equal(again.words(3), first.words(3))


def test_extract__a_layer_asked_for_later_takes_one_further_pass_of_its_own(
    fresh: ArtifactCache,
    model: EncoderModel,
    splits: Splits,
    passes: Passes,
    monkeypatch: pytest.MonkeyPatch,
    alone: Alone,
):
    extract(fresh, model, splits, [1, 3], SETTINGS, model.max_length)
    done = len(passes.layers)
    monkeypatch.setattr(extraction, "write_tables", None)  # the tables are there: nobody writes them again
    more = extract(fresh, model, splits, [1, 2, 3], SETTINGS, model.max_length)
    assert more.layers == (1, 2, 3)
    assert set(passes.layers[done:]) == {(2,)}
    assert len(passes.layers) == 2 * done
    assert_close(more.words(2), one_at_a_time(alone, 2)[0])


@pytest.mark.parametrize(
    "changed",
    [{"dtype": StoreDtype.bfloat16}, {"sub_word": SubWord.first}, {"batch_tokens": 300}],
    ids=["dtype", "sub_word", "batch_tokens"],
)
def test_extract__other_settings_are_another_layer_of_the_same_tables(
    cache: ArtifactCache, model: EncoderModel, splits: Splits, store: ActivationStore, changed: dict[str, Any]
):
    other = extract(cache, model, splits, [1], dataclasses.replace(SETTINGS, **changed), model.max_length)
    assert other.tables == store.tables
    assert other.layer_fingerprint(1) != store.layer_fingerprint(1)


def test_extract__other_sentences_are_another_store(
    cache: ArtifactCache, model: EncoderModel, splits: Splits, store: ActivationStore
):
    fewer = {**splits, Split.train: splits[Split.train][:-1]}
    other = extract(cache, model, fewer, [1], SETTINGS, model.max_length)
    assert other.tables != store.tables
    assert other.n_sentences == store.n_sentences - 1


def test_extract__moving_a_sentence_to_another_split_is_another_store(cache: ArtifactCache, model: EncoderModel):
    one, two = (Sentence(name, "dull script", 0, name) for name in "ab")
    first = extract(cache, model, {Split.train: [one, two]}, [1], SETTINGS, model.max_length)
    second = extract(cache, model, {Split.train: [one], Split.validation: [two]}, [1], SETTINGS, model.max_length)
    assert first.tables != second.tables


def test_extract__a_pass_that_fails_leaves_nothing_that_looks_finished(
    fresh: ArtifactCache, model: EncoderModel, splits: Splits, passes: Passes, alone: Alone
):
    def fail(_: Hidden) -> None:
        if len(passes.layers) == 3:
            raise KeyboardInterrupt

    passes.change = fail
    with pytest.raises(KeyboardInterrupt):
        extract(fresh, model, splits, [1], SETTINGS, model.max_length)
    passes.change = unchanged
    store = extract(fresh, model, splits, [1], SETTINGS, model.max_length)
    assert_close(store.words(1), one_at_a_time(alone, 1)[0])


@pytest.mark.parametrize("dtype", [StoreDtype.bfloat16, StoreDtype.float16])
def test_extract__short_formats_hold_the_rounded_activations(
    cache: ArtifactCache,
    model: EncoderModel,
    splits: Splits,
    store: ActivationStore,
    dtype: StoreDtype,
):
    short = extract(cache, model, splits, [3], dataclasses.replace(SETTINGS, dtype=dtype), model.max_length)
    kind = getattr(torch, dtype.value)
    assert short.dtype(3) is dtype
    assert short.words(3).dtype == kind
    assert torch.equal(short.words(3), store.words(3).to(kind))
    assert short.gather_words(3, torch.arange(5)).dtype == torch.float32
    assert torch.equal(short.gather_words(3, torch.arange(5)), store.words(3)[:5].to(kind).float())
    assert (short.layer_folders[3] / "words.bin").stat().st_size == 2 * store.n_words * store.width
    for split in Split:  # representations stay in float32
        assert torch.equal(short.sentence_representations(3, split), store.sentence_representations(3, split))


def test_extract__an_overflow_of_float16_names_the_key(
    fresh: ArtifactCache, model: EncoderModel, splits: Splits, passes: Passes
):
    def enlarge(hidden: Hidden) -> None:
        hidden[3] *= 1e6

    passes.change = enlarge
    short = dataclasses.replace(SETTINGS, dtype=StoreDtype.float16)
    with pytest.raises(ActivationError, match=r"layer 3 of tiny.*float16.*activations\.dtype=bfloat16"):
        extract(fresh, model, splits, [1, 3], short, model.max_length)
    assert not list((fresh.root / "activations").glob("*/manifest.json"))
    wide = dataclasses.replace(SETTINGS, dtype=StoreDtype.bfloat16)
    store = extract(fresh, model, splits, [3], wide, model.max_length)
    assert torch.isfinite(store.words(3)).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", list(StoreDtype))
def test_extract__activations_that_are_not_finite_are_refused(
    fresh: ArtifactCache,
    model: EncoderModel,
    passes: Passes,
    value: float,
    dtype: StoreDtype,
):
    def spoil(hidden: Hidden) -> None:
        hidden[1][1, 0, 5] = value

    passes.change = spoil
    settings = dataclasses.replace(SETTINGS, dtype=dtype)
    pair = [Sentence("a", "! ! ! !", 0, "a"), Sentence("b", "! !", 1, "b"), Sentence("c", "!", 0, "c")]
    with pytest.raises(ActivationError) as caught:
        extract(fresh, model, {Split.train: pair}, [1], settings, model.max_length)
    assert str(caught.value) == (
        f"layer 1 of tiny has activations that are not finite as {dtype.value}, first in sentence 'b': "
        "the model itself gives them: check its weights, or try another checkpoint"
    )


def test_extract__what_is_not_finite_in_padding_does_not_matter(
    fresh: ArtifactCache, model: EncoderModel, passes: Passes
):
    def spoil(hidden: Hidden) -> None:
        assert hidden[1].shape[0] == 2
        hidden[1][1, 5:] = float("nan")

    passes.change = spoil
    pair = [Sentence("a", "! " * 20, 0, "a"), Sentence("b", "! !", 1, "b")]
    store = extract(fresh, model, {Split.train: pair}, [1], SETTINGS, model.max_length)
    assert torch.isfinite(store.words(1)).all()


def test_extract__a_text_without_words_has_its_sentence_token_and_a_zero_mean(
    fresh: ArtifactCache, load: Callable[..., EncoderModel]
):
    model = load(sentence_pooling=SentencePooling.mean)
    texts = ["\u200b \x00", "", "dull"]
    sentences = [Sentence(str(i), text, 0, str(i)) for i, text in enumerate(texts)]
    store = extract(fresh, model, {Split.train: sentences}, [1], SETTINGS, model.max_length)
    assert store.sentences.n_words.tolist() == [1, 1, 2]
    assert store.word_column("word").to_pylist() == ["[CLS]", "[CLS]", "[CLS]", "dull"]
    assert store.sentence_column("vanished").to_pylist() == [2, 0, 0]
    means = store.sentence_representations(1, Split.train)
    assert torch.equal(means[:2], torch.zeros(2, model.width))
    assert torch.equal(means[2], store.words(1)[3])


def test_extract__an_empty_split_is_empty_everywhere(fresh: ArtifactCache, model: EncoderModel):
    sentences = [Sentence("a", "dull", 0, "a")]
    store = extract(fresh, model, {Split.train: sentences}, [1], SETTINGS, model.max_length)
    for split in (Split.validation, Split.dev):
        assert store.sentence_ids(split).tolist() == []
        assert store.word_range(split) == (0, 0)
        assert store.sentence_representations(1, split).shape == (0, model.width)
        assert store.labels(split).shape == (0,)
        assert list(store.iterate_words(1, (split,))) == []


def test_extract__no_sentences_at_all_give_an_empty_store(
    fresh: ArtifactCache, model: EncoderModel, passes: Passes
):
    store = extract(fresh, model, {}, [1], SETTINGS, model.max_length)
    assert passes.layers == []
    assert (store.n_sentences, store.n_words) == (0, 0)
    assert store.words(1).shape == (0, model.width)
    assert store.sentence_representations(1, Split.dev).shape == (0, model.width)

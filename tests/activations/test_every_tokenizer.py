"""Words of real and of hostile texts through every kind of tokenizer, and their vectors, by a plain loop."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from families import ENCODERS, LAYERS, SPACE, Folders, open_family
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from tiny import review
from torch import Tensor

from clvq_exp.activations.alignment import align, white_space_tokens
from clvq_exp.activations.extraction import extract
from clvq_exp.artifacts import ArtifactCache
from clvq_exp.language_models.transformer import TransformerModel
from clvq_exp.records import AlignedWord, EncodedText, Sentence
from clvq_exp.settings import ActivationSettings, SentencePooling, Split

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
OF_KIND = {
    "word_piece": "Bert",
    "marked_word_piece": "MPNet",
    "unigram": "DebertaV2",
    "byte_level": "Roberta",
    "metaspace": "XLMRoberta",
    "bare_bytes": "GPT2",
    "led_bytes": "OPT",
    "chat_bytes": "Qwen2",
    "prepended": "Llama",
    "replaced": "Gemma",
}
"""A family for each kind of tokenizer."""
LITERALS = ["[SEP]", "[CLS]", "<s>", "</s>", "<pad>", "<|im_end|>", "<|endoftext|>"]
MARKS = ["\u0301", "é", SPACE, "Ġ", "##", "½", "¨", "ﷺ", "ß", "\ufb01", "Å"]
WIDE = ["电影", "한글", "\U0001f389", "\U0001f468\u200d\U0001f469\u200d\U0001f467"]
SILENT = ["\u200b", "\x00", "\x07", "\u200d", "\ufeff"]
SPACES = [" ", "  ", "\n", "\u00a0", "\x1f", "\u3000"]
hostile = st.lists(
    st.sampled_from(["a", "Dull", "can't", "!", *SPACES, *SILENT, *WIDE, *MARKS, *LITERALS]), max_size=25
).map("".join) | st.text(max_size=60)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return Folders(tmp_path_factory.mktemp("families"))


@pytest.fixture(scope="module", params=list(OF_KIND))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(kind: str, folders: Folders) -> TransformerModel:
    return open_family(folders(OF_KIND[kind]), OF_KIND[kind])


def reviews() -> list[str]:
    odd = ["plot", "I can't \u200b say\u00a0more \U0001f389 电影", "  Dull\n\nscript \u0301 é ", "½ ﷺ \ufb01lm"]
    return [*(review(index)[0] for index in range(20)), *odd]


@pytest.fixture(scope="module")
def real() -> list[str]:
    """500 texts of movie reviews, comments and news."""
    texts: list[str] = []
    for name in ("eraser_movie", "jigsaw", "agnews"):
        path = DATA / name / "dev.jsonl"
        if not path.is_file():
            pytest.skip(f"no {path}")
        lines = path.read_text(encoding="utf-8").splitlines()
        texts += [json.loads(line)["text"] for line in lines[:: max(1, len(lines) // 170)][:170]]
    return texts[:500]


class Normaliser:
    """What a tokenizer makes of characters before it cuts them into sub-words."""

    def __init__(self, tokenizer: Any) -> None:
        self._own = tokenizer.backend_tokenizer.normalizer

    def __call__(self, text: str) -> str:
        made = text if self._own is None else self._own.normalize_str(text)
        return made.replace(SPACE, " ").strip()

    def drops(self, word: str, place: int) -> bool:
        """Whether nothing is added by a character: it is dropped, or melts into the one before it."""
        return len(self(word[: place + 1])) <= len(self(word[:place]))


def check_words(model: TransformerModel, text: str, encoded: EncodedText) -> None:
    """Hold the words of one text against the text and the normaliser."""
    alignment = align(text, encoded)
    words = white_space_tokens(text)
    normaliser = Normaliser(model.tokenizer)
    owners: dict[int, set[int]] = {}
    for word in alignment.words:
        for index in word.sub_words:
            owners.setdefault(index, set()).add(word.position)
    for word in alignment.words:
        if not word.special:
            assert word.text == text[slice(*words[word.position])]
            check_word(text, encoded, word, words, owners, normaliser)
    for position in alignment.vanished:
        assert normaliser(text[slice(*words[position])]) == "", text
    for word in alignment.words:
        assert word.special or SPACE in word.text or normaliser(word.text), text


def check_word(
    text: str,
    encoded: EncodedText,
    word: AlignedWord,
    words: Sequence[tuple[int, int]],
    owners: dict[int, set[int]],
    normaliser: Normaliser,
) -> None:
    """One word: its sub-words are in order, inside it, and cover all that the normaliser keeps of it."""
    start, end = words[word.position]
    spans = [span for span in (encoded.spans[index] for index in word.sub_words) if span is not None]
    assert len(spans) == len(word.sub_words)
    assert spans == sorted(spans), text
    covered: set[int] = set()
    for index, (first, last) in zip(word.sub_words, spans, strict=True):
        assert first < end
        assert last > start
        covered.update(range(first, last))
        for place in range(first, last):  # beyond the word: white space, or a word that owns the sub-word too
            if not start <= place < end and not text[place].isspace():
                (other,) = [each for each, (begin, stop) in enumerate(words) if begin <= place < stop]
                assert other in owners[index], text
    for place in set(range(start, end)) - covered:
        assert text[place] == SPACE or normaliser.drops(text[start:end], place - start), (text, text[place])


def test_words__of_real_texts_are_covered(model: TransformerModel, real: list[str]):
    assert len(real) == 500
    for text, encoded in zip(real, model.encode(real), strict=True):
        check_words(model, text, encoded)


@examples(max_examples=100, deadline=None)
@given(text=hostile)
def test_words__of_hostile_texts_are_covered(model: TransformerModel, text: str):
    check_words(model, text, model.encode([text])[0])


@examples(max_examples=30, deadline=None)
@given(texts=st.lists(hostile, min_size=2, max_size=5))
def test_encode__a_text_is_the_same_alone_and_among_others(model: TransformerModel, texts: list[str]):
    assert model.encode(texts) == [model.encode([text])[0] for text in texts]


def test_words__that_vanish_whole_are_listed(model: TransformerModel, kind: str):
    text = "dull \u200b script \x00\x07 \u0301 ending"
    alignment = align(text, model.encode([text])[0])
    dropped = (1, 3, 4) if kind in ("word_piece", "marked_word_piece") else ()
    assert alignment.vanished == dropped
    kept = [position for position in range(6) if position not in dropped]
    assert [word.position for word in alignment.words if not word.special] == kept


class Plain:
    """A model read with transformers alone, one text at a time."""

    def __init__(self, folder: Path, name: str, model: TransformerModel) -> None:
        encoder = name in ENCODERS
        auto: Any = (
            transformers.AutoModelForSequenceClassification if encoder else transformers.AutoModelForCausalLM
        )
        self._network = auto.from_pretrained(folder).eval()
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.encoder = encoder
        prompt: dict[str, Any] = (
            {"before": "", "after": "", "lead": ()} if model.asked is None else model.asked["prompt"]
        )
        self._before, self._after, self._lead = (prompt[key] for key in ("before", "after", "lead"))
        self._limit = model.max_length

    def __call__(self, text: str) -> tuple[list[tuple[int, int]], list[Tensor]]:
        """Characters of the text that each sub-word covers, and the hidden states of all layers."""
        whole = self._before + text + self._after
        given = {"truncation": self.encoder, "max_length": self._limit if self.encoder else None}
        made = self._tokenizer(whole, add_special_tokens=self.encoder, return_offsets_mapping=True, **given)
        shift, own = len(self._before), made["offset_mapping"]
        spans = [(0, 0)] * len(self._lead) + [(start - shift, end - shift) for start, end in own]
        ids = torch.tensor([[*self._lead, *made["input_ids"]]])
        with torch.no_grad():
            states = self._network(input_ids=ids, output_hidden_states=True).hidden_states
        return spans, [each[0] for each in states]


def by_hand(plain: Plain, texts: Sequence[str]) -> tuple[list[str], list[Tensor], list[Tensor]]:
    """Words, the vectors of their last sub-words and of the sentences' first sub-words or means, per layer."""
    words: list[str] = []
    vectors: list[list[Tensor]] = [[] for _ in range(LAYERS + 1)]
    sentences: list[list[Tensor]] = [[] for _ in range(LAYERS + 1)]
    for text in texts:
        spans, states = plain(text)
        lasts = [0] if plain.encoder else []
        words += ["[CLS]"] if plain.encoder else []
        for match in re.finditer(r"\S+", text):
            touching = [i for i, (start, end) in enumerate(spans) if start < match.end() and end > match.start()]
            if touching:
                lasts.append(touching[-1])
                words.append(match.group())
        for layer, of_layer in enumerate(states):
            vectors[layer].extend(of_layer[lasts])
            sentences[layer].append(of_layer[0] if plain.encoder else of_layer[lasts].mean(0))
    return words, [torch.stack(each) for each in vectors], [torch.stack(each) for each in sentences]


def assert_close(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert float(((found - expected).norm(dim=1) / expected.norm(dim=1)).max()) <= 1e-5


def check_store(
    cache: ArtifactCache, folder: Path, kind: str, model: TransformerModel, texts: Sequence[str]
) -> None:
    splits = {Split.train: [Sentence(str(index), text, 0, str(index)) for index, text in enumerate(texts)]}
    layers = range(LAYERS + 1)
    store = extract(cache, model, splits, layers, ActivationSettings(batch_tokens=1500), model.max_length)
    words, vectors, sentences = by_hand(Plain(folder, OF_KIND[kind], model), texts)
    assert store.word_column("word").to_pylist() == words
    for layer in layers:
        assert_close(store.words(layer), vectors[layer])
        assert_close(store.sentence_representations(layer, Split.train), sentences[layer])


def test_store__is_what_a_plain_loop_of_transformers_finds(
    tmp_path: Path, folders: Folders, kind: str, model: TransformerModel
):
    assert model.pooling is (SentencePooling.cls if OF_KIND[kind] in ENCODERS else SentencePooling.mean)
    check_store(ArtifactCache(tmp_path), folders(OF_KIND[kind]), kind, model, reviews())


@pytest.mark.slow
def test_store__of_real_texts_is_what_a_plain_loop_of_transformers_finds(
    tmp_path: Path, folders: Folders, kind: str, model: TransformerModel, real: list[str]
):
    whole = [text for text in real if not model.encode([text])[0].cut and not (set(LITERALS) & set(text.split()))]
    assert len(whole) > 450
    check_store(ArtifactCache(tmp_path), folders(OF_KIND[kind]), kind, model, whole)

"""How many sentences, words and sub-words each step of a cell reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clvq_exp.activations.alignment import white_space_tokens
from clvq_exp.concepts.word_filter import AT_LEAST, AT_MOST
from clvq_exp.config import Config
from clvq_exp.estimate.network import NetworkSizes
from clvq_exp.language_models.prompt import ANSWERS, TEXT
from clvq_exp.records import LabelledTexts, Sentence
from clvq_exp.seeding import numpy_generator
from clvq_exp.settings import ModelKind
from clvq_exp.texts import evenly_spaced, store_sizes, subset

SUB_WORDS_PER_WORD = 1.35
"""English prose under vocabularies of 30,000 to 50,000, where no tokenizer is at hand."""
SAMPLE = 200
"""Texts that are tokenised to measure it."""
ASSUMED_SENTENCES = 14_000
"""Training sentences (validation included) where there are no texts: those of the paper's ERASER-Movie."""
ASSUMED_DEV = 856
ASSUMED_WORDS = 28
FREQUENT_SHARE = 0.3
"""Training words that the filter by word types keeps, sentence tokens included: 0.27 of 106,377 (ERASER-Movie),
0.35 of 88,166 (AG News), 0.30 of 21,533 (Rotten Tomatoes)."""
_TEMPLATE = 12
"""Sub-words that a chat template puts around a prompt."""

Words = NDArray[np.int64]
"""White-space words of each sentence."""


class GivenTexts(NamedTuple):
    """What the user states about texts that are not there."""

    sentences: int | None = None
    """Training sentences, validation included."""
    words_per_sentence: int | None = None


class Tokens(NamedTuple):
    """How words become sub-words."""

    per_word: float
    around: int
    """Sub-words beside the text: special tokens, or the prompt."""
    limit: int
    """Longest input."""
    sentence_token: bool
    """Whether a sentence token is stored beside the words."""
    measured: bool
    """False: `SUB_WORDS_PER_WORD` stands in."""

    def of(self, words: Words) -> NDArray[np.float64]:
        """Sub-words of each sentence."""
        return np.minimum(words * self.per_word + self.around, self.limit)

    def stored(self, words: Words) -> Words:
        """Words of each sentence that get an activation."""
        room = int((self.limit - self.around) / self.per_word)
        return np.minimum(words, max(1, room)) + int(self.sentence_token)


class Corpus(NamedTuple):
    """Words of the sentences that each step reads."""

    fine_tuning: Words
    train: Words
    """Of the store."""
    validation: Words
    dev: Words
    refit: Words
    tokens: Tokens
    frequent_share: float = FREQUENT_SHARE
    """Training words that the filter by word types keeps."""

    @property
    def stored(self) -> Words:
        """Stored words of all sentences of the store."""
        return self.tokens.stored(np.concatenate([self.train, self.validation, self.dev]))

    @property
    def training_words(self) -> int:
        """Stored words of the training sentences."""
        return int(self.tokens.stored(self.train).sum())

    @property
    def validation_words(self) -> int:
        """Stored words of the validation sentences."""
        return int(self.tokens.stored(self.validation).sum())

    @property
    def dev_words(self) -> int:
        """Stored words of the dev sentences."""
        return int(self.tokens.stored(self.dev).sum())

    @property
    def frequent_words(self) -> int:
        """Those that the filter by word types keeps."""
        return round(self.training_words * self.frequent_share)


def corpus_of(config: Config, texts: LabelledTexts, tokens: Tokens) -> Corpus:
    """What the steps of a cell read, counted in its texts; the draws are those of the run."""
    budget, seed = config.trainer.sentences, config.dataset.split_seed
    everything = (*texts.train, *texts.validation)
    n_train, n_validation = store_sizes(len(texts.train), len(texts.validation), budget.concepts)
    training = subset(texts.train, n_train, seed)
    train = _words(training)
    return Corpus(
        fine_tuning=_words(subset(everything, budget.fine_tuning, seed)),
        train=train,
        validation=_words(subset(texts.validation, n_validation, seed)),
        dev=_words(subset(texts.dev, budget.evaluation, seed)),
        refit=train[evenly_spaced(len(train), budget.refit)],
        tokens=tokens,
        frequent_share=frequent_share(training, tokens.sentence_token),
    )


def frequent_share(sentences: Sequence[Sentence], sentence_token: bool) -> float:
    """Share of the words that the filter by word types keeps: of each frequent type some, and all sentence tokens.

    Args:
        sentences: training sentences; texts that are cut count whole.
        sentence_token: whether each has one.
    """
    counts: Counter[str] = Counter()
    for sentence in sentences:
        counts.update(sentence.text[start:end] for start, end in white_space_tokens(sentence.text))
    special = len(sentences) if sentence_token else 0
    kept = special + sum(min(count, AT_MOST) for count in counts.values() if count >= AT_LEAST)
    return kept / max(1, special + counts.total())


def assumed_corpus(config: Config, given: GivenTexts, tokens: Tokens) -> Corpus:
    """The same for texts that are not there: as many as the settings or the user say, all of one length."""
    budget, dataset = config.trainer.sentences, config.dataset
    n = given.sentences or dataset.train_size or ASSUMED_SENTENCES
    words = given.words_per_sentence or ASSUMED_WORDS
    kept = round(n * dataset.validation_share)
    n_train, n_validation = store_sizes(n - kept, kept, budget.concepts)

    def some(most: int, asked: int) -> Words:
        return np.full(min(most, asked) if asked else most, words, dtype=np.int64)

    train = some(n - kept, n_train)
    return Corpus(
        fine_tuning=some(n, budget.fine_tuning),
        train=train,
        validation=some(kept, n_validation),
        dev=some(dataset.dev_size or ASSUMED_DEV, budget.evaluation),
        refit=train[evenly_spaced(len(train), budget.refit)],
        tokens=tokens,
    )


def _words(sentences: Sequence[Sentence]) -> Words:
    counts = (len(white_space_tokens(sentence.text)) for sentence in sentences)
    return np.fromiter(counts, dtype=np.int64, count=len(sentences))


def tokens_of(config: Config, network: NetworkSizes, folder: Path | None, texts: LabelledTexts | None) -> Tokens:
    """How this model cuts these texts: measured on a sample where texts and tokenizer are there."""
    encoder = config.model.kind is ModelKind.encoder
    limit = min(config.model.max_length, network.positions or config.model.max_length)
    prompt = config.dataset.prompt.replace(TEXT, "").replace(ANSWERS, " or ".join(config.dataset.label_names))
    path = None if folder is None else folder / "tokenizer.json"
    if path is None or not path.is_file():
        of_prompt = round(SUB_WORDS_PER_WORD * len(prompt.split())) + _TEMPLATE
        return Tokens(SUB_WORDS_PER_WORD, 2 if encoder else of_prompt, limit, encoder, False)
    cut = _tokenizer(path)
    special: int = len(cut.encode("a").ids) - len(cut.encode("a", add_special_tokens=False).ids)
    of_prompt = len(cut.encode(prompt).ids) + (_TEMPLATE if config.model.chat_template else 0)
    leads = bool(cut.encode("a").special_tokens_mask[0])
    per_word = SUB_WORDS_PER_WORD if texts is None else _measured(cut, texts, config.dataset.split_seed)
    return Tokens(per_word, special if encoder else of_prompt, limit, encoder and leads, texts is not None)


def _tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer

    found: Any = Tokenizer.from_file(str(path))
    found.no_truncation()
    found.no_padding()
    return found


def _measured(tokenizer: Any, texts: LabelledTexts, seed: int) -> float:
    """Sub-words per word over a seeded sample."""
    sentences = (*texts.train, *texts.dev)
    drawn = numpy_generator(seed, "estimate").permutation(len(sentences))[:SAMPLE]
    chosen = [sentences[int(index)].text for index in drawn]
    encoded = tokenizer.encode_batch(chosen, add_special_tokens=False)
    words = sum(len(white_space_tokens(text)) for text in chosen)
    return sum(len(each.ids) for each in encoded) / max(1, words)

"""Made-up labelled texts of the lengths of a real data set, and a tokenizer for them: nothing is fetched."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from clvq_exp.records import LabelledTexts, Sentence

TRAIN, DEV = 13_878, 856
"""Sentences of ERASER-Movie in the paper's Table 9."""
VALIDATION_SHARE = 0.1
LABELS = ("negative", "positive")
SHARES = (0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1)
WORDS = (1, 4, 6, 9, 13, 16, 19, 22, 26, 30, 36, 46, 56, 82, 120, 193)
"""White-space words of ERASER-Movie's 13,878 training sentences at those shares of them; 25.6 on the average."""
DIVIDED = 0.106
"""Words of two sub-words: those texts have 1.106 sub-words a word under BERT's vocabulary."""
STEMS = 2_000
_ENDING = "zq"
_OF_A_DOCUMENT = 9
"""Sentences: 13,878 of 1,600 documents."""


def lengths(n: int, seed: int = 0) -> np.ndarray:
    """Words of so many sentences: the same distribution whatever their number, in an order drawn by the seed."""
    places = (np.arange(n) + 0.5) / n
    drawn = np.rint(np.interp(places, SHARES, WORDS)).astype(np.int64)
    return np.random.default_rng(seed).permutation(drawn)


def stems() -> list[str]:
    """Words of the made-up language: all of one length, so that none begins another."""
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    return ["".join(each) for each in itertools.islice(itertools.product(syllables, repeat=3), STEMS)]


def sentences(n: int, name: str, seed: int) -> list[Sentence]:
    """Labelled sentences; words are as frequent as Zipf's law has them."""
    generator = np.random.default_rng([seed, n])
    words, n_words = np.array(stems()), lengths(n, seed)
    frequency = 1 / np.arange(1, STEMS + 1)
    drawn = generator.choice(STEMS, int(n_words.sum()), p=frequency / frequency.sum())
    ending = np.where(generator.random(len(drawn)) < DIVIDED, _ENDING, "")
    spelt = np.char.add(words[drawn], ending)
    ends = np.cumsum(n_words)
    return [
        Sentence(f"{name}-{row}", " ".join(spelt[end - size : end]), row % 2, f"{name}-{row // _OF_A_DOCUMENT}")
        for row, (end, size) in enumerate(zip(ends.tolist(), n_words.tolist(), strict=True))
    ]


def labelled(train: int = TRAIN, dev: int = DEV) -> LabelledTexts:
    """A data set: the share that early stopping reads is taken from the training sentences."""
    kept = max(1, round(VALIDATION_SHARE * train))
    every = sentences(train, "train", 0)
    return LabelledTexts(
        "made_up",
        LABELS,
        tuple(every[kept:]),
        tuple(every[:kept]),
        tuple(sentences(dev, "dev", 1)),
        f"made up: {train} and {dev} sentences",
    )


def tokenizer(encoder: bool, prompt: str, limit: int) -> Any:
    """A WordPiece tokenizer that knows every stem, the ending, the words of a prompt and single letters.

    Args:
        encoder: put special tokens around a text as BERT does; otherwise one before it as LLaMA does.
        prompt: all that is asked beside texts.
        limit: longest input in sub-words.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] if encoder else ["<pad>", "<unk>", "<s>", "</s>"]
    splitter: Any = pre_tokenizers.BertPreTokenizer()
    asked = [word for word, _ in splitter.pre_tokenize_str(f"{prompt} {' '.join(LABELS)} for or".lower())]
    letters = sorted({*"abcdefghijklmnopqrstuvwxyz0123456789.,:;!?'\"()-", *"".join(asked)})
    pieces = [*names, *letters, *(f"##{each}" for each in letters), f"##{_ENDING}", *stems(), *asked]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    made: Any = Tokenizer(models.WordPiece(vocabulary, unk_token=names[1]))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = splitter
    made.add_special_tokens(names)
    begin, end = names[2], names[3]
    around = [(begin, vocabulary[begin]), (end, vocabulary[end])]
    single = f"{begin} $A {end}" if encoder else f"{begin} $A"
    made.post_processor = processors.TemplateProcessing(single=single, special_tokens=around)
    special = {"pad_token": names[0], "unk_token": names[1]}
    special |= {"cls_token": begin, "sep_token": end} if encoder else {"bos_token": begin, "eos_token": end}
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=limit, **special)

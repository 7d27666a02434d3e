"""From the sub-words of a padded batch to its words and sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clvq_exp.records import Alignment
from clvq_exp.settings import SentencePooling, SubWord


class WordPooling:
    """Index arithmetic from padded sub-words to the words of a batch; the same for every layer.

    Args:
        alignments: words of each sentence of the batch.
        hidden: states of any layer, for their shape and device.
        sub_word: which sub-words stand for a word.
    """

    def __init__(
        self, alignments: Sequence[Alignment], hidden: Float[Tensor, "batch tokens d"], sub_word: SubWord
    ) -> None:
        _, tokens, _ = hidden.shape
        device = hidden.device
        self._mean = sub_word is SubWord.mean
        pieces = list(self._pieces(alignments, tokens, sub_word))
        self._piece = torch.tensor([piece for piece, _ in pieces], dtype=torch.int64, device=device)
        self._word = torch.tensor([word for _, word in pieces], dtype=torch.int64, device=device)
        self._n_sentences = len(alignments)
        self._n_words = sum(len(alignment.words) for alignment in alignments)
        owner = [row for row, alignment in enumerate(alignments) for _ in alignment.words]
        special = [word.special for alignment in alignments for word in alignment.words]
        self._owner = torch.tensor(owner, dtype=torch.int64, device=device)
        self._special = torch.tensor(special, dtype=torch.bool, device=device)

    @staticmethod
    def _pieces(alignments: Sequence[Alignment], tokens: int, sub_word: SubWord) -> Iterator[tuple[int, int]]:
        word_index = 0
        for row, alignment in enumerate(alignments):
            for word in alignment.words:
                chosen = {
                    SubWord.last: word.sub_words[-1:],
                    SubWord.first: word.sub_words[:1],
                    SubWord.mean: word.sub_words,
                }[sub_word]
                for piece in chosen:
                    yield row * tokens + piece, word_index
                word_index += 1

    def words(self, hidden: Float[Tensor, "batch tokens d"]) -> Float[Tensor, "words d"]:
        """Activations of the batch's words, in order."""
        pieces = hidden.reshape(-1, hidden.shape[-1])[self._piece]
        if not self._mean:
            return pieces
        return _group_means(pieces.float(), self._word, self._n_words)

    def finite(self, words: Float[Tensor, "words d"]) -> Bool[Tensor, " batch"]:
        """Whether all values of all words of each sentence are finite."""
        bad = torch.zeros(self._n_sentences, dtype=torch.bool, device=words.device)
        bad[self._owner[~torch.isfinite(words).all(1)]] = True
        return ~bad

    def sentences(
        self,
        hidden: Float[Tensor, "batch tokens d"],
        words: Float[Tensor, "words d"],
        pooling: SentencePooling,
    ) -> Float[Tensor, "batch d"]:
        """Sentence representations h: the sentence token, or the mean over the sentence's own words."""
        if pooling is SentencePooling.cls:
            return hidden[:, 0]
        own = ~self._special
        return _group_means(words[own].float(), self._owner[own], hidden.shape[0])


def _group_means(values: Float[Tensor, "n d"], groups: Tensor, n_groups: int) -> Float[Tensor, "groups d"]:
    sums = values.new_zeros((n_groups, values.shape[1])).index_add_(0, groups, values)
    counts = torch.bincount(groups, minlength=n_groups).clamp(min=1)
    return sums / counts[:, None]

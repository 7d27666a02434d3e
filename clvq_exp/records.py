"""What passes from room to room: frozen records with the shapes in their types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from clvq_exp.settings import Split


class Sentence(NamedTuple):
    """One labelled text."""

    id: str
    """Name of the row in its source."""
    text: str
    label: int
    """Class id."""
    group: str
    """Unit of the bootstrap: the document, or the sentence's own id."""


@dataclass(frozen=True)
class LabelledTexts:
    """A data set, split and ready."""

    name: str
    label_names: tuple[str, ...]
    train: tuple[Sentence, ...]
    """Training sentences without those kept for early stopping."""
    validation: tuple[Sentence, ...]
    """The share of the training sentences that is kept for early stopping."""
    dev: tuple[Sentence, ...]
    fingerprint: str
    """Hash of the source's bytes and of all that was done to them."""
    duplicates_removed: int = 0

    def split(self, split: Split) -> tuple[Sentence, ...]:
        """The sentences of one split."""
        return {Split.train: self.train, Split.validation: self.validation, Split.dev: self.dev}[split]

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.label_names)


class EncodedText(NamedTuple):
    """One text as a language model reads it."""

    input_ids: tuple[int, ...]
    """Sub-word ids, special tokens and prompt included."""
    spans: tuple[tuple[int, int] | None, ...]
    """Characters [start, end) of the text that each sub-word covers; None: special token or prompt."""
    sentence_token: int | None
    """Position of the token that represents the sentence ([CLS], <s>), or None."""
    cut: bool
    """Whether the text was longer than the model's limit."""


class AlignedWord(NamedTuple):
    """A white-space token of a text and the sub-words that make it."""

    position: int
    """Index among the text's white-space tokens; -1 for the sentence token."""
    text: str
    sub_words: tuple[int, ...]
    """Positions in `EncodedText.input_ids`, ascending, never empty."""
    special: bool
    """The sentence token, kept as a word."""


class Alignment(NamedTuple):
    """The words of a text that have activations, and those that have none."""

    words: tuple[AlignedWord, ...]
    """Ordered by position; the sentence token first."""
    vanished: tuple[int, ...]
    """Positions of words that the tokenizer drops whole (control characters, say)."""
    truncated: tuple[int, ...]
    """Positions of words at or after the cut; a word cut in its middle counts here."""


class TokenBatch(NamedTuple):
    """Padded input of a language model."""

    input_ids: Int64[Tensor, "batch tokens"]
    attention_mask: Int64[Tensor, "batch tokens"]


class LanguageModelOutput(NamedTuple):
    """One forward pass."""

    logits: Float[Tensor, "batch classes"]
    """Class logits, float32."""
    hidden: dict[int, Float[Tensor, "batch tokens d"]]
    """Asked layers only."""


class MicroBatch(NamedTuple):
    """A few sentences of like length, padded; part of one optimizer step."""

    source: Float[Tensor, "sentences words d"]
    """Layer l."""
    target: Float[Tensor, "sentences words d"]
    """The layer to rebuild."""
    real: Bool[Tensor, "sentences words"]
    """False marks padding."""
    word_ids: Int64[Tensor, "sentences words"]
    """Row of each word in the store; -1 for padding."""


class ActivationBatch(NamedTuple):
    """One optimizer step: random sentences in length-sorted micro-batches."""

    micro_batches: tuple[MicroBatch, ...]
    """This process's share, which may be empty where several train together."""
    n_words: int
    """Real words in the whole batch, of all processes: what losses are divided by."""
    epoch: int
    step: int
    """Position of the batch in its epoch; (seed, epoch, step) seeds all noise."""


class QuantizerOutput(NamedTuple):
    """What the quantizer makes of encoder outputs (section 2.3)."""

    quantized: Float[Tensor, "sentences words d"]
    """z_q with the straight-through gradient to z_e; zero at padding."""
    codes: Int64[Tensor, "sentences words"]
    """Chosen code of each word; -1 at padding."""
    commitment_sum: Float[Tensor, ""]
    """Sum over real words of the mean over dimensions of (z_e - sg(z_q))^2."""


class CodeStatistics(NamedTuple):
    """Counts and sums of one batch for the EMA of appendix A.2."""

    counts: Float[Tensor, " K"]
    sums: Float[Tensor, "K d"]


class Interval(NamedTuple):
    """A mean with its interval."""

    mean: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """The form written to `metrics.json`."""
        return {"mean": self.mean, "low": self.low, "high": self.high}

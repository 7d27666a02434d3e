"""CLVQ-VAE itself: encoder, quantizer, decoder and the start of the codebook."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class AlphaMode(Enum):
    """How the encoder's mixing weight alpha (eq. 1, Table 12) is set."""

    adaptive = "adaptive"  # learned, at most 0.5
    adaptive_full = "adaptive_full"  # learned, at most 1
    fixed = "fixed"  # the given weight


class LinearStart(Enum):
    """What the encoder's linear map W, b (eq. 1) starts as."""

    default = "default"  # PyTorch's own draw (Table 11)
    identity = "identity"  # W the identity, b zero


class SelfAttention(Enum):
    """Which words of its sentence a word sees in the decoder's self-attention (section 2.4)."""

    bidirectional = "bidirectional"  # all of them: the paper's text
    later_words = "later_words"  # itself and those behind it


class DecoderMemory(Enum):
    """What the decoder's cross-attention looks at (section 2.4)."""

    encoder = "encoder"  # the unquantized encoder output: the paper's text
    quantized = "quantized"  # the codes only: a bottleneck that nothing goes around
    none = "none"  # zeros: no cross-attention information at all


class InitMethod(Enum):
    """How the codebook starts (section 2.3.1)."""

    random = "random"
    kmeans = "kmeans"
    spherical_kmeans = "spherical_kmeans"


class EmaStart(Enum):
    """The counts N_j from which the EMA of appendix A.2 starts."""

    batch_share = "batch_share"  # expected words per batch of each code
    ones = "ones"
    corpus = "corpus"  # words of each code in the whole training split


class TrainedWords(Enum):
    """Which training words the codebook starts from, and encoder, codebook and decoder are trained on."""

    all = "all"
    frequent = "frequent"  # types with at least 5 occurrences, at most 20 kept of each; the sentence token always


class PerplexityOver(Enum):
    """Which words of the validation split perplexity is of."""

    split = "split"  # all of them
    last_batch = "last_batch"  # those of the last batch, in the store's order


class WordsOfConcepts(Enum):
    """Which code a training word counts for when a concept's words are listed (section 4.2.2)."""

    nearest_code = "nearest_code"  # after training
    sampled_code = "sampled_code"  # drawn for it in training, the last draw before the weights that are kept


class TargetLayer(Enum):
    """Which layer the decoder rebuilds."""

    upper = "upper"
    lower = "lower"  # the single-layer baseline


@dataclass(frozen=True)
class EncoderSettings:
    """The adaptive residual encoder (section 2.2, eq. 1)."""

    alpha_mode: AlphaMode = AlphaMode.adaptive
    """How alpha is set."""
    alpha: float = 0.1
    """The weight itself under `alpha_mode=fixed`, 0 to 1."""
    alpha_start: float = 0.2
    """Start of the learned parameter a (before the sigmoid)."""
    linear_start: LinearStart = LinearStart.default
    """What W and b start as."""


@dataclass(frozen=True)
class QuantizerSettings:
    """The vector quantizer (section 2.3)."""

    codebook_size: int = 400
    """K, the number of codes."""
    temperature: float = 1.0
    """tau of eq. 4, in units of squared distance."""
    top_k: int = 5
    """How many nearest codes are sampled from in training; 1 is the argmin."""
    commitment_weight: float = 0.1
    """beta of section 2.5."""
    ema_decay: float = 0.99
    """gamma of appendix A.2, 0 to 1."""
    ema_start: EmaStart = EmaStart.batch_share
    """Counts that the EMA starts from."""
    ema_smoothing: float = 0.0
    """Epsilon of the Laplace smoothing of the EMA's counts, in words; 0: none, as in A.2."""
    revive_below: float = 0.0
    """EMA count, in words of a batch, below which a code is set to a random encoder output; 0: never."""
    trained_words: TrainedWords = TrainedWords.all
    """Training words that are trained on."""
    perplexity_over: PerplexityOver = PerplexityOver.split
    """Words that perplexity is of."""
    words_of_concepts: WordsOfConcepts = WordsOfConcepts.nearest_code
    """Codes by which a concept's words are listed."""


@dataclass(frozen=True)
class DecoderSettings:
    """The transformer decoder (section 2.4)."""

    layers: int = 6
    """Transformer layers."""
    heads: int = 8
    """Attention heads; must divide the model width."""
    feed_forward: int = 2048
    """Width of the feed-forward layers."""
    dropout: float = 0.1
    """Dropout rate, 0 to 1."""
    memory: DecoderMemory = DecoderMemory.encoder
    """What the cross-attention looks at."""
    self_attention: SelfAttention = SelfAttention.bidirectional
    """Which words a word sees in self-attention."""


@dataclass(frozen=True)
class InitSettings:
    """Codebook initialisation (section 2.3.1)."""

    name: str
    """Short name, used in folder names and tables."""
    method: InitMethod
    """Random words, k-means or spherical k-means."""
    seeding_sample: int = 10_000
    """Words that k-means++ sees."""
    max_iterations: int = 100
    """Lloyd iterations at most."""
    tolerance: float = 1e-4
    """Stop when the inertia improves by less than this share."""

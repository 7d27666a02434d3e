"""How a cell is run: activations, training, attribution, probe, evaluation and logging."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from clvq_exp.settings.method import (
    DecoderMemory,
    EmaStart,
    LinearStart,
    PerplexityOver,
    SelfAttention,
    TrainedWords,
    WordsOfConcepts,
)
from clvq_exp.settings.subject import LabelTokens


class SubWord(Enum):
    """Which sub-word's activation stands for a word."""

    last = "last"
    first = "first"
    mean = "mean"


class StoreDtype(Enum):
    """Number format of stored activations."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class TrainingPrecision(Enum):
    """What the products of a concept model are computed in while it is trained."""

    float32 = "float32"
    tf32 = "tf32"
    bfloat16 = "bfloat16"


class Split(Enum):
    """The splits of a store: `validation` is the 10% for early stopping."""

    train = "train"
    validation = "validation"
    dev = "dev"


class WeightDecayOn(Enum):
    """Which parameters decay."""

    all_but_biases = "all_but_biases"  # Table 11: codebook and biases excluded
    weights_only = "weights_only"  # norms excluded too
    everything = "everything"


class AttributionAt(Enum):
    """Where Layer Integrated Gradients leads its path."""

    embeddings = "embeddings"  # the output of the embeddings (A.7)
    lower_layer = "lower_layer"  # the output of layer l


class AttributionBaseline(Enum):
    """Where that path begins."""

    pad_ids = "pad_ids"  # pad ids in the text's place, special tokens and prompt kept
    token_zero = "token_zero"  # token id 0 in the place of every token


class WordScore(Enum):
    """A word's attribution, from those of its sub-words."""

    sum = "sum"  # their sum, in logits
    max_absolute = "max_absolute"  # the largest absolute value, as a share of the L2 norm over all sub-words


class SalientBy(Enum):
    """What the salient word is highest in."""

    score = "score"  # section 4.1.1
    absolute_score = "absolute_score"


class ProbeTrainedOn(Enum):
    """What a probe learns from, and what it is stopped on."""

    training_split = "training_split"  # the training split; stopped on the validation split
    dev_folds = "dev_folds"  # the other folds of dev; stopped on the fold that it then reads


@dataclass(frozen=True)
class ActivationSettings:
    """Extraction and storage of activations."""

    sub_word: SubWord = SubWord.last
    """Which sub-word stands for a word."""
    dtype: StoreDtype = StoreDtype.float32
    """Number format on disk."""
    layers: list[int] = field(default_factory=list[int])
    """Further layers to keep beside the pair."""
    batch_tokens: int = 4096
    """Sub-words (padding included) of one forward pass."""


@dataclass(frozen=True)
class ProtocolSettings:
    """Where the paper's text and good practice differ; `docs/protocols.md` has the table."""

    name: str
    """`paper`, `reference` or `strict`."""
    linear_start: LinearStart
    """Default of `encoder.linear_start`."""
    self_attention: SelfAttention
    """Default of `decoder.self_attention`."""
    decoder_memory: DecoderMemory
    """Default of `decoder.memory`."""
    trained_words: TrainedWords
    """Default of `quantizer.trained_words`."""
    ema_start: EmaStart
    """Default of `quantizer.ema_start`."""
    ema_smoothing: float
    """Default of `quantizer.ema_smoothing`, words."""
    weight_decay_on: WeightDecayOn
    """Default of `weight_decay_on`."""
    max_epochs: int
    """Default of `trainer.max_epochs`."""
    patience: int
    """Default of `trainer.patience`, epochs."""
    attribution_at: AttributionAt
    """Default of `attribution.at`."""
    attribution_baseline: AttributionBaseline
    """Default of `attribution.baseline`."""
    attribution_steps: int
    """Default of `trainer.attribution_steps`."""
    attribution_adaptive: bool
    """Default of `attribution.adaptive`."""
    word_score: WordScore
    """Default of `attribution.word_score`."""
    salient_by: SalientBy
    """Default of `attribution.salient_by`."""
    sentence_token_can_be_salient: bool
    """Default of `attribution.sentence_token_can_be_salient`."""
    label_tokens: LabelTokens
    """Default of `model.label_tokens`."""
    perplexity_over: PerplexityOver
    """Default of `quantizer.perplexity_over`."""
    probe_trained_on: ProbeTrainedOn
    """Default of `probe.trained_on`."""
    words_of_concepts: WordsOfConcepts
    """Default of `quantizer.words_of_concepts`."""
    remove_duplicates: bool
    """Drop repeated texts, also across splits."""


PROTOCOL_KEYS = {
    "encoder.linear_start": "linear_start",
    "decoder.self_attention": "self_attention",
    "decoder.memory": "decoder_memory",
    "quantizer.trained_words": "trained_words",
    "quantizer.ema_start": "ema_start",
    "quantizer.ema_smoothing": "ema_smoothing",
    "weight_decay_on": "weight_decay_on",
    "trainer.max_epochs": "max_epochs",
    "trainer.patience": "patience",
    "attribution.at": "attribution_at",
    "attribution.baseline": "attribution_baseline",
    "attribution.steps": "attribution_steps",
    "attribution.adaptive": "attribution_adaptive",
    "attribution.word_score": "word_score",
    "attribution.salient_by": "salient_by",
    "attribution.sentence_token_can_be_salient": "sentence_token_can_be_salient",
    "model.label_tokens": "label_tokens",
    "quantizer.perplexity_over": "perplexity_over",
    "probe.trained_on": "probe_trained_on",
    "quantizer.words_of_concepts": "words_of_concepts",
}
"""Keys that take their value from a field of the protocol; `remove_duplicates` is read from it directly."""


@dataclass(frozen=True)
class SentenceBudget:
    """How many sentences each step uses; 0 means all."""

    fine_tuning: int = 0
    """Training sentences to fine-tune on."""
    concepts: int = 0
    """Training sentences whose activations train the concept model and the probe."""
    evaluation: int = 0
    """Dev sentences that are attributed, ablated and read."""
    refit: int = 2000
    """Training sentences attributed for the refit probe."""


@dataclass(frozen=True)
class TrainerSettings:
    """Training of CLVQ-VAE, sizes and hardware of a run."""

    name: str
    """`default` or `demo`."""
    sentences: SentenceBudget
    """How many sentences each step uses."""
    max_epochs: int
    """Epochs at most."""
    patience: int
    """Epochs without a better validation loss before stopping."""
    attribution_steps: int
    """Steps of the integral (the first count tried, when adaptive)."""
    fine_tuning_epochs: int
    """Default of `fine_tuning.epochs`."""
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    """Default of `seeds`: one concept model and one probe for each."""
    learning_rate: float = 5e-3
    """Adam's rate (Table 11)."""
    weight_decay: float = 1e-4
    """L2 penalty of Adam (Table 11)."""
    batch_size: int = 128
    """Sentences per optimizer step (Table 11)."""
    micro_batch_words: int = 1024
    """Padded words per forward and backward pass."""
    gradient_clip: float = 0.0
    """Largest gradient norm; 0 switches clipping off."""
    precision: TrainingPrecision = TrainingPrecision.float32
    """Of the products in training; `tf32` is for GPUs. Encoder outputs, distances to codes, the codebook, losses,
    weights and Adam's moments are float32 in every case."""
    packed: bool = True
    """On a CPU the decoder multiplies no padding: faster, with other dropout. A GPU runs padding along."""
    plateau_factor: float = 0.5
    """ReduceLROnPlateau: factor."""
    plateau_patience: int = 5
    """ReduceLROnPlateau: epochs."""
    num_workers: int = 0
    """Processes that read the store; 0 reads in the training process."""
    resident_gib: float = 4.0
    """Keep the activations of the pair in memory when they take no more than this, in GiB."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:0`."""
    devices: int = 1
    """Processes that share extraction and attribution, and train a concept model together: each has a GPU, or its
    share of the cores. A model that `model.device_map` spreads over all GPUs is run by one process."""


@dataclass(frozen=True)
class AttributionSettings:
    """Layer Integrated Gradients (appendix A.7)."""

    steps: int
    """Steps of the integral (the first count tried, when adaptive)."""
    adaptive: bool
    """Twice as many steps and one, sentence by sentence, until `tolerance` holds."""
    max_steps: int = 512
    """Most steps tried, when adaptive."""
    tolerance: float = 0.01
    """Convergence delta as a share of the change of the logit."""
    batch_tokens: int = 4096
    """Sub-words (padding included) of one internal batch."""
    sentence_token_can_be_salient: bool = True
    """Whether [CLS] may be the salient word."""
    at: AttributionAt = AttributionAt.embeddings
    """Where the path leads."""
    baseline: AttributionBaseline = AttributionBaseline.pad_ids
    """Where the path begins."""
    word_score: WordScore = WordScore.sum
    """A word's score from those of its sub-words."""
    salient_by: SalientBy = SalientBy.score
    """What the salient word is highest in."""


@dataclass(frozen=True)
class ProbeSettings:
    """The probe of section 4.1.1: d -> hidden -> classes."""

    hidden: int = 64
    """Hidden units."""
    dropout: float = 0.2
    """Dropout rate."""
    learning_rate: float = 1e-3
    """Adam's rate."""
    batch_size: int = 32
    """Sentences per step."""
    max_epochs: int = 100
    """Epochs at most."""
    patience: int = 5
    """Epochs without a better held-out loss (under `trained_on=dev_folds`: accuracy) before stopping."""
    trained_on: ProbeTrainedOn = ProbeTrainedOn.training_split
    """What it learns from."""
    folds: int = 20
    """Folds of dev under `trained_on=dev_folds`."""


@dataclass(frozen=True)
class EvaluationSettings:
    """Intervals, tests and the live intervention."""

    bootstrap_samples: int = 2000
    """Resamples of every interval."""
    confidence: float = 0.95
    """Coverage of every interval, 0 to 1."""
    permutations: int = 10_000
    """Sign flips of the paired test between methods."""
    intervention: bool = True
    """Remove the same directions inside the live model too."""
    example_sentences: int = 20
    """Sentences shown in the report."""
    seed: int = 1234
    """Seed of bootstrap, permutations and choice of examples; not varied by `seeds`."""


@dataclass(frozen=True)
class SpecificitySettings:
    """Specificity of the concepts (revision 4.2.1)."""

    shuffles: int = 100
    """Draws of shuffled labels behind each baseline; 0 leaves the baselines out."""
    sentences: int = 4000
    """Training sentences whose pairs are compared, drawn without replacement; 0 means all."""
    min_count: int = 5
    """Times that a content word must occur under each of the two labels compared, at least 1."""
    examples: int = 50
    """Words that the table of examples shows, for each seed."""
    largest_matching: int = 4096
    """Concepts up to which codebooks are matched over seeds: memory grows with the square, time with the cube."""
    seed: int = 1234
    """Seed of the shuffled labels and of the drawn sentences; not varied by `seeds`."""


@dataclass(frozen=True)
class LoggerSettings:
    """Where training curves and summaries go besides the run folder."""

    name: str
    """`none`, `csv` or `wandb`."""
    project: str = "clvq_exp"
    """W&B project."""
    group: str | None = None
    """W&B group; None for the name of the sweep that the cell is part of, or of the cell where it runs alone."""

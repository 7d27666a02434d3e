"""How a cell is run: activations, training, attribution, probe, evaluation and logging."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from clvq_exp.settings.method import DecoderMemory
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
    """`paper` or `strict`."""
    decoder_memory: DecoderMemory
    """Default of `decoder.memory`."""
    weight_decay_on: WeightDecayOn
    """Which parameters decay."""
    max_epochs: int
    """Default of `trainer.max_epochs`."""
    patience: int
    """Default of `trainer.patience`, epochs."""
    attribution_steps: int
    """Default of `trainer.attribution_steps`."""
    attribution_adaptive: bool
    """Double the steps per sentence until the convergence delta is small."""
    sentence_token_can_be_salient: bool
    """Whether [CLS] may be the salient word."""
    label_tokens: LabelTokens
    """Default of `model.label_tokens`."""
    remove_duplicates: bool
    """Drop repeated texts, also across splits."""


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


@dataclass(frozen=True)
class AttributionSettings:
    """Layer Integrated Gradients (appendix A.7)."""

    steps: int
    """Steps of the integral (the first count tried, when adaptive)."""
    adaptive: bool
    """Double the steps per sentence until `tolerance` holds."""
    max_steps: int = 512
    """Most steps tried, when adaptive."""
    tolerance: float = 0.01
    """Convergence delta as a share of the change of the logit."""
    batch_tokens: int = 4096
    """Sub-words (padding included) of one internal batch."""
    sentence_token_can_be_salient: bool = True
    """Whether [CLS] may be the salient word."""


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
    """Epochs without a better held-out loss before stopping."""


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
class LoggerSettings:
    """Where training curves and summaries go besides the run folder."""

    name: str
    """`none`, `csv` or `wandb`."""
    project: str = "clvq_exp"
    """W&B project."""
    group: str | None = None
    """W&B group, a sweep's name."""

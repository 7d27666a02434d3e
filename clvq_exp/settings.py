"""The typed arguments of every room: plain dataclasses, standard library only.

`config.py` composes them into the schema of the whole configuration, so each knob is written down once:
here, with its unit and the paper's symbol. Rooms take these objects and never see Hydra or OmegaConf.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class ModelKind(Enum):
    """What kind of language model is under study."""

    encoder = "encoder"
    decoder = "decoder"


class FineTune(Enum):
    """When the language model is fine-tuned before it is studied."""

    auto = "auto"  # only where the checkpoint has no classification head
    always = "always"
    never = "never"


class SentencePooling(Enum):
    """What represents a sentence at a layer (section 4.1.1)."""

    cls = "cls"
    mean = "mean"


class NumberFormat(Enum):
    """Number format of the language model's weights and arithmetic."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class LastLayer(Enum):
    """What the last layer is where a final norm follows the last block."""

    after_norm = "after_norm"  # the last of the network's own hidden states
    before_norm = "before_norm"


class LabelTokens(Enum):
    """What a decoder answers with (appendix A.7)."""

    digits = "digits"  # the class ids
    words = "words"  # dataset.label_words, else dataset.label_names


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


class AlphaMode(Enum):
    """How the encoder's mixing weight alpha (eq. 1, Table 12) is set."""

    adaptive = "adaptive"  # learned, at most 0.5
    adaptive_full = "adaptive_full"  # learned, at most 1
    fixed = "fixed"  # the given weight


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


class WeightDecayOn(Enum):
    """Which parameters decay."""

    all_but_biases = "all_but_biases"  # Table 11: codebook and biases excluded
    weights_only = "weights_only"  # norms excluded too
    everything = "everything"


class TargetLayer(Enum):
    """Which layer the decoder rebuilds."""

    upper = "upper"
    lower = "lower"  # the single-layer baseline


class Split(Enum):
    """The splits of a store: `validation` is the 10% for early stopping."""

    train = "train"
    validation = "validation"
    dev = "dev"


@dataclass(frozen=True)
class ModelSettings:
    """The language model under study."""

    name: str
    """Short name, used in folder names and tables."""
    kind: ModelKind
    """Encoder (classification head) or decoder (label tokens after a prompt)."""
    default_lower: int | None = None
    """Lower layer l of the pair when `layer_pair=default`."""
    default_upper: int | None = None
    """Upper layer h of the pair when `layer_pair=default`."""
    path: str | None = None
    """A folder with `config.json`, safetensors weights and a fast tokenizer; wins over package and hub."""
    package: str | None = None
    """An installed distribution that carries the weights."""
    package_folder: str | None = None
    """The folder inside that distribution."""
    package_list: str = "assets.txt"
    """The list of packages, beside the README, that names that distribution."""
    hub_id: str | None = None
    """Name on the Hugging Face hub."""
    revision: str | None = None
    """Commit, tag or branch on the hub."""
    max_length: int = 512
    """Longest input in sub-words, special tokens included; longer texts are cut at a word."""
    sentence_pooling: SentencePooling = SentencePooling.cls
    """What represents a sentence."""
    number_format: NumberFormat = NumberFormat.float32
    """Number format of weights and arithmetic; attribution and projections add up in float32 all the same."""
    device_map: str | None = None
    """`auto` spreads the model over all devices (accelerate); None: the whole model on `trainer.device`."""
    last_layer: LastLayer = LastLayer.after_norm
    """What the last layer is where a final norm follows the last block."""
    label_tokens: LabelTokens = LabelTokens.digits
    """What a decoder answers with."""
    chat_template: bool = True
    """Put a decoder's prompt into the tokenizer's chat template, where it has one."""
    calibration: bool = False
    """Contextual calibration: take off what a decoder answers to texts without content."""
    blocks_module: str | None = None
    """Dotted name of the list of transformer blocks, where it cannot be found from the structure."""
    final_norm_module: str | None = None
    """Dotted name of the norm behind the last block, where it cannot be found from the structure."""
    gguf_file: str | None = None
    """File name of GGUF weights in `path` or `package_folder`; converted once to safetensors in the cache."""
    allow_pickle: bool = False
    """Take tensors, and nothing else, out of `pytorch_model.bin` where there is no safetensors file."""
    allow_remote_code: bool = False
    """Run Python files that come with the model, with all the user's rights."""


@dataclass(frozen=True)
class FineTuningSettings:
    """Fine-tuning of an encoder by `transformers.Trainer`."""

    when: FineTune = FineTune.auto
    """Whether to fine-tune."""
    epochs: int = 3
    """Passes over the training sentences."""
    learning_rate: float = 5e-5
    """Peak rate of AdamW, linear warm-up and decay."""
    batch_size: int = 32
    """Sentences per step."""
    warmup_share: float = 0.06
    """Share of the steps spent warming up, 0 to 1."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay."""
    seed: int = 42
    """Seed of the head, the order and dropout. Not varied by `seeds`: the language model stays."""


class OriginalForm(Enum):
    """The form that the publisher of a data set gives it, which is looked for before the plain forms."""

    none = "none"
    eraser = "eraser"  # movies.tar.gz of the ERASER benchmark, or its folder
    jigsaw = "jigsaw"  # Kaggle's train.csv of the Toxic Comment Classification Challenge
    agnews = "agnews"  # train.csv and test.csv of AG's corpus: class, title, description, no header


@dataclass(frozen=True)
class DatasetSettings:
    """Labelled texts and how to read them."""

    name: str
    """Short name, used in folder names and tables."""
    label_names: list[str]
    """Class names; the position is the class id."""
    label_meanings: list[str]
    """What each class means, as shown to readers and judges."""
    path: str | None = None
    """A file, or a folder with `train` and `dev` files; wins over package and hub."""
    package: str | None = None
    """An installed distribution that carries the file."""
    package_file: str | None = None
    """The file inside that distribution."""
    hub_id: str | None = None
    """Name on the Hugging Face hub, read where neither path nor package is given."""
    hub_config: str | None = None
    """Configuration of that data set; None: its only one."""
    revision: str | None = None
    """Commit, tag or branch on the hub."""
    hub_train: str = "train"
    """Name of the hub's split to train on."""
    hub_dev: str | None = None
    """Name of the hub's split to read at the end; None: dev is drawn from `hub_train`."""
    original: OriginalForm = OriginalForm.none
    """The publisher's own form."""
    what_belongs_there: str = "a JSONL, CSV or Parquet file, or a folder with a train and a dev file"
    """Shown in the error when no file is found."""
    text_column: str = "text"
    """Column that holds the text."""
    label_column: str = "label"
    """Column that holds the label."""
    id_column: str | None = "id"
    """Column that holds a name of the row; rows without one are numbered."""
    group_column: str | None = None
    """Column of the unit of the bootstrap (a document); dots reach into nested JSON. None: the sentence."""
    label_values: dict[str, int] = field(default_factory=dict[str, int])
    """Raw label -> class id; empty: labels are class ids or label names already."""
    drop_labels: list[str] = field(default_factory=list[str])
    """Raw labels whose rows are left out."""
    drop_repeats: bool = False
    """Drop rows that repeat both text and label of an earlier row of their file, whatever the protocol."""
    train_size: int = 0
    """Rows drawn to train on (validation included), balanced by label; 0: all. Unit: sentences."""
    dev_size: int = 0
    """Rows drawn for dev, balanced by label; 0: all of the dev file. Unit: sentences."""
    split_seed: int = 13
    """Seed of these draws."""
    validation_share: float = 0.1
    """Share of the training sentences kept for early stopping, 0 to 1."""
    prompt: str = "Which label fits this text? Answer {answers}.\n\nText: {text}\n\nAnswer:"
    """What decoders read: `{text}` once, and at most once `{answers}`, the list of the answers."""
    label_words: list[str] = field(default_factory=list[str])
    """What decoders answer where `model.label_tokens=words`; empty: `label_names`."""
    judge_guidance: str = (
        "**Guidance:**\nAccept concepts that show a connection to the predicted label, even if they could fit "
        "another label too. Texts can be mixed: focus on what dominates."
    )
    """What judges are told about this data set (appendix A.3.2), its heading included."""
    content_warning: str | None = None
    """Shown at the top of reports."""


@dataclass(frozen=True)
class LayerPair:
    """The two layers of a cell: layer i is `hidden_states[i]`, 0 the embeddings."""

    lower: int
    """Layer l that is quantized and ablated."""
    upper: int
    """Layer h that is rebuilt."""

    @property
    def name(self) -> str:
        """The pair as the paper writes it, `8-12`."""
        return f"{self.lower}-{self.upper}"


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
class EncoderSettings:
    """The adaptive residual encoder (section 2.2, eq. 1)."""

    alpha_mode: AlphaMode = AlphaMode.adaptive
    """How alpha is set."""
    alpha: float = 0.1
    """The weight itself under `alpha_mode=fixed`, 0 to 1."""
    alpha_start: float = 0.2
    """Start of the learned parameter a (before the sigmoid)."""


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

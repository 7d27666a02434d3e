"""What is studied: the language model, its fine-tuning, the texts and the pair of layers."""

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


class OriginalForm(Enum):
    """The form that the publisher of a data set gives it, which is looked for before the plain forms."""

    none = "none"
    eraser = "eraser"  # movies.tar.gz of the ERASER benchmark, or its folder
    jigsaw = "jigsaw"  # Kaggle's train.csv of the Toxic Comment Classification Challenge
    agnews = "agnews"  # train.csv and test.csv of AG's corpus: class, title, description, no header


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

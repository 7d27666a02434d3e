"""Tokenizers of every kind, trained here, and random-weight models of many families as folders.

A family is a row of values: what transformers calls it, its kind of tokenizer and its own names for sizes.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tiny import review
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

if TYPE_CHECKING:
    from clvq_exp.language_models.transformer import TransformerModel

CORPUS = [
    f"The {part} is {opinion}, I can't say more."
    for part in ("acting", "script", "camera work", "ending")
    for opinion in ("superb", "moving", "dull", "a mess")
]
PROMPT = "Text: {text}\nWhich label fits this text? Answer {answers}.\nAnswer:"
QUESTIONS = [
    PROMPT.format(text="", answers=answers)
    for answers in ("0 for negative or 1 for positive", "negative or positive", "0 for 0 or 1 for 1")
] * 4
LINES = [*CORPUS, *QUESTIONS, *(review(index)[0] for index in range(240))]
ROBERTA = {
    **{"bos": "<s>", "cls": "<s>", "pad": "<pad>"},
    **{"sep": "</s>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"},
}
BERT = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
LLAMA = {"unk": "<unk>", "bos": "<s>", "eos": "</s>"}
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPACE = "▁"


def word_piece(names: Mapping[str, str] = BERT) -> PreTrainedTokenizerFast:
    """BERT's: lower case, accents and control characters dropped, `##` inside words."""
    words = [word for word, _ in _frequent(re.findall(r"\w+", " ".join(LINES).lower()))]
    letters = sorted(set("".join(LINES).lower()) - {" ", "\n"})
    pieces = [*names.values(), *letters, *(f"##{letter}" for letter in letters), *words]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(list(names.values()))
    return _around(tokenizer, names, names["cls"], names["sep"])


def marked_word_piece() -> PreTrainedTokenizerFast:
    """MPNet's: BERT's pieces between RoBERTa's special tokens; pad is id 1."""
    return word_piece({**ROBERTA, "unk": "[UNK]"})


def unigram() -> PreTrainedTokenizerFast:
    """DeBERTa-v2's: SentencePiece's Unigram, NFKC, runs of spaces made one."""
    words = _frequent([f"{SPACE}{word}" for line in LINES for word in line.split()])
    pieces = [(token, 0.0) for token in BERT.values()]
    pieces += [(letter, -12.0) for letter in sorted({SPACE, *"".join(LINES)} - {" ", "\n"})]
    pieces += [(word, math.log(count / len(LINES)) - 6) for word, count in words]
    tokenizer = Tokenizer(models.Unigram(pieces, list(BERT).index("unk")))
    spaces = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Strip(), normalizers.NFKC(), spaces])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(list(BERT.values()))
    return _around(tokenizer, BERT, "[CLS]", "[SEP]")


def _frequent(words: list[str]) -> list[tuple[str, int]]:
    """Words that are seen more than three times, the commonest first; the same ones in every process."""
    counts = sorted(Counter(words).items(), key=lambda each: (-each[1], each[0]))
    return [(word, count) for word, count in counts if count > 3 and len(word) > 1]


def byte_level(trim_offsets: bool = True, add_prefix_space: bool = False) -> PreTrainedTokenizerFast:
    """RoBERTa's: BPE over bytes; pad is id 1, and it knows no limit of its own."""
    tokenizer = _bytes(ROBERTA, add_prefix_space)
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=trim_offsets, add_prefix_space=add_prefix_space
    )
    return _wrapped(tokenizer, ROBERTA)


def bare_bytes() -> PreTrainedTokenizerFast:
    """GPT-2's: BPE over bytes, one special token, nothing put around a text, nothing to pad with."""
    end = {"bos": "<|endoftext|>", "eos": "<|endoftext|>", "unk": "<|endoftext|>"}
    tokenizer = _bytes(end)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return _wrapped(tokenizer, end)


def led_bytes() -> PreTrainedTokenizerFast:
    """OPT's: BPE over bytes; `</s>` comes first and ends as well."""
    names = {"bos": "</s>", "pad": "<pad>", "eos": "</s>", "unk": "</s>"}
    return _around(_bytes(names), names, "</s>")


def chat_bytes() -> PreTrainedTokenizerFast:
    """Qwen's: NFC, BPE over bytes, nothing put around a text, and a chat template."""
    names = {"pad": "<|endoftext|>", "eos": "<|im_end|>"}
    tokenizer = _bytes({**names, "start": "<|im_start|>"})
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return _wrapped(tokenizer, names, chat_template=CHAT)


def metaspace() -> PreTrainedTokenizerFast:
    """SentencePiece's BPE as an encoder has it: NFKC, a mark for every space, bytes for what is unknown."""
    tokenizer = _sentence_piece(ROBERTA)
    tokenizer.normalizer = normalizers.NFKC()
    return _around(tokenizer, ROBERTA, "<s>", "</s>")


def prepended() -> PreTrainedTokenizerFast:
    """Llama 2's: the marks are put in by normalisation; `<s>` comes first, and nothing to pad with."""
    tokenizer = _sentence_piece(LLAMA)
    marks = normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)
    tokenizer.normalizer = normalizers.Sequence(list(marks))
    tokenizer.pre_tokenizer = None  # type: ignore[assignment]  # the stubs of tokenizers lack what it takes
    return _around(tokenizer, LLAMA, "<s>")


def replaced() -> PreTrainedTokenizerFast:
    """Gemma's: as Llama 2's, but no mark before the first word, and with a pad token."""
    names = {**LLAMA, "pad": "<pad>"}
    tokenizer = _sentence_piece(names)
    tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    return _around(tokenizer, names, "<s>")


_WORD_PIECES = (word_piece, marked_word_piece, unigram)
_BYTES = (byte_level, bare_bytes, led_bytes, chat_bytes)
_SENTENCE_PIECES = (metaspace, prepended, replaced)
KINDS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    make.__name__: make for make in (*_WORD_PIECES, *_BYTES, *_SENTENCE_PIECES)
}


def _bytes(names: Mapping[str, str], add_prefix_space: bool = False) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    _train(tokenizer, names, vocab_size=400, initial_alphabet=alphabet)
    return tokenizer


def _sentence_piece(names: Mapping[str, str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    pieces = decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()
    tokenizer.decoder = decoders.Sequence(list(pieces))
    values = [f"<0x{value:02X}>" for value in range(256)]
    _train(tokenizer, names, values, vocab_size=460)
    state = json.loads(tokenizer.to_str())
    # The trainer takes them as special tokens; in a tokenizer of SentencePiece they are pieces like others.
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] not in values]
    return Tokenizer.from_str(json.dumps(state))


def _train(tokenizer: Tokenizer, names: Mapping[str, str], more: Sequence[str] = (), **given: Any) -> None:
    tokens = [*dict.fromkeys([*names.values(), *more])]
    trainer = trainers.BpeTrainer(special_tokens=tokens, show_progress=False, **given)
    tokenizer.train_from_iterator(LINES, trainer)


def _around(
    tokenizer: Tokenizer, names: Mapping[str, str], first: str, last: str | None = None
) -> PreTrainedTokenizerFast:
    """A special token before every text, and one behind it."""
    ends = [token for token in (first, last) if token is not None]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=" ".join([first, "$A", *ends[1:]]),
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ends],
    )
    return _wrapped(tokenizer, names)


def _wrapped(tokenizer: Tokenizer, names: Mapping[str, str], **more: Any) -> PreTrainedTokenizerFast:
    own = {"bos", "eos", "unk", "sep", "pad", "cls", "mask"}
    given = {f"{name}_token": token for name, token in names.items() if name in own}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **given, **more)


class Family(NamedTuple):
    """How transformers names a family, and what its random-weight model is made of."""

    tokenizer: str
    """Its kind, of `KINDS`."""
    sizes: dict[str, Any]
    """Values of its configuration, under its own names."""


LAYERS, WIDTH, POSITIONS = 3, 16, 512
SMALL = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": POSITIONS,
}
GROUPED = {**SMALL, "num_key_value_heads": 1}
HEADS = {**GROUPED, "head_dim": 8}
OLD_SIZES = {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": 2, "n_positions": POSITIONS}

ENCODERS = {
    "Bert": Family("word_piece", SMALL),
    "Roberta": Family("byte_level", SMALL),
    "DistilBert": Family(
        "word_piece",
        {"dim": WIDTH, "n_layers": LAYERS, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": POSITIONS},
    ),
    "MPNet": Family("marked_word_piece", SMALL),
    "ModernBert": Family("byte_level", {**SMALL, "local_attention": 8, "global_attn_every_n_layers": 2}),
    "DebertaV2": Family(
        "unigram", {**SMALL, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "conv_kernel_size": 3}
    ),
    "Electra": Family("word_piece", {**SMALL, "embedding_size": 8}),
    "XLMRoberta": Family("metaspace", SMALL),
}
DECODERS = {
    "Llama": Family("prepended", GROUPED),
    "Qwen2": Family("chat_bytes", {**GROUPED, "pad_token_id": None}),  # its tokenizer alone knows a pad token
    "Qwen3": Family("chat_bytes", {**HEADS, "pad_token_id": None}),
    "GPT2": Family("bare_bytes", OLD_SIZES),
    "Gemma": Family("replaced", HEADS),
    "Mistral": Family("prepended", {**GROUPED, "sliding_window": 48}),
    "Gemma2": Family("replaced", {**HEADS, "final_logit_softcapping": 2.0, "sliding_window": 48}),
    "GPTNeoX": Family("bare_bytes", SMALL),
    "OPT": Family(
        "led_bytes",
        {
            "hidden_size": WIDTH,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 2,
            "ffn_dim": 24,
            "word_embed_proj_dim": WIDTH,
            "max_position_embeddings": POSITIONS,
        },
    ),
    "Phi3": Family("prepended", GROUPED),
    "Falcon": Family("bare_bytes", SMALL),
    "Bloom": Family("bare_bytes", {"hidden_size": WIDTH, "n_layer": LAYERS, "n_head": 2}),
}
FAMILIES = {**ENCODERS, **DECODERS}


def make_config(name: str, tokenizer: Any, **changed: Any) -> Any:
    """The configuration of a small model of a family, for this tokenizer."""
    import transformers

    special = ("pad", "bos", "eos", "cls", "sep")
    ids = {f"{each}_token_id": getattr(tokenizer, f"{each}_token_id", None) for each in special}
    head = {"num_labels": 2, "id2label": {0: "0", 1: "1"}, "label2id": {"0": 0, "1": 1}}
    given = {"vocab_size": len(tokenizer), "initializer_range": 0.3, **ids, **FAMILIES[name].sizes}
    given |= head if name in ENCODERS else {}
    return getattr(transformers, f"{name}Config")(**(given | changed))


def make_network(name: str, tokenizer: Any, **changed: Any) -> Any:
    """A random-weight model of a family, as the auto classes make it."""
    import torch
    import transformers

    auto: Any = (
        transformers.AutoModelForSequenceClassification if name in ENCODERS else transformers.AutoModelForCausalLM
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return auto.from_config(make_config(name, tokenizer, **changed)).eval()


def make_family(folder: Path, name: str, **changed: Any) -> Path:
    """A folder with config.json, model.safetensors, tokenizer.json and tokenizer_config.json."""
    tokenizer = KINDS[FAMILIES[name].tokenizer]()
    make_network(name, tokenizer, **changed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class Folders:
    """Folders of the families' models, each made when it is asked for first."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __call__(self, name: str) -> Path:
        folder = self._root / name
        return folder if folder.exists() else make_family(folder, name)


def open_family(folder: Path, name: str, **changed: Any) -> TransformerModel:
    """The model of a family's folder, with what a test changes in its settings, and another `task`."""
    import torch

    from clvq_exp.language_models.decoder import DecoderModel  # late: the type checker wraps what comes after it
    from clvq_exp.language_models.encoder import EncoderModel
    from clvq_exp.language_models.prompt import Task
    from clvq_exp.settings import ModelKind, ModelSettings, SentencePooling

    cpu = torch.device("cpu")
    if name in ENCODERS:
        settings = ModelSettings(name, ModelKind.encoder, 1, LAYERS, **changed)
        return EncoderModel.load(folder, settings, ["0", "1"], cpu)
    task = changed.pop("task", Task(("negative", "positive"), PROMPT, ()))
    changed.setdefault("sentence_pooling", SentencePooling.mean)
    return DecoderModel.load(folder, ModelSettings(name, ModelKind.decoder, 1, LAYERS, **changed), task, cpu)

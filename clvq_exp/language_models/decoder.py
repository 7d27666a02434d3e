"""Decoder models that answer a prompt with a label, read through `LanguageModel`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from clvq_exp.language_models.base import LanguageModelError
from clvq_exp.language_models.loading import load_checkpoint
from clvq_exp.language_models.prompt import Task, answer_tokens, make_prompt
from clvq_exp.language_models.sources import model_fingerprint
from clvq_exp.language_models.transformer import TransformerModel
from clvq_exp.records import EncodedText
from clvq_exp.settings import ModelSettings

ZERO_EMBEDDING = -1
"""In the place of an id: an embedding of zeros, where the tokenizer has no pad token."""
WITHOUT_CONTENT = ("N/A", "[MASK]", "...")
"""Texts whose answers contextual calibration takes off (Zhao et al. 2021)."""


class _Tokens(NamedTuple):
    """A filled-in prompt."""

    ids: list[int]
    spans: list[tuple[int, int] | None]
    """Characters of the text that each sub-word covers; None: prompt."""


class DecoderModel(TransformerModel):
    """A decoder that is asked for the label, without fine-tuning: any `AutoModelForCausalLM`.

    The class logits are those of the answers' tokens at the position that comes after the prompt.

    Args:
        network: the network. Its output embeddings are replaced by the rows of the answers.
        tokenizer: its fast tokenizer.
        settings: names, limits, what is answered, and the modules that cannot be found from the structure.
        task: classes and prompt.
        fingerprint: hash of the weights and the tokenizer.

    Raises:
        LanguageModelError: a slow tokenizer, answers that cannot be told apart, a prompt that leaves no room
            for the text, or a structure that cannot be read.
    """

    answers_at_end = True

    def __init__(
        self, network: Any, tokenizer: Any, settings: ModelSettings, task: Task, fingerprint: str
    ) -> None:
        self.prompt = make_prompt(tokenizer, settings, task)
        self.answers = answer_tokens(tokenizer, settings.name, self.prompt)
        self._head = _AnswerHead(network, self.answers.first, settings.name)
        self._is_blank: Tensor | None = None
        self.asked = {
            "prompt": self.prompt._asdict(),
            "answer_tokens": self.answers._asdict(),
            "calibration": settings.calibration,
        }
        super().__init__(network, tokenizer, settings, task.label_names, [fingerprint, self.asked])
        self.layer_module(0).register_forward_hook(self._blanked)
        special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        self._special = re.compile("|".join(map(re.escape, special)) or "(?!)")
        self._bias: Tensor | None = None
        if settings.calibration:
            self._bias = self._answers_without_content()

    @classmethod
    def load(cls, folder: Path, settings: ModelSettings, task: Task, device: torch.device) -> DecoderModel:
        """Load a folder.

        Raises:
            LanguageModelError: files that are refused, or a prompt that does not fit the model.
        """
        network, tokenizer = load_checkpoint(folder, settings, device)
        loaded = cls(network, tokenizer, settings, task, model_fingerprint(folder, settings))
        loaded.check_layers()
        return loaded

    def encode(self, texts: Sequence[str]) -> list[EncodedText]:
        """Put texts into the prompt and tokenise; a long text is cut at a word, the prompt never.

        Raises:
            LanguageModelError: a limit that leaves no room for the text.
        """
        room = self.max_length - len(self.prompt.lead) - len(self.answers.common)
        encoded: list[EncodedText] = []
        for text, tokens in zip(texts, self._tokenised(texts), strict=True):
            kept = text
            while len(tokens.ids) > room:
                kept = self._shortened(kept, tokens, room)
                tokens = self._tokenised([kept])[0]
            ids = (*self.prompt.lead, *tokens.ids, *self.answers.common)
            around = (None,) * len(self.prompt.lead), (None,) * len(self.answers.common)
            encoded.append(EncodedText(ids, (*around[0], *tokens.spans, *around[1]), None, kept != text))
        return encoded

    def _tokenised(self, texts: Sequence[str]) -> list[_Tokens]:
        before, after = self.prompt.before, self.prompt.after
        plain = [text for text in texts if not self._special.search(text)]
        found = iter(self._plain_tokens([f"{before}{text}{after}" for text in plain]) if plain else ())
        tokens: list[_Tokens] = []
        for text in texts:
            if self._special.search(text):
                whole, start = self._literal(text)
            else:
                whole, start = next(found), len(before)
            end = start + len(text)
            spans = [
                (max(span[0] - start, 0), min(span[1], end) - start)
                if span is not None and span[0] < end and span[1] > start
                else None
                for span in whole.spans
            ]
            tokens.append(_Tokens(whole.ids, spans))
        return tokens

    def _literal(self, text: str) -> tuple[_Tokens, int]:
        """A prompt in whose text nothing is a special token, and where the text begins in its spans.

        What looks like a special token in a text is text: it must not end the turn of a chat, say. The text is
        read with all of the prompt that no special token parts from it, so that the prompt's tokens stay.
        """
        before, after = self.prompt.before, self.prompt.after
        first = max((match.end() for match in self._special.finditer(before)), default=0)
        last = next((match.start() for match in self._special.finditer(after)), len(after))
        pieces = [before[:first], before[first:] + text + after[:last], after[last:]]
        parts = self._plain_tokens(pieces, (False, True, False))
        around = [[(0, 0)] * len(part.ids) for part in parts]
        ids = [each for part in parts for each in part.ids]
        return _Tokens(ids, [*around[0], *parts[1].spans, *around[2]]), len(before) - first

    def _plain_tokens(self, texts: Sequence[str], as_text: Sequence[bool] | None = None) -> list[_Tokens]:
        """Ids and characters, without special tokens around them; `as_text`: nor inside."""
        given = {"add_special_tokens": False, "return_offsets_mapping": True, "verbose": False}
        if as_text is not None:
            each = [
                self.tokenizer(text, split_special_tokens=literal, **given)
                for text, literal in zip(texts, as_text, strict=True)
            ]
            return [_Tokens(list(one["input_ids"]), list(one["offset_mapping"])) for one in each]
        batch = self.tokenizer(list(texts), **given)
        return [
            _Tokens(list(ids), list(spans))
            for ids, spans in zip(batch["input_ids"], batch["offset_mapping"], strict=True)
        ]

    def _shortened(self, text: str, tokens: _Tokens, room: int) -> str:
        """The text up to the last word that fits; within its first word if that is too long itself."""
        own = [span for span in tokens.spans if span is not None]
        left = len(own) - (len(tokens.ids) - room)
        if left <= 0 or not own or own[left][0] == 0:  # not even the first character fits
            raise LanguageModelError(
                f"model {self.name}: its limit of {self.max_length} sub-words leaves no room for a text beside "
                f"the prompt's {len(tokens.ids) - len(own)}: raise model.max_length, or shorten dataset.prompt"
            )
        end = own[left][0]
        words = [match.end() for match in re.finditer(r"\S+", text) if match.end() <= end]
        return text[: words[-1]] if words else text[: max(1, min(end, len(text) - 1))]

    def class_logits(
        self, input_ids: Int64[Tensor, "batch tokens"], attention_mask: Int64[Tensor, "batch tokens"]
    ) -> Float[Tensor, "batch classes"]:
        """Logits of the answers, in float32; less those of texts without content, when calibrated."""
        blank = input_ids == ZERO_EMBEDDING
        self._is_blank = blank if bool(blank.any()) else None
        self._head.positions = attention_mask.sum(1) - 1
        try:
            output = self.model(
                input_ids=input_ids.clamp(min=0), attention_mask=attention_mask, use_cache=False
            ).logits
        finally:
            self._is_blank, self._head.positions = None, None
        logits = output[:, 0].float()
        return logits if self._bias is None else logits - self._bias

    def _blanked(self, _module: nn.Module, _inputs: object, output: Tensor) -> Tensor | None:
        return None if self._is_blank is None else output.masked_fill(self._is_blank[..., None], 0.0)

    @torch.no_grad()
    def _answers_without_content(self) -> Float[Tensor, " classes"]:
        logits = self.class_logits(*self.pad(self.encode(WITHOUT_CONTENT)))
        return torch.softmax(logits, 1).mean(0).log()

    @property
    def _filler(self) -> int:
        return 0 if self.tokenizer.pad_token_id is None else int(self.tokenizer.pad_token_id)

    @property
    def _blank(self) -> int:
        return ZERO_EMBEDDING if self.tokenizer.pad_token_id is None else int(self.tokenizer.pad_token_id)


class _AnswerHead(nn.Module):
    """The rows of the output embeddings that answer, at one position of each text.

    Takes the place of the network's own output embeddings, so that whatever the network does to logits (a soft
    cap, a scale) is still done, and logits of the whole vocabulary are never made. It computes in float32: logits
    of about 20 are an eighth apart in bfloat16, and classes would tie.
    """

    def __init__(self, network: Any, answers: Sequence[int], name: str) -> None:
        super().__init__()
        found = network.get_output_embeddings()
        if not isinstance(found, nn.Linear):
            raise LanguageModelError(
                f"model {name}: {type(network).__name__} has no linear output embeddings to read answers from; "
                "use a model that AutoModelForCausalLM loads with a language model head"
            )
        own: Any = found
        bias: Tensor | None = own.bias
        rows = torch.tensor(list(answers), device=own.weight.device)
        self.weight = own.weight.detach()[rows].float()
        self.bias = None if bias is None else nn.Parameter(bias.detach()[rows].float(), requires_grad=False)
        self.positions: Tensor | None = None
        """Last position of each text; None reads every position."""
        network.set_output_embeddings(self)

    def forward(self, hidden: Float[Tensor, "batch tokens d"]) -> Float[Tensor, "batch read classes"]:
        """Logits of the answers."""
        if self.positions is not None:
            row = torch.arange(len(hidden), device=hidden.device)
            hidden = hidden[row, self.positions.to(hidden.device)][:, None]
        return nn.functional.linear(hidden.to(self.weight), self.weight, self.bias)

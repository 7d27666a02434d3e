"""A judge in this process: a `transformers` model with safetensors weights."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from clvq_exp.artifacts import fingerprint, folder_checksum
from clvq_exp.judging.ledger import Answer
from clvq_exp.judging.records import JudgingError
from clvq_exp.judging.settings import Judge
from clvq_exp.judging.speakers import Message, StoppedError
from clvq_exp.language_models.base import LanguageModelError
from clvq_exp.language_models.loading import load_checkpoint
from clvq_exp.seeding import scoped_seed
from clvq_exp.settings import ModelKind, ModelSettings

_OPENING = threading.Lock()
"""transformers opens one model at a time: what it sets meanwhile is of the whole process."""


class LocalModel:
    """Asks one model, a question at a time. It is opened when the first question is asked.

    Args:
        judge: with `path`.

    Raises:
        JudgingError: there is no such folder.
    """

    def __init__(self, judge: Judge) -> None:
        assert judge.path is not None
        if not judge.path.is_dir():
            raise JudgingError(f"judge {judge.name}: path {judge.path} is no folder of a model")
        self._judge = judge
        self._path = judge.path
        self._weights = folder_checksum(judge.path)
        self._lock = threading.Lock()
        self._opened: tuple[Any, Any, torch.device] | None = None

    def identity(self) -> Mapping[str, Any]:
        """Weights and settings of the answer."""
        judge = self._judge
        return {"weights": self._weights, "temperature": judge.temperature, "max_tokens": judge.max_tokens}

    def ask(self, messages: Sequence[Message]) -> Answer:
        """Let the model go on behind the messages; sampling is seeded by what was asked."""
        with self._lock:
            network, tokenizer, device = self._open()
            plain = [dict(each) for each in messages]
            if getattr(tokenizer, "chat_template", None):
                text = tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True)
                encoded = tokenizer(text, return_tensors="pt", add_special_tokens=False)
            else:
                encoded = tokenizer("\n\n".join(each["content"] for each in plain), return_tensors="pt")
            ids = encoded["input_ids"].to(device)
            n = int(ids.shape[1])
            most = getattr(network.config, "max_position_embeddings", None)
            if isinstance(most, int) and n + self._judge.max_tokens > most:
                said = f"{n} tokens and {self._judge.max_tokens} of the answer are more than its {most}"
                return Answer(said, True, self._judge.name, 0, 0, False, 0.0)
            given = self._generate(network, tokenizer, ids, fingerprint([self.identity(), plain]))
            said = tokenizer.decode(given[0, n:], skip_special_tokens=True)
            return Answer(said, False, self._judge.name, n, int(given.shape[1]) - n, False, 0.0)

    def _generate(self, network: Any, tokenizer: Any, ids: Any, name: str) -> Any:
        temperature = self._judge.temperature
        sampled = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        with torch.inference_mode(), scoped_seed("judge", name, device=ids.device):
            return network.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=self._judge.max_tokens,
                pad_token_id=pad,
                **sampled,
            )

    def _open(self) -> tuple[Any, Any, torch.device]:
        if self._opened is None:
            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            settings = ModelSettings(self._judge.name, ModelKind.decoder, path=str(self._path))
            try:
                with _OPENING:
                    found = load_checkpoint(self._path, settings, device)
            except LanguageModelError as error:
                raise StoppedError(str(error)) from error
            self._opened = (found.network.eval(), found.tokenizer, device)
        return self._opened

    def close(self) -> None:
        """Nothing can be broken off."""

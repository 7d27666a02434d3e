"""A judge behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import openai

from clvq_exp.credentials import without_credentials
from clvq_exp.judging.ledger import Answer
from clvq_exp.judging.records import JudgingError
from clvq_exp.judging.settings import Judge
from clvq_exp.judging.speakers import AgainError, Message, StoppedError, most_tokens
from clvq_exp.report.text_safety import shorten, visible

_AGAIN = frozenset([408, 409, 425, 429])
"""Besides 5xx."""
_REFUSED = frozenset([400, 413, 422, 451])
"""What an endpoint says to one question: too long for it, or against its rules."""
_NOT_SENT = frozenset(["ConnectError", "ConnectTimeout", "PoolTimeout"])
"""Classes of errors before anything was sent."""
_LONGEST_REASON = 300


class Endpoint:
    """Asks one model at an endpoint; safe to use from several threads.

    Args:
        judge: with `base_url` and `model`.
        timeout: seconds of silence after which a call counts as failed.

    Raises:
        JudgingError: the environment variable of its key is not set; the key itself is shown nowhere.
    """

    def __init__(self, judge: Judge, timeout: float) -> None:
        key = os.environ.get(judge.key, "").strip() if judge.key else "none"
        if not key:
            raise JudgingError(
                f"judge {judge.name}: the environment variable {judge.key} is not set: put the key of "
                f"{judge.base_url} into it"
            )
        self._judge = judge
        self._key = key if judge.key else ""
        self._client = openai.OpenAI(
            api_key=key,
            base_url=judge.base_url,
            timeout=timeout,
            max_retries=0,  # every call is entered in the ledger
        )

    def identity(self) -> Mapping[str, Any]:
        """Endpoint, model and settings of the answer."""
        return {"base_url": str(self._judge.base_url).rstrip("/"), "request": self._settings()}

    def _settings(self) -> dict[str, Any]:
        judge = self._judge
        settings: dict[str, Any] = {"model": judge.model, judge.limit_name: judge.max_tokens}
        if judge.temperature is not None:
            settings["temperature"] = judge.temperature
        if judge.json_mode:
            settings["response_format"] = {"type": "json_object"}
        return settings

    def ask(self, messages: Sequence[Message]) -> Answer:
        """One call; what came of it decides whether it is made again."""
        create: Any = self._client.chat.completions.create
        try:
            found: Any = create(messages=[dict(each) for each in messages], **self._settings())
        except openai.APIStatusError as error:
            return self._status(error)
        except openai.APITimeoutError as error:
            raise AgainError("no answer in time", charged=_was_sent(error)) from error
        except openai.APIConnectionError as error:
            raise AgainError(self._safe(str(error.__cause__ or error)), charged=_was_sent(error)) from error
        except (openai.OpenAIError, ValueError, TypeError) as error:
            raise AgainError(f"its response cannot be read: {self._safe(str(error))}", charged=True) from error
        return self._answer(messages, found)

    def _answer(self, messages: Sequence[Message], found: Any) -> Answer:
        try:
            text = found.choices[0].message.content
        except (AttributeError, IndexError, TypeError) as error:
            raise AgainError("its response holds no answer", charged=True) from error
        text = text if isinstance(text, str) else ""
        counts = [_count(found, name) for name in ("prompt_tokens", "completion_tokens")]
        most = (most_tokens([each["content"] for each in messages]), most_tokens([text]))
        prompt, completion = (most[place] if each is None else each for place, each in enumerate(counts))
        name = getattr(found, "model", None)
        return Answer(
            text,
            False,
            self._safe(name) if isinstance(name, str) else "",
            prompt,
            completion,
            None in counts,
            self._judge.cost(prompt, completion),
        )

    def _status(self, error: openai.APIStatusError) -> Answer:
        """An HTTP status that is no success."""
        said = self._safe(error.message)
        status = error.status_code
        if status in _AGAIN or status >= 500:
            raise AgainError(f"HTTP {status}: {said}", _wait(error.response.headers)) from error
        if status in _REFUSED:
            return Answer(f"HTTP {status}: {said}", True, "", 0, 0, False, 0.0)
        raise StoppedError(f"HTTP {status}: {said}") from error

    def _safe(self, text: str) -> str:
        """What the endpoint says, without the key, in one line that does nothing but show."""
        without = text.replace(self._key, f"<{self._judge.key}>") if self._key else text
        return visible(shorten(" ".join(without_credentials(without).split()), _LONGEST_REASON))

    def close(self) -> None:
        """Break off what is under way."""
        self._client.close()


def _count(found: Any, name: str) -> int | None:
    """A number of tokens as the endpoint counts it; None where it does not."""
    counted = getattr(getattr(found, "usage", None), name, None)
    return counted if isinstance(counted, int) and not isinstance(counted, bool) and counted >= 0 else None


def _was_sent(error: openai.APIConnectionError) -> bool:
    """Whether the question may have arrived, and so may be charged for."""
    return type(error.__cause__).__name__ not in _NOT_SENT


def _wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that a response asks to wait."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        return max(0.0, float(headers["retry-after"])) if "retry-after" in headers else None
    except ValueError:  # a date: the own wait will do
        return None

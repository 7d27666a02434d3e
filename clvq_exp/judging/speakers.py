"""How a judge is spoken to: what all kinds of judges have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from clvq_exp.judging.ledger import Answer

Message = Mapping[str, str]
"""`role` and `content`."""
_OF_A_MESSAGE = 64
"""Tokens that a chat template puts around a message, at most."""


class AgainError(Exception):
    """A call that brought nothing and may be made again.

    Args:
        reason: why, for people.
        wait: seconds that the endpoint asks to wait; None where it does not say.
        charged: whether it may be charged for all the same.
    """

    def __init__(self, reason: str, wait: float | None = None, charged: bool = False) -> None:
        super().__init__(reason)
        self.wait = wait
        self.charged = charged


class StoppedError(Exception):
    """A judge that cannot be asked anything more; the message says why."""


@runtime_checkable
class Speaker(Protocol):
    """A judge that can be asked."""

    def identity(self) -> Mapping[str, Any]:
        """All that can change its answers, beside the messages."""
        ...

    def ask(self, messages: Sequence[Message]) -> Answer:
        """Ask it.

        Raises:
            AgainError: nothing came of it, and it may be asked again.
            StoppedError: it cannot be asked any more.
        """
        ...

    def close(self) -> None:
        """Break off what is under way."""
        ...


def most_tokens(texts: Sequence[str]) -> int:
    """More tokens than these messages can have: no tokenizer makes more tokens than bytes."""
    return sum(len(text.encode("utf-8", "replace")) + _OF_A_MESSAGE for text in texts)

"""One concept method of a cell, with its arguments as its class would read them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple, TypeVar, cast

from clvq_exp.config import Method
from clvq_exp.config.schema import BY_KIND
from clvq_exp.estimate.names import Names
from clvq_exp.estimate.subject import Subject

Choice = TypeVar("Choice", bound=Enum)


class ArgumentError(ValueError):
    """An argument that the method's class will not take; names its key."""


class MethodOfCell(NamedTuple):
    """One concept method with the cell that it stands in."""

    subject: Subject
    names: Names
    method: Method

    def key(self, name: str) -> str:
        """Where an argument stands in the configuration.

        Args:
            name: of the argument.
        """
        config = self.subject.config
        own = self.method.name == config.baseline["name"]
        section = "baseline" if own else f"beside.{self.method.name}"
        given = config.baseline if own else config.beside[self.method.name]
        kind = config.model.kind.value
        apart = name in given.get(BY_KIND, {}).get(kind, {})
        return f"{section}.{BY_KIND}.{kind}.{name}" if apart else f"{section}.{name}"

    def whole(self, name: str, otherwise: int | None = None) -> int:
        """An argument that counts something.

        Args:
            name: of the argument.
            otherwise: what the class takes where it is not given; None where it has to be.

        Raises:
            ArgumentError: no whole number of at least 1.
        """
        value = self.method.arguments.get(name, otherwise)
        if not isinstance(value, int) or value < 1:
            raise ArgumentError(f"{self.key(name)}={value!r}: give a whole number of at least 1")
        return value

    def number(self, name: str, otherwise: float) -> float:
        """An argument that is a number.

        Args:
            name: of the argument.
            otherwise: what the class takes where it is not given.

        Raises:
            ArgumentError: no number.
        """
        value: object = self.method.arguments.get(name, otherwise)
        if not isinstance(value, int | float):
            raise ArgumentError(f"{self.key(name)}={value!r}: give a number")
        return float(value)

    def numbers(self, name: str, otherwise: Sequence[float]) -> list[float]:
        """An argument that lists numbers.

        Args:
            name: of the argument.
            otherwise: what the class takes where it is not given.

        Raises:
            ArgumentError: no list of numbers, or an empty one.
        """
        value: object = self.method.arguments.get(name, otherwise)
        listed = list(cast(Sequence[Any], value)) if isinstance(value, list | tuple) else []
        if not listed or not all(isinstance(each, int | float) for each in listed):
            raise ArgumentError(f"{self.key(name)}={value!r}: give a list of numbers")
        return [float(each) for each in listed]

    def choice(self, name: str, otherwise: Choice) -> Choice:
        """An argument that names one of several ways.

        Args:
            name: of the argument.
            otherwise: what the class takes where it is not given.

        Raises:
            ArgumentError: none of them.
        """
        kind = type(otherwise)
        value = self.method.arguments.get(name, otherwise.value)
        try:
            return kind(value)
        except ValueError:
            ways = ", ".join(str(each.value) for each in kind)
            raise ArgumentError(f"{self.key(name)}={value!r}: give one of {ways}") from None

"""What an answer has to look like: one JSON object, a rating of 1 to 3 and a reason for each name (A.3.1)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple, NoReturn

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from clvq_exp.judging.records import Rated

LOWEST, HIGHEST = 1, 3
_FENCE = re.compile(r"\A```(?:json)?[ \t]*\n(.*)\n```\Z", re.DOTALL | re.IGNORECASE)


class _One(BaseModel):
    """The value of one name; further entries are passed over."""

    rating: Annotated[int, Field(strict=True, ge=LOWEST, le=HIGHEST)]
    reason: Annotated[str, Field(strict=True)]


_ALL: TypeAdapter[dict[str, _One]] = TypeAdapter(dict[str, _One])


class Read(NamedTuple):
    """What an answer says."""

    ratings: Mapping[str, Rated] | None
    """Neutral name -> rating; None where it does not fit."""
    problem: str = ""
    """What does not fit, in words that a judge can be told."""


def read_answer(text: str, names: Sequence[str]) -> Read:
    """Check an answer by the schema.

    A code fence around the object is taken off; nothing else may stand before or behind it.

    Args:
        text: what the judge said.
        names: that were asked about: exactly these are to be rated.
    """
    stripped = text.strip()
    fenced = _FENCE.match(stripped)
    try:
        found: Any = json.loads(
            fenced[1] if fenced else stripped, object_pairs_hook=_once, parse_constant=_no_number
        )
    except (ValueError, RecursionError) as error:
        return Read(None, f"it is not one valid JSON object ({_first_line(error)})")
    if not isinstance(found, dict):
        return Read(None, "it is JSON, but no object")
    if set(found) != set(names):
        return Read(None, f"its keys are to be exactly {', '.join(names)}")
    try:
        checked = _ALL.validate_python(found)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(each) for each in first["loc"])
        return Read(None, f"{where}: {first['msg']}")
    return Read({name: Rated(checked[name].rating, checked[name].reason) for name in names})


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]

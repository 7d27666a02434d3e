"""What an annotator sends: read within limits, and only from a page that this study gave to this annotator."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request

from clvq_exp.study.design import HIGHEST, LOWEST

BODY_LIMIT = 4096
"""Bytes of a form; ours has some hundred."""
BODY_SECONDS = 10.0
"""How long the body of a request may take to come."""
_FIELDS = 8


class Form(NamedTuple):
    """A form that passed."""

    place: int
    label: int
    confidence: int
    seconds: float
    """Since its page was given."""


class IncompleteError(ValueError):
    """A form without a label or a confidence; the message is for the annotator."""


def token(key: bytes, annotator: int, place: int, now: float | None = None) -> str:
    """What a form carries to show that this study gave it to this annotator, for this place, and when.

    Args:
        key: of the study.
        annotator: whom the page is for.
        place: of the item in the annotator's order.
        now: seconds since 1970; the clock's where None.
    """
    given = f"{time.time() if now is None else now:.3f}"
    return f"{given}.{_signature(key, annotator, place, given)}"


def _signature(key: bytes, annotator: int, place: int, given: str) -> str:
    return hmac.new(key, f"{annotator}/{place}/{given}".encode(), hashlib.sha256).hexdigest()


def check_origin(request: Request) -> None:
    """Refuse what another site's page sends.

    Raises:
        HTTPException: 403.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        if site not in ("same-origin", "none"):
            raise HTTPException(403)
    elif origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise HTTPException(403)


async def read_body(request: Request) -> bytes:
    """The body of a request.

    Raises:
        HTTPException: 413 beyond the limit, 408 where it does not come, 415 where it is no form.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise HTTPException(415)
    found = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                found += part
                if len(found) > BODY_LIMIT:
                    raise HTTPException(413, headers={"Connection": "close"})
    except TimeoutError as error:
        raise HTTPException(408, headers={"Connection": "close"}) from error
    return found


def read_form(body: bytes, key: bytes, annotator: int, n_labels: int) -> Form:
    """What a body says.

    Args:
        body: as it was sent.
        key: of the study.
        annotator: whose link it came by.
        n_labels: labels to choose from.

    Raises:
        HTTPException: 403 where the study did not give the form to this annotator.
        IncompleteError: something was not chosen, or is none of the choices.
    """
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=_FIELDS)
    except ValueError as error:  # a UnicodeDecodeError is one
        raise HTTPException(400) from error
    place = _number(fields, "place")
    given, _, signature = _only(fields, "token").rpartition(".")
    if place is None or not hmac.compare_digest(
        signature.encode("utf-8", "replace"), _signature(key, annotator, place, given).encode()
    ):
        raise HTTPException(403)
    label, confidence = _number(fields, "label"), _number(fields, "confidence")
    if label is None or label >= n_labels:
        raise IncompleteError("Please choose one of the answers.")
    if confidence is None or not LOWEST <= confidence <= HIGHEST:
        raise IncompleteError(f"Please say how sure you are, from {LOWEST} to {HIGHEST}.")
    return Form(place, label, confidence, max(0.0, time.time() - float(given)))


def _only(fields: dict[str, list[str]], name: str) -> str:
    """The value of a field; empty where there is none, or several."""
    values = fields.get(name, [])
    return values[0] if len(values) == 1 else ""


def _number(fields: dict[str, list[str]], name: str) -> int | None:
    """A whole number of at least 0 and few digits, or None."""
    text = _only(fields, name)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else None

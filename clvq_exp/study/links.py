"""The links of annotators: each holds a secret, of which the study keeps nothing but a hash."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

SECRET_BYTES = 32
_LONGEST = 128
"""Characters of a link's secret beyond which nothing is hashed."""


class Link(NamedTuple):
    """The way of an annotator into the study."""

    annotator: str
    address: str


def new_secret() -> str:
    """A secret that nobody guesses: 256 random bits."""
    return secrets.token_urlsafe(SECRET_BYTES)


def hashed(secret: str) -> bytes:
    """What is kept of a secret: its SHA-256. Of 256 random bits no salt and no slow hash is needed."""
    return hashlib.sha256(secret[:_LONGEST].encode("utf-8", "replace")).digest()


def address(url: str, secret: str) -> str:
    """The link of a secret.

    Args:
        url: where annotators reach the study, with or without a slash at its end.
        secret: the annotator's.
    """
    return f"{url.rstrip('/')}/s/{secret}/"


def write_links(path: Path, links: Iterable[Link]) -> None:
    """Write links into a new file that nobody but its owner can read, flushed to the disk.

    Args:
        path: of the file.
        links: one for each line, behind the annotator's name.

    Raises:
        FileExistsError: the file is there.
    """
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(opened, "w", encoding="utf-8") as stream:
        stream.writelines(f"{each.annotator}\t{each.address}\n" for each in links)
        stream.flush()
        os.fsync(stream.fileno())

"""Which environment variables hold credentials, and how text is kept free of them.

Standard library only: the log's formatter needs it before anything else is imported.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

SHORTEST = 8
"""Characters from which a value is looked for in texts; a shorter one would be found in ordinary words."""

_NAME = re.compile(
    r"(?:^|_)(?:AUTH|COOKIE|CREDENTIALS?|JWT|KEYS?|PASS|PAT|PW|SECRETS?|TOKENS?)(?:_|$)"
    r"|(?:COOKIE|CREDENTIALS?|KEYS?|PASSPHRASE|PASSW(?:OR)?D|SECRETS?|TOKENS?|_PWD)$"
    r"|CONNECTION_STRING",
    re.IGNORECASE,
)
_ADDRESS_WITH_PASSWORD = re.compile(r"://[^/\s:@]*:[^/\s@]+@")


def is_credential(name: str, value: str = "") -> bool:
    """Whether an environment variable seems to hold a token, a key or a password.

    Args:
        name: the variable's name, `HF_TOKEN` say.
        value: its value, which counts if it is an address with a password in it.
    """
    return bool(_NAME.search(name) or _ADDRESS_WITH_PASSWORD.search(value))


def without_credentials(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Write the variable's name wherever a text repeats a credential of the environment.

    Args:
        text: any text.
        environment: variables and values; None for those of this process.

    Returns:
        The text with `<HF_TOKEN>` in place of each value of at least `SHORTEST` characters.
    """
    found = [
        (value, name)
        for name, value in (os.environ if environment is None else environment).items()
        if len(value) >= SHORTEST and value in text and is_credential(name, value)
    ]
    for value, name in sorted(found, key=lambda each: -len(each[0])):
        text = text.replace(value, f"<{name}>")
    return text

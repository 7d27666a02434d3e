"""A panel of judges as a YAML file: everything that is wrong with it is said together."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

import yaml

from clvq_exp.judging.settings import Judge, Panel

PANELS = Path(__file__).parent / "panels"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LOOPBACK = frozenset(["localhost", "127.0.0.1", "::1"])
_NOT_SHOWN = "what stands there is not shown, should it be a secret"


class PanelError(ValueError):
    """A panel that cannot be used; one line for each thing that is wrong."""


class _Kind(NamedTuple):
    """What a key may hold."""

    said: str
    holds: Callable[[object], bool]


def _number(least: float, above: bool = False) -> Callable[[object], bool]:
    def holds(value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        return value > least if above else value >= least

    return holds


def _whole(least: int) -> Callable[[object], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


_AMOUNT = _Kind("a number of at least 0", _number(0))
_JUDGE: Mapping[str, _Kind] = {
    "name": _Kind("a text", _text),
    "base_url": _Kind("an address", _text),
    "model": _Kind("a text", _text),
    "key": _Kind(
        "the name of an environment variable", lambda v: isinstance(v, str) and bool(_VARIABLE.fullmatch(v))
    ),
    "path": _Kind("a folder", _text),
    "temperature": _AMOUNT,
    "max_tokens": _Kind("a whole number of at least 1", _whole(1)),
    "limit_name": _Kind(
        "max_tokens or max_completion_tokens", lambda v: v in ("max_tokens", "max_completion_tokens")
    ),
    "json_mode": _Kind("true or false", lambda v: isinstance(v, bool)),
    "input_price": _AMOUNT,
    "output_price": _AMOUNT,
}
_PANEL: Mapping[str, _Kind] = {
    "name": _Kind("a text", _text),
    "judges": _Kind("a list of judges", lambda v: isinstance(v, list) and bool(v)),
    "budget": _AMOUNT,
    "concurrency": _Kind("a whole number of at least 1", _whole(1)),
    "timeout": _Kind("a number above 0", _number(0, above=True)),
    "retries": _Kind("a whole number of at least 0", _whole(0)),
    "first_wait": _AMOUNT,
    "ask_again": _Kind("a whole number of at least 0", _whole(0)),
}
_SECRETS = frozenset(["key", "base_url"])
"""Keys whose values are never repeated in a message."""


def shipped_panels() -> list[str]:
    """Names of the panels that come with the package."""
    return sorted(path.stem for path in PANELS.glob("*.yaml"))


def read_panel(named: str) -> Panel:
    """Read a panel.

    Args:
        named: the name of a shipped panel, or a YAML file.

    Raises:
        PanelError: no such file, or what is wrong in it, a line each.
    """
    path = PANELS / f"{named}.yaml" if named in shipped_panels() else Path(named).expanduser()
    try:
        found: object = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        shipped = ", ".join(shipped_panels())
        raise PanelError(
            f"--panel {named}: no such file can be read; give a YAML file or one of: {shipped}"
        ) from error
    except yaml.YAMLError as error:
        mark: Any = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise PanelError(f"{path}{where} is no YAML; {_NOT_SHOWN}") from error
    if not isinstance(found, dict):
        raise PanelError(f"{path}: a panel is a mapping with `name` and `judges`")
    return _panel(path, cast("dict[object, object]", found))


def _panel(path: Path, given: Mapping[object, object]) -> Panel:
    problems = _problems(str(path), given, _PANEL, ("name", "judges"))
    listed = given.get("judges")
    judges = cast("list[object]", listed) if isinstance(listed, list) else []
    made: list[Judge] = []
    for place, each in enumerate(judges):
        where = f"{path}, judges[{place}]"
        if not isinstance(each, dict):
            problems.append(f"{where}: a judge is a mapping with `name`, and `base_url` and `model`, or `path`")
            continue
        own = cast("dict[object, object]", each)
        wrong = _problems(where, own, _JUDGE, ("name",))
        wrong += [] if wrong else _contradictions(where, own)
        problems += wrong
        if not wrong:
            made.append(_judge(own, path.parent))
    names = [each.name for each in made]
    problems += [
        f"{path}: two judges are called {name}; give each a name of its own"
        for name in sorted(set(names))
        if names.count(name) > 1
    ]
    problems += _doubles(path, made)
    if problems:
        raise PanelError("\n".join(problems))
    rest = {str(key): value for key, value in given.items() if key != "judges" and value is not None}
    return Panel(judges=tuple(made), **cast("dict[str, Any]", rest))


def _doubles(path: Path, judges: list[Judge]) -> list[str]:
    """Judges that would give the same answers, and so agree with each other."""
    found: list[str] = []
    first: dict[tuple[object, ...], str] = {}
    for each in judges:
        same = (str(each.base_url).rstrip("/"), each.model, each.path, each.temperature)
        earlier = first.setdefault(same, each.name)
        if earlier != each.name:
            found.append(f"{path}: {earlier} and {each.name} are one model at one temperature; leave one out")
    return found


def _judge(given: Mapping[object, object], beside: Path) -> Judge:
    values = {str(key): value for key, value in given.items() if value is not None or key == "temperature"}
    if "path" in values:
        values["path"] = beside / Path(str(values["path"])).expanduser()
    return Judge(**cast("dict[str, Any]", values))


def _problems(
    where: str, given: Mapping[object, object], kinds: Mapping[str, _Kind], needed: tuple[str, ...]
) -> list[str]:
    optional = {
        each.name
        for kind in (Judge, Panel)
        for each in fields(kind)
        if each.default is not MISSING and each.name not in needed
    }
    found = [f"{where}: {name} is missing" for name in needed if given.get(name) is None]
    for key, value in given.items():
        kind = kinds.get(str(key))
        if kind is None:
            found.append(f"{where}: there is no key {key}; there are {', '.join(kinds)}")
        elif value is None and key in optional:
            continue
        elif value is not None and not kind.holds(value):
            shown = _NOT_SHOWN if key in _SECRETS else f"{value!r} is not"
            found.append(f"{where}: {key} is to be {kind.said}; {shown}")
    return found


def _contradictions(where: str, given: Mapping[object, object]) -> list[str]:
    """What the values say about each other."""
    url = given.get("base_url")
    if (given.get("path") is None) == (url is None):
        return [f"{where}: give either base_url and model (an endpoint) or path (a local model)"]
    if url is None:
        strange = [key for key in ("model", "key", "json_mode", "input_price", "output_price") if given.get(key)]
        return [f"{where}: {', '.join(strange)} is of an endpoint, and this is a local model"] if strange else []
    found = [] if given.get("model") is not None else [f"{where}: model is missing: its name at the endpoint"]
    try:
        address = urlsplit(str(url))
        host, secret = address.hostname, address.username is not None or address.password is not None
    except ValueError:
        return [*found, f"{where}: base_url is no address"]
    if address.scheme not in ("http", "https") or not host:
        found.append(f"{where}: base_url is to begin with https:// or http://; {_NOT_SHOWN}")
    elif secret or address.query:
        found.append(f"{where}: base_url holds a secret; put it into an environment variable and name that by key")
    elif address.scheme == "http" and given.get("key") is not None and host not in _LOOPBACK:
        found.append(f"{where}: the key would travel to {host} unencrypted; use https://")
    return found

"""From what Hydra composed to the typed configuration: every error is reported at once.

The schema is merged after composition, outside Hydra's store, which keeps `--help` fast.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, is_dataclass
from enum import Enum
from typing import Any, cast, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from clvq_exp.config.contradictions import contradictions, first_line
from clvq_exp.config.schema import Config, ConfigError

_INTERPOLATION = re.compile(r"(\\*)\$\{")


def check(cfg: DictConfig) -> Config:
    """Type-check and cross-check a composed configuration.

    Args:
        cfg: what Hydra composed (the `hydra` node is ignored).

    Returns:
        The typed configuration.

    Raises:
        ConfigError: lists every unknown key, wrong type, missing value and contradiction.
    """
    schema = OmegaConf.structured(Config)
    _make_writable(schema)
    found = list(_type_problems(schema, cfg))
    _fill_missing(schema)
    config = cast(Config, OmegaConf.to_object(schema))
    found += _not_finite(asdict(config))
    problems = [problem for _, problem in found]
    # A check that reads a key without a usable value says nothing new.
    reported = re.compile("|".join(rf"(?<![\w.]){re.escape(key)}(?!\w)" for key, _ in found) or "(?!)")
    problems += [each for each in contradictions(config) if not reported.search(each)]
    if problems:
        raise ConfigError(problems)
    return config


def _make_writable(node: DictConfig) -> None:
    """Schemas of frozen dataclasses are read-only; the merge must write into them."""
    OmegaConf.set_readonly(node, False)
    for key, section in _sections(node).items():
        if OmegaConf.is_missing(node, key):
            node[key] = OmegaConf.structured(section)
        _make_writable(node[key])


def _sections(node: DictConfig) -> dict[str, Any]:
    kind = OmegaConf.get_type(node)
    if kind is None or not is_dataclass(kind):
        return {}
    return {key: hint for key, hint in get_type_hints(kind).items() if is_dataclass(hint)}


def _type_problems(schema: DictConfig, cfg: DictConfig, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Keys and what is wrong with each; everything else is written into the schema."""
    sections = _sections(schema)
    known, given = set(schema.keys()), set(cfg.keys())  # `in` does not see keys whose value is missing
    for key in cfg:
        name = f"{prefix}{key}"
        if name == "hydra":
            continue
        if OmegaConf.is_missing(cfg, key) and key in known:
            continue  # reported below
        if key not in known:
            close = _suggestion(str(key), sorted(str(each) for each in known))
            yield name, f"{name} is no key of the configuration{close}"
            continue
        try:
            value = cfg[key]
            if not (key in sections and isinstance(value, DictConfig)):
                value = _resolved(value)
        except OmegaConfBaseException as error:
            yield name, f"{name}: {first_line(error)}"
            continue
        if key in sections and isinstance(value, DictConfig):
            yield from _type_problems(schema[key], value, f"{name}.")
            continue
        try:
            schema[key] = _literal(value)
        except OmegaConfBaseException as error:
            if value is None and key not in sections:
                yield name, f"{name} is missing: give it a value"
            else:
                yield name, f"{name}={value!r}: {first_line(error)}"
    for key in schema:
        if key in sections and key not in given:
            yield from _type_problems(schema[key], OmegaConf.create({}), f"{prefix}{key}.")
        elif OmegaConf.is_missing(cfg if key in given else schema, key):
            yield f"{prefix}{key}", f"{prefix}{key} is missing: give it a value"


def _resolved(value: Any) -> Any:
    """A value with all interpolations inside it resolved."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _literal(value: Any) -> Any:
    """A resolved value that stays as it is when it is read again: what looks like an interpolation is text."""
    if isinstance(value, dict):
        return {key: _literal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_literal(item) for item in value]
    return _INTERPOLATION.sub(r"\1\1\\${", value) if isinstance(value, str) else value


def _fill_missing(schema: DictConfig) -> None:
    """Stand-ins where no value could be taken, so that the rest can be looked at too."""
    hints = get_type_hints(cast(type, OmegaConf.get_type(schema)))
    for key in map(str, schema):
        if is_dataclass(hints[key]):
            _fill_missing(schema[key])
        elif OmegaConf.is_missing(schema, key):
            schema[key] = _stand_in(hints[key])


def _stand_in(kind: Any) -> Any:
    kind = get_origin(kind) or kind
    return next(iter(kind)) if issubclass(kind, Enum) else kind()


def _not_finite(values: object, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _not_finite(value, f"{name}.{key}" if name else str(key))
    elif isinstance(values, float) and not math.isfinite(values):
        yield name, f"{name}={values} is not a finite number"


def _suggestion(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, 1)
    return f"; did you mean {close[0]}?" if close else f"; the keys there are {', '.join(known)}"

"""What the paper's settings are, read from the project's own `conf/`, and where a run departs from them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, NamedTuple, cast

from clvq_exp.report.access import mapping

PAPER = "paper"
_NAME = re.compile(r"\w[\w-]{0,99}(/\w[\w-]{0,99})?")
_INTERPOLATION = re.compile(r"\$\{([\w.]+)\}")
_SECTIONS = (
    "seeds",
    "weight_decay_on",
    "fine_tuning",
    "activations",
    "encoder",
    "quantizer",
    "decoder",
    "attribution",
    "probe",
    "evaluation",
    "specificity",
)
"""Of `conf/config.yaml`; the rest are groups, and Hydra's own part."""

Flat = Mapping[str, Any]
"""Settings under their full keys, `quantizer.top_k`."""


class Departure(NamedTuple):
    """A setting that is not what the paper, or the protocol that a run names, says."""

    key: str
    used: str
    said: str

    def __str__(self) -> str:
        """`trainer.max_epochs=3, not 100`."""
        return f"{self.key}={self.used}, not {self.said}"


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under their full keys; lists become tuples."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found |= flat(cast("Mapping[str, Any]", value), f"{name}.")
        else:
            found[name] = frozen(value)
    return found


def frozen(value: object) -> Any:
    """A value that can be compared and hashed: lists as tuples, mappings inside them as pairs."""
    if isinstance(value, Mapping):
        return tuple(
            sorted((str(key), frozen(each)) for key, each in cast("Mapping[object, object]", value).items())
        )
    return tuple(frozen(each) for each in cast("list[object]", value)) if isinstance(value, list) else value


def shown(value: object) -> str:
    """A setting as it stands on a command line: `true`, `[0,1,2]`, `0.001`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ",".join(shown(each) for each in cast("tuple[object, ...]", value)) + "]"
    return "null" if value is None else str(value)


@lru_cache
def reference(protocol: str, model: str, dataset: str) -> Flat:
    """Table 11 and a protocol, for a model and a data set, as `conf/` has them.

    Args:
        protocol: the paper's stands in for one that `conf/` does not have.
        model: its settings are left out where `conf/` does not have it.
        dataset: the same.
    """
    whole: dict[str, Any] = {name: value for name, value in _file("config").items() if name in _SECTIONS}
    whole["trainer"] = _file("trainer/default")
    whole["protocol"] = _file(f"protocol/{protocol}") or _file(f"protocol/{PAPER}")
    whole["model"] = _group("model", model)
    whole["dataset"] = _group("dataset", dataset)
    return {key: value for key, value in _resolved(flat(whole)) if value is not _UNKNOWN}


@lru_cache
def shipped_methods() -> Mapping[str, Flat]:
    """Name and arguments of the concept methods of `conf/baseline/`, in the order of their files."""
    paths = (path for path in (files("clvq_exp.conf") / "baseline").iterdir() if path.name.endswith(".yaml"))
    found = [_yaml(path) for path in sorted(paths, key=lambda path: path.name)]
    return {str(each["name"]): flat(each) for each in found}


def method_reference(name: str) -> Flat:
    """The arguments of a concept method as `conf/baseline/` has them; empty for one that it does not have."""
    return shipped_methods().get(name, {})


@lru_cache
def init_reference(method: str) -> Flat:
    """The settings of a start of the codebook as `conf/init/` has them."""
    return flat(_file(f"init/{method}"))


_UNKNOWN = object()


def _resolved(values: Flat) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        seen = {key}
        while isinstance(value, str) and (match := _INTERPOLATION.fullmatch(value)):
            name = match.group(1)
            value = _UNKNOWN if name in seen else values.get(name, _UNKNOWN)
            seen.add(name)
        yield key, value


def _group(group: str, name: str) -> dict[str, Any]:
    """An option of a group with those of the same group that it is made from."""
    own = _file(f"{group}/{name}")
    whole: dict[str, Any] = {}
    for each in cast("list[object]", own.get("defaults", [])):
        if isinstance(each, str) and each != "_self_":
            whole |= _group(group, each)
    return {key: value for key, value in {**whole, **own}.items() if key != "defaults"}


def _file(name: str) -> Mapping[str, Any]:
    """A file of `conf/`; empty where there is none. A run may name its model as it likes."""
    if not _NAME.fullmatch(name):
        return {}
    path = files("clvq_exp.conf") / f"{name}.yaml"
    return _yaml(path) if path.is_file() else {}


def _yaml(path: Traversable) -> Mapping[str, Any]:
    import yaml

    return mapping(yaml.safe_load(path.read_text(encoding="utf-8")))

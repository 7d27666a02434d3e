"""A concept method by name, with the settings that `conf/` ships and what a caller sets apart from them."""

from __future__ import annotations

import copy
import difflib
import importlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

from clvq_exp.artifacts import plain
from clvq_exp.collect.reference import method_reference, shipped_methods
from clvq_exp.concepts.base import ConceptModel
from clvq_exp.config import Config, ConfigError, Method, check

if TYPE_CHECKING:
    from omegaconf import DictConfig

DEFAULT_METHOD = "clvq_vae"
SECTIONS = ("encoder", "quantizer", "decoder", "init", "trainer")
"""Parts of the configuration that a concept method is made with; `weight_decay_on` stands beside them."""
ALONE = "weight_decay_on"
ARGUMENTS = "baseline"
"""What the full keys of a method's own arguments begin with."""
OF_THE_MACHINE = ("device", "devices", "num_workers", "resident_gib")
"""Keys of `trainer` that say where a fit runs and not what comes out."""
_CONFIGURATION = "clvq_exp.conf"
_CODEBOOK_SIZE, _TOP_K = "quantizer.codebook_size", "quantizer.top_k"
_INTERPOLATION = "${"


class Configured(NamedTuple):
    """A method, and the configuration that it is fitted with."""

    config: Config
    method: Method
    changed: tuple[str, ...] = ()
    """Full keys that were set apart from what is shipped."""


@lru_cache
def shipped_options(group: str) -> Mapping[str, str]:
    """The options of a group of `conf/`: the name that each carries, and the file that it stands in."""
    import yaml

    paths = (path for path in (files(_CONFIGURATION) / group).iterdir() if path.name.endswith(".yaml"))
    read = ((yaml.safe_load(path.read_text(encoding="utf-8")), path.name) for path in paths)
    return {str(content["name"]): name.removesuffix(".yaml") for content, name in sorted(read, key=lambda r: r[1])}


def shipped_name(name: str, target: str) -> str | None:
    """The method of `conf/baseline/` that has a class; None where no shipped method has it.

    Args:
        name: that the method carries, which wins where several methods share a class.
        target: the class, with its module.
    """
    same = [each for each, given in shipped_methods().items() if given["_target_"] == target]
    return name if name in same else next(iter(same), None)


def configure(
    method: str | type[ConceptModel] = DEFAULT_METHOD,
    short: Mapping[str, Any] | None = None,
    full: Mapping[str, Any] | None = None,
    protocol: str = "paper",
    init: str = "kmeans",
) -> Configured:
    """A method with the shipped settings, but for what is given.

    Args:
        method: the name of a shipped one, or a class of a module.
        short: settings by the last part of their keys, `codebook_size`; a method's own arguments come first.
        full: settings by their full keys, `quantizer.codebook_size`, `baseline.words`.
        protocol: `paper`, `reference` or `strict`.
        init: the start of the codebook: `kmeans`, `random` or `spherical_kmeans`.

    Raises:
        ConfigError: all names that there are not, with the nearest ones, and all values that do not fit.
    """
    base = _base(_option(ARGUMENTS, method), _option("protocol", protocol), _option("init", init))
    keys, problems = _keys(base, _argument_names(method)), list[str]()
    changes = dict(_resolved(short or {}, keys, problems))
    for key, value in (full or {}).items():
        if key not in keys.values():
            problems.append(f"{key} is no key here{_nearest(key, list(keys.values()))}")
        changes[key] = value
    if problems:
        raise ConfigError(problems)
    size = changes.get(_CODEBOOK_SIZE)
    if isinstance(size, int) and 0 < size < base.quantizer.top_k and _TOP_K not in changes:
        base.quantizer.top_k = size  # of a codebook as small as this, all codes are sampled from
    return _changed(base, changes, method)


def restore(
    method: str | type[ConceptModel], settings: Mapping[str, Any], arguments: Mapping[str, Any]
) -> Configured:
    """A method as it was once configured; what is not said is as shipped.

    Args:
        method: the name of a shipped one, or a class of a module.
        settings: section -> key -> value.
        arguments: the method's own.

    Raises:
        ConfigError: everything that is wrong with them.
    """
    init = str(settings.get("init", {}).get("name", "kmeans"))
    base = _base(_option(ARGUMENTS, method), "paper", shipped_options("init").get(init, "kmeans"))
    changes: dict[str, Any] = {}
    for section, values in settings.items():
        if section == ALONE:
            changes[ALONE] = values
            continue
        if section not in SECTIONS or not isinstance(values, Mapping):
            raise ConfigError([f"settings.{section} is no part of the settings of a concept method"])
        changes |= {f"{section}.{key}": value for key, value in values.items()}
    found = _changed(base, changes, method)
    return found._replace(method=found.method._replace(arguments=dict(arguments)))


def stored_settings(config: Config, method: Method) -> dict[str, Any]:
    """The settings of a concept method in the form that `restore` takes: plain values, none of this machine."""
    values = plain({section: getattr(config, section) for section in (*SECTIONS, ALONE)})
    values["init"] = plain(method.init)
    values["trainer"] = {key: each for key, each in values["trainer"].items() if key not in OF_THE_MACHINE}
    return values


def class_of(method: str | type[ConceptModel]) -> str:
    """The class of a method with its module, as `conf/` names classes."""
    if isinstance(method, str):
        return str(method_reference(method)["_target_"])
    return f"{method.__module__}.{method.__qualname__}"


def _option(group: str, name: str | type[ConceptModel]) -> str:
    """The file of an option; a class of the caller's own stands in the place of CLVQ-VAE."""
    options = shipped_options(group)
    if not isinstance(name, str):
        return options[DEFAULT_METHOD]
    if name not in options:
        what = "method" if group == ARGUMENTS else group
        raise ConfigError([f"{what}={name!r} is none of those shipped{_nearest(name, list(options))}"])
    return options[name]


@lru_cache
def _composed(baseline: str, protocol: str, init: str) -> DictConfig:
    from clvq_exp.composing import compose_unchecked  # late: Hydra is needed for nothing else here

    chosen = (f"baseline={baseline}", f"protocol={protocol}", f"init={init}")
    (cell,) = compose_unchecked((*chosen, "trainer=default", "beside=none", "logger=none"))
    return cell.composed


def _base(baseline: str, protocol: str, init: str) -> DictConfig:
    return copy.deepcopy(_composed(baseline, protocol, init))


def _argument_names(method: str | type[ConceptModel]) -> list[str]:
    """The arguments that a method takes beside the settings."""
    found: Any = method
    if isinstance(method, str):
        module, _, name = class_of(method).rpartition(".")
        found = getattr(importlib.import_module(module), name)
    return list(inspect.signature(found).parameters)[1:]


def _keys(base: DictConfig, own: Sequence[str]) -> dict[str, str]:
    """Short name -> full key; a short name that two sections have is left out, and its full keys stand alone."""
    full = [f"{section}.{key}" for section in SECTIONS for key in base[section]]
    full = [key for key in full if key not in ("init.name", "trainer.name")]
    last = [key.rpartition(".")[2] for key in full]
    keys = {short if last.count(short) == 1 else key: key for short, key in zip(last, full, strict=True)}
    return {**keys, ALONE: ALONE, **{name: f"{ARGUMENTS}.{name}" for name in own}, **{key: key for key in full}}


def _resolved(short: Mapping[str, Any], keys: Mapping[str, str], problems: list[str]) -> Iterator[tuple[str, Any]]:
    for name, value in short.items():
        if name in keys:
            yield keys[name], value
        else:
            problems.append(f"{name} is no setting of this method{_nearest(name, list(keys))}")


def _changed(base: DictConfig, changes: Mapping[str, Any], method: str | type[ConceptModel]) -> Configured:
    """Put values into a composed configuration, and check the whole."""
    from omegaconf import OmegaConf

    arguments: dict[str, Any] = {}
    for key, value in changes.items():
        if _interpolates(value):
            raise ConfigError([f"{key}={value!r}: a value is taken as it stands, without {_INTERPOLATION}...}}"])
        section, _, last = key.partition(".")
        if section == ARGUMENTS:
            arguments[last] = value
        else:
            OmegaConf.update(base, key, value, force_add=True)
    config = check(base)
    found = next(iter(config.methods.values()))
    if not isinstance(method, str):
        found = found._replace(name=method.name, target=class_of(method), arguments={})
    return Configured(config, found._replace(arguments={**found.arguments, **arguments}), tuple(changes))


def _interpolates(value: object) -> bool:
    """Whether OmegaConf would put something else in a value's place: a variable of the environment, say."""
    if isinstance(value, Mapping):
        return any(_interpolates(each) for pair in value.items() for each in pair)
    if isinstance(value, list | tuple):
        return any(_interpolates(each) for each in value)
    return isinstance(value, str) and (_INTERPOLATION in value or value == "???")


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"

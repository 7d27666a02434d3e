"""From overrides and a sweep file to checked cells, as Hydra and its basic sweeper would make them."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose, initialize_config_dir, initialize_config_module
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from clvq_exp.config import Config, ConfigError, check
from clvq_exp.resolvers import register

CONFIGURATION = "clvq_exp.conf"


class ComposedCell(NamedTuple):
    """One cell of a sweep, or the only one."""

    overrides: tuple[str, ...]
    """What tells it from the other cells."""
    config: Config
    run_folder: Path


class UncheckedCell(NamedTuple):
    """A cell as Hydra composes it."""

    told: tuple[str, ...]
    """What tells it from the other cells."""
    overrides: tuple[str, ...]
    """All of them."""
    composed: DictConfig
    run_folder: Path


def compose_cells(overrides: Sequence[str], name: str = "config", folder: str | None = None) -> list[ComposedCell]:
    """Compose and check every cell.

    Args:
        overrides: of the command line; values separated by commas, ranges and globs make a sweep.
        name: of the primary configuration.
        folder: where it may lie beside the project's own.

    Returns:
        The cells in the order in which a sweep runs them.

    Raises:
        ConfigError: everything that is wrong with any cell, or what Hydra says to the command line.
    """
    problems: list[str] = []
    cells: list[ComposedCell] = []
    for each in compose_unchecked(overrides, name, folder):
        try:
            cells.append(ComposedCell(each.told, check(each.composed), each.run_folder))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return cells


def compose_unchecked(
    overrides: Sequence[str], name: str = "config", folder: str | None = None
) -> list[UncheckedCell]:
    """Compose every cell, whatever is wrong with it.

    Args:
        overrides: as for `compose_cells`.
        name: of the primary configuration.
        folder: where it may lie beside the project's own.

    Raises:
        ConfigError: what Hydra says to the command line.
    """
    register()
    cells: list[UncheckedCell] = []
    try:
        with _initialised(name, folder) as further:
            batch, alone = _expanded(name, [*further, *overrides])
            varied = _varied(batch)
            for own in batch:
                composed = compose(name, [*further, *own], return_hydra_config=True) if alone is None else alone
                told = tuple(each for each in own if each.partition("=")[0] in varied)
                cells.append(UncheckedCell(told, tuple(own), composed, _run_folder(composed, alone is None)))
    except HydraException as error:
        said = [str(each).strip() for each in (error, error.__cause__) if each is not None]
        raise ConfigError(["\n".join(filter(None, said)).expandtabs(4) or type(error).__name__]) from error
    return cells


@contextmanager
def _initialised(name: str, folder: str | None) -> Generator[list[str]]:
    """Hydra with the project's configuration and a folder beside it; yields the override that says so."""
    if folder is None:
        with initialize_config_module(CONFIGURATION, version_base="1.3"):
            yield []
        return
    place = Path(folder).absolute()
    if not place.is_dir():
        raise ConfigError([f"--config-dir={folder}: no such folder (looked for {place})"])
    # A primary configuration is looked for in the main folder only, so the one that holds it comes first.
    if (place / f"{name.removesuffix('.yaml')}.yaml").is_file():
        with initialize_config_dir(str(place), version_base="1.3"):
            yield [f"hydra.searchpath=[pkg://{CONFIGURATION}]"]
    else:
        with initialize_config_module(CONFIGURATION, version_base="1.3"):
            yield [f"hydra.searchpath=[{json.dumps(f'file://{place}')}]"]


def _expanded(name: str, overrides: Sequence[str]) -> tuple[list[list[str]], DictConfig | None]:
    """The overrides of each cell, and what they compose where nothing is swept."""
    hydra = GlobalHydra.instance()
    parser = OverridesParser.create(config_loader=hydra.config_loader())
    parsed = parser.parse_overrides(list(overrides))
    fixed = [text for text, each in zip(overrides, parsed, strict=True) if not each.is_sweep_override()]
    composed = compose(name, fixed, return_hydra_config=True)
    master = composed.hydra
    swept = len(fixed) < len(parsed) or master.mode is RunMode.MULTIRUN
    params: dict[str, Any] = dict(master.sweeper.params or {}) if swept and "params" in master.sweeper else {}
    of_file = parser.parse_overrides([f"{key}={value}" for key, value in params.items()])
    own = [each for each in parsed if each.get_key_element() != "hydra.searchpath"]
    batch = BasicSweeper.split_arguments([*of_file, *own], None)[0]
    return batch, None if swept else composed


def _varied(batch: Sequence[Sequence[str]]) -> set[str]:
    """Keys that have not the same value in all cells."""
    values: dict[str, set[str]] = {}
    for own in batch:
        for each in own:
            values.setdefault(each.partition("=")[0], set()).add(each)
    return {key for key, found in values.items() if len(found) > 1}


def _run_folder(composed: DictConfig, swept: bool) -> Path:
    node = composed.hydra
    return Path(str(node.sweep.dir)) / str(node.sweep.subdir) if swept else Path(str(node.run.dir))

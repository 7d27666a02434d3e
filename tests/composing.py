"""The configuration composed from its groups, as a run composes it."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

import clvq_exp.run  # noqa: F401  its resolvers
from clvq_exp.config import Config, ConfigError, check


def composed(*overrides: str, hydra: bool = False) -> DictConfig:
    """Composed and not yet checked; with Hydra's own part, where that is asked for."""
    with initialize_config_module("clvq_exp.conf", version_base="1.3"):
        return compose("config", overrides=list(overrides), return_hydra_config=hydra)


def checked(*overrides: str) -> Config:
    """Composed and checked."""
    return check(composed(*overrides))


def problems(cfg: DictConfig) -> list[str]:
    """What the check finds wrong."""
    with pytest.raises(ConfigError) as caught:
        check(cfg)
    return caught.value.problems

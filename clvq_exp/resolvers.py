"""Interpolations of the configuration: the name of a run folder, and `oc.env` without credentials.

What an interpolation gives is written into the run folder and into its path.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

from hydra.errors import CompactHydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError
from omegaconf.resolvers import oc

from clvq_exp.credentials import is_credential


class CredentialError(InterpolationResolutionError, CompactHydraException):
    """A configuration that asks for a credential of the environment; Hydra shows it without a traceback."""


def environment_variable(name: str, *default: str | None) -> str | None:
    """The value of an environment variable, in place of OmegaConf's `oc.env`.

    Args:
        name: the variable.
        default: what stands in where it is not set.

    Raises:
        CredentialError: for a variable that seems to hold a token, a key or a password.
    """
    if is_credential(name, os.environ.get(name, "")):
        raise CredentialError(
            f"${{oc.env:{name}}} would write a credential into the run folder: take it out of the configuration; "
            "libraries read their keys from the environment themselves"
        )
    return oc.env(name, *default)


def run_id(*, _root_: DictConfig) -> str:
    """Eight digits that name a configuration: another setting never overwrites a result."""
    values: Any = OmegaConf.to_container(_root_, resolve=False)
    for section in ("hydra", "logger"):
        values.pop(section, None)
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def register() -> None:
    """Make them known to OmegaConf."""
    OmegaConf.register_new_resolver("run_id", run_id, replace=True)
    OmegaConf.register_new_resolver("oc.env", environment_variable, replace=True)

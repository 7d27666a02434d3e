from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from clvq_exp.settings import DatasetSettings

Row = dict[str, Any]
PACK: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def as_bytes(name: str, rows: Sequence[Row]) -> bytes:
    if ".csv" in name or ".tsv" in name:
        stream = io.StringIO()
        writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t" if ".tsv" in name else ",")
        writer.writeheader()
        writer.writerows(rows)
        content = stream.getvalue().encode()
    else:
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    return PACK.get(Path(name).suffix, bytes)(content)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Sequence[Row] | str | bytes], Path]:
    """Write rows (or ready content) to a file of the test's folder, in the form that its name says."""

    def write(name: str, rows: Sequence[Row] | str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(rows, str):
            path.write_bytes(rows.encode())
        else:
            path.write_bytes(rows if isinstance(rows, bytes) else as_bytes(name, rows))
        return path

    return write


@pytest.fixture
def settings() -> Callable[..., DatasetSettings]:
    """Settings of a two-class data set called reviews, with what a test changes."""

    def settings(path: Path | str | None = None, **changed: Any) -> DatasetSettings:
        given: dict[str, Any] = {
            "name": "reviews",
            "label_names": ["negative", "positive"],
            "label_meanings": ["against", "for"],
            "path": None if path is None else str(path),
        }
        return DatasetSettings(**(given | changed))

    return settings


@pytest.fixture
def rows() -> Callable[..., list[Row]]:
    """N rows of different texts whose labels take turns."""

    def rows(n: int, classes: int = 2, word: str = "text") -> list[Row]:
        return [{"text": f"{word} {index}", "label": index % classes} for index in range(n)]

    return rows

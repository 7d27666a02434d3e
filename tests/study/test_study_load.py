"""The load of benchmarks/study_load.py in small: no time is judged, every answer is."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.slow


def benchmark() -> ModuleType:
    """benchmarks/study_load.py, which is no part of the package."""
    path = Path(__file__).parent.parent.parent / "benchmarks" / "study_load.py"
    spec = importlib.util.spec_from_file_location("study_load_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kill", [False, True])
def test_load__no_answer_is_lost_or_doubled(tmp_path: Path, kill: bool) -> None:
    loading = benchmark()
    found = asyncio.run(loading.run(tmp_path, 40, 4, (0.2, 0.6), kill, lead=0.5))
    assert (found.lost, found.doubled, found.wrong) == (0, 0, 0)
    assert len(found.load.acknowledged) == 40 * 8
    assert set(found.load.other) <= {429}
    if kill:
        assert 160 <= found.acknowledged_at_kill < 320
        assert found.load.repeated > 0
    assert loading.table(found.load.milliseconds)[-1].startswith("all")

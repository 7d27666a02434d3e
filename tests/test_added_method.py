"""The method of docs/adding_a_method.md, as it stands there, in a run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from running import Call, call, tiny_cell

DOC = Path(__file__).parents[1] / "docs" / "adding_a_method.md"


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def test_example__has_60_lines_at_most() -> None:
    assert len(block("python").splitlines()) <= 60


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path, reviews: Path) -> tuple[Path, Call]:
    folder = tmp_path_factory.mktemp("added")
    (folder / "pca_directions.py").write_text(block("python"), encoding="utf-8")
    configs = folder / "conf" / "baseline"
    configs.mkdir(parents=True)
    (configs / "pca_directions.yaml").write_text(block("yaml").replace("32", "4"), encoding="utf-8")
    beside = ["+baseline@beside.pca_directions=pca_directions", "hydra.run.dir=run"]
    return folder, call(folder, "--config-dir", "conf", *tiny_cell(tiny_encoder, reviews), *beside)


def test_added_method__is_in_every_table_by_itself(run: tuple[Path, Call]) -> None:
    folder, done = run
    assert done.code == 0, done.err
    metrics = json.loads((folder / "run" / "metrics.json").read_text(encoding="utf-8"))
    other = metrics["beside"]["kmeans_codes"]
    added = metrics["beside"]["pca_directions"]
    assert added["codebook"]["size"] == 4
    for kind in ("faithfulness", "intervention"):
        assert added[kind].keys() == other[kind].keys()
        for removal, figures in added[kind].items():
            assert figures.keys() == other[kind][removal].keys()
    pairs = {tuple(row["methods"]) for row in metrics["comparisons"]}
    assert ("clvq_vae", "pca_directions") in pairs
    assert ("kmeans_codes", "pca_directions") in pairs
    assert "pca directions" in done.out
    assert "pca directions" in (folder / "run" / "report.html").read_text(encoding="utf-8")

"""Cells that are run here, in this process, and what they left: for tests of the explainer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from clvq_exp.evaluation.intervention import Found
    from clvq_exp.explainer import Explainer
    from clvq_exp.report.explanation import Explanation, Outcome


class MadeRun(NamedTuple):
    """A finished run and its cache."""

    folder: Path
    cache: Path
    live: Mapping[str, Found]
    """What the intervention found, by `method, removal`: place -> condition -> outcomes."""

    def rows(self, table: str, **equal_to: object) -> list[dict[str, Any]]:
        """Rows of a table of the run, those whose columns have some values."""
        rows = pq.read_table(self.folder / f"{table}.parquet").to_pylist()
        return [row for row in rows if all(row[name] == value for name, value in equal_to.items())]

    def dev(self) -> list[dict[str, Any]]:
        """The attributed dev sentences, in the order of the run."""
        return self.rows("salient_words", split="dev")

    def explainer(self, **given: Any) -> Explainer:
        """Opened with the run's own cache."""
        from clvq_exp.explainer import Explainer

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CLVQ_EXP_CACHE", str(self.cache))
            return Explainer.load(self.folder, **given)


def make_run(folder: Path, cache: Path, *overrides: str) -> MadeRun:
    """Run a cell to its end.

    Args:
        folder: the run folder.
        cache: the cache; cells that share one share what they have in common.
        overrides: of the command line.
    """
    from composing import composed
    from omegaconf import OmegaConf

    from clvq_exp import cell, run
    from clvq_exp.config import check

    live: dict[str, Found] = {}
    found_by: Callable[..., Found] = cell.live_outcomes

    def noted(*given: Any) -> Found:
        found = live[str(given[-1]).removeprefix("intervention, ")] = found_by(*given)
        return found

    cfg = composed(*overrides)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLVQ_EXP_CACHE", str(cache))
        patch.setattr(cell, "live_outcomes", noted)
        run.run(check(cfg), OmegaConf.to_yaml(cfg, resolve=True), folder)
    return MadeRun(folder, cache, live)


def reseal(folder: Path) -> None:
    """Seal a run folder again after its files were changed."""
    from clvq_exp.artifacts import MANIFEST, read_sealed, write_manifest

    sealed = read_sealed(folder / MANIFEST)
    write_manifest(folder, sealed["inputs"], [folder / name for name in sealed["files"]])


def change_json(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a JSON file of a run folder and seal the folder again."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    reseal(path.parent)


def held_against_salient_words(made: MadeRun, explanations: list[Explanation], labels: tuple[str, ...]) -> None:
    rows = made.dev()
    assert len(explanations) == len(rows) > 0
    for row, found in zip(rows, explanations, strict=True):
        assert found.text == row["text"]
        assert labels.index(found.prediction.label) == row["prediction"]
        assert found.prediction.confidence == pytest.approx(row["confidence"], abs=1e-5)
        assert (found.salient.position, found.salient.text) == (row["position"], row["word"])
        assert found.salient.attribution == pytest.approx(row["attribution"], abs=1e-4)
        assert found.salient.concept == row["code"]
        assert found.steps == row["steps"]


def held_against_sentences(made: MadeRun, explanations: list[Explanation], explainer: Explainer) -> None:
    by = explainer.by
    which = {"method": by.method, "removal": by.removal, "seed": by.seed}
    gold = [row["label"] for row in made.dev()]
    for condition, outcome in (("original", "before"), ("perturbed", "after")):
        rows = made.rows("sentences", condition=condition, **which)
        classes = [by.label_names.index(getattr(found.probe, outcome).label) for found in explanations]
        assert [row["correct"] for row in rows] == [
            mine == label for mine, label in zip(classes, gold, strict=True)
        ]


def held_against_live(
    made: MadeRun, explanations: list[Explanation], explainer: Explainer, seed_row: int = 0
) -> None:
    found = made.live[f"{explainer.by.method}, {explainer.by.removal}"]
    assert [outcome.place for outcome in explanations[0].live] == list(found)
    for place, conditions in found.items():
        outcomes: list[Outcome] = [
            next(each for each in explanation.live if each.place == place) for explanation in explanations
        ]
        run = conditions["perturbed"]
        assert [each.flips for each in outcomes] == run.flips[seed_row].tolist()
        changes = [each.probability_change for each in outcomes]
        assert changes == pytest.approx(run.probability_change[seed_row].tolist(), abs=1e-5)
        gold = [row["label"] for row in made.dev()]
        right = [explainer.by.label_names.index(each.after.label) for each in outcomes]
        assert [mine == label for mine, label in zip(right, gold, strict=True)] == run.correct[seed_row].tolist()

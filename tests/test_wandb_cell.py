"""A sweep that logs to W&B offline, read back from its files as `wandb sync` would read them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from offline_runs import OfflineRun, offline_runs
from running import Call, call, tiny_cell

from clvq_exp.artifacts import read_json
from clvq_exp.dashboards.shelf import DASHBOARDS
from clvq_exp.report.headline import headline
from clvq_exp.report.wandb_logger import CURVES

pytestmark = pytest.mark.slow
SWEEP = """
defaults: [config, _self_]
hydra:
  mode: MULTIRUN
  sweeper:
    params:
      evaluation.seed: 1,2
"""


class Swept(NamedTuple):
    """A sweep of two cells that share everything but their intervals."""

    home: Path
    arguments: list[str]
    done: Call

    def again(self, *arguments: str) -> Call:
        return call(self.home, *self.arguments, *arguments)

    def runs(self, job_type: str) -> list[OfflineRun]:
        return [each for each in offline_runs(self.home / "outputs") if each.job_type == job_type]

    def metrics(self) -> list[Path]:
        return sorted((self.home / "outputs").rglob("metrics.json"))


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path, reviews: Path) -> Swept:
    home = tmp_path_factory.mktemp("swept")
    (home / "sweeps").mkdir()
    (home / "sweeps" / "of_two.yaml").write_text(SWEEP)
    where = ["--config-dir", str(home / "sweeps"), "--config-name", "of_two"]
    sizes = ["trainer.max_epochs=2", "specificity.shuffles=2", "logger=wandb", "logger.project=mine"]
    arguments = [*where, *tiny_cell(tiny_encoder, reviews), *sizes]
    done = call(home, *arguments)
    assert done.code == 0, done.err[-3000:]
    return Swept(home, arguments, done)


def test_sweep__every_run_has_group_job_type_and_tags(swept: Swept) -> None:
    training, cells = swept.runs("training"), swept.runs("cell")
    assert {each.name for each in training} == {"clvq_vae-seed_0"}
    assert [each.name for each in cells] == ["cell", "cell"]
    for each in (*training, *cells):
        assert (each.project, each.group) == ("mine", "of_two")
        assert each.tags == ["minilm", "file", "2-4", "clvq_vae", "kmeans", "paper", "seed 0"]


def test_sweep__every_run_has_the_resolved_configuration(swept: Swept) -> None:
    written = [yaml.safe_load((path.parent / "config.yaml").read_text()) for path in swept.metrics()]
    found = [each.config for each in swept.runs("cell")]
    assert {each["evaluation"]["seed"] for each in found} == {1, 2}
    for config in found:
        (same,) = (each for each in written if each["evaluation"]["seed"] == config["evaluation"]["seed"])
        assert same["logger"]["group"] is None
        for section in ("model", "quantizer", "trainer", "protocol", "seeds"):
            assert config[section] == same[section]
        assert config["run"] == {
            **{"job_type": "cell", "method": "clvq_vae", "init": "kmeans"},
            **{"layers": "2-4", "seeds": [0]},
        }


def test_sweep__curves_are_defined_over_epochs(swept: Swept) -> None:
    for each in swept.runs("training"):
        assert {name: each.defined[name] for name in CURVES} == {
            name: ("epoch", summary or "") for name, summary in CURVES.items()
        }
        assert [row["epoch"] for row in each.history] == [0, 1, 2]
        losses = [row["validation_loss"] for row in each.history]
        assert each.summary["validation_loss"] == {"min": min(losses)}
        assert each.summary["perplexity"] == each.history[-1]["perplexity"]


def test_sweep__summaries_are_the_figures_of_the_metrics(swept: Swept) -> None:
    expected = [headline(read_json(path)) for path in swept.metrics()]
    for each in swept.runs("cell"):
        found = {name: value for name, value in each.summary.items() if name in expected[0]}
        assert found in [pytest.approx(figures) for figures in expected]
        assert set(found) <= set(each.defined)
        assert set(found) <= each.curves


def test_sweep__dashboards_of_its_settings_name_what_it_logged(swept: Swept) -> None:
    (training, *_), (cell, *_) = swept.runs("training"), swept.runs("cell")
    figures = training.figures | cell.figures
    of_settings = [each for each in DASHBOARDS if each.key.startswith("v1_") and "_table" in each.key]
    complete = [each.key for each in of_settings if each.figures <= figures and each.curves <= training.curves]
    assert complete == [f"v1_table{number}" for number in ("08", "09", "10", "12", "13", "14", "15", "16")]
    for each in DASHBOARDS:
        for key in each.settings:
            section, _, name = key.partition(".")
            assert name in cell.config[section]
            assert name in training.config[section]


def test_sweep__another_group_runs_no_cell_again(swept: Swept) -> None:
    before = {path: path.stat().st_mtime_ns for path in swept.metrics()}
    n_runs = len(offline_runs(swept.home / "outputs"))
    done = swept.again("logger.group=another")
    assert done.code == 0
    assert (done.out + done.err).count("finished before; nothing is run") == 2
    assert {path: path.stat().st_mtime_ns for path in swept.metrics()} == before
    assert len(offline_runs(swept.home / "outputs")) == n_runs

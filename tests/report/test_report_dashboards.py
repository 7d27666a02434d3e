"""Every metric that a dashboard names is one that the loggers write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from composing import checked

from clvq_exp.artifacts import plain
from clvq_exp.collect.catalogue import TABLES
from clvq_exp.collect.reference import flat
from clvq_exp.dashboards.panels import Bars, Dashboard, Line, Scatter
from clvq_exp.dashboards.shelf import DASHBOARDS, KEYS, chosen
from clvq_exp.report.headline import headline
from clvq_exp.report.wandb_logger import CURVES, EPOCH

OF_CURVES = {f"{name}.{summary}" if summary else name for name, summary in CURVES.items()}
"""What the summaries of training runs hold."""
OF_RUN = {"run.job_type", "run.method", "run.init", "run.layers", "run.seeds"}


def dashboard(key: str) -> Dashboard:
    (found,) = chosen([key])
    return found


def panels(key: str) -> Iterator[Any]:
    for section in dashboard(key).sections:
        yield from section.panels


def metrics_of_every_method(nine: Any) -> Mapping[str, Any]:
    """The run of nine methods with the one figure that it leaves out."""
    for block in (nine.metrics, *nine.metrics["beside"].values()):
        block["specificity"]["overlap"]["at_least"]["0.3"]["ratio"] = 1.3
    return nine.metrics


def test_dashboards__one_for_training_and_one_for_each_table_of_a_sweep() -> None:
    assert list(KEYS) == ["training", *(table.key for table in TABLES if table.sweep)]
    assert len({each.name for each in DASHBOARDS}) == len(DASHBOARDS)


def test_chosen__names_what_there_is() -> None:
    assert [each.key for each in chosen(["v1_table08", "training"])] == ["training", "v1_table08"]
    with pytest.raises(ValueError, match=r"no dashboard v1_table02; there are training, v1_table01"):
        chosen(["v1_table02"])


@pytest.mark.parametrize("key", KEYS)
def test_dashboard__names_only_metrics_that_are_logged(key: str, nine) -> None:
    found = dashboard(key)
    assert found.curves | found.figures
    assert found.curves <= {*CURVES, EPOCH}
    assert found.figures <= {*headline(metrics_of_every_method(nine)), *OF_CURVES}


@pytest.mark.parametrize("key", KEYS)
def test_dashboard__reads_only_settings_that_a_run_has(key: str) -> None:
    known = {*flat(plain(checked())), *OF_RUN}
    assert dashboard(key).settings <= known


def test_training__shows_every_curve() -> None:
    found = dashboard("training")
    assert found.curves == {*CURVES, EPOCH}
    assert found.job_type == "training"
    assert [str(each) for each in found.grouped_by] == ["group", "run.method"]


@pytest.mark.parametrize("spec", [table for table in TABLES if table.sweep], ids=lambda spec: spec.key)
def test_table__takes_the_runs_of_its_sweep_and_of_the_twin(spec) -> None:
    found = dashboard(spec.key)
    assert found.groups == (spec.sweep, f"demo_{spec.sweep}")
    assert {*spec.swept_settings} <= found.settings


def test_swept_setting__is_an_axis_where_it_is_a_number() -> None:
    points = {(each.x.key, each.metric) for each in panels("v1_table08") if isinstance(each, Scatter)}
    assert ("quantizer.codebook_size", "faithfulness/concept/perturbed") in points
    assert {key for key, _ in points} == {"quantizer.codebook_size"}
    of_alpha = [each for each in panels("v1_table12") if isinstance(each, Scatter | Bars)]
    assert {each.x.key for each in of_alpha if isinstance(each, Scatter)} == {"encoder.alpha"}
    assert {each.by.key for each in of_alpha if isinstance(each, Bars) and each.by} == {
        "encoder.alpha",
        "encoder.alpha_mode",
    }


def test_table_of_curves__takes_the_runs_of_training_too() -> None:
    assert dashboard("v1_table12").job_type is None
    assert [each.metrics for each in panels("v1_table12") if isinstance(each, Line)] == [("perplexity",)]
    assert dashboard("v1_table08").job_type == "cell"


def test_table_of_methods__has_a_bar_for_each() -> None:
    drop = next(each for each in panels("v1_table01") if each.title == "Drop (share)")
    methods = ("clvq_vae", "single_layer", "clustering", "sae_2048", "sae_4096")
    assert drop.metrics == tuple(f"methods/{name}/faithfulness/concept/drop" for name in methods)
    removed = {each.metrics for each in panels("v2_table12") if each.title == "Accuracy after removal"}
    assert removed == {
        (f"methods/transcoder/faithfulness/{removal}/perturbed",)
        for removal in ("encoder_top_1", "encoder_top_5", "encoder_top_10", "concept")
    }

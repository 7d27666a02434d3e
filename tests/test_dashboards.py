"""`clvq dashboards`: what it prints, what it makes of a dashboard, and what it says to W&B."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clvq_exp.commands import main
from clvq_exp.dashboards.shelf import DASHBOARDS, KEYS, chosen

KEY = "0123456789abcdef0123456789abcdef01234567"
"""What a W&B key looks like."""


def run_set(built: Any) -> dict[str, Any]:
    """Which runs a built dashboard has, as W&B is told."""
    return spec_of(built)["section"]["runSets"][0]


def spec_of(built: Any) -> dict[str, Any]:
    return json.loads(built._to_model().spec.model_dump_json(by_alias=True, exclude_none=True))


def panels_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    sections = spec["section"]["panelBankConfig"]["sections"]
    return [panel for section in sections for panel in section["panels"]]


@pytest.fixture
def workspaces() -> Any:
    pytest.importorskip("wandb_workspaces", reason="the extra `dashboards` is not installed")
    from clvq_exp.dashboards import workspaces

    return workspaces


# ---------------------------------------------------------------- printed


def test_dry_run__prints_every_dashboard_without_wandb(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("wandb", "wandb_workspaces"):
        monkeypatch.setitem(sys.modules, name, None)  # any import of it fails
    assert main(["dashboards", "--dry-run", "--entity", "team", "--project", "mine"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.startswith("Project team/mine; nothing is sent.\n")
    lines = shown.out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith(KEYS)] == list(KEYS)
    assert lines[-1].startswith(f"{len(KEYS)} dashboards, ")
    for each in DASHBOARDS:
        assert all(name in shown.out for name in each.curves | each.figures | each.settings)


def test_dry_run__of_one_says_runs_columns_panels_and_axes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboards", "--dry-run", "--only", "v1_table13"]) == 0
    assert capsys.readouterr().out.split("Controls of")[0].splitlines()[2:] == [
        "v1_table13  Table 13: weight beta of the commitment loss",
        "  runs        job type cell; groups table13_commitment, demo_table13_commitment",
        "  grouped by  dataset.name, quantizer.commitment_weight",
        "  columns     model.name (setting)",
        "              dataset.name (setting)",
        "              run.layers (setting)",
        "              quantizer.commitment_weight (setting)",
        "              codebook/perplexity",
        "  By quantizer.commitment_weight",
        "    Perplexity",
        "      points: codebook/perplexity; over quantizer.commitment_weight",
        "    Perplexity",
        "      bars: codebook/perplexity; one for each quantizer.commitment_weight",
        "  ",
    ]


def test_only__unknown_key_says_which_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboards", "--dry-run", "--only", "training", "v1_table02"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("--only: there is no dashboard v1_table02; there are training, v1_table01, ")


# ---------------------------------------------------------------- what stands in the way


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["dashboards"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    return line


def test_without_the_extra__one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("clvq_exp.commands.dashboards.is_installed", lambda: False)
    assert "pip install 'clvq_exp[dashboards]'" in refused(capsys)


def test_without_a_key__one_line_says_how_to_give_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("clvq_exp.commands.dashboards.is_installed", lambda: True)
    for variable in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "https://server.invalid")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert refused(capsys).startswith("no key for server.invalid is known: run `wandb login`")


def test_offline__says_that_dashboards_need_the_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("clvq_exp.commands.dashboards.is_installed", lambda: True)
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert refused(capsys).startswith("WANDB_MODE=offline, but dashboards are kept by the server: unset it")


# ---------------------------------------------------------------- built


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.key)
def test_workspace__holds_everything_of_the_dashboard(dashboard: Any, workspaces: Any) -> None:
    built = workspaces.workspace(dashboard, "team", "mine")
    assert (built.entity, built.project, built.name) == ("team", "mine", dashboard.name)
    spec = spec_of(built)
    sections = spec["section"]["panelBankConfig"]["sections"]
    assert [(each["name"], len(each["panels"])) for each in sections] == [
        (each.name, len(each.panels)) for each in dashboard.sections
    ]
    sent = json.dumps(spec)
    assert all(json.dumps(name)[1:-1] in sent for name in dashboard.curves | dashboard.figures)
    keys = {key.replace(".", ".value.", 1) for key in dashboard.settings}
    assert all(key in sent for key in keys)
    assert spec["section"]["settings"]["shouldAutoGeneratePanels"] is False


def test_workspace__filters_and_groups_its_runs(workspaces: Any) -> None:
    (table,) = chosen(["v1_table08"])
    runs = run_set(workspaces.workspace(table, "team", "mine"))
    of_type, of_group = runs["filters"]["filters"]
    assert (of_type["key"]["name"], of_type["op"], of_type["value"]) == ("jobType", "=", "cell")
    assert (of_group["key"]["name"], of_group["op"], of_group["connector"]) == ("group", "IN", "AND")
    assert of_group["value"] == ["table08_codebook_size", "demo_table08_codebook_size"]
    assert runs["grouping"] == [{"section": "config", "name": "quantizer.value.codebook_size"}]
    pinned = runs["runFeed"]["columnPinned"]
    assert list(pinned)[:5] == [
        *("run:displayName", "config:model.value.name", "config:dataset.value.name"),
        *("config:run.value.layers", "config:quantizer.value.codebook_size"),
    ]
    assert "summary:faithfulness/concept/perturbed" in pinned
    (curves,) = chosen(["training"])
    grouping = run_set(workspaces.workspace(curves, "team", "mine"))["grouping"]
    assert [(each["section"], each["name"]) for each in grouping] == [
        ("run", "group"),
        ("config", "run.value.method"),
    ]


def test_workspace__panels_have_their_axes(workspaces: Any) -> None:
    (table,) = chosen(["v1_table08"])
    points, bars, *_ = panels_of(spec_of(workspaces.workspace(table, "team", "mine")))
    assert points["config"]["xAxis"] == "config:quantizer.value.codebook_size"
    assert points["config"]["yAxis"] == "summary:faithfulness/concept/perturbed"
    assert bars["config"]["metrics"] == ["faithfulness/concept/perturbed"]
    assert bars["config"]["groupBy"] == "quantizer.value.codebook_size"
    (curves,) = chosen(["training"])
    loss, *_ = panels_of(spec_of(workspaces.workspace(curves, "team", "mine")))
    assert (loss["config"]["xAxis"], loss["config"]["metrics"]) == ("epoch", ["validation_loss"])


# ---------------------------------------------------------------- saved


class Server:
    """The part of W&B's server that keeps views, in memory: a view without an id is always a new one."""

    def __init__(self) -> None:
        self.views: list[dict[str, Any]] = []
        self.projects = {("me", "mine"), ("team", "mine")}
        self.refuses: Exception | None = None

    def execute_graphql(self, query: str, variables: dict[str, Any], **_: Any) -> dict[str, Any]:
        if self.refuses is not None:
            raise self.refuses
        place = (variables["entityName"], variables["projectName"])
        if "mutation" not in query:
            if place not in self.projects:
                return {"project": None}
            found = [each for each in self.views if (*place, variables["viewName"]) == each["address"]]
            return {"project": {"allViews": {"edges": [{"node": each} for each in found]}}}
        inserted = "id" not in variables
        if inserted:
            view = {"id": f"id{len(self.views)}", "address": (*place, variables["name"])}
            self.views.append(view)
        else:
            (view,) = (each for each in self.views if each["id"] == variables["id"])
        view |= {"displayName": variables["displayName"], "spec": variables["spec"]}
        return {"upsertView": {"view": {"id": view["id"], "name": variables["name"]}, "inserted": inserted}}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, workspaces: Any) -> Server:
    """In place of W&B's client."""
    import wandb

    made = Server()

    class Api:
        default_entity = "me"

        def __init__(self) -> None:
            self._service_api = SimpleNamespace(
                app_url="https://server.invalid/", execute_graphql=made.execute_graphql
            )

    monkeypatch.setattr(wandb, "Api", Api)
    monkeypatch.setattr(wandb, "termlog", lambda *_, **__: None)
    for variable in ("WANDB_MODE", "WANDB_ENTITY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    return made


def test_save__again_replaces_what_is_there(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboards", "--project", "mine"]) == 0
    first = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in first] == [["new", key] for key in KEYS]
    assert first[1].endswith(" https://server.invalid/me/mine?nw=clvqexpv1table01")
    assert len(server.views) == len(KEYS)
    for view in server.views:
        view |= {"displayName": "changed by hand", "spec": "{}"}
    assert main(["dashboards", "--project", "mine"]) == 0
    again = capsys.readouterr().out.splitlines()
    assert again == [line.replace("new     ", "replaced", 1) for line in first]
    assert [view["displayName"] for view in server.views] == [each.name for each in DASHBOARDS]


def test_save__of_one_in_a_team(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboards", "--entity", "team", "--project", "mine", "--only", "training"]) == 0
    (view,) = server.views
    assert view["address"] == ("team", "mine", "nw-clvqexptraining-v")
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_save__no_such_project_is_one_line(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboards", "--project", "other"]) == 1
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert line.startswith("training was not saved in project other: Project `me/other` not found")
    assert f"0 of {len(KEYS)} are saved. See that the project is there" in line
    assert shown.out == ""
    assert server.views == []


def test_save__error_of_the_server_shows_no_key(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.refuses = RuntimeError(f"401 for\n{KEY}\x1b[31m")
    assert main(["dashboards", "--project", "mine", "--only", "training"]) == 1
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert "401 for <WANDB_API_KEY>\\x1b[31m; 0 of 1 are saved" in line
    assert KEY not in shown.out + shown.err

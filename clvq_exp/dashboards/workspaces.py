"""Dashboards as saved views in W&B: the only file that knows `wandb_workspaces`, an extra in public preview.

A view's address comes from its dashboard's key, so it is found again and replaced instead of made a second time.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from clvq_exp.dashboards.panels import GROUP, Bars, Dashboard, Line, Panel, Section, Setting

INSTALL = "pip install 'clvq_exp[dashboards]'"
_MOST_RUNS = 100
"""Runs that a panel shows: ten would cut off a sweep over models and data sets."""

log = logging.getLogger(__name__)


class DashboardError(Exception):
    """A dashboard that W&B did not take."""


class Saved(NamedTuple):
    """A dashboard in W&B."""

    dashboard: Dashboard
    url: str
    replaced: bool
    """Whether a view with its address was there before."""


def is_installed() -> bool:
    """Whether the extra is there."""
    return importlib.util.find_spec("wandb_workspaces") is not None


def workspace(dashboard: Dashboard, entity: str, project: str) -> Any:
    """A dashboard as `wandb_workspaces.workspaces.Workspace`; nothing is sent.

    Args:
        dashboard: what it shows.
        entity: the user or team that owns the project.
        project: where the runs are.
    """
    import wandb_workspaces.workspaces as ws

    made: Any = ws.Workspace(
        entity=entity,
        project=project,
        name=dashboard.name,
        sections=[_section(each) for each in dashboard.sections],
        settings=ws.WorkspaceSettings(max_runs=_MOST_RUNS),
        runset_settings=ws.RunsetSettings(
            filters=_filters(dashboard),
            groupby=[_run_key(each) for each in dashboard.grouped_by],
            pinned_columns=[_column(each) for each in dashboard.columns],
        ),
    )
    made._internal_name = f"nw-{_address(dashboard)}-v"
    return made


def save_all(dashboards: Sequence[Dashboard], entity: str | None, project: str) -> Iterator[Saved]:
    """Save dashboards as views of a project, each in the place of the one that was saved before.

    Args:
        dashboards: what they show.
        entity: the user or team that owns the project; None for the account's own.
        project: where the runs are; it must be there.

    Yields:
        Each as soon as it is saved.

    Raises:
        DashboardError: W&B did not take one; says what W&B said.
    """
    for each in dashboards:
        try:
            entity = entity or _own_entity()
            yield _save(each, entity, project)
        except Exception as error:  # of W&B's client, its service process or the preview library: no common class
            log.debug("where it came from", exc_info=True)
            said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise DashboardError(f"{each.key} was not saved in project {project}: {said}") from error


def _save(dashboard: Dashboard, entity: str, project: str) -> Saved:
    made = workspace(dashboard, entity, project)
    found = _view_id(dashboard, entity, project)
    if found is not None:
        made._internal_id = found
    made.save()
    return Saved(dashboard, str(made.url), replaced=found is not None)


def _own_entity() -> str:
    import wandb

    entity = wandb.Api().default_entity
    if not entity:
        raise ValueError("the account names no entity of its own: give one by --entity")
    return entity


def _view_id(dashboard: Dashboard, entity: str, project: str) -> str | None:
    """W&B's own id of the view, or None where it was never saved."""
    from wandb_workspaces.workspaces import internal

    address = _address(dashboard)
    try:
        return str(internal.get_view_dict(entity, project, address)["id"])
    except ValueError as error:
        if f"Workspace `{address}` not found" in str(error):
            return None
        raise


def _address(dashboard: Dashboard) -> str:
    """What the view's address ends in: letters and digits alone, since W&B cuts dashes out of it."""
    return "clvqexp" + "".join(each for each in dashboard.key if each.isalnum())


def _section(section: Section) -> Any:
    import wandb_workspaces.workspaces as ws

    return ws.Section(name=section.name, panels=[_panel(each) for each in section.panels], is_open=True)


def _panel(panel: Panel) -> Any:
    import wandb_workspaces.reports.v2 as wr

    if isinstance(panel, Line):
        return wr.LinePlot(title=panel.title, x=panel.x, y=list(panel.metrics), max_runs_to_show=_MOST_RUNS)
    if isinstance(panel, Bars):
        by: dict[str, Any] = {"groupby": wr.Config(panel.by.key), "groupby_aggfunc": "mean"} if panel.by else {}
        return wr.BarPlot(
            title=panel.title,
            metrics=list(panel.metrics),
            max_runs_to_show=_MOST_RUNS,
            max_bars_to_show=_MOST_RUNS,
            **by,
        )
    return wr.ScatterPlot(title=panel.title, x=wr.Config(panel.x.key), y=wr.SummaryMetric(panel.metric))


def _filters(dashboard: Dashboard) -> Any:
    """Which runs are in it; the empty text for all."""
    import wandb_workspaces.workspaces as ws

    found: list[Any] = []
    if dashboard.job_type is not None:
        found.append(ws.Metric("JobType") == dashboard.job_type)
    if dashboard.groups:
        found.append(ws.Metric("Group").isin(list(dashboard.groups)))
    return ws.And(*found) if found else ""


def _run_key(key: Setting | str) -> Any:
    import wandb_workspaces.workspaces as ws

    if isinstance(key, Setting):
        return ws.Config(key.key)
    if key != GROUP:
        raise ValueError(f"runs are grouped by settings and by {GROUP}, not by {key}")
    return ws.Metric("Group")


def _column(column: Setting | str) -> str:
    """W&B keeps the value of a configuration's first key one step below it."""
    if isinstance(column, str):
        return f"summary:{column}"
    first, *rest = column.key.split(".")
    return "config:" + ".".join((first, "value", *rest))

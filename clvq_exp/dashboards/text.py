"""Dashboards as text: what a dry run prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from clvq_exp.dashboards.panels import Bars, Dashboard, Line, Panel, Setting


def as_text(dashboards: Sequence[Dashboard]) -> str:
    """Every dashboard with its runs, columns, sections and panels, for people.

    Args:
        dashboards: in the order in which they are shown.
    """
    return "\n".join(line for each in dashboards for line in (*_lines(each), "")) + _counted(dashboards) + "\n"


def _lines(dashboard: Dashboard) -> Iterator[str]:
    yield f"{dashboard.key}  {dashboard.name}"
    yield f"  runs        {_runs(dashboard)}"
    if dashboard.grouped_by:
        yield f"  grouped by  {_listed(dashboard.grouped_by)}"
    for number, column in enumerate(dashboard.columns):
        yield f"  {'' if number else 'columns':<12}{column}{_kind(column)}"
    for section in dashboard.sections:
        yield f"  {section.name}"
        for panel in section.panels:
            yield f"    {panel.title}"
            yield f"      {_panel(panel)}"


def _runs(dashboard: Dashboard) -> str:
    of_type = "every job type" if dashboard.job_type is None else f"job type {dashboard.job_type}"
    return f"{of_type}; {'groups ' + _listed(dashboard.groups) if dashboard.groups else 'every group'}"


def _kind(column: Setting | str) -> str:
    return " (setting)" if isinstance(column, Setting) else ""


def _panel(panel: Panel) -> str:
    if isinstance(panel, Line):
        return f"lines: {_listed(panel.metrics)}; over {panel.x}"
    if isinstance(panel, Bars):
        return f"bars: {_listed(panel.metrics)}" + (f"; one for each {panel.by}" if panel.by else "")
    return f"points: {panel.metric}; over {panel.x}"


def _listed(names: Iterable[object]) -> str:
    return ", ".join(map(str, names))


def _counted(dashboards: Sequence[Dashboard]) -> str:
    n_panels = sum(len(section.panels) for each in dashboards for section in each.sections)
    return f"{len(dashboards)} dashboard{'' if len(dashboards) == 1 else 's'}, {n_panels} panels"

"""What a dashboard is made of: plain data, in the order in which it is shown."""

from __future__ import annotations

from dataclasses import dataclass

GROUP = "group"
"""The group of a run: the sweep that it is part of."""


@dataclass(frozen=True)
class Setting:
    """A value of the configuration that a run has in W&B."""

    key: str
    """Its full key, `quantizer.codebook_size`, or `run.method` and the like for what the W&B run is of."""

    def __str__(self) -> str:
        """The key."""
        return self.key


@dataclass(frozen=True)
class Line:
    """Curves of training over epochs."""

    title: str
    metrics: tuple[str, ...]
    x: str = "epoch"


@dataclass(frozen=True)
class Bars:
    """Figures as bars, one for each run or group of runs."""

    title: str
    metrics: tuple[str, ...]
    by: Setting | None = None
    """Bars of runs that share this setting are one: their mean."""


@dataclass(frozen=True)
class Scatter:
    """A figure over a swept setting."""

    title: str
    x: Setting
    metric: str


Panel = Line | Bars | Scatter


@dataclass(frozen=True)
class Section:
    """Panels under one heading."""

    name: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    """A saved view of one project."""

    key: str
    """`training`, or the table's."""
    name: str
    sections: tuple[Section, ...]
    job_type: str | None = None
    """Runs of this type alone; None for all."""
    groups: tuple[str, ...] = ()
    """Runs of these groups alone; none for all."""
    grouped_by: tuple[Setting | str, ...] = ()
    """Settings, or `group`, by which the runs are put together."""
    columns: tuple[Setting | str, ...] = ()
    """Settings and summary figures that stand beside each run's name."""

    @property
    def curves(self) -> set[str]:
        """Every metric that has to be among a run's curves."""
        return {name for panel in self._panels if isinstance(panel, Line) for name in (panel.x, *panel.metrics)}

    @property
    def figures(self) -> set[str]:
        """Every metric that has to be in a run's summary."""
        found = {each for each in self.columns if isinstance(each, str)}
        for panel in self._panels:
            if isinstance(panel, Bars):
                found |= set(panel.metrics)
            elif isinstance(panel, Scatter):
                found.add(panel.metric)
        return found

    @property
    def settings(self) -> set[str]:
        """Every key of the configuration that it reads."""
        of_panels = [
            each
            for panel in self._panels
            for each in (getattr(panel, "by", None), getattr(panel, "x", None))
            if each is not None
        ]
        return {each.key for each in (*self.grouped_by, *self.columns, *of_panels) if isinstance(each, Setting)}

    @property
    def _panels(self) -> tuple[Panel, ...]:
        return tuple(panel for section in self.sections for panel in section.panels)

"""Which dashboards there are."""

from __future__ import annotations

from collections.abc import Sequence

from clvq_exp.dashboards.panels import Dashboard
from clvq_exp.dashboards.tables import table_dashboards
from clvq_exp.dashboards.training import TRAINING

DASHBOARDS: tuple[Dashboard, ...] = (TRAINING, *table_dashboards())
KEYS = tuple(each.key for each in DASHBOARDS)


def chosen(keys: Sequence[str]) -> list[Dashboard]:
    """Dashboards by their keys, in the order in which they are shown; all where no key is given.

    Raises:
        ValueError: a key of no dashboard.
    """
    unknown = [key for key in keys if key not in KEYS]
    if unknown:
        raise ValueError(f"there is no dashboard {', '.join(unknown)}; there are {', '.join(KEYS)}")
    return [each for each in DASHBOARDS if not keys or each.key in keys]

"""Which sentences the judges see: equally many of each kind of outcome (section 4.2.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from clvq_exp.judging.records import Instance
from clvq_exp.seeding import derived_seed

POSITIVE = 1
"""Class id that is called positive where there are two classes."""
_BINARY = ("true positive", "false positive", "true negative", "false negative")
_MORE = ("right", "wrong")


class Drawn(NamedTuple):
    """The sentences of one configuration."""

    instances: tuple[Instance, ...]
    """Stratum by stratum, each in the order of its lot."""
    strata: Mapping[str, tuple[int, int, int]]
    """Stratum -> wanted, drawn, and how many there are."""

    @property
    def shortfall(self) -> str:
        """Which strata are too small; empty where none is."""
        short = [
            f"{name}: {drawn} of the {wanted} wanted"
            for name, (wanted, drawn, _) in self.strata.items()
            if drawn < wanted
        ]
        return "; ".join(short)


def stratum(instance: Instance, n_classes: int) -> str:
    """Its outcome: one of four for two classes, right or wrong for more."""
    right = instance.label == instance.prediction
    if n_classes != 2:
        return _MORE[0] if right else _MORE[1]
    return f"{'true' if right else 'false'} {'positive' if instance.prediction == POSITIVE else 'negative'}"


def draw(instances: Sequence[Instance], n_classes: int, wanted: int, seed: int) -> Drawn:
    """Draw equally many sentences of each stratum, by lot.

    A sentence's lot hangs on the seed and on the sentence alone, so that a larger sample holds the smaller one. A
    stratum that is too small gives all it has, and no other stands in for it.

    Args:
        instances: of one configuration.
        n_classes: of its data set.
        wanted: sentences; where it is no multiple of the strata, the first ones get one more.
        seed: of the lots.
    """
    names = _BINARY if n_classes == 2 else _MORE
    held: dict[str, list[Instance]] = {name: [] for name in names}
    for each in instances:
        held[stratum(each, n_classes)].append(each)
    drawn: list[Instance] = []
    strata: dict[str, tuple[int, int, int]] = {}
    for place, (name, members) in enumerate(held.items()):
        quota = wanted // len(names) + (place < wanted % len(names))
        lots = sorted(members, key=lambda each: derived_seed(seed, "judged sentences", each.id, each.text))
        drawn += lots[:quota]
        strata[name] = (quota, min(quota, len(members)), len(members))
    return Drawn(tuple(drawn), strata)

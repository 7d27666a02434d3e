"""Settings in which runs differ, beside what each is where nothing is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from clvq_exp.collect.reference import Flat, flat, init_reference, method_reference, reference, shown
from clvq_exp.comparing.subjects import Subject
from clvq_exp.report.access import entry

_ABSENT = object()
_ITSELF = "hydra"
"""The section that says how a run was started, not what it is."""


class Setting(NamedTuple):
    """A key in which runs differ."""

    section: str
    """Its first part; `run` for keys without sections."""
    key: str
    default: str | None
    """What `conf/` has, where it has the same for all of the runs."""
    values: tuple[str | None, ...]
    """Of each run, as on a command line; None where a run has no such key."""
    is_default: tuple[bool, ...]
    """Of each run: the value is that of `conf/` for its own model, data set, protocol and method."""

    @property
    def is_new(self) -> bool:
        """Some runs do not have the key, and in the others it stands at its default."""
        has = [value is not None for value in self.values]
        return not all(has) and all(
            is_default for present, is_default in zip(has, self.is_default, strict=True) if present
        )


def differing_settings(subjects: Sequence[Subject]) -> list[Setting]:
    """The keys of the configurations that do not have one value in all runs.

    Args:
        subjects: at least one run, the base first.

    Returns:
        In the order of the base's configuration; sections that only others have, last.
    """
    configs = [flat({key: value for key, value in each.run.config.items() if key != _ITSELF}) for each in subjects]
    defaults = [_defaults(each) for each in subjects]
    keys = dict.fromkeys(key for config in configs for key in config)
    found = [
        _setting(key, configs, defaults)
        for key in keys
        if not all(_same(config.get(key, _ABSENT), configs[0].get(key, _ABSENT)) for config in configs)
    ]
    sections = list(dict.fromkeys(each.section for each in found))
    return sorted(found, key=lambda each: sections.index(each.section))


def _setting(key: str, configs: Sequence[Flat], defaults: Sequence[Flat]) -> Setting:
    values = [config.get(key, _ABSENT) for config in configs]
    own = [each.get(key, _ABSENT) for each in defaults]
    common = own[0] if all(_same(each, own[0]) for each in own) else _ABSENT
    return Setting(
        key.partition(".")[0] if "." in key else "run",
        key,
        _text(common),
        tuple(_text(value) for value in values),
        tuple(
            default is not _ABSENT and _same(value, default) for value, default in zip(values, own, strict=True)
        ),
    )


def _same(a: object, b: object) -> bool:
    return a == b and isinstance(a, bool) == isinstance(b, bool)  # true is no 1


def _text(value: object) -> str | None:
    return None if value is _ABSENT else shown(value)


def _defaults(subject: Subject) -> dict[str, Any]:
    """What `conf/` says for the model, data set, protocol, method and start of a run."""
    config = subject.run.config
    protocol = str(entry(config, "protocol").get("name", "paper"))
    baseline, init = entry(config, "baseline"), entry(config, "init")
    found = dict(reference(protocol, *subject.run.place[:2]))
    for section, of_section in (
        ("baseline", method_reference(str(baseline.get("name")))),
        ("init", init_reference(str(init.get("method")))),
    ):
        found |= {f"{section}.{key}": value for key, value in of_section.items()}
    return found

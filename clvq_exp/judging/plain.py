"""An evaluation as plain data, as `judging.json` holds it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from clvq_exp.judging.evaluation import Result
from clvq_exp.judging.ledger import Spent
from clvq_exp.judging.settings import Judge
from clvq_exp.records import Interval

FORMAT_VERSION = 1


def as_plain(result: Result, spent: Spent) -> dict[str, Any]:
    """The whole evaluation as JSON holds it; no key is in it, only the names of their variables."""
    evaluation = result.evaluation
    plan = evaluation.plan
    found = result.figures
    return {
        "format_version": FORMAT_VERSION,
        "evaluation": evaluation.name,
        "plan": {each.name: getattr(plan, each.name) for each in fields(plan)},
        "panel": {
            **{each.name: getattr(evaluation.panel, each.name) for each in fields(evaluation.panel)},
            "judges": [_judge(each) for each in evaluation.panel.judges],
        },
        "methods": list(result.methods),
        "configurations": [
            {
                **{name: getattr(each, name) for name in ("model", "dataset", "layers", "label_names", "notes")},
                "sentences": [instance.id for instance in drawn.instances],
                "strata": {
                    name: {"wanted": wanted, "drawn": n, "there": there}
                    for name, (wanted, n, there) in drawn.strata.items()
                },
                "ratings": dict(zip(result.methods, (_interval(value) for value in own.ratings), strict=True)),
                "floor": _interval(own.floor),
                "kendall_w": _interval(own.kendall_w),
                "kendall_w_uncorrected": own.kendall_w_uncorrected,
                "answers": own.answers,
                "missing": own.missing,
            }
            for each, drawn, own in zip(
                evaluation.configurations, evaluation.drawn, found.configurations, strict=True
            )
        ],
        "figures": {
            method: {
                name: _interval(value) if isinstance(value, Interval) else value
                for name, value in own._asdict().items()
            }
            for method, own in zip(result.methods, found.methods, strict=True)
        },
        "floor": _interval(found.floor),
        "kendall_w": {name: _interval(value) for name, value in (*found.of_datasets, ("", found.overall))},
        "disagreement": {
            "values": dict(
                zip((each.name for each in evaluation.panel.judges), result.disagreement.values, strict=True)
            ),
            "left_out": None
            if result.disagreement.left_out is None
            else evaluation.panel.judges[result.disagreement.left_out].name,
            "why": result.disagreement.why,
        },
        "spent": spent._asdict(),
    }


def _interval(value: Interval | None) -> dict[str, float] | None:
    return None if value is None else value.as_dict()


def _judge(judge: Judge) -> dict[str, Any]:
    found = {each.name: getattr(judge, each.name) for each in fields(judge)}
    return {**found, "path": None if judge.path is None else str(judge.path)}

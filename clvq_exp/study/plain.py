"""The scores of a study as JSON: every number in full."""

from __future__ import annotations

import json
from typing import Any

from clvq_exp.artifacts import plain
from clvq_exp.study.design import Design
from clvq_exp.study.scores import Figures, Scores

FORMAT_VERSION = 1


def as_json(design: Design, scores: Scores) -> str:
    """Scores as JSON with sorted keys; null where there is no figure (`docs/study.md` lists its keys)."""
    content: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "model": design.model,
        "dataset": design.dataset,
        "layer_pair": design.layer_pair,
        "labels": [each.name for each in design.labels],
        "sentences": len(design.sentences),
        "items": len(design.items),
        "complete": list(scores.complete),
        "methods": [
            {
                "name": each.method,
                **_figures(each.figures),
                "by_stratum": {name: value.as_dict() for name, value in each.by_stratum.items()},
                "different_clouds": each.different_clouds,
            }
            for each in scores.methods
        ],
        "differences": [{"methods": list(each.methods), **_figures(each.figures)} for each in scores.differences],
        "annotators": [plain(each._asdict()) for each in scores.annotators],
    }
    return json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _figures(figures: Figures) -> dict[str, Any]:
    return {
        "fleiss_kappa": None if figures.kappa is None else figures.kappa.as_dict(),
        "confidence": figures.confidence.as_dict(),
        "alignment": figures.alignment.as_dict(),
    }

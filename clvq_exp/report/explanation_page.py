"""Explanations as one page that opens from the disk, without a network and without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clvq_exp.report import formatting
from clvq_exp.report.embedding import escaping_templates
from clvq_exp.report.explanation import ExplainedBy, Explanation
from clvq_exp.report.explanation_words import shown_explanation

_TEMPLATES = Path(__file__).parent / "templates"
_FILTERS = ("decimal", "percent", "count")


def explanation_page(by: ExplainedBy, explanations: Sequence[Explanation]) -> str:
    """The page.

    Args:
        by: the run.
        explanations: of the sentences, in their order.
    """
    environment = escaping_templates(_TEMPLATES)
    for name in _FILTERS:
        environment.filters[name] = getattr(formatting, name)
    template = environment.get_template("explanation.html.j2")
    return template.render(by=by, explanations=[shown_explanation(each) for each in explanations])

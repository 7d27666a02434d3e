"""A comparison as one page that opens from the disk, without a network and without a script."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from clvq_exp.comparing.sheets import Document
from clvq_exp.report.embedding import escaping_templates, trusted

_TEMPLATES = Path(__file__).parent / "templates"


def as_page(shown: Document) -> str:
    """The page; no text of a run is code on it.

    Args:
        shown: what stands on it.
    """
    style = (files("clvq_exp.collect") / "templates" / "style.css").read_text(encoding="utf-8")
    return escaping_templates(_TEMPLATES).get_template("compare.html.j2").render(shown=shown, style=trusted(style))

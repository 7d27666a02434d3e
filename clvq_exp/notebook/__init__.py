"""Concepts of one's own activations, without a configuration: fit, assign, take out, look at, share.

from clvq_exp.notebook import Concepts

found = Concepts.fit(lower, upper, words=words, sentences=sentence_of_word, codebook_size=50)
found.words(12)
"""

from clvq_exp.notebook.concepts import Concepts
from clvq_exp.notebook.rows import NotebookError
from clvq_exp.sharing.records import SharingError

__all__ = ["Concepts", "NotebookError", "SharingError"]

"""Ward's clusters of training words: memory grows with the words, time with their square."""

from __future__ import annotations

from enum import Enum

from clvq_exp.estimate.method_codebooks import (
    ASSIGNING_SHARE,
    FILTER_SECONDS,
    assigning_bytes,
    codebook_needs,
    concept_model_bytes,
    word_operations,
)
from clvq_exp.estimate.method_of_cell import MethodOfCell
from clvq_exp.estimate.records import CONCEPTS, MethodMemory, MethodNeeds, Part
from clvq_exp.estimate.subject import Subject

WARD_SECONDS = 8e-10
"""Of a dimension of a pair of words, on one thread whatever the run has: 6.1e-10 to 8.7e-10 for 1,000 to 16,000
words of MiniLM."""
WARD_BYTES = 20
"""Of a dimension of a word: float32, and in float64 centred and once more; 19 were measured for 16,000 words."""
TREE_BYTES = 24
"""Of a word in the tree: two nodes and a height."""
LOGISTIC_PASSES = 350
"""Products of all words with all clusters and back, at the rate of a plain matrix product, of a logistic
regression that takes all its 200 iterations; 230 to 410 were measured."""
LOGISTIC_BYTES, LOGISTIC_SCORE_BYTES = 8, 24
"""Of a dimension of a word, and of a word's score for a cluster."""
MOST_WORDS = 50_000
"""What the class takes where `max_words` is not given."""


class Assignment(Enum):
    """How a word finds its cluster."""

    nearest = "nearest"
    logistic = "logistic"


class ClusteredWords(Enum):
    """Which training words are clustered."""

    all = "all"
    frequent = "frequent"


class Rows(Enum):
    """What tells the clustered words of one seed from those of another."""

    every = "every"
    of_seed = "of_seed"


def clustering(cell: MethodOfCell) -> MethodNeeds:
    """A tree, then a cut and one pass that gives all words to their clusters."""
    subject, config = cell.subject, cell.subject.config
    width, size = subject.network.width, config.quantizer.codebook_size
    which = cell.choice("words", ClusteredWords.all)
    assignment = cell.choice("assignment", Assignment.nearest)
    most = cell.whole("max_words", MOST_WORDS)
    n = min(_words(subject, which), most)
    logistic = assignment is Assignment.logistic
    model_bytes = concept_model_bytes(config, width, False) + (4 * size * (width + 1) if logistic else 0)
    lower = cell.names.layer(config.layer_pair.lower)
    parts: list[Part] = []
    models: list[str] = []
    for seed in config.seeds:
        tree = cell.names.fitted(0, "ward_tree", lower, _rows(subject, which, most, seed))
        seconds = WARD_SECONDS * width * float(n) ** 2
        parts.append(Part(CONCEPTS, tree, seconds, TREE_BYTES * n, 0, cell.method.name))
        models.append(cell.names.fitted(seed, "clustering", lower, which, most, size, assignment))
        seconds = _fit_seconds(subject, which, n if logistic else 0)
        parts.append(Part(CONCEPTS, models[-1], seconds, model_bytes, 0, cell.method.name))
    memory = MethodMemory(0, _fit_bytes(width, size, n, logistic), 0, assigning_bytes(config, width))
    return codebook_needs(cell, parts, models, model_bytes, memory, cell.key("max_words"))


def _words(subject: Subject, which: ClusteredWords) -> int:
    """Words that could be clustered."""
    corpus = subject.corpus
    return corpus.frequent_words if which is ClusteredWords.frequent else corpus.training_words


def _rows(subject: Subject, which: ClusteredWords, most: int, seed: int) -> list[object]:
    """What the rows of the clustered words hang on: a filter that leaves nothing out is none."""
    n = _words(subject, which)
    filtered = which is ClusteredWords.frequent and n < subject.corpus.training_words
    drawn = most if n > most else None
    return [filtered, drawn, seed if filtered or drawn else None]


def _fit_seconds(subject: Subject, which: ClusteredWords, learnt: int) -> float:
    """Counting word types, the logistic regression if there is one, and one pass over the words."""
    corpus, rate = subject.corpus, subject.rates.processor
    operations = word_operations(subject.config, subject.network.width, False)
    counted = corpus.training_words if which is ClusteredWords.frequent else 0
    passed = float(corpus.training_words + corpus.validation_words)
    return (
        FILTER_SECONDS * counted
        + LOGISTIC_PASSES * 2 * learnt * operations / rate
        + passed * operations / (rate * ASSIGNING_SHARE)
    )


def _fit_bytes(width: int, size: int, n: int, logistic: bool) -> int:
    tree = (WARD_BYTES * width + 2 * TREE_BYTES) * n
    learning = (LOGISTIC_BYTES * width + LOGISTIC_SCORE_BYTES * size) * n if logistic else 0
    return max(tree, learning)

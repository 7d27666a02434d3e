"""What a run folder holds of one method: the concept of each sentence, and what stands for a concept (4.2.1)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from clvq_exp.collect.units import Unit
from clvq_exp.judging.records import JudgingError, Representation
from clvq_exp.report.access import main_method, seeds
from clvq_exp.report.representation import WORDS, shown
from clvq_exp.report.run_files import read_rows
from clvq_exp.report.text_safety import visible

TABLES = (
    "salient_words",
    "salient_concepts",
    "concepts",
    "concept_words",
    "concept_sentences",
    "concept_examples",
)
"""Tables of a run folder that are read."""
SENTENCES = 5


class MethodTables(NamedTuple):
    """One method of one run, its first seed."""

    concepts: Mapping[int, int]
    """Row of a dev sentence -> the concept of its salient word; -1 where the method gives none."""
    representations: Mapping[int, Representation]
    """Concept -> what stands for it; one that holds no training word is not there."""


def read_method(unit: Unit) -> MethodTables:
    """Read what judges are shown of a method.

    Where more than half of what a concept holds are sentence tokens, it is shown by up to five training sentences
    of 5 to 30 words, drawn by lot; else by its ten most frequent words, case-folded. One whose sentences are all
    shorter or longer is shown by its words.

    Args:
        unit: a method of a run.

    Raises:
        JudgingError: the run is of a version that left no such tables for methods beside the main one.
    """
    folder, key = unit.run.folder, unit.key
    seed = next(iter(seeds(unit.run.metrics)), 0)
    which: dict[str, str | int] = {"method": key, "seed": seed}
    is_main = key == main_method(unit.run.metrics)
    files = unit.run.files
    if not is_main and not {"salient_concepts.parquet", "concept_sentences.parquet"} <= set(files):
        raise JudgingError(
            f"{folder}: the run is of a version that kept no concepts of methods beside its own ({key}): run its "
            "command again with another hydra.run.dir; everything comes from the cache"
        )
    if "salient_concepts.parquet" in files:
        rows = read_rows(folder, "salient_concepts", ("sentence", "concept"), **which)
        concepts = {int(row["sentence"]): int(row["concept"]) for row in rows}
    else:
        rows = read_rows(folder, "salient_words", ("sentence", "code"), split="dev")
        concepts = {int(row["sentence"]): int(row["code"]) for row in rows}
    held = read_rows(folder, "concepts", ("concept", "train_words", "sentence_tokens"), **which)
    if not held or not concepts:
        raise JudgingError(f"{folder}: its tables hold no concepts of {key}: run its command again")
    words, sentences = _words(unit, which), _sentences(unit, which)
    found: dict[int, Representation] = {}
    for row in held:
        concept = int(row["concept"])
        if not row["train_words"]:
            continue
        mostly_sentences = 2 * int(row["sentence_tokens"]) > int(row["train_words"])
        if mostly_sentences and sentences.get(concept):
            found[concept] = Representation(sentences=tuple(sentences[concept][:SENTENCES]))
        else:
            found[concept] = Representation(words=tuple(words.get(concept, ())[:WORDS]))
    return MethodTables(concepts, found)


def _words(unit: Unit, which: Mapping[str, str | int]) -> dict[int, list[str]]:
    """The most frequent words of each concept."""
    rows = read_rows(unit.run.folder, "concept_words", ("concept", "rank", "word"), **which)
    found: dict[int, list[str]] = defaultdict(list)
    for row in sorted(rows, key=lambda each: (each["concept"], each["rank"])):
        found[int(row["concept"])].append(shown(str(row["word"])))
    return found


def _sentences(unit: Unit, which: Mapping[str, str | int]) -> dict[int, list[str]]:
    """Training sentences whose token is of each concept, in the order of the lot."""
    folder = unit.run.folder
    found: dict[int, list[str]] = defaultdict(list)
    if "concept_sentences.parquet" in unit.run.files:
        for row in read_rows(folder, "concept_sentences", ("concept", "text"), **which):
            found[int(row["concept"])].append(one_line(str(row["text"])))
    else:
        columns = ("concept", "split", "special", "after")
        for row in read_rows(folder, "concept_examples", columns, **which):
            if row["special"] and row["split"] == "train":
                found[int(row["concept"])].append(one_line(str(row["after"])))
    return found


def one_line(text: str) -> str:
    """A text of the data set as it stands in a prompt: in one line, and nothing in it that cannot be seen."""
    return visible(" ".join(text.split()))

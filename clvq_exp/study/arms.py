"""What finished runs say of dev sentences: the concept of each salient word, and the words of each concept."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from clvq_exp.artifacts import DamagedArtifactError, file_checksum
from clvq_exp.comparing.subjects import Subject, reading
from clvq_exp.report.access import mapping
from clvq_exp.report.access import methods as methods_of
from clvq_exp.report.representation import shown
from clvq_exp.study.design import StudyError

SALIENT = ("sentence", "id", "text", "label", "prediction", "code")
GROUP = "group"
BESIDE = "salient_concepts"
"""Table of a run folder: the concept of each salient word, of every method and seed."""
_BESIDE_COLUMNS = ("method", "seed", "sentence", "concept")
_WORDS = ("concept", "rank", "word", "count")

Words = Mapping[int, Sequence[tuple[str, int]]]
"""Concept -> its most frequent words with their counts, neutralised, the most frequent first."""
Key = tuple[str, str, int]
"""Id and text of a sentence, and which of those that are the same it is."""


class DevSentence(NamedTuple):
    """A sentence as one run has it."""

    number: int
    """Row of the run's store."""
    id: str
    group: str
    text: str
    label: int
    prediction: int
    code: int
    """Concept of the run's own method."""


class Arm(NamedTuple):
    """A method of a run."""

    name: str
    method: str
    subject: Subject
    concepts: Mapping[int, int]
    """Row of the run's store -> the concept of the sentence's salient word."""


def dev_sentences(subject: Subject) -> dict[Key, DevSentence]:
    """The dev sentences of a run, in the order of its table.

    Raises:
        StudyError: the run's tables do not hold them.
    """
    present = subject.columns_of("salient_words")
    if not {*SALIENT, "split"} <= present:
        raise StudyError(f"{subject.run.folder} has no table of salient words: run its command again")
    columns = [*SALIENT, GROUP] if GROUP in present else list(SALIENT)
    seen: Counter[tuple[str, str]] = Counter()
    found: dict[Key, DevSentence] = {}
    for batch in subject.batches("salient_words", columns, split="dev"):
        for row in batch.to_pylist():
            name = (str(row["id"]), str(row["text"]))
            found[(*name, seen[name])] = DevSentence(
                int(row["sentence"]),
                name[0],
                str(row.get(GROUP) or row["id"]),
                name[1],
                int(row["label"]),
                int(row["prediction"]),
                int(row["code"]),
            )
            seen[name] += 1
    return found


def arms_of(subjects: Sequence[Subject], sentences: Sequence[Mapping[Key, DevSentence]]) -> list[Arm]:
    """The methods that the runs can show: each run's own, and those beside it.

    Args:
        subjects: the runs.
        sentences: of each run.

    Returns:
        The runs' own methods first. A method that two runs have has the run's letter behind its name.
    """
    found: list[tuple[str, Subject, Mapping[int, int]]] = []
    for subject, known in zip(subjects, sentences, strict=True):
        found.append((subject.method, subject, {each.number: each.code for each in known.values()}))
    for subject in subjects:
        found += [(method, subject, concepts) for method, concepts in _beside(subject)]
    present = [each for each in found if _has_words(each[1])]
    often = Counter(method for method, _, _ in present)
    return [
        Arm(method if often[method] == 1 else f"{method} {subject.letter}", method, subject, concepts)
        for method, subject, concepts in present
    ]


def _beside(subject: Subject) -> Iterator[tuple[str, Mapping[int, int]]]:
    """The methods beside a run's own, with the concepts of the salient words by the first seed."""
    if not set(_BESIDE_COLUMNS) <= subject.columns_of(BESIDE) or not subject.seeds:
        return
    _check(subject, f"{BESIDE}.parquet")
    for method in methods_of(subject.run.metrics):
        if method == subject.method:
            continue
        concepts: dict[int, int] = {}
        for batch in subject.batches(BESIDE, ("sentence", "concept"), method=method, seed=subject.seeds[0]):
            concepts |= {int(row["sentence"]): int(row["concept"]) for row in batch.to_pylist()}
        if concepts:
            yield method, concepts


def _check(subject: Subject, name: str) -> None:
    """Compare a table that no comparison reads with the run's manifest.

    Raises:
        DamagedArtifactError: it is not what was written.
    """
    path = subject.run.folder / name
    with reading(path):
        checksum = file_checksum(path)
    if checksum != mapping(subject.run.files[name]).get("sha256"):
        raise DamagedArtifactError(f"{path} is not what was written: its checksum differs")


def _has_words(subject: Subject) -> bool:
    return {*_WORDS, "method", "seed"} <= subject.columns_of("concept_words")


def words_of(arm: Arm) -> Words:
    """The most frequent words of the concepts of an arm, by its run's first seed."""
    found: dict[int, list[tuple[int, str, int]]] = defaultdict(list)
    seed = {"seed": arm.subject.seeds[0]} if arm.subject.seeds else {}
    for batch in arm.subject.batches("concept_words", _WORDS, method=arm.method, **seed):
        for row in batch.to_pylist():
            found[int(row["concept"])].append((int(row["rank"]), shown(str(row["word"])), int(row["count"])))
    return {concept: [(word, count) for _, word, count in sorted(rows)] for concept, rows in found.items()}

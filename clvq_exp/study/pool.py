"""The sentences that a study can be drawn from: in all its runs, answered alike, with words under every method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from clvq_exp.comparing.subjects import Subject
from clvq_exp.study.arms import Arm, DevSentence, Key, Words
from clvq_exp.study.design import StudyError


class Candidate(NamedTuple):
    """A sentence that can be drawn."""

    sentence: DevSentence
    """As the first run has it."""
    concepts: tuple[int, ...]
    """Of its salient word, arm by arm."""


class Pool(NamedTuple):
    """All of them."""

    candidates: list[Candidate]
    left_out: list[int]
    """Arm by arm, the shared sentences whose concept has no word that could be drawn."""


def label_names(subjects: Sequence[Subject]) -> list[str]:
    """The classes of the runs.

    Raises:
        StudyError: they are not the same in all.
    """
    found = [_labels(subject) for subject in subjects]
    for subject, labels in zip(subjects, found, strict=True):
        if not labels:
            raise StudyError(f"{subject.run.folder} does not name its classes: run its command again")
        if labels != found[0]:
            raise StudyError(
                f"{subject.run.folder} has the classes {', '.join(labels)}, and {subjects[0].run.folder} has "
                f"{', '.join(found[0])}: a study needs runs over the same sentences"
            )
    return found[0]


def _labels(subject: Subject) -> list[str]:
    names = subject.run.cell.get("label_names")
    return [str(each) for each in names] if isinstance(names, list) else []


def shared(subjects: Sequence[Subject], sentences: Sequence[Mapping[Key, DevSentence]]) -> list[Key]:
    """The dev sentences that all runs have, in the order of the first; of equal texts the first.

    Raises:
        StudyError: the runs share none, or their language models answer some of them differently.
    """
    base = sentences[0]
    keys = [key for key in base if all(key in each for each in sentences)]
    if not keys:
        raise StudyError("the runs have no dev sentence in common: a study needs runs over the same sentences")
    for subject, known in zip(subjects, sentences, strict=True):
        unlike = sum(known[key][4:6] != base[key][4:6] for key in keys)
        if unlike:
            raise StudyError(
                f"{subject.run.folder} has another label or prediction than {subjects[0].run.folder} for {unlike} "
                f"of {len(keys)} sentences: a study needs runs of one language model"
            )
    first: dict[str, Key] = {}
    for key in keys:
        first.setdefault(key[1], key)
    return list(first.values())


def make_pool(
    arms: Sequence[Arm],
    words: Sequence[Words],
    keys: Sequence[Key],
    sentences: Mapping[str, Mapping[Key, DevSentence]],
) -> Pool:
    """The shared sentences that have a cloud under every method.

    Args:
        arms: the methods that are shown.
        words: of the concepts of each.
        keys: the shared sentences.
        sentences: letter of a run -> its sentences.

    Returns:
        The pool. A concept that holds nothing but sentence tokens has no cloud, so that its sentence is left out
        under all methods: annotators rate every sentence under every method.
    """
    candidates: list[Candidate] = []
    left_out = [0] * len(arms)
    base = sentences[arms[0].subject.letter]
    drawable = [{concept for concept, each in of_arm.items() if _has_cloud(each)} for of_arm in words]
    for key in keys:
        concepts = [arm.concepts.get(sentences[arm.subject.letter][key].number, -1) for arm in arms]
        missing = [concept not in known for concept, known in zip(concepts, drawable, strict=True)]
        left_out = [n + lacks for n, lacks in zip(left_out, missing, strict=True)]
        if not any(missing):
            candidates.append(Candidate(base[key], tuple(concepts)))
    return Pool(candidates, left_out)


def _has_cloud(words: Sequence[tuple[str, int]]) -> bool:
    """Whether `draw_cloud` finds a word to draw."""
    return any(word.strip() and count > 0 for word, count in words)

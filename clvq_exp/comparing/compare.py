"""Runs side by side: the first is the base, and every other stands beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from clvq_exp.comparing.accuracies import faithfulness_parts, intervention_part
from clvq_exp.comparing.codebook_figures import codebook_part
from clvq_exp.comparing.differences import Setting, differing_settings
from clvq_exp.comparing.figures import Pair, Part, adjusted, chance_of
from clvq_exp.comparing.matching import Codebooks, codebooks
from clvq_exp.comparing.sentences import DevSentences, Salience, dev_sentences, salience, shared_sentences
from clvq_exp.comparing.subjects import Subject


class Compared(NamedTuple):
    """One run beside the base."""

    pair: Pair
    parts: tuple[Part, ...]
    codebooks: Codebooks
    salience: Salience | None
    """None where no dev sentence is known to be in both."""


class Comparison(NamedTuple):
    """Several runs."""

    subjects: tuple[Subject, ...]
    """The base first."""
    settings: tuple[Setting, ...]
    """In which the runs differ."""
    others: tuple[Compared, ...]


def compare(subjects: Sequence[Subject]) -> Comparison:
    """Hold every run against the first.

    Args:
        subjects: two runs or more.

    Raises:
        DamagedArtifactError: a table cannot be read.
    """
    sentences = [dev_sentences(each) for each in subjects]
    pairs = [
        _pair(subjects[0], other, sentences[0], of_other)
        for other, of_other in zip(subjects[1:], sentences[1:], strict=True)
    ]
    chance = chance_of(subjects[0])
    parts = adjusted(
        [
            [
                part
                for part in (
                    *faithfulness_parts(pair, chance),
                    intervention_part(pair, chance),
                    codebook_part(pair),
                )
                if part.rows
            ]
            for pair in pairs
        ]
    )
    others = [
        Compared(pair, tuple(own), codebooks(pair), _salience(pair))
        for pair, own in zip(pairs, parts, strict=True)
    ]
    return Comparison(tuple(subjects), tuple(differing_settings(subjects)), tuple(others))


def _pair(base: Subject, other: Subject, of_base: DevSentences | None, of_other: DevSentences | None) -> Pair:
    shared = None if of_base is None or of_other is None else shared_sentences(of_base, of_other)
    return Pair(base, other, of_base, of_other, shared)


def _salience(pair: Pair) -> Salience | None:
    if pair.base_sentences is None or pair.other_sentences is None or pair.shared is None:
        return None
    return salience(pair.base_sentences, pair.other_sentences, pair.shared) if len(pair.shared.base) else None

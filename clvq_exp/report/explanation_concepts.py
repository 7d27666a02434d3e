"""What the concepts of a run hold, as its folder tells it; files only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clvq_exp.report.access import number
from clvq_exp.report.explanation import ConceptWord, HeldConcept
from clvq_exp.report.run_files import read_rows

WORDS_SHOWN = 10


class ConceptSource(NamedTuple):
    """The concepts of one method and seed of a run."""

    folder: Path
    """The run folder."""
    method: str
    seed: int
    label_names: Sequence[str]

    def concept(self, code: int, shown: int = WORDS_SHOWN) -> HeldConcept:
        """One concept; what the run does not tell of it is empty or None.

        Args:
            code: which.
            shown: words at most.
        """
        facts = self._facts(code)
        train_words = number(facts.get("train_words"))
        return HeldConcept(
            code,
            tuple(self._words(code)[:shown]),
            None if train_words is None else int(train_words),
            self._label_words(facts.get("label_words")),
        )

    def _words(self, code: int) -> list[ConceptWord]:
        """From `concept_words`, the most frequent first."""
        columns = ("rank", "word", "count")
        rows = read_rows(self.folder, "concept_words", columns, method=self.method, seed=self.seed, concept=code)
        rows.sort(key=lambda row: row["rank"])
        return [ConceptWord(str(row["word"]), int(row["count"])) for row in rows]

    def _facts(self, code: int) -> Mapping[str, Any]:
        """The row of `concepts`."""
        rows = read_rows(self.folder, "concepts", method=self.method, seed=self.seed, concept=code)
        return rows[0] if rows else {}

    def _label_words(self, counts: Sequence[int] | None) -> dict[str, int] | None:
        if counts is None or len(counts) != len(self.label_names):
            return None
        return {label: int(count) for label, count in zip(self.label_names, counts, strict=True)}

"""A comparison as tables of text, before any format."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from clvq_exp.comparing.compare import Compared, Comparison
from clvq_exp.comparing.concept_sheets import concept_grids
from clvq_exp.comparing.differences import Setting
from clvq_exp.comparing.figures import Part, Row, Test
from clvq_exp.comparing.subjects import Subject
from clvq_exp.comparing.wording import ends, figure, signed
from clvq_exp.report.access import entry
from clvq_exp.report.formatting import NOTHING, count, decimal, p_value, percent
from clvq_exp.report.grid import Grid, GridCell, GridRow, plain_cells, plain_columns
from clvq_exp.report.names import method_title
from clvq_exp.report.text_safety import shorten, visible

TITLE = "Runs side by side"
_LONGEST = 60
_TESTS = ("h", "p", "p (Holm)")
_HOLM = "Holm’s correction goes over the tests of this table"


class Section(NamedTuple):
    """Tables under one title."""

    title: str
    notes: tuple[str, ...]
    grids: tuple[Grid, ...]


class Document(NamedTuple):
    """A whole comparison; nothing in it is escaped."""

    title: str
    facts: tuple[str, ...]
    sections: tuple[Section, ...]


def document(comparison: Comparison) -> Document:
    """Put a comparison into words."""
    base, *others = comparison.subjects
    names = " and ".join(each.letter for each in others)
    facts = (
        f"{base.letter} is the base; {names} {'stands' if len(others) == 1 else 'stand'} beside it.",
        f"A difference is that of the other run less {base.letter}; in brackets stands the interval of a figure. "
        "Figures are those of each run’s own method.",
        "h is Cohen’s effect size of the difference of two shares: 0.2 is called small, 0.5 medium, 0.8 large.",
    )
    sections = [_runs(comparison.subjects), _settings(comparison)]
    sections += [_beside(each, len(comparison.others)) for each in comparison.others]
    return Document(TITLE, facts, tuple(sections))


def _runs(subjects: Sequence[Subject]) -> Section:
    titles = ("Model", "Data set", "Layers", "Method", "Protocol", "Seeds", "Dev sentences")
    rows = [
        GridRow(
            each.letter,
            plain_cells(
                (
                    *(_short(name) for name in each.run.place),
                    _short(method_title(each.method)),
                    _short(str(entry(each.run.config, "protocol").get("name", NOTHING))),
                    ", ".join(str(seed) for seed in each.seeds) or NOTHING,
                    count(each.run.dev_sentences),
                )
            ),
        )
        for each in subjects
    ]
    notes = tuple(f"{each.letter}: {each.run.folder}" for each in subjects)
    return Section("Runs", notes, (Grid("Runs", "", "Run", plain_columns(titles), tuple(rows)),))


def _settings(comparison: Comparison) -> Section:
    if not comparison.settings:
        return Section("Settings that differ", ("None: the configurations are the same.",), ())
    letters = [each.letter for each in comparison.subjects]
    shown = [each for each in comparison.settings if not each.is_new]
    grids = [
        Grid(section, "", "Key", plain_columns(("Default", *letters)), tuple(_setting_row(each) for each in found))
        for section, found in groupby(shown, lambda each: each.section)
    ]
    notes = [
        "‘default’ marks what conf/ has for the run’s own model, data set, protocol and method; a dash stands for "
        "a key that is not there, or whose default is not one for all runs."
    ]
    if len(shown) < len(comparison.settings):
        new = ", ".join(_short(each.key) for each in comparison.settings if each.is_new)
        notes.append(f"Keys that an older version did not have, at their defaults in the other runs: {new}.")
    return Section("Settings that differ", tuple(notes), tuple(grids))


def _setting_row(setting: Setting) -> GridRow:
    cells = [
        GridCell(_value(value), "default" if is_default else "")
        for value, is_default in zip(setting.values, setting.is_default, strict=True)
    ]
    return GridRow(_short(setting.key), (GridCell(_value(setting.default)), *cells))


def _value(text: str | None) -> str:
    return NOTHING if text is None else _short(text) or "''"


def _short(text: str) -> str:
    return shorten(visible(text), _LONGEST)


def _beside(compared: Compared, n_others: int) -> Section:
    pair = compared.pair
    base, other = pair.base.letter, pair.other.letter
    grids = [_part_grid(part, base, other, n_others) for part in compared.parts]
    notes = [_sentences_note(compared), *_salience_notes(compared), *compared.codebooks.notes]
    return Section(
        f"{other} beside {base}", tuple(notes), (*grids, *concept_grids(compared.codebooks, base, other))
    )


def _sentences_note(compared: Compared) -> str:
    pair = compared.pair
    if pair.base_sentences is None or pair.other_sentences is None or pair.shared is None:
        letters = [
            subject.letter
            for subject, known in ((pair.base, pair.base_sentences), (pair.other, pair.other_sentences))
            if known is None
        ]
        return f"The tables of {' and '.join(letters)} do not name the dev sentences: nothing is tested over them."
    n = len(pair.shared.base)
    if pair.paired:
        text = f"Both runs evaluated the same {count(n)} dev sentences: tests over sentences are paired."
        return text + _documents_note(compared)
    return (
        f"The dev sentences are not the same ({count(n)} are in both, of {count(len(pair.base_sentences))} and "
        f"{count(len(pair.other_sentences))}): tests over sentences are unpaired." + _documents_note(compared)
    )


def _documents_note(compared: Compared) -> str:
    """Said where sentences share documents, but the tables do not say which."""
    for subject, found in (
        (compared.pair.base, compared.pair.base_sentences),
        (compared.pair.other, compared.pair.other_sentences),
    ):
        figures = entry(subject.run.metrics, "specificity")
        documents, sentences = figures.get("documents"), figures.get("sentences")
        grouped = isinstance(documents, int) and isinstance(sentences, int) and documents < sentences
        if grouped and found is not None and not found.has_groups:
            return (
                f" In {subject.letter} several sentences are of one document and its tables do not say which: "
                "they are taken as independent, so that p-values are too small and intervals too narrow."
            )
    return ""


def _salience_notes(compared: Compared) -> list[str]:
    found = compared.salience
    if found is None:
        return ["Salient words are not compared: no dev sentence is known to be in both runs."]
    n = found.sentences
    return [
        f"Of {count(n)} dev sentences in both, {percent(found.same_word / n)} have the same salient word, and for "
        f"{percent(found.same_prediction / n)} the language models predict the same class."
    ]


def _part_grid(part: Part, base: str, other: str, n_others: int) -> Grid:
    kinds = {row.test for row in part.rows if row.test is not Test.none}
    columns = plain_columns((base, other, f"{other} − {base}", *(_TESTS if kinds else ())))
    notes = list(part.notes)
    if kinds:
        over = "" if n_others == 1 else f", for all runs beside {base} together"
        said = ", ".join(sorted(kind.value for kind in kinds))
        notes.insert(0, f"Tests: {said}; {_HOLM}{over}.")
    return Grid(
        part.title, " ".join(notes), "Figure", columns, tuple(_figure_row(row, bool(kinds)) for row in part.rows)
    )


def _figure_row(row: Row, with_tests: bool) -> GridRow:
    cells = [
        GridCell(figure(each, row.unit), ends(each, row.unit), each.mark if each else "")
        for each in (row.base, row.other)
    ]
    difference = GridCell(signed(row.difference, row.unit), ends(row.difference, row.unit))
    tests = plain_cells((decimal(row.cohens_h, 2), p_value(row.p_value), p_value(row.p_holm)))
    return GridRow(row.title, (*cells, difference, *(tests if with_tests else ())))

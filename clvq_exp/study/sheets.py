"""A scored study as tables of text, before any format."""

from __future__ import annotations

from clvq_exp.collect.paper import PaperFigure, paper
from clvq_exp.comparing.sheets import Document, Section
from clvq_exp.records import Interval
from clvq_exp.report.formatting import NOTHING, count, decimal, percent, seconds
from clvq_exp.report.grid import Grid, GridCell, GridRow, plain_cells, plain_columns
from clvq_exp.report.names import method_title
from clvq_exp.report.text_safety import visible
from clvq_exp.study.agreement import reading
from clvq_exp.study.design import Design
from clvq_exp.study.scores import Figures, Scores

TITLE = "Human study"
PAPERS_TABLE = "v1_table04"
_FIGURES = ("Fleiss’ κ", "Confidence, 1 to 10", "Model alignment")
_PAPERS = ("fleiss_kappa", "confidence", "alignment_percent")
_INTERVALS = (
    "In brackets 95% bootstrap intervals: over sentences and annotators, and for κ over sentences alone, since an "
    "annotator who is drawn twice would agree with himself. The words behind κ are Landis and Koch’s."
)


def document(design: Design, scores: Scores) -> Document:
    """Put the scores of a study into words."""
    n, k = len(scores.annotators), len(scores.complete)
    n_items, n_sentences = len(design.items), len(design.sentences)
    facts = [
        f"{visible(design.model)} · {visible(design.dataset)} · layers {visible(design.layer_pair)} · "
        f"{n_sentences} sentences under {len(design.methods)} methods: {n_items} word clouds for each annotator",
        f"{k} of {n} annotators have answered everything; all figures of methods are over "
        f"{'these' if k else 'them, so that there are none yet'}.",
    ]
    sections = [_methods(design, scores), _strata(design, scores)] if scores.methods else []
    if scores.differences:
        sections.insert(1, _differences(design, scores))
    return Document(TITLE, tuple(facts), (*sections, _annotators(design, scores)))


def title(design: Design, name: str) -> str:
    """A method of the study in front of a reader."""
    method = next(each.method for each in design.methods if each.name == name)
    return visible(method_title(method) + name.removeprefix(method))


def _methods(design: Design, scores: Scores) -> Section:
    columns = plain_columns([text for figure in _FIGURES for text in (figure, "Paper")] + ["Different clouds"])
    rows: list[GridRow] = []
    for each in scores.methods:
        ours = _cells(each.figures)
        papers = _papers(next(one.method for one in design.methods if one.name == each.method))
        cells = [cell for pair in zip(ours, plain_cells(papers), strict=True) for cell in pair]
        clouds = GridCell(f"{each.different_clouds} of {len(design.sentences)}")
        rows.append(GridRow(title(design, each.method), (*cells, clouds)))
    notes = [
        _INTERVALS,
        f"Each method has {len(scores.complete)} × {len(design.sentences)} = "
        f"{count(len(scores.complete) * len(design.sentences))} ratings; the paper’s have 14 × 19 = 266, on "
        "ERASER-Movie (of which language model, it does not say).",
    ]
    return Section("Methods", tuple(notes), (Grid("Methods", "", "Method", columns, tuple(rows)),))


def _cells(figures: Figures) -> tuple[GridCell, GridCell, GridCell]:
    kappa = GridCell(NOTHING, "", "not defined")
    if figures.kappa is not None:
        word = reading(figures.kappa.mean)
        kappa = GridCell(f"{decimal(figures.kappa.mean)}, {word}", _ends(figures.kappa))
    return (
        kappa,
        GridCell(decimal(figures.confidence.mean, 2), _ends(figures.confidence, 2)),
        GridCell(percent(figures.alignment.mean), _share_ends(figures.alignment)),
    )


def _papers(method: str) -> tuple[str, ...]:
    """What Table 4 prints of a method."""
    rows = [row for row in paper().get(PAPERS_TABLE, []) if row.method == method]
    figures: dict[str, PaperFigure] = dict(rows[0].figures) if rows else {}
    return tuple(
        NOTHING if name not in figures else figures[name].printed + "%" * name.endswith("percent")
        for name in _PAPERS
    )


def _differences(design: Design, scores: Scores) -> Section:
    rows: list[GridRow] = []
    for each in scores.differences:
        a, b = (title(design, name) for name in each.methods)
        found = each.figures
        kappa = GridCell(NOTHING) if found.kappa is None else GridCell(_signed(found.kappa), _ends(found.kappa))
        rows.append(
            GridRow(
                f"{a} − {b}",
                (
                    kappa,
                    GridCell(_signed(found.confidence, 2), _ends(found.confidence, 2)),
                    GridCell(_signed_share(found.alignment), _share_ends(found.alignment)),
                ),
            )
        )
    note = "The same sentences and annotators are drawn for both methods."
    grid = Grid("Differences", note, "Methods", plain_columns(_FIGURES), tuple(rows))
    return Section("Differences", (), (grid,))


def _strata(design: Design, scores: Scores) -> Section:
    columns = plain_columns([title(design, each.method) for each in scores.methods])
    rows: list[GridRow] = []
    for name in design.pool:
        drawn = sum(each.stratum == name for each in design.sentences)
        cells = [
            GridCell(percent(each.by_stratum[name].mean), _share_ends(each.by_stratum[name]))
            if name in each.by_stratum
            else GridCell(NOTHING)
            for each in scores.methods
        ]
        rows.append(GridRow(f"{visible(name)} ({drawn} of {design.pool[name]})", tuple(cells)))
    note = "Share of the answers that are the model’s prediction, by what the prediction was."
    grid = Grid("Model alignment by outcome", note, "Sentences", columns, tuple(rows))
    return Section("Model alignment by outcome", (), (grid,))


def _annotators(design: Design, scores: Scores) -> Section:
    titles = ("Answered", "Median time of an answer", "Mean confidence", "Model alignment")
    rows = [
        GridRow(
            each.annotator,
            plain_cells(
                (
                    f"{each.answered} of {len(design.items)}",
                    seconds(each.median_seconds),
                    decimal(each.confidence, 2),
                    percent(each.alignment),
                )
            ),
        )
        for each in scores.annotators
    ]
    return Section("Annotators", (), (Grid("Annotators", "", "Annotator", plain_columns(titles), tuple(rows)),))


def _ends(value: Interval, digits: int = 3) -> str:
    return f"[{decimal(value.low, digits)}, {decimal(value.high, digits)}]"


def _share_ends(value: Interval) -> str:
    return f"[{percent(value.low)}, {percent(value.high)}]"


def _signed(value: Interval, digits: int = 3) -> str:
    text = decimal(value.mean, digits)
    return f"+{text}" if float(f"{value.mean:.{digits}f}") > 0 else text


def _signed_share(value: Interval) -> str:
    text = percent(value.mean)
    return f"+{text}" if float(f"{value.mean:.3f}") > 0 else text

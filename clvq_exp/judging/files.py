"""What an evaluation leaves behind: report.md, report.html, ratings.csv, figures.csv, judging.json."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clvq_exp.artifacts import (
    MANIFEST,
    DamagedArtifactError,
    read_sealed,
    remove_temporary_files,
    write_json,
    write_manifest,
    write_text,
)
from clvq_exp.collect.paper import PaperFigure
from clvq_exp.comparing.markdown import as_markdown
from clvq_exp.comparing.page import as_page
from clvq_exp.comparing.sheets import Document
from clvq_exp.judging.evaluation import Result
from clvq_exp.judging.ledger import Spent
from clvq_exp.judging.plain import as_plain
from clvq_exp.judging.records import FLOOR, JudgingError, Outcome, Question
from clvq_exp.judging.sampling import stratum
from clvq_exp.judging.tables import printed
from clvq_exp.records import Interval
from clvq_exp.report.csv_text import as_csv

FILES = ("report.md", "report.html", "ratings.csv", "figures.csv", "judging.json")
_RATINGS = (
    *("model", "dataset", "layers", "sentence", "stratum", "label", "prediction", "judge", "judge_kept", "method"),
    *("concept", "place", "name", "rating", "automatic", "missing", "asked", "reason", "representation"),
)
_FIGURES = (
    *("table", "dataset", "model", "method", "figure", "ours", "low", "high", "deviation", "paper"),
    "paper_deviation",
)


def check_folder(folder: Path) -> None:
    """Whether the report may be written there: a new folder, an empty one, or one that holds a report of judges.

    Raises:
        JudgingError: something else is in it.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise JudgingError(f"--out {folder}: this is a file; give a folder")
    held = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    if not held:
        return
    try:
        inputs = read_sealed(folder / MANIFEST)["inputs"] if MANIFEST in held else {}
    except DamagedArtifactError:
        inputs = {}
    ours = set(held) <= {*FILES, MANIFEST}
    if not ours or (MANIFEST in held and "judging" not in inputs):
        raise JudgingError(f"--out {folder}: it holds something else than a report of judges; give another folder")


def write_result(folder: Path, result: Result, spent: Spent, shown: Document) -> None:
    """Write all files; from the first one to the last the folder has no manifest, so that it counts as unfinished.

    Args:
        folder: made where missing.
        result: what came of the evaluation.
        spent: what its calls came to.
        shown: the report.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_temporary_files(folder)
    (folder / MANIFEST).unlink(missing_ok=True)
    write_text(folder / "report.md", as_markdown(shown))
    write_text(folder / "report.html", as_page(shown))
    write_text(folder / "ratings.csv", as_csv(_RATINGS, _rating_rows(result)))
    write_text(folder / "figures.csv", as_csv(_FIGURES, _figure_rows(result)))
    write_json(folder / "judging.json", as_plain(result, spent))
    write_manifest(folder, {"judging": result.evaluation.name}, [folder / name for name in FILES])


def _rating_rows(result: Result) -> Iterator[list[object]]:
    """One row for each configuration, sentence, judge and method, the floor among them."""
    evaluation = result.evaluation
    for question, outcome in zip(evaluation.questions, result.outcomes, strict=True):
        configuration = evaluation.configurations[question.configuration]
        instance = evaluation.drawn[question.configuration].instances[question.instance]
        names = configuration.label_names
        common = [
            *(configuration.model, configuration.dataset, configuration.layers, instance.id),
            *(stratum(instance, len(names)), names[instance.label], names[instance.prediction]),
            *(evaluation.panel.judges[question.judge].name, question.judge in result.kept),
        ]
        for method in (*configuration.methods, FLOOR):
            row = _rating(question, outcome, method)
            if row is not None:
                concept = instance.concepts.get(method)
                yield [*common, method, concept, *row]


def _rating(question: Question, outcome: Outcome, method: str) -> list[object] | None:
    """What stands behind the concept's number; None for a floor that was not shown."""
    for place, arm in enumerate(question.arms):
        if arm.method == method:
            rated = None if outcome.ratings is None else outcome.ratings[method]
            given = (None, None) if rated is None else (rated.rating, rated.reason)
            shown = arm.representation.text
            return [place, arm.name, given[0], False, outcome.problem, outcome.asked, given[1], shown]
    if method == FLOOR:
        return None
    rating = None if outcome.ratings is None else 1
    return [None, None, rating, True, outcome.problem, outcome.asked, None, ""]


def _figure_rows(result: Result) -> Iterator[list[object]]:
    beside = printed(result.methods, result.evaluation.plan)
    ratings, agreement = (beside.table.ratings, beside.table.agreement) if beside else ("", "")
    for method, found in zip(result.methods, result.figures.methods, strict=True):
        paper = beside.methods[method] if beside else {}
        for name, value, printed_as in (
            ("rating", found.rating, "rating"),
            ("reciprocal_rank", found.reciprocal_rank, "reciprocal_rank"),
            ("win_percent", _percent(found.pairs_won), "win_percent"),
            ("first_percent", _percent(found.ranked_first), ""),
            ("above_floor", found.above_floor, ""),
        ):
            deviation = found.deviation if name == "rating" else None
            yield _figure([ratings, "", "", method, name], value, deviation, paper.get(printed_as))
    yield _figure([ratings, "", "", FLOOR, "rating"], result.figures.floor, None, None)
    for name, value in (*result.figures.of_datasets, ("", result.figures.overall)):
        paper_w = beside.agreement.get(name) if beside else None
        yield _figure([agreement, name, "", "", "kendall_w"], value, None, paper_w)
    pairs = zip(result.evaluation.configurations, result.figures.configurations, strict=True)
    for configuration, found in pairs:
        place = [ratings, configuration.dataset, configuration.model]
        for method, value in zip((*result.methods, FLOOR), (*found.ratings, found.floor), strict=True):
            yield _figure([*place, method, "rating"], value, None, None)
        yield _figure([agreement, *place[1:], "", "kendall_w"], found.kendall_w, None, None)


def _percent(value: Interval | None) -> Interval | None:
    return None if value is None else Interval(*(100 * each for each in value))


def _figure(
    where: list[str], value: Interval | None, deviation: float | None, paper: PaperFigure | None
) -> list[object]:
    ours = (None, None, None) if value is None else tuple(value)
    beside = (None, None) if paper is None else (paper.value, paper.deviation)
    return [*where, *ours, deviation, *beside]

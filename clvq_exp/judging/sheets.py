"""An evaluation as tables of text, before any format."""

from __future__ import annotations

from collections.abc import Callable

from clvq_exp.collect.paper import PaperFigure
from clvq_exp.collect.sheets import title_of_method
from clvq_exp.comparing.sheets import Document, Section
from clvq_exp.judging.evaluation import Result
from clvq_exp.judging.example_sheets import examples
from clvq_exp.judging.ledger import Spent
from clvq_exp.judging.order import by_place
from clvq_exp.judging.records import FLOOR
from clvq_exp.judging.tables import Printed, printed
from clvq_exp.records import Interval
from clvq_exp.report.formatting import NOTHING, count, decimal, percent
from clvq_exp.report.grid import Grid, GridCell, GridRow, plain_cells, plain_columns

TITLE = "Concepts before judges"
STRONG = 0.7
"""Kendall's W from which the paper calls an agreement strong."""
_MODERATE = 0.5
_FLOOR_TITLE = "Another sentence’s concept"


def document(result: Result, spent: Spent) -> Document:
    """Put an evaluation into words.

    Args:
        result: its figures.
        spent: what its calls came to.
    """
    evaluation = result.evaluation
    beside = printed(result.methods, evaluation.plan)
    warnings = dict.fromkeys(each.warning for each in evaluation.configurations if each.warning)
    n = sum(len(each.instances) for each in evaluation.drawn)
    facts = [
        *warnings,
        f"{count(len(evaluation.panel.judges))} judges rated {count(len(result.methods))} methods on {count(n)} "
        f"sentences of {count(len(evaluation.configurations))} configurations (a language model on a data set), 1 "
        "to 3; an empty concept has 1 without being shown.",
        f"In brackets stands the {percent(evaluation.plan.confidence, 0)} interval over resampled sentences; "
        "configurations and judges stay.",
    ]
    sections = (
        _methods(result, beside),
        _agreement(result, beside),
        _configurations(result),
        _judges(result, spent),
        _order(result),
        examples(result),
    )
    return Document(TITLE, tuple(facts), sections)


def _title(method: str) -> str:
    return _FLOOR_TITLE if method == FLOOR else title_of_method(method)


def _methods(result: Result, beside: Printed | None) -> Section:
    """Table 2 or 6."""
    names = ("Mean rating", "MRR", "Win rate, pairs", "Win rate, first", "Above the floor")
    keys = ("rating", "reciprocal_rank", "win_percent")
    columns = [*names, *([f"Paper: {each}" for each in ("mean rating", "MRR", "win rate")] if beside else [])]
    rows: list[GridRow] = []
    for method, found in zip(result.methods, result.figures.methods, strict=True):
        rating = _cell(found.rating)
        if found.deviation is not None:
            rating = rating._replace(main=f"{rating.main}\u00a0±\u00a0{decimal(found.deviation)}")
        cells = [rating, _cell(found.reciprocal_rank), _share(found.pairs_won), _share(found.ranked_first)]
        cells.append(_cell(found.above_floor))
        if beside:
            texts = [_paper(beside.methods[method].get(key)) for key in keys]
            cells += plain_cells((*texts[:2], texts[2] if texts[2] == NOTHING else f"{texts[2]}%"))
        rows.append(GridRow(_title(method), tuple(cells)))
    if result.evaluation.plan.floor is not None:
        floor = [_cell(result.figures.floor), *(GridCell(NOTHING) for _ in columns[1:])]
        rows.append(GridRow(_FLOOR_TITLE, tuple(floor)))
    title = f"Ratings (Table {beside.table.number})" if beside else "Ratings"
    notes = [
        "± is the standard deviation over configurations. MRR: methods that are tied for some places share the "
        "mean of the reciprocals of these places.",
        "Win rate, pairs: share of pairs of methods and configurations in which a method is rated above the other "
        "(A.4.1); first: share of configurations in which it is rated above all others (section 4.2.1). Ties "
        "count for neither. The paper’s figures are those of pairs.",
    ]
    if result.evaluation.plan.floor is not None:
        notes.append(
            "The floor is the concept of another sentence, shown among the methods: what a concept gets for "
            "being a concept. It takes no part in ranks, wins and agreement."
        )
    notes += [beside.table.remark] if beside else []
    return Section(title, tuple(notes), (Grid(title, "", "Method", plain_columns(columns), tuple(rows)),))


def _agreement(result: Result, beside: Printed | None) -> Section:
    """Table 3 or 7."""
    rows: list[GridRow] = []
    for name, found in (*result.figures.of_datasets, ("", result.figures.overall)):
        cells = [_cell(found), GridCell(_level(found))]
        if beside:
            cells.append(GridCell(_paper(beside.agreement.get(name))))
        rows.append(GridRow(name or "Overall average", tuple(cells)))
    columns = plain_columns(("Kendall’s W", "Agreement", *(("Paper: W",) if beside else ())))
    number = {"2": "3", "6": "7"}.get(beside.table.number, "") if beside else ""
    title = f"Agreement of the judges (Table {number})" if number else "Agreement of the judges"
    notes = (
        "Kendall’s W of the judges’ rankings of the methods, by each judge’s mean ratings, in each configuration; "
        f"then averaged. Ties have mean ranks, and W is corrected for them. From {STRONG} on it is called strong "
        f"(section 4.2.1), from {_MODERATE} on moderate.",
    )
    return Section(title, notes, (Grid(title, "", "Data set", columns, tuple(rows)),))


def _configurations(result: Result) -> Section:
    evaluation = result.evaluation
    columns = (*(_title(each) for each in result.methods), _FLOOR_TITLE, "Kendall’s W", "Answers", "Missing")
    rows: list[GridRow] = []
    notes: list[str] = []
    for place, found in enumerate(result.figures.configurations):
        configuration, drawn = evaluation.configurations[place], evaluation.drawn[place]
        cells = [*(_cell(each) for each in found.ratings), _cell(found.floor), _cell(found.kendall_w)]
        rows.append(
            GridRow(configuration.name, (*cells, *plain_cells((count(found.answers), count(found.missing)))))
        )
        strata = ", ".join(f"{name} {count(n)} of {count(there)}" for name, (_, n, there) in drawn.strata.items())
        notes.append(f"{configuration.name}: {count(len(drawn.instances))} sentences drawn ({strata}).")
        if drawn.shortfall:
            notes.append(f"{configuration.name}: too few sentences for equal shares ({drawn.shortfall}).")
        notes += [f"{configuration.name}: {note}." for note in configuration.notes]
    grid = Grid("Mean ratings", "", "Configuration", plain_columns(columns), tuple(rows))
    return Section("Configurations", tuple(notes), (grid,))


def _judges(result: Result, spent: Spent) -> Section:
    evaluation = result.evaluation
    rows: list[GridRow] = []
    for place, judge in enumerate(evaluation.panel.judges):
        own = [
            outcome
            for question, outcome in zip(evaluation.questions, result.outcomes, strict=True)
            if question.judge == place and question.arms
        ]
        missing = [each for each in own if each.ratings is None]
        again = sum(max(0, each.asked - 1) for each in own)
        given = [rated.rating for each in own if each.ratings for rated in each.ratings.values()]
        values = result.disagreement.values[place]
        cells = (
            str(judge.path or judge.model),
            count(len(own) - len(missing)),
            count(len(missing)),
            count(again),
            decimal(sum(given) / len(given)) if given else NOTHING,
            decimal(values),
            "" if place in result.kept else "left out",
        )
        rows.append(GridRow(judge.name, plain_cells(cells)))
    columns = ("Model", "Answers", "Missing", "Asked again", "Mean rating", "Disagreement", "")
    why = dict.fromkeys(
        f"{evaluation.panel.judges[question.judge].name}: {outcome.problem}"
        for question, outcome in zip(evaluation.questions, result.outcomes, strict=True)
        if outcome.ratings is None
    )
    notes = [
        f"Disagreement is 1 − mean Pearson correlation with the other judges, over all ratings that both gave: "
        f"{result.disagreement.why}.",
        _cost(spent),
        *(f"Missing answers of {each}." for each in list(why)[:10]),
    ]
    return Section("Judges", tuple(notes), (Grid("Judges", "", "Judge", plain_columns(columns), tuple(rows)),))


def _cost(spent: Spent) -> str:
    text = (
        f"{count(spent.calls)} calls were made for this evaluation ({count(spent.answered)} answered, "
        f"{count(spent.failed)} failed): {count(spent.prompt_tokens)} tokens asked, "
        f"{count(spent.completion_tokens)} answered, {decimal(spent.cost, 4)} dollars at the panel’s prices"
    )
    if spent.unknown:
        text += f", {count(spent.unknown)} calls of killed processes at the most that they can cost"
    return text + ". Answers kept from earlier evaluations cost nothing."


def _order(result: Result) -> Section:
    """Whether judges favour a place: they are known to."""
    places = by_place(result)
    rows = [GridRow(f"Place {place + 1}", plain_cells((decimal(mean), count(n)))) for place, (mean, n) in places]
    notes = (
        "Methods stand in an order drawn by lot for each sentence and judge, under neutral names; a rating that "
        "hangs on the place is a bias of the judges, and adds to every method alike.",
    )
    grid = Grid("Order", "", "Shown", plain_columns(("Mean rating", "Ratings")), tuple(rows))
    return Section("Order", notes, (grid,))


def _level(found: Interval | None) -> str:
    if found is None:
        return NOTHING
    return "Strong" if found.mean >= STRONG else "Moderate" if found.mean >= _MODERATE else "Weak"


def _shown(found: Interval | None, text: Callable[[float], str]) -> GridCell:
    return (
        GridCell(NOTHING)
        if found is None
        else GridCell(text(found.mean), f"[{text(found.low)}, {text(found.high)}]")
    )


def _cell(found: Interval | None) -> GridCell:
    return _shown(found, decimal)


def _share(found: Interval | None) -> GridCell:
    return _shown(found, percent)


def _paper(figure: PaperFigure | None) -> str:
    if figure is None:
        return NOTHING
    return (
        figure.printed
        if figure.deviation is None
        else f"{figure.printed}\u00a0±\u00a0{figure.deviation:.{figure.digits}f}"
    )

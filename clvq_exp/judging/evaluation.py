"""One evaluation: what is asked, what it came to, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from clvq_exp.artifacts import fingerprint
from clvq_exp.judging.disagreement import Disagreement
from clvq_exp.judging.figures import Figures, figures
from clvq_exp.judging.ledger import Ledger
from clvq_exp.judging.questions import questions
from clvq_exp.judging.ratings import Ratings, collect, of_judges, who_disagrees
from clvq_exp.judging.records import Configuration, JudgingError, Outcome, Question
from clvq_exp.judging.sampling import Drawn, draw
from clvq_exp.judging.settings import Judge, Panel, Plan
from clvq_exp.judging.speakers import Speaker, most_tokens
from clvq_exp.judging.subjects import find_methods, read_configuration
from clvq_exp.judging.tables import chosen_methods


class Evaluation(NamedTuple):
    """All that is asked."""

    panel: Panel
    plan: Plan
    configurations: tuple[Configuration, ...]
    drawn: tuple[Drawn, ...]
    """The sentences of each configuration."""
    questions: tuple[Question, ...]

    @property
    def name(self) -> str:
        """A fingerprint of exactly these questions to these judges."""
        asked = [[each.judge, [arm.method for arm in each.arms], each.prompt] for each in self.questions]
        return fingerprint([asked, [_of_answers(each) for each in self.panel.judges]])

    @property
    def n_calls(self) -> int:
        """Calls, where every first answer fits."""
        return sum(bool(each.arms) for each in self.questions)

    def most(self) -> float:
        """Dollars that these calls cost at most."""
        return sum(
            judge.cost(most_tokens([each.prompt]), judge.max_tokens)
            for each in self.questions
            for judge in (self.panel.judges[each.judge],)
            if each.arms
        )


class Result(NamedTuple):
    """What came of an evaluation whose questions all have an outcome."""

    evaluation: Evaluation
    outcomes: tuple[Outcome, ...]
    ratings: tuple[Ratings, ...]
    """Of all judges, one for each configuration."""
    disagreement: Disagreement
    kept: tuple[int, ...]
    """Places of the judges that the figures are of."""
    figures: Figures

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that were compared."""
        return self.evaluation.configurations[0].methods


def _of_answers(judge: Judge) -> list[object]:
    """What of a judge its answers hang on."""
    path = None if judge.path is None else str(judge.path)
    return [judge.name, judge.base_url, judge.model, path, judge.temperature, judge.max_tokens, judge.json_mode]


def prepare(folders: Sequence[Path], panel: Panel, plan: Plan) -> Evaluation:
    """Read the runs, draw the sentences, write the questions. Nothing is asked.

    Args:
        folders: run folders, or folders of run folders.
        panel: the judges.
        plan: what is asked.

    Raises:
        JudgingError: what is wrong with the runs, a line each.
        DamagedArtifactError: a table of a run is not what was written.
    """
    found = find_methods(folders)
    if not found:
        raise JudgingError("no finished run is in the given folders")
    chosen = chosen_methods(found, plan)
    configurations = tuple(read_configuration(each, chosen) for each in found)
    drawn = tuple(
        draw(each.instances, len(each.label_names), plan.instances, plan.seed) for each in configurations
    )
    empty = [each.name for each, sample in zip(configurations, drawn, strict=True) if not sample.instances]
    if empty:
        raise JudgingError(f"{', '.join(empty)}: no sentence is left to be judged")
    asked = questions(configurations, drawn, panel.judges, plan)
    return Evaluation(panel, plan, configurations, drawn, tuple(asked))


def open_speakers(panel: Panel) -> list[Speaker]:
    """The judges of a panel, ready to be asked.

    Raises:
        JudgingError: a key is not set, a folder is not there, a package is missing; a line each.
    """
    speakers: list[Speaker] = []
    problems: list[str] = []
    for judge in panel.judges:
        try:
            speakers.append(_speaker(judge, panel.timeout))
        except JudgingError as error:
            problems.append(str(error))
    if problems:
        raise JudgingError("\n".join(dict.fromkeys(problems)))
    return speakers


def _speaker(judge: Judge, timeout: float) -> Speaker:
    if judge.is_local:
        from clvq_exp.judging.local_model import LocalModel

        return LocalModel(judge)
    try:
        from clvq_exp.judging.endpoint import Endpoint
    except ModuleNotFoundError as error:
        raise JudgingError(
            f"judges behind endpoints need the package {error.name}: pip install 'clvq_exp[judges]'"
        ) from error
    return Endpoint(judge, timeout)


def conclude(
    evaluation: Evaluation, outcomes: Sequence[Outcome | None], ledger: Ledger, accept_missing: bool, why: str = ""
) -> Result:
    """The figures of an evaluation, once every question has an outcome.

    Args:
        evaluation: what was asked.
        outcomes: of all questions.
        ledger: where refusals are forgotten that look like a mistake of the panel.
        accept_missing: count questions that were not answered as missing.
        why: the reason that is noted for them.

    Raises:
        JudgingError: a judge refused everything that it was asked.
    """
    if any(each is None for each in outcomes) and not accept_missing:
        raise ValueError("questions without an outcome")
    whole = tuple(Outcome(None, 0, f"not answered: {why}") if each is None else each for each in outcomes)
    _check_refusals(evaluation, whole, ledger)
    names = [each.name for each in evaluation.panel.judges]
    ratings = tuple(collect(evaluation.configurations, evaluation.drawn, len(names), evaluation.questions, whole))
    found = who_disagrees(ratings, names)
    kept = tuple(place for place in range(len(names)) if place != found.left_out)
    plan = evaluation.plan
    return Result(
        evaluation,
        whole,
        ratings,
        found,
        kept,
        figures(
            [of_judges(each, kept) for each in ratings],
            [each.dataset for each in evaluation.configurations],
            plan.bootstrap_samples,
            plan.confidence,
            plan.seed,
        ),
    )


def _check_refusals(evaluation: Evaluation, outcomes: Sequence[Outcome], ledger: Ledger) -> None:
    """A judge that refuses everything is set up wrongly, and is to be asked again once it is not."""
    problems: list[str] = []
    for place, judge in enumerate(evaluation.panel.judges):
        pairs = zip(evaluation.questions, outcomes, strict=True)
        own = [outcome for question, outcome in pairs if question.judge == place and question.arms]
        refused = [each for each in own if each.ratings is None and each.problem.startswith("refused: ")]
        if own and len(refused) == len(own):
            ledger.forget(key for each in refused for key in each.keys)
            problems.append(f"judge {judge.name} refused every question ({refused[0].problem}): mend the panel")
    if problems:
        raise JudgingError("\n".join(problems))

"""`clvq judge`: concepts of finished runs before a panel of language models."""

from __future__ import annotations

import argparse
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from clvq_exp.artifacts import DamagedArtifactError, cache_root
from clvq_exp.judging.asking import Asked, Asking
from clvq_exp.judging.evaluation import Evaluation, conclude, open_speakers, prepare
from clvq_exp.judging.files import check_folder, write_result
from clvq_exp.judging.ledger import FOLDER, Ledger
from clvq_exp.judging.panel_file import PanelError, read_panel
from clvq_exp.judging.records import JudgingError
from clvq_exp.judging.settings import Panel, Plan
from clvq_exp.judging.sheets import document
from clvq_exp.report.console import draw
from clvq_exp.report.text_safety import visible
from clvq_exp.storage import StorageError, storage_errors

_CACHE_ADVICE = "free space there, or set CLVQ_EXP_CACHE to a folder that can be written"


def judge(given: argparse.Namespace) -> int:
    """Ask what has no answer yet, and write the report; returns the exit code.

    Args:
        given: the parsed command line.
    """
    try:
        panel = _panel(given)
        evaluation = prepare([Path(each) for each in given.runs], panel, _plan(given))
        folder = Path(given.out) if given.out else Path("judged") / evaluation.name
        check_folder(folder)
        _check_prices(panel)
        if given.dry_run:
            _print_dry_run(evaluation)
            return 0
        with storage_errors("the cache folder", cache_root(), _CACHE_ADVICE):
            return _judge(evaluation, folder, given.accept_missing)
    except (JudgingError, PanelError, DamagedArtifactError, StorageError) as error:
        return _refused(str(error).splitlines())
    except (sqlite3.Error, OSError) as error:
        return _refused([f"{error}; answers that were kept stay: give the same command again"])
    except KeyboardInterrupt:
        return _refused(["stopped; every answer so far is kept: give the same command again"], 130)


def _panel(given: argparse.Namespace) -> Panel:
    from dataclasses import replace

    panel = read_panel(given.panel)
    changed = {name: value for name in ("budget", "concurrency") if (value := getattr(given, name)) is not None}
    return replace(panel, **changed)


def _plan(given: argparse.Namespace) -> Plan:
    return Plan(
        table=given.table,
        methods=tuple(given.methods or ()),
        sae=given.sae,
        instances=given.instances,
        floor=None if given.floor == "none" else given.floor,
        labels=given.labels,
        seed=given.seed,
    )


def _check_prices(panel: Panel) -> None:
    """A budget holds only where every price is known."""
    unknown = [each.name for each in panel.judges if not each.has_prices]
    if panel.budget is not None and unknown:
        raise JudgingError(
            f"no budget can be kept without the prices of {', '.join(unknown)}: give input_price and output_price "
            "in the panel (0 where it costs nothing)"
        )


def _judge(evaluation: Evaluation, folder: Path, accept_missing: bool) -> int:
    """Ask and write, one process at a time for the same questions."""
    place = cache_root() / FOLDER
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = FileLock(place / f"{evaluation.name}.lock")
    try:
        lock.acquire(timeout=0.1)
    except Timeout:
        return _refused(["another process asks exactly these questions: wait for it, then give the command again"])
    ledger = Ledger(evaluation.name)
    try:
        asked = _asked(evaluation, ledger)
        if asked.out_of_budget or (None in asked.outcomes and not accept_missing):
            return _unfinished(evaluation, asked, ledger)
        result = conclude(evaluation, asked.outcomes, ledger, accept_missing, _why(asked))
        shown = document(result, ledger.spent())
        with storage_errors("the folder of the report", folder, "choose another by --out"):
            write_result(folder, result, ledger.spent(), shown)
    finally:
        ledger.close()
        lock.release()
    from clvq_exp.comparing.text import print_document

    draw(lambda console: print_document(shown._replace(sections=shown.sections[:-1]), console))
    sys.stdout.write(visible(str(folder / "report.html")) + "\n")
    return 0


def _asked(evaluation: Evaluation, ledger: Ledger) -> Asked:
    from tqdm import tqdm

    speakers = open_speakers(evaluation.panel)
    try:
        with tqdm(total=len(evaluation.questions), desc="judging", unit="question") as bar:
            return Asking(evaluation.panel, speakers, ledger, bar.update).run(evaluation.questions)
    finally:
        for speaker in speakers:
            speaker.close()


def _why(asked: Asked) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in asked.unanswered.items())


def _unfinished(evaluation: Evaluation, asked: Asked, ledger: Ledger) -> int:
    """Say what is left, and what to do."""
    left = sum(each is None for each in asked.outcomes)
    spent = ledger.spent()
    lines: list[str] = []
    if asked.out_of_budget:
        budget = evaluation.panel.budget
        lines.append(
            f"the budget of {budget} dollars is spent ({spent.cost:.4f} so far, and the next call may not fit): "
            f"{left} of {len(evaluation.questions)} questions are left; every answer is kept: give the same "
            "command with a larger --budget"
        )
    lines += [f"judge {name}: {reason}" for name, reason in asked.unanswered.items()]
    if not asked.out_of_budget:
        lines.append(
            f"{left} of {len(evaluation.questions)} questions have no answer; those that have are kept: give the "
            "same command again, or add --accept-missing to count them as missing"
        )
    return _refused(lines)


def _print_dry_run(evaluation: Evaluation) -> None:
    """The number of calls and the first prompt; nothing is asked, and no key is needed."""
    asked = [each for each in evaluation.questions if each.arms]
    panel = evaluation.panel
    lines = [
        f"{len(asked)} calls: {len(panel.judges)} judges, "
        f"{sum(len(each.instances) for each in evaluation.drawn)} sentences of {len(evaluation.configurations)} "
        f"configurations, {len(evaluation.configurations[0].methods)} methods; up to "
        f"{len(asked) * (1 + panel.ask_again)} where answers do not fit",
    ]
    for place, configuration in enumerate(evaluation.configurations):
        drawn = evaluation.drawn[place]
        strata = ", ".join(f"{n} {name}" for name, (_, n, _) in drawn.strata.items())
        lines.append(f"{configuration.name}: {strata}" + (f" ({drawn.shortfall})" if drawn.shortfall else ""))
    for place, each in enumerate(panel.judges):
        own = sum(question.judge == place for question in asked)
        where = str(each.path) if each.is_local else f"{each.model} at {each.base_url}"
        lines.append(f"judge {each.name}: {own} calls to {where}")
    budget = "no budget" if panel.budget is None else f"a budget of {panel.budget} dollars"
    unknown = [each.name for each in panel.judges if not each.has_prices]
    cost = f"; prices of {', '.join(unknown)} are not known" if unknown else ""
    lines.append(f"at most {evaluation.most():.4f} dollars where every first answer fits, {budget}{cost}")
    if asked:
        first = asked[0]
        name = panel.judges[first.judge].name
        lines += ["", f"The first prompt, to {name}:", "", *first.prompt.split("\n"), ""]
        lines += [f"{arm.name} is {arm.method}" for arm in first.arms]
    text = "\n".join(visible(line) for line in lines) + "\n"
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()


def _refused(lines: Sequence[str], code: int = 1) -> int:
    for line in lines:
        sys.stderr.write(visible(line) + "\n")
    return code

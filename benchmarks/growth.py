"""How cost grows with sentences and width: seconds of every step, exponents, and `clvq estimate` beside them.

    python benchmarks/growth.py --work FOLDER                              # the whole: hours
    python benchmarks/growth.py --work FOLDER --base 64 --widths 384,768   # minutes

Made-up texts of ERASER-Movie's lengths at 1x, 4x and 16x of --base sentences go through a random encoder of the
least width; at 1x every width is measured. Extraction, attribution, k-means, training and Ward's clustering follow
each other in a process for each of these points, on --threads threads. Exponents and ratios are of the processor's
seconds, since other programs may run beside; the seconds by the clock stand in the table too. A call that was cut
goes on.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

POINT = "point"
"""What all steps of a point are finished as."""
WITHIN = 1.5
"""How far `clvq estimate` may be off, either way."""
SMALLER = ("trainer.sentences.refit=1", "trainer.max_epochs=1", "decoder.layers=1", "attribution.steps=10")
"""Of the cell, beside the paper's settings: what is repeated grows by itself, and need not be measured."""


def main() -> None:
    """Entry point."""
    given = arguments().parse_intermixed_args()
    if given.side:
        one_point(given)
        return
    from gpu.growing import points
    from gpu.processes import UNFINISHED, Limits, StepFailed, Unfinished, open_folder, run_steps

    begun = time.monotonic()
    every = points(given.base, given.factors, given.widths)
    for point in every:
        folder = given.work.resolve() / point.name
        common = {"layers": given.layers, "ward_share": given.ward_share, "overrides": overrides_of(given)}
        open_folder(folder, {"point": point._asdict(), **common})
        command = [sys.executable, str(Path(__file__).resolve()), *given.overrides, "--work", str(folder)]
        command += ["--layers", str(given.layers), "--threads", str(given.threads)]
        command += ["--ward-share", str(given.ward_share)]
        command += ["--point", str(point.width), str(point.sentences), "--side"]
        left = None if given.seconds is None else given.seconds - (time.monotonic() - begun)
        try:
            run_steps(folder, [POINT], command, Limits(given.step_seconds, left, given.cuts))
        except StepFailed as error:
            sys.exit(f"growth: {error}")
        except Unfinished:
            print("growth: the time is over; the same command goes on", file=sys.stderr)
            sys.exit(UNFINISHED)
    text = table(given.work.resolve(), every)
    if given.markdown:
        given.markdown.write_text(text + "\n", encoding="utf-8")
    print(text)


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="keeps all; a call goes on where one ended")
    parser.add_argument("--base", type=int, default=868, help="sentences at 1x (default 868: 16x is 13,888)")
    parser.add_argument("--factors", type=numbers, default=[1, 4, 16], help="of them (default 1,4,16)")
    parser.add_argument(
        "--widths", type=numbers, default=[384, 768, 2048, 4096], help="d (default 384,768,2048,4096)"
    )
    parser.add_argument("--layers", type=int, default=2, help="of the language model (default 2)")
    parser.add_argument(
        "--ward-share", type=int, default=8, help="words for each one that Ward's method clusters (default 8)"
    )
    parser.add_argument("--threads", type=int, default=1, help="of a step (default 1)")
    parser.add_argument("--step-seconds", type=float, default=7200, help="of a point's process (default 7200)")
    parser.add_argument("--seconds", type=float, help="of this call; exit code 3: give it again")
    parser.add_argument("--cuts", type=int, default=20, help="of one point after which to give up (default 20)")
    parser.add_argument("--markdown", type=Path, help="write the table to this file too")
    parser.add_argument("overrides", nargs="*", help="keys of the cell, as key=value")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--point", type=int, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    return parser


def numbers(text: str) -> list[int]:
    """Whole numbers of at least 1, separated by commas."""
    found = [int(each) for each in text.split(",")]
    if min(found) < 1:
        raise argparse.ArgumentTypeError(f"{text}: give whole numbers of at least 1")
    return found


def overrides_of(given: argparse.Namespace) -> tuple[str, ...]:
    """Of the cell."""
    keys = {each.partition("=")[0] for each in given.overrides}
    return (*(each for each in SMALLER if each.partition("=")[0] not in keys), *given.overrides)


def one_point(given: argparse.Namespace) -> None:
    """The life of a point's process: the steps that no earlier one has finished."""
    from clvq_exp.lifetime import end_with_parent

    end_with_parent(given.parent)
    os.environ |= {"CLVQ_EXP_CACHE": str(given.work / "cache"), "HF_HUB_OFFLINE": "1"}
    os.environ["OMP_NUM_THREADS"] = str(given.threads)  # before torch and faiss are there
    import torch
    from gpu.growing import ESTIMATE, MEASURED, Point, Setting, run_step
    from gpu.processes import facts_of, finish_step
    from gpu.steps import import_late

    import_late()
    torch.set_num_threads(given.threads)
    setting = Setting(given.layers, overrides_of(given), given.ward_share)
    for name in (*MEASURED, ESTIMATE):
        if facts_of(given.work, name) is None:
            finish_step(given.work, name, run_step(name, Point(*given.point), setting, given.work))
    finish_step(given.work, given.side, {})


def table(work: Path, every: Sequence[Any]) -> str:
    """Measurements, exponents and estimates as Markdown."""
    from gpu.growing import ESTIMATE, EXTRACTION, MEASURED
    from gpu.processes import facts_of

    least, fewest = min(each.width for each in every), min(each.sentences for each in every)
    words = {each: (facts_of(work / each.name, EXTRACTION) or {})["words"] for each in every}
    said = {each: facts_of(work / each.name, ESTIMATE) or {} for each in every}
    lines = [
        "| Step | d | Sentences | Words | Processor seconds | Seconds | Estimate | Estimate / processor seconds |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    growth = ["| Step | In sentences | In d | Estimate within 1.5 times |", "|---|---:|---:|---:|"]
    for step in MEASURED:
        found = {each: measured(work / each.name, step) for each in every}
        inside = 0
        for each in every:
            ratio = said[each][step] / found[each].processor
            inside += 1 / WITHIN <= ratio <= WITHIN
            numbers = [f"{each.width:,}", f"{each.sentences:,}", f"{words[each]:,}"]
            numbers += [f"{found[each].processor:.2f}", f"{found[each].seconds:.2f}", f"{said[each][step]:.2f}"]
            lines.append(f"| {' | '.join([step, *numbers, f'{ratio:.2f}'])} |")
        of_words = [(words[each], found[each].processor) for each in every if each.width == least]
        of_width = [(each.width, found[each].processor) for each in every if each.sentences == fewest]
        growth.append(f"| {step} | {law(of_words)} | {law(of_width)} | {inside} of {len(every)} |")
    return "\n".join([*lines, "", *growth])


def measured(folder: Path, step: str) -> Any:
    """What a step took."""
    from gpu.attempts import taken

    found = taken(folder / "attempts", step)
    if found is None or not found.ended:
        sys.exit(f"growth: {folder} has no measurement of {step}: delete the folder, and it is made again")
    return found


def law(found: Sequence[tuple[float, float]]) -> str:
    """Exponent and residual; empty where there is one size."""
    from gpu.fits import power_law

    if len({x for x, _ in found}) < 2:
        return ""
    fit = power_law([x for x, _ in found], [cost for _, cost in found])
    return f"{fit.exponent:.2f} (within {fit.residual:.2f} times)"


if __name__ == "__main__":
    main()

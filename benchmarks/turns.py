"""Two sides measured in turn, A B A B, each in a process of its own; and rows of docs/benchmarks.md.

A benchmark is a script that calls `worker` for its sides and `in_turn` as their parent. A side may run under
another interpreter, so that what is compared with lives in an environment of its own: this file needs the
standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

GO = "go\n"


class Side(NamedTuple):
    """One of the two that are compared."""

    name: str
    """Given to the script as `--side`."""
    python: str = sys.executable
    """Interpreter that has its libraries."""


class Measured(NamedTuple):
    """All repetitions of one side."""

    seconds: list[float]
    processor: list[float]
    """Seconds of all the process's threads."""
    peak: int
    """Largest resident memory, bytes."""
    before: int
    """Resident memory before the first repetition, bytes."""
    noted: list[dict[str, Any]]
    """What the repetitions gave back."""

    @property
    def notes(self) -> dict[str, Any]:
        """What the last repetition gave back."""
        return self.noted[-1]

    def median_of(self, figure: Callable[[dict[str, Any]], float]) -> float:
        """The median of a figure of what repetitions gave back."""
        return statistics.median(figure(each) for each in self.noted)

    @property
    def median(self) -> float:
        """Seconds of a repetition."""
        return statistics.median(self.seconds)

    @property
    def median_processor(self) -> float:
        """Processor seconds of a repetition."""
        return statistics.median(self.processor)


@dataclass(frozen=True)
class Row:
    """One line of the table. Ratios are larger where ours is better, limits and floors included."""

    what: str
    against: str
    ours: str
    theirs: str
    ratio: float
    wanted: float
    note: str = ""
    versions: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    @property
    def reached(self) -> bool:
        """Whether the ratio is what is wanted."""
        return self.ratio >= self.wanted


def worker(prepare: Callable[[], Callable[[], Any]]) -> None:
    """The life of a side: prepare, then a repetition for each line on standard input.

    Args:
        prepare: loads everything and gives back one repetition, which gives back a dict to be noted, or None, or a
            function that works the dict out once the time is taken.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print does not stand among the answers
    repeat = prepare()
    before = _resident()
    print(json.dumps({"before": before}), file=answers, flush=True)
    for _ in sys.stdin:
        start, processor = time.perf_counter(), time.process_time()
        made = repeat()
        seconds, used = time.perf_counter() - start, time.process_time() - processor
        notes = made() if callable(made) else made or {}
        print(json.dumps({"seconds": seconds, "processor": used, "notes": notes}), file=answers, flush=True)
    print(
        json.dumps({"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}), file=answers, flush=True
    )


def in_turn(
    script: str, arguments: Sequence[str], sides: Sequence[Side], repetitions: int, warm_up: bool = True
) -> dict[str, Measured]:
    """Measure sides in turn.

    Args:
        script: path of the benchmark; it is run with the arguments and `--side NAME`.
        arguments: of its command line.
        sides: what is compared.
        repetitions: that count.
        warm_up: whether each side has one before, which does not count.
    """
    with contextlib.ExitStack() as stack:
        processes: dict[str, subprocess.Popen[str]] = {}
        for side in sides:
            command = [side.python, script, *arguments, f"--side={side.name}"]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            processes[side.name] = stack.enter_context(process)
            stack.callback(process.kill)
        before = {name: _answer(process, name)["before"] for name, process in processes.items()}
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in processes}
        for repetition in range(repetitions + warm_up):
            for name, process in processes.items():
                assert process.stdin is not None
                process.stdin.write(GO)
                process.stdin.flush()
                answer = _answer(process, name)
                print(f"  {name}: {answer['seconds']:.3f} s", file=sys.stderr, flush=True)
                if repetition or not warm_up:
                    found[name].append(answer)
        peaks: dict[str, int] = {}
        for name, process in processes.items():
            assert process.stdin is not None
            process.stdin.close()
            peaks[name] = _answer(process, name)["peak"]
    return {
        name: Measured(
            [each["seconds"] for each in answers],
            [each["processor"] for each in answers],
            peaks[name],
            before[name],
            [each["notes"] for each in answers],
        )
        for name, answers in found.items()
    }


def _answer(process: subprocess.Popen[str], name: str) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        sys.exit(f"the side {name!r} ended; its own words stand above")
    return json.loads(line)


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def arguments(description: str | None, peers: bool = False) -> argparse.ArgumentParser:
    """A parser with what all benchmarks take.

    Args:
        description: first line of the script's own words.
        peers: whether it compares with something that is not installed beside the project.
    """
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=5, help="that count; the median is shown (default 5)")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count() or 1, help="of each side (default: all cores)"
    )
    parser.add_argument("--rows", type=Path, help="write the rows to this JSON file")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    if peers:
        parser.add_argument("--peers", help="python of the environment of benchmarks/peers.txt", required=True)
    return parser


def finish(rows: Sequence[Row], file: Path | None) -> None:
    """Print rows, and leave them for `benchmarks/bench.py`."""
    print(table(rows))
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps([asdict(row) for row in rows], indent=1)
        temporary = file.with_suffix(".part")
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(file)


def table(rows: Sequence[Row]) -> str:
    """Rows as Markdown."""
    lines = [
        "| What | Ours | Against | Its figure | Ratio | Wanted | Reached |",
        "|---|---:|---|---:|---:|---:|---|",
    ]
    for row in rows:
        reached = "yes" if row.reached else "**no**"
        lines.append(
            f"| {row.what} | {row.ours} | {row.against} | {row.theirs} "
            f"| {row.ratio:.2f} | {row.wanted:g} | {reached} |"
        )
    notes = [f"- {row.what}: {row.note}" for row in rows if row.note]
    return "\n".join([*lines, *(["", *notes] if notes else [])])


def versions(*names: str, python: str | None = None) -> dict[str, str]:
    """Versions of installed packages.

    Args:
        *names: of distributions.
        python: the interpreter to ask; None for this one.
    """
    if python is None:
        return {name: importlib.metadata.version(name) for name in names}
    code = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    return json.loads(subprocess.run([python, "-c", code, *names], check=True, capture_output=True).stdout)


def machine() -> str:
    """Processor, cores and memory in words."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = names[0] if names else platform.machine()
    return f"{name}, {os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}"


def seconds(value: float) -> str:
    """A duration for the table."""
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.1f} s"


def mebibytes(value: float) -> str:
    """A size for the table."""
    return f"{value / 2**20:,.0f} MiB"

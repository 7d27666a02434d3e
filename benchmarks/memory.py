"""Peak memory of one cell for 1x and 10x sentences: it is to grow with the batch, not with the data.

    python benchmarks/memory.py
    python benchmarks/memory.py --texts FOLDER_OR_FILE --train 600 --dev 150 decoder.layers=6

Both runs are processes of their own with a cache of their own, so nothing is reused and every step runs. A peak is
the process's largest resident memory (VmHWM) in a step; Linux only. The smaller run takes every tenth sentence of
the larger one in order of length, the longest included: the longest sentence decides how large a batch becomes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from subjects import read_texts

CELL = (
    "dataset=file",
    "trainer=demo",
    "trainer.max_epochs=1",
    "trainer.sentences.fine_tuning=0",
    "trainer.sentences.concepts=0",
    "trainer.sentences.evaluation=0",
    "trainer.sentences.refit=0",
    "decoder.layers=1",
    "init.max_iterations=5",
    "attribution.steps=4",
)
"""Every step, and each of them short: how long a step runs does not matter to its peak."""
POLL_SECONDS = 0.05


class Peaks(NamedTuple):
    """Peaks of one run in bytes, and how long it took."""

    steps: dict[str, int]
    whole: int
    """Of the whole process, imports and everything between the steps included."""
    seconds: float


def write_data(texts: list[tuple[str, int]], folder: Path, sizes: dict[str, int], factor: int) -> None:
    """`folder/large` with all sentences, `folder/small` with every `factor`-th of them in order of length."""
    drawn = random.Random(0).sample(texts, len(texts))
    start = 0
    for split, size in sizes.items():
        part = sorted(drawn[start : start + factor * size], key=lambda row: -len(row[0].split()))
        start += len(part)
        for name, rows in (("large", part), ("small", part[::factor])):
            lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
            (folder / name).mkdir(exist_ok=True)
            (folder / name / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def measure(folder: Path, data: Path, overrides: list[str]) -> Peaks:
    """Run one cell and read its peaks."""
    folder.mkdir()
    variables = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CLVQ_EXP_CACHE": str(folder / "cache")}
    arguments = [*CELL, f"dataset.path={data}", *overrides, f"hydra.run.dir={folder / 'run'}"]
    start, whole = time.monotonic(), 0
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "clvq_exp", *arguments],
            env={**os.environ, **variables},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        while process.poll() is None:
            whole = max(whole, peak_of(process.pid))
            time.sleep(POLL_SECONDS)
    if process.returncode:
        sys.exit(f"the cell failed; the end of {folder / 'log.txt'}:\n" + (folder / "log.txt").read_text()[-2000:])
    steps = json.loads((folder / "run" / "provenance.json").read_text())["peak_memory_bytes"]
    return Peaks(steps, max(whole, *steps.values()), time.monotonic() - start)


def peak_of(process: int) -> int:
    """The process's largest resident memory since it was last reset, in bytes; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def report(small: Peaks, large: Peaks, factor: int) -> str:
    """A table of peaks and ratios."""
    rows = [(name, small.steps[name], large.steps[name]) for name in small.steps]
    rows.append(("whole run", small.whole, large.whole))
    lines = [f"{'peak, MiB':<16}{'1x':>9}{f'{factor}x':>9}{'ratio':>8}"]
    lines += [f"{name:<16}{a / 2**20:9.0f}{b / 2**20:9.0f}{b / a:8.3f}" for name, a, b in rows]
    lines.append(f"{'seconds':<16}{small.seconds:9.0f}{large.seconds:9.0f}")
    return "\n".join(lines)


def main() -> None:
    """Write both data sets, run both cells, print the table."""
    parser = argparse.ArgumentParser(
        description="Peak memory of one cell for 1x and 10x sentences, step by step.",
        epilog="Further arguments are overrides of the cell: model=bert decoder.layers=6 trainer.seeds=[0,1]",
    )
    parser.add_argument("--texts", help="JSONL file or folder of such (text, label 0 or 1); default: film reviews")
    parser.add_argument("--train", type=int, default=400, help="training sentences at 1x (default 400)")
    parser.add_argument("--dev", type=int, default=80, help="dev sentences at 1x (default 80)")
    parser.add_argument("--factor", type=int, default=10, help="how many times more in the larger run (10)")
    parser.add_argument("--keep", help="folder for data, caches and runs; default: removed afterwards")
    parser.add_argument("overrides", nargs="*", help="keys of the cell, as key=value")
    given = parser.parse_args()
    sizes = {"train": given.train, "dev": given.dev}
    texts = read_texts(given.texts)
    if len(texts) < given.factor * sum(sizes.values()):
        sys.exit(f"{len(texts)} texts, where {given.factor} x {sum(sizes.values())} are asked for: lower --train")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(given.keep or temporary).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        write_data(texts, folder, sizes, given.factor)
        small, large = (
            measure(
                folder / f"cell_{name}",
                folder / name,
                [f"trainer.sentences.refit={times * given.dev}", *given.overrides],
            )
            for name, times in (("small", 1), ("large", given.factor))
        )
        print(report(small, large, given.factor))


if __name__ == "__main__":
    main()

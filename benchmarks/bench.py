"""All benchmarks, one after another, and `docs/benchmarks.md` from what they measured.

    make bench
    python benchmarks/bench.py --work FOLDER --peers FOLDER/bin/python --texts FOLDER
    python benchmarks/bench.py --work FOLDER --only quantizer --again

Each benchmark leaves its rows in the working folder; one that has done so is not run again unless `--again` says
so, and the page is written from all rows that are there. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from turns import Row, machine, table

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "benchmarks.md"


class Benchmark(NamedTuple):
    """A script that writes rows."""

    title: str
    script: str
    takes: tuple[str, ...] = ()
    """Of the arguments of `main`."""
    given: tuple[str, ...] = ()
    """Further arguments."""


BENCHMARKS = {
    "extraction": Benchmark("Extraction", "extraction.py", ("peers", "texts", "models")),
    "quantizer": Benchmark("Quantizer step", "quantizer.py", ("peers",)),
    "training": Benchmark("Training of CLVQ-VAE", "training.py", ("texts", "models")),
    "attribution": Benchmark("Attribution", "attribution.py", ("texts", "models")),
    "store": Benchmark("Reading batches", "store.py"),
    "kmeans": Benchmark("k-means", "kmeans.py", given=("--shape", "60000x384", "--repetitions", "3")),
    "kmeans_large": Benchmark(
        "k-means of a whole data set", "kmeans.py", given=("--shape", "388932x768", "--repetitions", "1")
    ),
    "ward": Benchmark("Ward's tree", "ward.py", given=("--words", "20000", "--width", "768")),
    "ward_large": Benchmark(
        "Ward's tree of 50,000 words", "ward.py", given=("--words", "50000", "--width", "768", "--only")
    ),
    "cached_cell": Benchmark("A cell over the cache", "cached_cell.py", given=("trainer.max_epochs=1",)),
    "start": Benchmark("The command line", "start.py"),
}

HEAD = """# Benchmarks

What the project costs, beside what one would use instead and beside the limit that the machine sets. Each figure
is the median of repetitions that were taken in turn (ours, the other, ours, the other), each side in a process of
its own. A ratio is larger where ours is better; "wanted" is what the project sets itself.

    make bench

makes the environment of what is compared with (`benchmarks/peers.txt`), runs every benchmark and writes this page.
`python benchmarks/bench.py --help` says how to run one of them. How the cost grows with sentences and widths:
`benchmarks/growth.py`; a cell on a GPU: `benchmarks/gpu_cell.py`. Figures of a busy machine are worth little:
nothing else should run meanwhile.
"""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for rows and models; kept")
    parser.add_argument("--peers", help="python of the environment of benchmarks/peers.txt")
    parser.add_argument("--texts", help="JSONL file or folder of such (text, label 0 or 1); default: film reviews")
    parser.add_argument("--only", nargs="+", choices=list(BENCHMARKS), help="run these alone")
    parser.add_argument("--again", action="store_true", help="also what has been measured")
    parser.add_argument("--page", type=Path, default=PAGE, help="what is written (default docs/benchmarks.md)")
    given = parser.parse_args()
    rows = given.work / "rows"
    failed = [name for name in given.only or BENCHMARKS if not measured(name, rows / f"{name}.json", given)]
    given.page.write_text(page(rows), encoding="utf-8")
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}; what they said stands above")


def measured(name: str, file: Path, given: argparse.Namespace) -> bool:
    """Run a benchmark that has no rows yet; whether it has some now."""
    if file.exists() and not given.again:
        return True
    benchmark = BENCHMARKS[name]
    if "peers" in benchmark.takes and not given.peers:
        print(f"{name}: needs --peers", file=sys.stderr)
        return False
    models = given.work / "models"
    models.mkdir(parents=True, exist_ok=True)
    known = {"peers": given.peers, "texts": given.texts, "models": str(models)}
    command = [sys.executable, str(HERE / benchmark.script), *benchmark.given, "--rows", str(file)]
    for key in benchmark.takes:
        command += [f"--{key}", known[key]] if known[key] else []
    print(f"{name}: {' '.join(command[1:])}", file=sys.stderr, flush=True)
    return subprocess.run(command, env={**os.environ, "HF_HUB_OFFLINE": "1"}, check=False).returncode == 0


def page(folder: Path) -> str:
    """The whole page."""
    parts = [HEAD]
    used: dict[str, str] = {}
    for name, benchmark in BENCHMARKS.items():
        file = folder / f"{name}.json"
        if not file.exists():
            parts.append(f"## {benchmark.title}\n\nNot measured: `python benchmarks/{benchmark.script}`.\n")
            continue
        rows = [Row(**row) for row in _read(file)]
        for row in rows:
            used.update(row.versions)
        parts.append(f"## {benchmark.title}\n\n`benchmarks/{benchmark.script}`\n\n{table(rows)}\n")
    names = ", ".join(f"{name} {version}" for name, version in sorted(used.items()))
    parts.insert(1, f"Machine: {machine()}; {names}.\n")
    return "\n".join(parts)


def _read(file: Path) -> list[dict[str, Any]]:
    return json.loads(file.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()

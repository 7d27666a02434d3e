"""A cell whose language model, activations and attributions are in the cache, beside the first cell.

    python benchmarks/cached_cell.py
    python benchmarks/cached_cell.py trainer=demo decoder.layers=6

All are runs of the command line over one cache; those after the first have other commitment weights, so that
their concept models are trained anew. What is left of them besides training (of concept models, and of probes in
the ablation), the intervention in the live model and the imports is held against the limit, by the median. The
passes of the language model are counted by what the cache was given. Imports are timed by the interpreter that
runs the cell; those that a step does are the step's.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from turns import Row, arguments, finish, seconds, versions

LIMIT = 10.0
LONG = ("concepts", "ablation", "intervention")
"""Steps that are left out: they train, or run the language model."""
WEIGHTS = (0.3, 0.5, 0.7)
"""beta of the cells after the first."""
IMPORT = re.compile(r"^import time:\s+(\d+) \|", re.MULTILINE)
"""A module's own microseconds."""
LAST_BEFORE = re.compile(r"^import time:.*\| +clvq_exp\.cell$", re.MULTILINE)
"""The module that all steps lie behind."""
PASSES = ("activations", "attributions", "language_models")
"""Kinds of artifacts that the language model makes."""


class Cell(NamedTuple):
    """One run."""

    seconds: float
    steps: dict[str, float]
    imports: float
    """Seconds, before the first step."""
    passes: int
    """Artifacts of the language model that it added to the cache."""

    @property
    def rest(self) -> float:
        """Seconds besides the long steps and imports."""
        return self.seconds - self.imports - sum(self.steps.get(step, 0.0) for step in LONG)


def run(folder: Path, name: str, overrides: list[str]) -> Cell:
    """A run of the command line, a process of its own."""
    environment = {"HF_HUB_OFFLINE": "1", "CLVQ_EXP_CACHE": str(folder / "cache")}
    before = _artifacts(folder / "cache")
    command = [sys.executable, "-X", "importtime", "-m", "clvq_exp", *overrides, f"hydra.run.dir={folder / name}"]
    said = folder / f"{name}.log"
    start = time.perf_counter()
    with said.open("w") as stream:
        done = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=stream, env={**os.environ, **environment}, check=False
        )
    took = time.perf_counter() - start
    text = said.read_text(encoding="utf-8", errors="replace")
    if done.returncode:
        sys.exit(f"cached_cell: the {name} cell failed:\n" + "\n".join(text.splitlines()[-20:]))
    provenance = json.loads((folder / name / "provenance.json").read_text(encoding="utf-8"))
    last = LAST_BEFORE.search(text)
    if last is None:
        sys.exit("cached_cell: the run did not import clvq_exp.cell, behind which its steps lie")
    imports = sum(int(own) for own in IMPORT.findall(text[: last.end()])) / 1e6
    return Cell(took, provenance["seconds"], imports, _artifacts(folder / "cache") - before)


def _artifacts(cache: Path) -> int:
    return sum(1 for kind in PASSES for _ in (cache / kind).glob("*/manifest.json"))


def main() -> None:
    """Entry point."""
    parser = arguments(__doc__)
    parser.add_argument("overrides", nargs="*", help="keys of both cells, as key=value")
    given: argparse.Namespace = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        first = run(Path(folder), "first", given.overrides)
        following = [
            run(Path(folder), f"beta-{weight}", [*given.overrides, f"quantizer.commitment_weight={weight}"])
            for weight in WEIGHTS
        ]
    rest = statistics.median(each.rest for each in following)
    second = next(each for each in following if each.rest == rest)
    passes = max(each.passes for each in following)
    note = (
        f"the first cell took {first.seconds:.0f} s and added {first.passes} artifacts of the language model, the "
        f"median of the {len(following)} after it {second.seconds:.0f} s and {second.passes}; its steps: "
        + ", ".join(f"{name} {took:.1f} s" for name, took in second.steps.items())
        + f"; imports {second.imports:.1f} s"
    )
    what = "a cell whose model and data are cached"
    finish(
        [
            Row(
                f"{what}, besides training, intervention, imports",
                "the limit",
                seconds(rest),
                seconds(LIMIT),
                LIMIT / rest,
                1,
                note,
                versions=versions("torch", "transformers"),
            ),
            Row(f"{what}: passes of the language model", "none", str(passes), "0", 1.0 - passes, 1),
        ],
        given.rows,
    )


if __name__ == "__main__":
    main()

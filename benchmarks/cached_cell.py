"""A cell whose language model, activations and attributions are in the cache, beside the first cell.

    python benchmarks/cached_cell.py
    python benchmarks/cached_cell.py trainer=demo decoder.layers=6

Both are runs of the command line over one cache; the second has another commitment weight, so that its concept
model is trained anew. What is left of it besides training, the intervention in the live model and the imports is
held against the limit; the passes of the language model are counted by what the cache was given.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from turns import Row, arguments, finish, seconds, versions

LIMIT = 10.0
LONG = ("concepts", "intervention")
"""Steps that are left out."""
PASSES = ("activations", "attributions", "language_models")
"""Kinds of artifacts that the language model makes."""


class Cell(NamedTuple):
    """One run."""

    seconds: float
    steps: dict[str, float]
    passes: int
    """Artifacts of the language model that it added to the cache."""


def run(folder: Path, name: str, overrides: list[str]) -> Cell:
    """A run of the command line, a process of its own."""
    environment = {"HF_HUB_OFFLINE": "1", "CLVQ_EXP_CACHE": str(folder / "cache")}
    before = _artifacts(folder / "cache")
    command = [sys.executable, "-m", "clvq_exp", *overrides, f"hydra.run.dir={folder / name}"]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **environment})
    took = time.perf_counter() - start
    provenance = json.loads((folder / name / "provenance.json").read_text(encoding="utf-8"))
    return Cell(took, provenance["seconds"], _artifacts(folder / "cache") - before)


def _artifacts(cache: Path) -> int:
    return sum(1 for kind in PASSES for _ in (cache / kind).glob("*/manifest.json"))


def import_seconds() -> float:
    """Of the modules that a run imports."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import clvq_exp.cell, transformers, captum.attr, faiss"], check=True)
    return time.perf_counter() - start


def main() -> None:
    """Entry point."""
    parser = arguments(__doc__)
    parser.add_argument("overrides", nargs="*", help="keys of both cells, as key=value")
    given: argparse.Namespace = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        first = run(Path(folder), "first", given.overrides)
        second = run(Path(folder), "second", [*given.overrides, "quantizer.commitment_weight=0.3"])
        imports = import_seconds()
    left_out = sum(second.steps.get(step, 0.0) for step in LONG)
    rest = second.seconds - left_out - imports
    note = (
        f"the first cell took {first.seconds:.0f} s and added {first.passes} artifacts of the language model, the "
        f"second {second.seconds:.0f} s and {second.passes}; its steps: "
        + ", ".join(f"{name} {took:.1f} s" for name, took in second.steps.items())
        + f"; imports {imports:.1f} s"
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
                versions("torch", "transformers"),
            ),
            Row(f"{what}: passes of the language model", "none", str(second.passes), "0", 1.0 - second.passes, 1),
        ],
        given.rows,
    )


if __name__ == "__main__":
    main()

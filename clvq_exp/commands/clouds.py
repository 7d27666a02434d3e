"""`clvq clouds`: word clouds of a run's concepts as SVG and PNG."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from clvq_exp.artifacts import write_bytes, write_text
from clvq_exp.collect.runs import Run, find_runs
from clvq_exp.report.access import seeds
from clvq_exp.report.cases import read_cases
from clvq_exp.report.clouds import draw_cloud
from clvq_exp.report.representation import ConceptFiles, read_concepts
from clvq_exp.report.text_safety import visible
from clvq_exp.storage import StorageError, storage_errors

ALL = "all"


def clouds(given: argparse.Namespace) -> int:
    """Write `concept_<n>.svg` and `.png` for each concept asked for; returns the exit code.

    Args:
        given: the parsed command line.
    """
    found = find_runs([Path(given.run)])
    if len(found.runs) != 1:
        reasons = [f"{each.folder}: {each.reason}" for each in found.left_out]
        _tell(reasons or [f"{given.run} holds {len(found.runs)} finished runs: give the folder of one"])
        return 1
    run = found.runs[0]
    concepts = read_concepts(run.folder, run.metrics)
    if not concepts.rows:
        _tell([f"{run.folder} has no inventory of concepts: run its command again with another hydra.run.dir"])
        return 1
    chosen, unknown = _chosen(given.concept, run, concepts)
    if unknown:
        last = len(concepts.rows) - 1
        _tell([f"--concept {each}: the run has concepts 0 to {last}, or `{ALL}`" for each in unknown])
        return 1
    try:
        return _write(Path(given.out), concepts, chosen, next(iter(seeds(run.metrics)), 0))
    except StorageError as error:
        _tell([str(error)])
        return 1


def _chosen(asked: Sequence[str] | None, run: Run, concepts: ConceptFiles) -> tuple[list[int], list[str]]:
    """Concepts to draw, and what was asked for in vain."""
    known = [row.concept for row in concepts.rows]
    if asked is None:
        of_cases = [case.example.code for case in read_cases(run.folder, run.metrics, concepts)]
        return [each for each in dict.fromkeys(of_cases) if each in known], []
    if ALL in asked:
        return known, []
    unknown = [each for each in asked if not each.isascii() or not each.isdigit() or int(each) not in known]
    return [int(each) for each in dict.fromkeys(asked) if each not in unknown], unknown


def _write(folder: Path, concepts: ConceptFiles, chosen: Sequence[int], seed: int) -> int:
    n_drawn, without = 0, 0
    with storage_errors("the folder of the clouds", folder, "choose another by --out"):
        folder.mkdir(parents=True, exist_ok=True)
        for concept in chosen:
            cloud = draw_cloud(concepts.words.get(concept, ()), seed)
            if cloud is None:
                without += 1
                continue
            write_text(folder / f"concept_{concept}.svg", cloud.svg)
            write_bytes(folder / f"concept_{concept}.png", cloud.png)
            n_drawn += 1
    sys.stdout.write(visible(f"{n_drawn} clouds in {folder}, each as SVG and PNG") + "\n")
    if without:
        _tell([f"{without} of the concepts hold no word but sentence tokens, or nothing: they have no cloud"])
    return 0


def _tell(lines: Sequence[str]) -> None:
    for line in lines:
        sys.stderr.write(visible(line) + "\n")

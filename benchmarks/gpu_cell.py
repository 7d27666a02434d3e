"""A cell at the true shapes, step by step: seconds, memory, shares of a card's rates, and where its host waits.

    python benchmarks/gpu_cell.py --work FOLDER
    python benchmarks/gpu_cell.py --work FOLDER --seconds 540      # the same again until the table is printed
    python benchmarks/gpu_cell.py --work FOLDER --size tiny --device cpu

Nothing is fetched: networks of the shapes of BERT-base, RoBERTa-base, Qwen2.5-3B and LLaMA-2-7B with random
weights made on the device, and 13,878 / 856 made-up texts of ERASER-Movie's lengths. Each step is a process that
runs the cell's own functions; one that takes longer than --step-seconds is cut and begun again, and goes on behind
its last finished part, as a run does. docs/gpu.md says how to read the table.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

GPU_SETTINGS = (
    "trainer.resident_gib=48",
    "trainer.micro_batch_words=8192",
    "activations.batch_tokens=16384",
)
"""Larger pieces than the defaults, which suit a CPU: a card does small ones no faster than it is told of them."""
TINY_SETTINGS = (
    *("trainer.max_epochs=2", "quantizer.codebook_size=20", "decoder.layers=1", "decoder.feed_forward=64"),
    *("trainer.batch_size=8", "attribution.steps=4", "trainer.sentences.refit=8", "specificity.shuffles=2"),
    *("specificity.sentences=20", "evaluation.bootstrap_samples=100", "evaluation.permutations=100"),
    *("evaluation.example_sentences=2", "probe.max_epochs=2", "trainer.micro_batch_words=256"),
    *("activations.batch_tokens=1024", "attribution.batch_tokens=1024"),
)
TINY_SENTENCES = (160, 24)
NAMES = ("bert", "roberta", "qwen2_5_3b", "llama2_7b")
CHECKS = "checks"


def main() -> None:
    """Entry point."""
    given = arguments().parse_intermixed_args()
    if given.side:
        one_step(given)
        return
    from gpu.processes import UNFINISHED, Limits, StepFailed, Unfinished, open_folder, run_steps
    from gpu.table import models_of, table

    device = chosen_device(given.device)
    folders = models_of(given.models, given.work.resolve())
    limits = Limits(given.step_seconds, given.seconds, given.cuts)
    for name, folder in folders.items():
        open_folder(folder, plan_of(given, name, device.type))
    left = given.seconds
    try:
        import time

        for name, folder in folders.items():
            begun = time.monotonic()
            command = [sys.executable, str(Path(__file__).resolve()), *passed(given, name, device), "--side"]
            run_steps(folder, sides(), command, limits._replace(call=left))
            left = None if left is None else left - (time.monotonic() - begun)
    except StepFailed as error:
        sys.exit(f"gpu_cell: {error}")
    except Unfinished:
        print("gpu_cell: the time is over; the same command goes on", file=sys.stderr)
        sys.exit(UNFINISHED)
    from gpu.cards import card_of

    text = table(folders, card_of(device), device.type == "cuda" and given.size == "full")
    if given.markdown:
        given.markdown.write_text(text + "\n", encoding="utf-8")
    print(text)


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="keeps all; a call goes on where one ended")
    parser.add_argument("--models", type=known, default=list(NAMES), help=f"default: {','.join(NAMES)}")
    parser.add_argument("--size", choices=("full", "tiny"), default="full", help="tiny: some seconds on a CPU")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--step-seconds", type=float, default=600, help="of a step's process (default 600)")
    parser.add_argument("--seconds", type=float, help="of this call; exit code 3: give it again")
    parser.add_argument("--cuts", type=int, default=20, help="of one step after which to give up (default 20)")
    parser.add_argument("--markdown", type=Path, help="write the table to this file too")
    parser.add_argument("overrides", nargs="*", help="keys of the cell: trainer.precision=tf32")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    return parser


def known(text: str) -> list[str]:
    """Models by their names, separated by commas."""
    names = text.split(",")
    if strange := [each for each in names if each not in NAMES]:
        raise argparse.ArgumentTypeError(f"no model {', '.join(strange)}: there are {', '.join(NAMES)}")
    return names


def sides() -> list[str]:
    """Processes of a cell, in order; the checks come last."""
    return ["activations", "attribution", "kmeans", "concepts", "evaluation", CHECKS]


def chosen_device(name: str) -> Any:
    """A GPU where there is one; says so where one is asked for that is not there."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        sys.exit(f"--device {name}: no GPU is to be seen; give --device cpu --size tiny")
    return torch.device(name)


def overrides_of(given: argparse.Namespace) -> list[str]:
    """Of the cell: those of the size, then the user's own."""
    own = [*GPU_SETTINGS, *(TINY_SETTINGS if given.size == "tiny" else ())]
    keys = {each.partition("=")[0] for each in given.overrides}
    last = {each.partition("=")[0]: each for each in own}
    return [*(each for key, each in last.items() if key not in keys), *given.overrides]


def plan_of(given: argparse.Namespace, name: str, device: str) -> dict[str, Any]:
    """What a folder's measurements hang on."""
    return {
        "model": name,
        "size": given.size,
        "device": device,
        "overrides": overrides_of(given),
    }


def passed(given: argparse.Namespace, name: str, device: Any) -> list[str]:
    """What a step's process is told."""
    own = ["--work", str(given.work.resolve() / name), "--models", name, "--size", given.size]
    return [*given.overrides, *own, "--device", str(device)]


def one_step(given: argparse.Namespace) -> None:
    """The life of a step's process."""
    from clvq_exp.lifetime import end_with_parent

    end_with_parent(given.parent)
    folder: Path = given.work
    os.environ["CLVQ_EXP_CACHE"] = str(folder / "cache")
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from gpu.processes import finish_step
    from gpu.shapes import SIZES
    from gpu.steps import STEPS, BenchedCell, composed, import_late
    from gpu.texts import labelled

    import_late()
    (name,) = given.models
    shape = SIZES[given.size][name]
    config = composed(shape, [*overrides_of(given), f"trainer.device={given.device}"])
    texts = labelled(*TINY_SENTENCES) if given.size == "tiny" else labelled()
    cell = BenchedCell(config, shape, texts, folder, torch.device(given.device))
    if given.side == CHECKS:
        from gpu.checks import checks

        finish_step(folder, CHECKS, checks(cell))
        return
    work = STEPS[given.side](cell)
    facts = {
        "work": None if work is None else work._asdict(),
        "number_format": config.model.number_format,
        "precision": config.trainer.precision.value,
    }
    finish_step(folder, given.side, facts)


if __name__ == "__main__":
    main()

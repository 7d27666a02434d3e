"""Measurements as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpu.attempts import Taken, taken
from gpu.cards import Card
from gpu.processes import facts_of

CELL = ("activations", "attribution", "kmeans", "concepts", "ablation", "intervention", "specificity", "report")
"""Steps of a cell, in order; beside them, `language_model` makes the random weights."""
WANTED_SECONDS = {"bert": 180.0, "roberta": 180.0, "llama2_7b": 1200.0}
EXTRACTION_SHARE = 0.45
TRAINING_RATIO = 1.3
_NOT_JUDGED = "not judged"


def table(folders: Mapping[str, Path], card: Card, judged: bool) -> str:
    """All models' steps and checks.

    Args:
        folders: model -> the folder of its measurements.
        card: what shares are of.
        judged: whether wanted figures are held against what was found: at the true shapes, on a card.
    """
    return "\n\n".join(
        [
            _card(card),
            *(
                f"### {name}\n\n{_steps(folder, card)}\n\n{_checks(name, folder, card, judged)}"
                for name, folder in folders.items()
            ),
        ]
    )


def _card(card: Card) -> str:
    source = "published" if card.published else "measured here"
    return (
        f"{card.name}, {source}: {card.bfloat16 / 1e12:.4g} TFLOP/s in bfloat16, {card.tf32 / 1e12:.4g} in TF32, "
        f"{card.float32 / 1e12:.4g} in float32, {card.bandwidth / 1e12:.4g} TB/s"
    )


def _steps(folder: Path, card: Card) -> str:
    lines = [
        "| Step | Seconds | Processor seconds | Cuts | Allocated, GiB | Reserved, GiB | Host, GiB | TFLOP/s "
        "| Of the rate | GB/s | Of the bandwidth |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name in ("language_model", *CELL):
        found = taken(folder / "attempts", name)
        if found is not None:
            lines.append(_step(name, found, facts_of(folder, name) or {}, card))
    return "\n".join(lines)


def _step(name: str, found: Taken, facts: Mapping[str, Any], card: Card) -> str:
    work = facts.get("work") or {}
    rate = card.rate(_format(name, facts))
    reached = [work.get(kind, 0.0) / found.seconds for kind in ("operations", "bytes")]
    on_card = name != "kmeans"  # on the processor, whatever the device
    shown = [
        f"{reached[0] / 1e12:.3g}" if reached[0] else "",
        f"{reached[0] / rate:.1%}" if reached[0] and on_card else "",
        f"{reached[1] / 1e9:.3g}" if reached[1] else "",
        f"{reached[1] / card.bandwidth:.1%}" if reached[1] else "",
    ]
    seconds = f"{found.seconds:.1f}" + ("" if found.ended else " so far")
    memory = [f"{size / 2**30:.2f}" for size in (found.allocated, found.reserved, found.host)]
    return f"| {' | '.join([name, seconds, f'{found.processor:.1f}', str(found.cuts), *memory, *shown])} |"


def _format(step: str, facts: Mapping[str, Any]) -> str:
    """In which a step multiplies: training as `trainer.precision` says, all others as the language model does."""
    return str(facts.get("precision" if step == "concepts" else "number_format", "bfloat16"))


def _checks(name: str, folder: Path, card: Card, judged: bool) -> str:
    lines = ["| Check | Found | Wanted | Reached |", "|---|---:|---:|---|"]
    lines += [_row(*each, judged) for each in found_checks(name, folder, card)]
    facts = facts_of(folder, "checks")
    if facts is not None:
        lines.append("")
        for of in ("training", "extraction"):
            lines.append(f"- {of}: {_of_profile(facts[of])}")
    return "\n".join(lines)


def _of_profile(found: Mapping[str, Any]) -> str:
    parts = {
        "attention": {**found["fused"], **({"unfused": found["unfused"]} if found["unfused"] else {})},
        "waits": found["waits"],
        "longest kernels, ms": {name: round(spent, 2) for name, spent in found["longest"].items()},
    }
    return "; ".join(
        f"{what}: " + (", ".join(f"`{name}` {n}" for name, n in each.items()) or "none")
        for what, each in parts.items()
    )


def found_checks(name: str, folder: Path, card: Card) -> list[tuple[str, str, str, bool]]:
    """Each check: what, what was found, what is wanted, whether it is reached."""
    rows: list[tuple[str, str, str, bool]] = []
    steps = [taken(folder / "attempts", each) for each in CELL]
    if all(each is not None and each.ended for each in steps):
        seconds = sum(each.seconds for each in steps if each is not None)
        wanted = WANTED_SECONDS.get(name)
        rows.append(
            (
                "the whole cell",
                f"{seconds:.1f} s",
                "" if wanted is None else f"at most {wanted:g} s",
                wanted is None or seconds <= wanted,
            )
        )
    extraction, facts = steps[0], facts_of(folder, "activations")
    if extraction is not None and extraction.ended and facts is not None:
        of = _format("activations", facts)
        share = facts["work"]["operations"] / extraction.seconds / card.rate(of)
        enough = share >= EXTRACTION_SHARE
        rows.append((f"extraction, of the {of} rate", f"{share:.1%}", f"{EXTRACTION_SHARE:.0%}", enough))
    found = facts_of(folder, "checks")
    if found is not None:
        ratio = found["step"] / found["decoder"]
        rows.append(
            (
                "a training step beside the decoder alone",
                f"{1000 * found['step']:.1f} ms, {ratio:.2f} times",
                f"at most {TRAINING_RATIO:g} times",
                ratio <= TRAINING_RATIO,
            )
        )
        for of in ("training", "extraction"):
            each = found[of]
            fused = bool(each["fused"]) and not each["unfused"]
            rows.append((f"{of}: attention by fused kernels", "all" if fused else "no", "all", fused))
        waits = sum(found["training"]["waits"].values()) + found["training"]["warned"]
        rows.append(("places in the training loop where the host waits", str(waits), "0", waits == 0))
    return rows


def _row(what: str, found: str, wanted: str, reached: bool, judged: bool) -> str:
    verdict = ("yes" if reached else "**no**") if judged else _NOT_JUDGED
    return f"| {what} | {found} | {wanted} | {verdict} |"


def models_of(names: Sequence[str], folder: Path) -> dict[str, Path]:
    """Where each model's measurements lie."""
    return {name: folder / name for name in names}

"""Whether memory and disk will do, said before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clvq_exp.artifacts import CACHE_VARIABLE, cache_root
from clvq_exp.config import Config, ConfigError
from clvq_exp.estimate.cell import estimate_cell
from clvq_exp.estimate.corpus import corpus_of, tokens_of
from clvq_exp.estimate.hardware import device_of, disk_free, memory_room
from clvq_exp.estimate.memory import weights_memory
from clvq_exp.estimate.network import GivenSizes, network_sizes
from clvq_exp.estimate.records import (
    ABLATION,
    ACTIVATIONS,
    ATTRIBUTION,
    CONCEPTS,
    INTERVENTION,
    LANGUAGE_MODEL,
    REPORT,
    SPECIFICITY,
    CellEstimate,
    MethodNeeds,
    StepMemory,
    total,
)
from clvq_exp.estimate.subject import Subject
from clvq_exp.language_models.base import LanguageModelError
from clvq_exp.language_models.sources import needs_fine_tuning
from clvq_exp.records import LabelledTexts
from clvq_exp.report.formatting import memory
from clvq_exp.settings import NumberFormat

_ADVICE = {
    LANGUAGE_MODEL: "fine_tuning.batch_size or model.max_length",
    ACTIVATIONS: "activations.batch_tokens",
    ATTRIBUTION: "attribution.batch_tokens",
    ABLATION: "the number of seeds or of methods (beside=none)",
    INTERVENTION: "activations.batch_tokens, or the number of seeds or of methods (beside=none)",
    SPECIFICITY: "specificity.largest_matching, or the number of seeds or of methods (beside=none)",
    REPORT: "the number of seeds or of methods (beside=none)",
}
"""What lowers the memory of each step but that of the concepts, where it hangs on the method that takes most."""


def cell_needs(config: Config, folder: Path, texts: LabelledTexts) -> CellEstimate | None:
    """Memory and disk of a cell whose model and texts are there; its seconds mean nothing.

    Args:
        config: the checked configuration.
        folder: the model's.
        texts: the data set.

    Returns:
        None for a model whose sizes are not told by its files under the usual names.

    Raises:
        ConfigError: arguments of a method that its class will not take.
    """
    try:
        network = network_sizes(config.model, folder)
        tuned = needs_fine_tuning(config.model, config.fine_tuning.when, folder)
    except LanguageModelError:
        return None
    corpus = corpus_of(config, texts, tokens_of(config, network, folder, texts))
    needs = estimate_cell(Subject(config, network, corpus, device_of(config.trainer.device), tuned))
    wrong = argument_problems(needs)
    if wrong:
        raise ConfigError(wrong)
    return needs


def argument_problems(needs: CellEstimate) -> list[str]:
    """One line for each method with an argument that its class will not take."""
    return [each.problem for each in needs.methods if each.problem is not None]


def memory_problems(config: Config, folder: Path | None, given: GivenSizes | None = None) -> Iterator[str]:
    """One line for each kind of memory that the language model's weights alone are too large for.

    Args:
        config: the checked configuration.
        folder: the model's.
        given: sizes that the user states.
    """
    device = device_of(config.trainer.device)
    try:
        weights = weights_memory(config, network_sizes(config.model, folder, given), device)
    except LanguageModelError:
        return
    spread = config.model.device_map is not None
    room = memory_room(device, spread)
    if spread:  # over GPUs and the machine's own memory together
        needed, there = weights.host + weights.gpu, (room.host or 0) + (room.gpu or 0)
        if room.host is not None and needed > there:
            yield _too_large(config, needed, there, "GPUs and machine together")
        return
    for name, needed, there in (("the machine", weights.host, room.host), ("the GPU", weights.gpu, room.gpu)):
        if there is not None and needed > there:
            yield _too_large(config, needed, there, name)


def _too_large(config: Config, needed: int, there: int, where: str) -> str:
    return (
        f"model {config.model.name}: its weights alone take {memory(needed)} of memory, and {where} has "
        f"{memory(there)}: {_smaller(config)}"
    )


def _smaller(config: Config) -> str:
    ways = ["take a smaller model"]
    if config.model.number_format is NumberFormat.float32:
        ways.insert(0, "set model.number_format=bfloat16")
    if config.model.device_map is None:
        ways.insert(0, "set model.device_map=auto, which spreads it over all devices")
    return ", or ".join(ways)


def disk_problems(needs: CellEstimate | None) -> Iterator[str]:
    """A line where the activations alone do not fit on the disk of the cache.

    What lies in the cache already may be these very activations, so it counts as room.

    Args:
        needs: what the cell needs; None where that is not known.
    """
    root = cache_root()
    free = disk_free(root)
    if needs is not None and free is not None and needs.store_bytes > free + _size(root / "activations"):
        yield (
            f"the activations alone take {memory(needs.store_bytes)} on the disk, and the cache {root} has "
            f"{memory(free)} left: {_LESS_DISK}"
        )


_LESS_DISK = (
    "set activations.dtype=bfloat16, which halves them, keep fewer activations.layers, use fewer sentences "
    f"(trainer.sentences.concepts), or set {CACHE_VARIABLE} to a folder on another disk"
)


def _size(folder: Path) -> int:
    found = 0
    for path in folder.glob("*/*"):
        try:
            found += path.stat().st_size
        except OSError:  # another process finishes it just now
            continue
    return found


def shortage(config: Config, needs: CellEstimate | None, run_folder: Path | None = None) -> list[str]:
    """What is probably too little, one line each: how much is needed, how much is there, what lowers it.

    Args:
        config: the checked configuration.
        needs: what the cell needs; None where that is not known.
        run_folder: where its results go; None where that is not known.
    """
    if needs is None:
        return []
    return [*_memory_lines(config, needs), *_disk_lines(needs, run_folder)]


def _memory_lines(config: Config, needs: CellEstimate) -> Iterator[str]:
    devices = config.trainer.devices
    room = memory_room(device_of(config.trainer.device), config.model.device_map is not None, devices)
    kinds = (("memory", "host", room.host_free), ("memory of the GPU", "gpu", room.gpu_free))
    for name, field, free in kinds:
        step, needed = _largest_step(needs, field)
        if free is None or needed <= free:
            continue
        heaviest = _heaviest(needs, field)
        ways = [f"lower {_ADVICE.get(step) or heaviest.lowered_by}"]
        shared = step in (ACTIVATIONS, ATTRIBUTION) or (step == CONCEPTS and heaviest.trains)
        several = shared and devices > 1
        if several and field == "host":
            ways.insert(0, "lower trainer.devices")
        if config.model.number_format is NumberFormat.float32:
            ways.append("set model.number_format=bfloat16")
        if field == "gpu":
            ways.append("lower trainer.resident_gib")
            ways += ["set model.device_map=auto"] if config.model.device_map is None else []
        others = " and the run's own" if step == CONCEPTS else ""
        who = f" in {devices} processes{others}" if several else ""
        yield (
            f"{name}: the step {step.replace('_', ' ')} takes about {memory(needed)}{who}, and {memory(free)} are "
            f"free: {', or '.join(ways)}"
        )


def _heaviest(needs: CellEstimate, field: str) -> MethodNeeds:
    """The concept method whose fit takes most."""
    return max(needs.methods, key=lambda each: int(getattr(needs.fits[each.name], field)))


def _largest_step(needs: CellEstimate, field: str) -> tuple[str, int]:
    def of(peak: StepMemory) -> int:
        return int(getattr(peak, field))

    step = max(needs.memory, key=lambda name: of(needs.memory[name]))
    return step, of(needs.memory[step])


def _disk_lines(needs: CellEstimate, run_folder: Path | None) -> Iterator[str]:
    summed = total(needs.parts)
    root = cache_root()
    needed, free = sum(summed.cache_bytes.values()) + summed.working_bytes, disk_free(root)
    if free is not None and needed > free + _size(root / "activations"):
        yield (
            f"disk: the cache {root} takes about {memory(needed)} more, where nothing of the cell is in it "
            f"yet, and {memory(free)} are free: {_LESS_DISK}"
        )
    free = None if run_folder is None else disk_free(run_folder)
    if free is not None and needs.run_bytes > free:
        yield (
            f"disk: the run folder {run_folder} takes about {memory(needs.run_bytes)}, and {memory(free)} are "
            "free: free space there, or choose another by hydra.run.dir"
        )

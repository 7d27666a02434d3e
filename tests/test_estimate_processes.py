"""What steps are estimated to take that several processes share: by hand, and as a user is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from estimating import CPU, corpus, fit_seconds, keys_of, needs_of, subject
from running import tiny_cell

from clvq_exp.composing import compose_cells
from clvq_exp.estimate import memory
from clvq_exp.estimate.cell import estimate_cell
from clvq_exp.estimate.hardware import Room, memory_room
from clvq_exp.estimate.processes import GPU_EFFICIENCY, JOINED_SECONDS, START_SECONDS, Processes
from clvq_exp.estimate.records import CellEstimate, Rates, StepMemory, total
from clvq_exp.estimate.shortage import shortage
from clvq_exp.estimate.sweep import Asked, EstimatedCell, EstimatedSweep, estimate_sweep
from clvq_exp.estimate.tables import as_json

GIB = 2**30
PLENTY = 1000 * GIB
TWO, FOUR = "trainer.devices=2", "trainer.devices=4"
TRAINED = ("none", "single_layer", "sae_2048", "transcoder")
UNTRAINED = ("kmeans_codes", "clustering")


def method(name: str) -> tuple[str, ...]:
    return (f"baseline={name}", "beside=none", "seeds=[0]")


# ---------------------------------------------------------------- the rule


def test_seconds__on_the_processor_the_cores_have_the_same_work() -> None:
    def found(world: int, threads: int) -> float:
        return Processes(world, "cpu", threads).seconds(shared=1000, each=100, alone=10, on_processor=1)

    assert found(1, 4) == 1111
    assert found(2, 4) == 1000 + 2 * 100 + 2 * 11  # the first has half of the threads
    assert found(4, 2) == 1000 + 4 * 100 + 2 * 11
    assert found(2, 1) == 1000 + 2 * 100 + 11


def test_seconds__gpus_divide_what_is_shared_and_nothing_else() -> None:
    def found(world: int) -> float:
        return Processes(world, "cuda", threads=3).seconds(shared=1000, each=100, alone=10, on_processor=1)

    assert found(1) == 1111
    assert found(4) == 1000 / (4 * GPU_EFFICIENCY) + 100 + 10 + 3  # a process beside a GPU has one thread


def test_memory__adds_up_in_the_machine_and_not_on_the_gpus() -> None:
    waiting, started, work = StepMemory(1000, 100), StepMemory(10, 20), StepMemory(3, 4)
    assert Processes(1, "cuda").memory(waiting, started, work) == (1003, 104)
    assert Processes(3, "cuda").memory(waiting, started, work) == (1000 + 3 * 13, 100 + 24)


def test_joining__takes_a_start_and_the_gradients_of_every_step() -> None:
    assert Processes(1, "cpu").joining_seconds(weights=10**6, steps=100) == 0
    found = Processes(2, "cpu").joining_seconds(weights=10**6, steps=100)
    assert found == pytest.approx(START_SECONDS + 10**8 * JOINED_SECONDS)
    together = Processes(2, "cpu", threads=8)
    each = together.joining_seconds(weights=10**6, steps=100)
    assert together.seconds(each=each) == pytest.approx(found), "both do so at once, on a thread each"
    assert Processes(2, "cuda").joining_seconds(weights=10**6, steps=100) == START_SECONDS


# ---------------------------------------------------------------- a cell


def concepts(*overrides: str, device: str = "cpu") -> StepMemory:
    return estimate_cell(subject("layer_pair=0-4", *overrides, device=device)).memory["concepts"]


def steps_of(*overrides: str, **changed: Any) -> dict[str, StepMemory]:
    return dict(estimate_cell(subject("layer_pair=0-4", *overrides, **changed)).memory)


@pytest.mark.parametrize("name", TRAINED)
def test_memory__of_training_counts_an_interpreter_and_a_fit_of_every_process(name: str) -> None:
    def found(devices: int) -> tuple[int, int]:
        given = (*method(name), f"trainer.devices={devices}")
        (needs,) = needs_of(*given).values()
        return concepts(*given).host, devices * (started + needs.memory.training + needs.memory.fit_host)

    started = memory.PROCESS + memory.TRAINING_LIBRARIES - memory.SHARED_LIBRARIES
    (two, of_two), (four, of_four) = found(2), found(4)
    assert four - of_four == two - of_two == memory.PROCESS + memory.TRAINING_LIBRARIES + held(name)


def held(name: str) -> int:
    """What the run's own process keeps: the language model of 1,000 weights, and the fitted model."""
    (needs,) = needs_of(*method(name)).values()
    return 4 * 1000 + needs.model_bytes


def test_memory__of_a_gpu_is_that_of_the_first_where_the_run_has_its_own() -> None:
    one, two, four = (concepts(*method("none"), *more, device="cuda") for more in ((), (TWO,), (FOUR,)))
    assert two.gpu - one.gpu == memory.GPU_CONTEXT
    assert four.gpu == two.gpu
    (needs,) = needs_of(*method("none"), device="cuda").values()
    each = memory.GPU_PROCESS - memory.SHARED_LIBRARIES + needs.memory.fit_host
    assert four.host - two.host == 2 * each


def test_memory__of_other_steps_lacks_what_a_fit_would_have_left() -> None:
    one, two = steps_of(*method("none")), steps_of(*method("none"), TWO)
    (needs,) = needs_of(*method("none")).values()
    for step in ("language_model", "activations"):  # these texts are one part of extraction
        assert two[step] == one[step]
    for step in ("ablation", "intervention", "report"):
        assert one[step].host - two[step].host == needs.memory.left > 0


@pytest.mark.parametrize("name", UNTRAINED)
def test_untrained_methods__are_fitted_by_the_runs_own_process(name: str) -> None:
    (one,), (two,) = (needs_of(*method(name), *more).values() for more in ((), (TWO,)))
    assert one == two
    assert concepts(*method(name)) == concepts(*method(name), TWO)


@pytest.mark.parametrize("name", TRAINED)
def test_trained_models__of_another_number_of_processes_are_others_from_the_same_codebooks(name: str) -> None:
    (one,), (two,) = (needs_of(*method(name), *more).values() for more in ((), (TWO,)))
    assert set(one.models).isdisjoint(two.models)
    shared = keys_of(one.parts, "concepts") & keys_of(two.parts, "concepts")
    assert len(shared) == (1 if name in ("none", "single_layer") else 0)


@pytest.mark.parametrize("name", TRAINED)
def test_seconds__of_training_are_divided_on_gpus_only(name: str) -> None:
    def seconds(*more: str, device: str) -> float:
        rates = Rates(1e9, 1e9, threads=1)
        (needs,) = needs_of(*method(name), *more, of=corpus(20_000), device=device, rates=rates).values()
        return fit_seconds(needs)

    slower = seconds(TWO, device="cpu") - seconds(device="cpu")
    assert slower >= 2 * START_SECONDS
    one, two, four = (seconds(*more, device="cuda") for more in ((), (TWO,), (FOUR,)))
    assert four < two < one
    assert one - two < one * (1 - 1 / (2 * GPU_EFFICIENCY))  # not all of a fit is shared


# ---------------------------------------------------------------- what a user is told


@pytest.fixture
def estimated(
    tiny_encoder: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., EstimatedCell]:
    """Estimates a tiny cell on a machine with plenty of memory on its GPUs, and as much of its own as is asked."""

    def found(*overrides: str, free: int = PLENTY) -> EstimatedCell:
        room = Room(PLENTY, free, PLENTY, PLENTY)
        monkeypatch.setattr("clvq_exp.estimate.shortage.memory_room", lambda *_: room)
        cells = compose_cells([*tiny_cell(tiny_encoder, reviews), "beside=none", *overrides])
        return estimate_sweep([Asked(*cell) for cell in cells]).cells[0]

    monkeypatch.setenv("CLVQ_EXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("clvq_exp.estimate.sweep.measure_rates", lambda *_: Rates(1e11, 1e11))
    return found


def several(cell: EstimatedCell) -> list[str]:
    return [note for note in cell.notes if note.startswith("trainer.devices=")]


def test_notes__say_what_is_assumed_of_several_processes(
    estimated: Callable[..., EstimatedCell], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert several(estimated(CPU)) == []
    for method in ("none", "kmeans_codes"):
        (note,) = several(estimated(CPU, TWO, f"baseline={method}"))
        assert note.startswith("trainer.devices=2: 2 processes share the cores, which is no faster than one")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    (note,) = several(estimated("trainer.device=cuda", FOUR))
    assert "4 GPUs are assumed to extract, attribute and train 3.2 times as fast as one" in note


def test_json__says_how_many_processes_train_and_what_one_takes(estimated: Callable[..., EstimatedCell]) -> None:
    def found(*overrides: str) -> tuple[int, int, int]:
        cells = (estimated(CPU, *overrides),)
        (cell,) = as_json(EstimatedSweep(cells, total([]), StepMemory(0, 0), 0, "cpu", 1, 1.0))["cells"]
        (of_method,) = cell["methods"].values()
        return cell["processes"], cell["steps"]["concepts"]["peak_memory_bytes"], of_method["fit_memory_bytes"]

    (one, peak, fit), (two, more, same) = found(), found(TWO)
    assert (one, two) == (1, 2)
    assert more > peak
    assert same == fit


def test_shortage__of_several_processes_says_so_first(estimated: Callable[..., EstimatedCell]) -> None:
    needed = estimated(CPU, TWO).estimate.memory["concepts"].host
    assert not estimated(CPU, TWO, free=needed).shortages
    (line,) = estimated(CPU, TWO, free=needed - 1).shortages
    assert line.startswith("memory: the step concepts takes about ")
    assert " in 2 processes and the run's own, and " in line
    assert "are free: lower trainer.devices, or lower trainer.micro_batch_words" in line
    assert not estimated(CPU, free=needed - 1).shortages


def test_shortage__of_a_gpu_is_not_helped_by_fewer_processes(
    estimated: Callable[..., EstimatedCell], monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = estimated(CPU, TWO)
    needs: CellEstimate = cell.estimate._replace(memory={"concepts": StepMemory(0, 2 * GIB)})
    monkeypatch.setattr("clvq_exp.estimate.shortage.memory_room", lambda *_: Room(PLENTY, PLENTY, PLENTY, GIB))
    (line,) = shortage(cell.asked.config, needs)
    assert line.startswith("memory of the GPU: the step concepts takes about 2.00 GiB")
    assert "lower trainer.devices" not in line


def test_problems__fewer_gpus_than_processes(
    estimated: Callable[..., EstimatedCell], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert estimated("trainer.device=cuda", TWO).problems == ()
    (problem,) = estimated("trainer.device=cuda", FOUR).problems
    assert problem.startswith("trainer.devices=4: 2 GPUs are to be seen")
    assert estimated(CPU, FOUR).problems == ()


def test_machine__of_several_gpus_the_smallest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    memories = [(5, 90), (3, 80), (1, 70)]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: memories[index])
    for gpus, free, whole in ((1, 5, 90), (2, 3, 80), (8, 1, 70)):
        room = memory_room("cuda", gpus=gpus)
        assert (room.gpu_free, room.gpu) == (free, whole)
    spread = memory_room("cuda", spread=True)
    assert (spread.gpu_free, spread.gpu) == (9, 240)


# ---------------------------------------------------------------- the language model's steps


def test_beside__the_first_works_too_and_the_others_open_the_model() -> None:
    assert Processes(1, "cpu").beside_seconds(1000, opening=5) == 1000
    assert Processes(4, "cpu", threads=8).beside_seconds(1000, 5) == 1000 + 3 * (START_SECONDS + 5) / 4
    assert Processes(4, "cuda").beside_seconds(1000, 5) == 1000 / (4 * GPU_EFFICIENCY) + START_SECONDS + 5
    assert Processes(3, "cuda").beside_memory(StepMemory(100, 50), StepMemory(10, 50)) == (120, 50)


def test_parts__are_the_most_that_can_be_shared() -> None:
    assert Processes(4).at_most(3).world == 3
    assert Processes(4).at_most(9).world == 4
    assert Processes(4).at_most(0).world == 1


def test_language_model__is_read_by_all_processes_that_have_a_part() -> None:
    many = corpus(n=2000)  # and 60 others: three parts of extraction; 50 dev sentences: two of attribution
    one, four = (steps_of(*given, of=many) for given in ((), (FOUR,)))
    for step, world in (("activations", 3), ("attribution", 2)):
        other = one[step].host - memory.SHARED_LIBRARIES
        assert four[step].host == one[step].host + (world - 1) * other
    spread = subject("layer_pair=0-4", FOUR, "model.device_map=auto", of=many, device="cuda")
    assert spread.extracting.world == spread.attributing.world == 1
    assert spread.processes.world == 4, "concept models are trained by all"

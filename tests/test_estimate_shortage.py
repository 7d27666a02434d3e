"""Too little memory or disk is said before anything is loaded."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from running import tiny_cell

from clvq_exp import run as application
from clvq_exp.composing import compose_cells
from clvq_exp.config import Config, ConfigError
from clvq_exp.estimate.hardware import Room, device_of, disk_free, memory_room
from clvq_exp.estimate.records import CellEstimate, StepMemory
from clvq_exp.estimate.shortage import cell_needs, disk_problems, memory_problems, shortage
from clvq_exp.language_models.sources import locate_model
from clvq_exp.preflight import preflight
from clvq_exp.texts import load_texts

GIB = 2**30
PLENTY = 1000 * GIB
ROOMY = Room(PLENTY, PLENTY)
SHORTAGE = "clvq_exp.estimate.shortage"


@pytest.fixture
def cell(tiny_encoder: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A cell on CPU with a cache of its own, on a machine with plenty of everything."""
    monkeypatch.setenv("CLVQ_EXP_CACHE", str(tmp_path / "cache"))
    have(monkeypatch)
    return compose_cells(["trainer.device=cpu", *tiny_cell(tiny_encoder, reviews)])[0].config


def have(monkeypatch: pytest.MonkeyPatch, memory: Room = ROOMY, disk: int | None = PLENTY) -> None:
    monkeypatch.setattr(f"{SHORTAGE}.memory_room", lambda *_: memory)
    monkeypatch.setattr(f"{SHORTAGE}.disk_free", lambda _: disk)


def needs_of(config: Config) -> CellEstimate:
    texts = load_texts(config.dataset, config.protocol.remove_duplicates)
    needs = cell_needs(config, locate_model(config.model), texts)
    assert needs is not None
    return needs


def test_shortage__nothing_is_said_where_there_is_enough(cell: Config, tmp_path: Path) -> None:
    needs = needs_of(cell)
    assert shortage(cell, needs, tmp_path) == []
    assert list(memory_problems(cell, locate_model(cell.model))) == []
    assert list(disk_problems(needs)) == []


def test_shortage__memory_names_step_amounts_and_keys(cell: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, Room(PLENTY, GIB // 4))
    (line,) = shortage(cell, needs_of(cell))
    assert line.startswith("memory: the step ")
    assert "256 MiB are free" in line
    assert "model.number_format=bfloat16" in line
    step, peak = max(needs_of(cell).memory.items(), key=lambda each: each[1].host)
    assert step.replace("_", " ") in line
    assert f"about {peak.host / 2**20:.0f} MiB" in line or f"about {peak.host / GIB:.2f} GiB" in line


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("none", "trainer.micro_batch_words or decoder.layers"),
        ("kmeans_codes", "init.seeding_sample"),
        ("clustering", "baseline.max_words"),
        ("sae_2048", "baseline.neurons"),
        ("transcoder", "baseline.expansion"),
    ],
)
def test_shortage__of_concepts_names_the_key_of_the_method(
    name: str, key: str, tiny_encoder: Path, reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    have(monkeypatch, Room(PLENTY, GIB))
    given = ["trainer.device=cpu", *tiny_cell(tiny_encoder, reviews), f"baseline={name}", "beside=none"]
    config = compose_cells(given)[0].config
    needs = needs_of(config)._replace(memory={"concepts": StepMemory(2 * GIB, 0)})
    (line,) = shortage(config, needs)
    assert line.startswith("memory: the step concepts takes about 2.00 GiB, and 1.00 GiB are free: lower ")
    assert f"lower {key}, or" in line


def test_shortage__of_concepts_names_the_method_that_takes_most(
    tiny_encoder: Path, reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    have(monkeypatch, Room(PLENTY, GIB))
    given = [*tiny_cell(tiny_encoder, reviews), "beside=table1", "beside.transcoder.expansion=900"]
    config = compose_cells(["trainer.device=cpu", *given])[0].config
    needs = needs_of(config)._replace(memory={"concepts": StepMemory(2 * GIB, 0)})
    (line,) = shortage(config, needs)
    assert "lower beside.transcoder.expansion, or" in line


def test_preflight__an_argument_that_no_class_takes_is_an_error(tiny_encoder: Path, reviews: Path) -> None:
    given = [*tiny_cell(tiny_encoder, reviews), "baseline=clustering", "baseline.max_words=0"]
    with pytest.raises(ConfigError, match=r"baseline\.max_words=0: give a whole number of at least 1"):
        preflight(compose_cells(["trainer.device=cpu", *given])[0].config, "")


def test_memory__fitted_models_of_all_methods_and_seeds_are_held(tiny_encoder: Path, reviews: Path) -> None:
    def report(*overrides: str) -> int:
        given = ["trainer.device=cpu", *tiny_cell(tiny_encoder, reviews), *overrides]
        return needs_of(compose_cells(given)[0].config).memory["report"].host

    model = 4 * (3 * 2048 * 32 + 2048 + 3 * 32 + 2) + 8 * 2048  # of a sparse autoencoder
    alone = ("baseline=sae_2048", "beside=none")
    assert report(*alone, "seeds=[0,1,2]") - report(*alone, "seeds=[0]") == 2 * model
    beside = ("beside=none", "+baseline@beside.sae=sae_2048")
    assert report("baseline=sae_4096", *beside) - report("baseline=sae_4096", "beside=none") == model


def test_memory__of_specificity_grows_with_the_square_of_matched_concepts(
    tiny_encoder: Path, reviews: Path
) -> None:
    def specificity(*overrides: str) -> int:
        given = ["trainer.device=cpu", *tiny_cell(tiny_encoder, reviews), "baseline=sae_4096", "beside=none"]
        return (
            needs_of(compose_cells([*given, "baseline.neurons=8192", *overrides])[0].config)
            .memory["specificity"]
            .host
        )

    matched, not_matched = (specificity("seeds=[0,1]", f"specificity.largest_matching={n}") for n in (8192, 8191))
    assert matched - not_matched > 8192**2 * 8  # two matrices of cosines, where counting them takes a part of one


def test_shortage__a_gpu_is_told_apart(cell: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, Room(PLENTY, PLENTY, PLENTY, GIB // 4))
    monkeypatch.setattr(f"{SHORTAGE}.device_of", lambda _: "cuda")
    (line,) = shortage(cell, needs_of(cell))
    assert line.startswith("memory of the GPU: ")
    assert "model.device_map=auto" in line
    assert "trainer.resident_gib" in line


def test_shortage__disk_of_cache_and_run_folder(
    cell: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    have(monkeypatch, disk=1000)
    of_cache, of_run = shortage(cell, needs_of(cell), tmp_path / "run")
    assert f"the cache {tmp_path / 'cache'}" in of_cache
    assert "activations.dtype=bfloat16" in of_cache
    assert "CLVQ_EXP_CACHE" in of_cache
    assert f"the run folder {tmp_path / 'run'}" in of_run
    assert "hydra.run.dir" in of_run


def test_shortage__what_cannot_be_told_is_not_missed(cell: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, Room(None, None), None)
    assert shortage(cell, needs_of(cell), Path()) == []
    assert list(memory_problems(cell, locate_model(cell.model))) == []
    assert list(disk_problems(needs_of(cell))) == []
    assert shortage(cell, None) == []
    assert list(disk_problems(None)) == []


def test_disk_problems__activations_that_may_be_there_already_count_as_room(
    cell: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = needs_of(cell)
    have(monkeypatch, disk=needs.store_bytes - 100)
    (line,) = disk_problems(needs)
    assert "the activations alone take" in line
    kept = tmp_path / "cache" / "activations" / "0123"
    kept.mkdir(parents=True)
    (kept / "words.bin").write_bytes(bytes(100))
    assert list(disk_problems(needs)) == []


def test_memory_problems__weights_that_never_fit(cell: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = locate_model(cell.model)
    weights = needs_of(cell).weights.host
    have(monkeypatch, Room(weights, 0))  # little is free now, and there is just enough
    assert list(memory_problems(cell, folder)) == []
    have(monkeypatch, Room(weights - 1, 0))
    (line,) = memory_problems(cell, folder)
    assert line.startswith("model minilm: its weights alone take 169 KiB of memory, and the machine has")
    assert "model.number_format=bfloat16" in line


def test_memory_problems__a_model_that_is_spread_may_use_all_devices(
    tiny_encoder: Path, reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = compose_cells([*tiny_cell(tiny_encoder, reviews), "model.device_map=null,auto"])
    folder = locate_model(cells[0].config.model)
    weights = needs_of(cells[0].config).weights.host
    have(monkeypatch, Room(weights, 0, weights // 2, 0))
    monkeypatch.setattr(f"{SHORTAGE}.device_of", lambda _: "cuda")
    (line,) = memory_problems(cells[0].config, folder)
    assert "the GPU has" in line
    assert "model.device_map=auto" in line
    assert list(memory_problems(cells[1].config, folder)) == []


def test_preflight__both_are_errors_beside_the_others(cell: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    assert preflight(cell, "").texts.name == "file"
    have(monkeypatch, Room(10, 10))
    with pytest.raises(ConfigError, match="its weights alone take") as caught:
        preflight(cell, "")
    assert len(caught.value.problems) == 1
    have(monkeypatch, disk=10)
    with pytest.raises(ConfigError, match="the activations alone take") as caught:
        preflight(cell, "")
    assert len(caught.value.problems) == 1


def test_run__warns_before_anything_is_loaded(
    cell: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class LoadedError(Exception):
        pass

    def loads(*_: object) -> None:
        raise LoadedError

    monkeypatch.setattr("clvq_exp.cell.run_cell", loads)
    with caplog.at_level(logging.WARNING), pytest.raises(LoadedError):
        application.run(cell, "", tmp_path / "run")
    assert caplog.messages == []
    have(monkeypatch, Room(PLENTY, GIB // 4))
    with caplog.at_level(logging.WARNING), pytest.raises(LoadedError):
        application.run(cell, "", tmp_path / "run")
    (message,) = caplog.messages
    assert message.startswith("memory: the step ")


def test_cell_needs__a_model_of_unknown_sizes_is_left_to_the_run(cell: Config, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "other"}', encoding="utf-8")
    texts = load_texts(cell.dataset, False)
    assert cell_needs(cell, tmp_path, texts) is None
    assert list(memory_problems(cell, tmp_path)) == []


def test_machine__tells_memory_and_disk(tmp_path: Path) -> None:
    room = memory_room("cpu")
    assert room.gpu is None
    if room.host is not None and room.host_free is not None:
        assert 0 < room.host_free <= room.host
    free = disk_free(tmp_path / "not" / "yet" / "there")
    assert free is not None
    assert free > 0


def test_machine__a_container_limit_is_all_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr("clvq_exp.estimate.hardware._GROUP_LIMIT", limit)
    limit.write_text("max\n")
    unlimited = memory_room("cpu")
    limit.write_text("1048576\n")
    assert memory_room("cpu").host == memory_room("cpu").host_free == 1_048_576
    assert unlimited.host is None or unlimited.host > 1_048_576


def test_device__a_gpu_that_is_not_there_counts_as_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert [device_of(name) for name in ("auto", "cpu", "cuda:1", "nonsense")] == ["cpu"] * 4
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert [device_of(name) for name in ("auto", "cpu", "cuda:1")] == ["cuda", "cpu", "cuda"]

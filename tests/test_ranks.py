"""Two processes that train one model give what one gives on the same batches; and what goes wrong in one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from composing import checked
from planted import PAIR, Planted, plant
from safetensors.torch import load_file

from clvq_exp.artifacts import ArtifactCache, read_json
from clvq_exp.concepts.base import ConceptError, TrainingDivergedError
from clvq_exp.fitting import ConceptFit, check_devices, fit_concepts
from clvq_exp.ranks import RankError, Ranks, ranks, run_on_ranks, sum_gradients, sum_over_ranks

pytestmark = pytest.mark.slow
SMALL = (
    *("quantizer.codebook_size=30", "trainer=default", "trainer.max_epochs=3", "trainer.learning_rate=0.001"),
    *("trainer.batch_size=32", "trainer.micro_batch_words=40", "decoder.layers=1", "decoder.feed_forward=64"),
    *("decoder.dropout=0", f"layer_pair.lower={PAIR.lower}", f"layer_pair.upper={PAIR.upper}", "beside=none"),
)
METHODS = {
    "none": (),
    "none, gradients clipped, codes revived": ("trainer.gradient_clip=0.01", "quantizer.revive_below=1.5"),
    "none, as the lineage": ("protocol=reference", "trainer.max_epochs=3", "decoder.dropout=0"),
    "sae_2048": ("baseline.neurons=64", "baseline.batch_words=50", "baseline.by_kind.encoder.l1=[0.1,0.2]"),
    "transcoder": ("baseline.k=2", "baseline.expansion=2", "baseline.batch_words=50"),
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return plant(tmp_path_factory.mktemp("planted"), sentences=150)


def work_of(planted: Planted, folder: Path, *overrides: str) -> ConceptFit:
    config = checked(*SMALL, *overrides)
    (method,) = config.methods.values()
    return ConceptFit(config, method, planted.store, 0, torch.device("cpu"), folder)


@pytest.mark.parametrize("name", METHODS)
def test_two_ranks__train_what_one_process_trains(
    name: str, planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLVQ_EXP_CACHE", str(tmp_path / "cache"))
    work = work_of(planted, tmp_path, f"baseline={name.partition(',')[0]}", *METHODS[name])
    alone, together = tmp_path / "alone", tmp_path / "together"
    alone.mkdir()
    together.mkdir()
    fit_concepts(work, alone, ArtifactCache())
    run_on_ranks(2, "cpu", fit_concepts, work, together)
    first, second = (load_file(folder / "model.safetensors") for folder in (alone, together))
    assert set(first) == set(second)
    for key, expected in first.items():
        if not key.endswith("in_proj_bias"):  # that of the keys has no gradient but rounding, which Adam blows up
            torch.testing.assert_close(second[key], expected, rtol=1e-5, atol=1e-5, msg=key)
    one, two = (read_json(folder / "summary.json") for folder in (alone, together))
    assert len(one["history"]) == 4
    for record, other in zip(one["history"], two["history"], strict=True):
        known = {key: value for key, value in record.items() if value is not None}
        assert known == pytest.approx({key: other[key] for key in known}, rel=1e-4, abs=1e-6)
        assert set(known) == {key for key, value in other.items() if value is not None}
    assert sorted(path.name for path in together.iterdir()) == sorted(path.name for path in alone.iterdir())


def test_rank__shares_rows_out_completely() -> None:
    rows = np.arange(7)
    shares = [Ranks(rank, 3).share(rows) for rank in range(3)]
    assert sorted(np.concatenate(shares)) == list(rows)
    assert list(Ranks().share(rows)) == list(rows)


def _sums(folder: str) -> None:
    who = ranks()
    number = torch.tensor([float(who.rank + 1)])
    sum_over_ranks(number)
    weight, unused = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    if who.rank:
        weight.grad = torch.tensor([1.0, 2.0])
    sum_gradients([weight, unused])
    assert weight.grad is not None
    assert unused.grad is not None
    Path(folder, f"{who.rank}.txt").write_text(f"{number.item()} {weight.grad.tolist()} {unused.grad.tolist()}")


def test_sums__are_of_all_processes_and_a_missing_gradient_is_zero(tmp_path: Path) -> None:
    run_on_ranks(2, "cpu", _sums, str(tmp_path))
    assert [path.read_text() for path in sorted(tmp_path.glob("*.txt"))] == ["3.0 [1.0, 2.0] [0.0, 0.0]"] * 2


def _raises() -> None:
    if ranks().rank == 1:
        raise TrainingDivergedError("the loss is not finite")
    dist.barrier()


def _fails() -> None:
    if ranks().rank == 1:
        raise OSError("somebody else's error")
    dist.barrier()


def _dies() -> None:
    if ranks().rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    dist.barrier()


def test_error_of_one_process__is_raised_as_it_was() -> None:
    with pytest.raises(TrainingDivergedError, match="the loss is not finite"):
        run_on_ranks(2, "cpu", _raises)


def test_unforeseen_error_of_one_process__is_told() -> None:
    with pytest.raises(RankError, match="somebody else's error"):
        run_on_ranks(2, "cpu", _fails)


def test_killed_process__ends_the_others_and_says_what_to_do() -> None:
    with pytest.raises(RankError, match=r"SIGKILL.*the same command goes on"):
        run_on_ranks(2, "cpu", _dies)


def test_no_validation_sentences__the_message_of_one_process(
    planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLVQ_EXP_CACHE", str(tmp_path / "cache"))
    work = work_of(planted, tmp_path, "quantizer.codebook_size=5000", "quantizer.top_k=1")
    with pytest.raises(ConceptError, match=r"quantizer\.codebook_size"):
        run_on_ranks(2, "cpu", fit_concepts, work, tmp_path)


@pytest.mark.parametrize(
    ("device", "devices", "said"),
    [
        ("cuda:1", 2, "trainer.device=cuda:1 is one GPU"),
        ("cuda", 4, "trainer.devices=4: 2 GPUs are to be seen"),
    ],
)
def test_more_processes_than_gpus__are_refused(
    device: str, devices: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(ValueError, match=said):
        check_devices(torch.device(device), devices)
    check_devices(torch.device("cuda"), 2)
    check_devices(torch.device("cpu"), 8)

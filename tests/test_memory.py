"""Memory grows with the batch, not with the data: two whole cells, one on ten times as many sentences."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest
import torch
from tiny import make_tiny_encoder, review

from clvq_exp import memory

FACTOR = 10
TRAIN, DEV = 160, 16
CELL = [
    "model.default_lower=1",
    "model.default_upper=2",
    "quantizer.codebook_size=20",
    "decoder.heads=4",
    "decoder.feed_forward=32",
    "activations.batch_tokens=512",  # so small that the smaller run fills its batches too
    "attribution.batch_tokens=512",
    "trainer.micro_batch_words=256",
    "trainer.batch_size=64",
]


def benchmark() -> ModuleType:
    """benchmarks/memory.py, which is no part of the package."""
    path = Path(__file__).parent.parent / "benchmarks" / "memory.py"
    spec = importlib.util.spec_from_file_location("memory_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(path.parent))  # benchmarks import each other by name
        spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks are read from /proc")
def test_cell__needs_no_more_memory_for_ten_times_the_sentences(tmp_path: Path) -> None:
    """At this width the activations of the larger run take 80 MiB, more than a tenth of the smaller run's peak."""
    measuring = benchmark()
    encoder = make_tiny_encoder(tmp_path / "encoder", layers=2, width=256)
    texts = [(" ".join(review(each)[0] for each in range(i, i + 3)), i % 2) for i in range(FACTOR * (TRAIN + DEV))]
    measuring.write_data(texts, tmp_path, {"train": TRAIN, "dev": DEV}, FACTOR)
    small, large = (
        measuring.measure(
            tmp_path / f"cell_{name}",
            tmp_path / name,
            [f"model.path={encoder}", f"trainer.sentences.refit={refit}", *CELL],
        )
        for name, refit in (("small", DEV), ("large", FACTOR * DEV))
    )
    stored = next((tmp_path / "cell_large" / "cache" / "activations").glob("*/words.bin")).stat().st_size
    assert 2 * stored > 0.1 * small.whole, "otherwise a copy of the activations would pass as well"
    table = measuring.report(small, large, FACTOR)
    assert large.whole <= 1.1 * small.whole, table
    assert set(small.steps) == set(large.steps)
    for step, peak in large.steps.items():
        assert peak <= 1.1 * small.steps[step], table


def test_data__the_smaller_has_a_tenth_of_the_larger_and_its_longest(tmp_path: Path) -> None:
    texts = [(" ".join(["word"] * (index % 37 + 1)), index % 2) for index in range(300)]
    benchmark().write_data(texts, tmp_path, {"train": 20, "dev": 5}, 10)
    for split, n in (("train", 20), ("dev", 5)):
        large, small = (
            (tmp_path / name / f"{split}.jsonl").read_text().splitlines() for name in ("large", "small")
        )
        assert (len(large), len(small)) == (10 * n, n)
        assert set(small) <= set(large)
        assert max(map(len, small)) == max(map(len, large))


def test_use_system_allocator__is_arrow_s_from_then_on() -> None:
    before = pa.default_memory_pool()
    try:
        memory.use_system_allocator()
        assert pa.default_memory_pool().backend_name == "system"
    finally:
        pa.set_memory_pool(before)


@pytest.mark.parametrize(("device", "calls"), [("cpu", 1), ("cuda", 0)])
def test_give_back__trims_for_batches_on_the_cpu_only(
    monkeypatch: pytest.MonkeyPatch, device: str, calls: int
) -> None:
    seen: list[int] = []

    def trim(pad: int) -> int:
        seen.append(pad)
        return 1

    monkeypatch.setattr(memory, "_malloc_trim", lambda: trim)
    memory.give_back(torch.device(device))
    assert seen == [0] * calls


@pytest.mark.parametrize("error", [OSError, TypeError, AttributeError])
def test_give_back__does_nothing_where_the_library_has_no_such_function(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def absent(_name: None) -> Callable[[int], int]:
        raise error("no malloc_trim")

    monkeypatch.setattr(memory.ctypes, "CDLL", absent)
    memory._malloc_trim.cache_clear()
    try:
        memory.give_back(torch.device("cpu"))
        assert memory._malloc_trim() is None
    finally:
        memory._malloc_trim.cache_clear()

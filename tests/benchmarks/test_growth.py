"""The benchmark of growth: power laws by hand, its points, and a small whole run that is cut and goes on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import growth
import pytest
from gpu import attempts, growing, processes
from gpu.fits import power_law
from gpu.growing import ESTIMATE, EXTRACTION, MEASURED, Point, Setting
from hypothesis import given
from hypothesis import strategies as st

from clvq_exp.artifacts import write_json

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "growth.py"
SMALL = ("quantizer.codebook_size=10", "decoder.heads=4", "decoder.feed_forward=32", "trainer.batch_size=8")


def test_power_law__of_a_square_is_two_and_nothing_is_off() -> None:
    found = power_law([1, 4, 16], [3, 48, 768])
    assert found.exponent == pytest.approx(2)
    assert found.constant == pytest.approx(3)
    assert found.residual == pytest.approx(1)


def test_power_law__the_residual_is_the_largest_factor() -> None:
    """Logarithms 0, 1, 0 (base 2) at equal steps: the least squares line lies at 1/3, the middle 2/3 above it."""
    found = power_law([1, 2, 4], [1, 2, 1])
    assert found.exponent == pytest.approx(0)
    assert found.residual == pytest.approx(2 ** (2 / 3))


@given(
    st.floats(-2, 3),
    st.floats(0.01, 100),
    st.lists(st.integers(1, 10_000), min_size=2, max_size=6, unique=True),
)
def test_power_law__finds_any_law_again(exponent: float, constant: float, sizes: list[int]) -> None:
    found = power_law(sizes, [constant * size**exponent for size in sizes])
    assert found.exponent == pytest.approx(exponent, abs=1e-6)
    assert found.residual == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("x", "cost"), [([1], [1]), ([2, 2], [1, 3]), ([0, 1], [1, 1]), ([1, 2], [0, 1])])
def test_power_law__sizes_without_one_are_refused(x: list[float], cost: list[float]) -> None:
    with pytest.raises(ValueError, match="two different sizes"):
        power_law(x, cost)


def test_points__all_sentences_at_the_least_width_and_all_widths_at_the_fewest() -> None:
    assert growing.points(100, [16, 1, 4], [768, 384]) == [
        Point(384, 100),
        Point(384, 400),
        Point(384, 1600),
        Point(768, 100),
    ]


def test_estimate__names_every_measured_step_and_grows_with_the_sentences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLVQ_EXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(growing, "processor_rate", lambda _: 1e9)
    setting = Setting(2, SMALL)
    few, many = (growing.estimated(Point(32, n), setting, tmp_path / str(n)) for n in (64, 1024))
    assert set(few) == set(MEASURED)
    for step in MEASURED:
        assert 4 < many[step] / few[step] < 16 * 20, step
    # Pairs of words, and what a pass over them costs.
    assert 4 * 16 < many["clustering"] / few["clustering"] < 16**2


def test_table__exponents_and_ratios_by_hand(tmp_path: Path) -> None:
    points = growing.points(10, [1, 4], [32, 64])
    for point in points:
        folder = tmp_path / point.name
        processes.open_folder(folder, {})
        seconds = point.sentences / 10 * (point.width / 32) ** 2
        for step in MEASURED:
            (folder / "attempts").mkdir(exist_ok=True)
            figures = {"seconds": 3 * seconds, "processor": seconds, "ended": True}
            nothing = dict.fromkeys(("allocated", "reserved", "host"), 0)
            write_json(folder / "attempts" / f"{step}-000.json", {**figures, **nothing})
        processes.finish_step(folder, EXTRACTION, {"words": 20 * point.sentences})
        processes.finish_step(folder, ESTIMATE, dict.fromkeys(MEASURED, 1.4))
    text = growth.table(tmp_path, points)
    assert "| concepts | 32 | 40 | 800 | 4.00 | 12.00 | 1.40 | 0.35 |" in text
    assert "| concepts | 1.00 (within 1.00 times) | 2.00 (within 1.00 times) | 1 of 3 |" in text
    (tmp_path / points[0].name / "attempts" / "kmeans-000.json").unlink()
    with pytest.raises(SystemExit, match="has no measurement of kmeans"):
        growth.table(tmp_path, points)


def run(work: Path, *more: str) -> subprocess.CompletedProcess[str]:
    sizes = ("--base", "32", "--factors", "1,2", "--widths", "32,64")
    command = [sys.executable, str(SCRIPT), "--work", str(work), *sizes, *more, *SMALL]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_growth__goes_on_where_a_call_ended_and_prints_its_tables(tmp_path: Path) -> None:
    over = run(tmp_path, "--seconds", "0")
    assert over.returncode == processes.UNFINISHED
    assert "growth: the time is over; the same command goes on" in over.stderr
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    for step in MEASURED:
        rows = re.findall(rf"^\| {step} \| [-\d].*\|$", done.stdout, re.MULTILINE)
        assert len(rows) == 4, step  # three points, and the exponents
    before = {path: path.read_bytes() for path in tmp_path.rglob("attempts/*.json")}
    assert run(tmp_path, "--seconds", "0").stdout == done.stdout
    assert {path: path.read_bytes() for path in tmp_path.rglob("attempts/*.json")} == before
    refused = run(tmp_path, "--layers", "3")
    assert refused.returncode == 1
    assert "holds measurements of other settings" in refused.stderr
    assert attempts.taken(tmp_path / "d32-n32" / "attempts", "concepts") is not None

"""Where the cells of a sweep run: the same result everywhere, and one that fails or is killed stops no other."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
from composing import composed
from plug import contained, kill, workers
from running import call, command, environment, tiny_cell

from clvq_exp.run import missing_launcher

pytestmark = pytest.mark.slow
SIZES = (20, 30)


def sweep(encoder: Path, reviews: Path, *overrides: str) -> list[str]:
    cell = [each for each in tiny_cell(encoder, reviews) if "codebook_size" not in each]
    return ["--multirun", *cell, "beside=none", "evaluation.intervention=false", *overrides]


def sizes(*values: int) -> str:
    return "quantizer.codebook_size=" + ",".join(map(str, values))


def results(folder: Path) -> dict[str, bytes]:
    """Metrics by run folder, of the cells that are finished: the manifest is written last."""
    found = [path.parent for path in folder.glob("outputs/**/manifest.json")]
    return {path.relative_to(folder).as_posix(): (path / "metrics.json").read_bytes() for path in found}


@pytest.mark.parametrize(
    ("launcher", "target"),
    [("local", "BasicLauncher"), ("joblib", "JoblibLauncher"), ("slurm", "SlurmLauncher")],
)
def test_launcher__is_the_one_of_its_name(launcher: str, target: str) -> None:
    found = composed(f"launcher={launcher}", hydra=True).hydra.launcher
    assert found._target_.endswith(f".{target}")


def test_slurm__time_memory_gpus_and_parallel_jobs_are_keys() -> None:
    asked = {"timeout_min": 60, "mem_gb": 8, "gpus_per_node": 2, "array_parallelism": 3, "partition": "short"}
    found = composed(
        "launcher=slurm", *(f"hydra.launcher.{key}={value}" for key, value in asked.items()), hydra=True
    ).hydra.launcher
    assert {key: found[key] for key in asked} == asked
    assert found.max_num_timeout > 0
    assert found.additional_parameters.requeue is True


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_processes__give_what_one_process_gives_and_outlive_a_failing_cell(
    launcher: str, tmp_path: Path, tiny_encoder: Path, reviews: Path
) -> None:
    chosen = ["launcher=joblib"] if launcher == "joblib" else [f"hydra/launcher={launcher}"]
    apart, alone = tmp_path / "apart", tmp_path / "alone"
    apart.mkdir()
    alone.mkdir()
    done = call(apart, *sweep(tiny_encoder, reviews, sizes(3, *SIZES), *chosen))
    assert done.code != 0
    assert "1 of 3 cells have no result:" in done.err
    assert "quantizer.codebook_size=3: the configuration has 1 error(s):" in done.err
    assert call(alone, *sweep(tiny_encoder, reviews, sizes(*SIZES))).code == 0
    assert len(results(alone)) == 2
    assert results(apart) == results(alone)


def test_killed_process__costs_no_finished_cell_and_the_same_command_goes_on(
    tmp_path: Path, tiny_encoder: Path, reviews: Path
) -> None:
    arguments = sweep(tiny_encoder, reviews, sizes(*SIZES, 40, 50), "launcher=joblib")
    begun = started(tmp_path, arguments)
    with contained(begun):
        while not results(tmp_path) and begun.poll() is None:
            time.sleep(0.1)
        for worker in workers(begun.pid):
            kill(worker)
        _, told = begun.communicate()
    assert begun.returncode != 0
    before = results(tmp_path)
    assert 1 <= len(before) < 4
    assert f"{4 - len(before)} of 4 cells have no result:" in told
    assert "did not come to its end" in told
    again = call(tmp_path, *arguments)
    assert again.code == 0, again.err
    assert again.out.count("finished before; nothing is run") == len(before)
    assert len(results(tmp_path)) == 4
    assert before.items() <= results(tmp_path).items()


def test_killed_sweep__takes_its_processes_with_it(tmp_path: Path, tiny_encoder: Path, reviews: Path) -> None:
    """They would go on beside those of the sweep that is started again, with twice the memory."""
    begun = started(tmp_path, sweep(tiny_encoder, reviews, sizes(*SIZES, 40, 50), "launcher=joblib"))
    with contained(begun):
        while not results(tmp_path) and begun.poll() is None:
            time.sleep(0.1)
        assert len(workers(begun.pid)) == 2
        kill(begun.pid)
        assert begun.wait() == -signal.SIGKILL
        deadline = time.monotonic() + 120  # an idle one would stay for 300 seconds, one at work for its cells
        while workers(begun.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert workers(begun.pid) == []
        assert len(results(tmp_path)) < 4


def test_command_line_that_cannot_be_read__names_no_cells(
    tmp_path: Path, tiny_encoder: Path, reviews: Path
) -> None:
    done = call(tmp_path, *sweep(tiny_encoder, reviews, sizes(*SIZES)), "--no-such-option")
    assert done.code == 2
    assert "unrecognized arguments: --no-such-option" in done.err
    assert "have no result" not in done.err


def started(folder: Path, arguments: list[str]) -> subprocess.Popen[str]:
    """A sweep that leads a session of its own."""
    return subprocess.Popen(
        command(*arguments),
        cwd=folder,
        env=environment(folder / "cache"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_launcher_that_is_not_installed__says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_launcher(["launcher=joblib", "launcher=slurm"]) is None
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert missing_launcher(["quantizer.top_k=1", "launcher=local"]) is None
    assert missing_launcher(["launcher=slurm"]) == (
        "launcher=slurm is not installed: pip install 'clvq_exp[sweeps]'"
    )

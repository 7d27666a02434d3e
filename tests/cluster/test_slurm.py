"""The cells of a sweep as jobs of a Slurm array, on a real Slurm of one node."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import call, command, environment, tiny_cell

pytestmark = pytest.mark.cluster
ONE_NODE = Path(__file__).parent / "one_node.sh"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
SIZES = (20, 25, 30, 35, 40, 45)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Slurm that runs; its configuration file."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)}: not installed (Debian's packages slurm-wlm and munge)")
    if os.getuid() != 0:
        pytest.skip("Slurm's daemons are started by root")
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([ONE_NODE, "start", folder], check=True)
    yield str(folder / "slurm.conf")
    subprocess.run([ONE_NODE, "stop", folder], check=True)


class Sweep:
    """A sweep of six cells that waits for its jobs."""

    def __init__(self, folder: Path, configuration: str, encoder: Path, reviews: Path, *overrides: str) -> None:
        self.folder = folder
        cell = [each for each in tiny_cell(encoder, reviews) if "codebook_size" not in each]
        self.cells = [
            *("--multirun", *cell, "beside=none", "evaluation.intervention=false"),
            f"quantizer.codebook_size={','.join(map(str, SIZES))}",
        ]
        resources = {"cpus_per_task": 1, "mem_gb": 2, "timeout_min": 30, "array_parallelism": 2}
        launcher = ["launcher=slurm", *(f"hydra.launcher.{key}={value}" for key, value in resources.items())]
        self.arguments = [*self.cells, *launcher, *overrides]
        self.configuration = configuration

    def begin(self) -> subprocess.Popen[str]:
        found = environment(self.folder / "cache", SLURM_CONF=self.configuration)
        return subprocess.Popen(
            command(*self.arguments),
            cwd=self.folder,
            env=found,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def slurm(self, *words: str) -> str:
        known = {**os.environ, "SLURM_CONF": self.configuration}
        done = subprocess.run(words, env=known, check=False, capture_output=True, text=True)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def tell(self, process: subprocess.Popen[str], *words: str) -> str:
        """Do something to a job that runs, and to another only where that one just ended. Returns its id."""
        known = {**os.environ, "SLURM_CONF": self.configuration}
        told: set[str] = set()
        while True:
            for job in self.jobs("RUNNING"):
                if job not in told and self._is_under_way(job):
                    told.add(job)  # once: a job that was told is queued again, and hears nothing while it starts
                    done = subprocess.run([*words, job], env=known, check=False, capture_output=True)
                    if done.returncode == 0 or self._has_heard(job):
                        return job
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.2)

    def _has_heard(self, job: str) -> bool:
        """Whether the job was told although Slurm answers that it was not: its log says so, soon."""
        for _ in range(100):
            if self._says(job, "Caught signal", "JOB REQUEUE"):
                return True
            time.sleep(0.2)
        return False

    def _is_under_way(self, job: str) -> bool:
        """Whether the job's cell has begun, and hears what it is told."""
        return self._says(job, "activations")

    def _says(self, job: str, *texts: str) -> bool:
        """Whether any of these texts stands in the job's logs."""
        logs = [
            log.read_text(encoding="utf-8", errors="replace")
            for log in self.folder.glob(f"outputs/.submitit/{job}/*_log.*")
        ]
        return any(text in log for text in texts for log in logs)

    def jobs(self, state: str) -> list[str]:
        """Ids of the array's jobs in a state."""
        rows = self.slurm("squeue", "--array", "--noheader", "--format=%i %T").split("\n")
        return [row.split()[0] for row in rows if row.endswith(f" {state}")]

    def results(self) -> dict[str, bytes]:
        found = self.folder.glob("outputs/**/metrics.json")
        return {path.parent.relative_to(self.folder).as_posix(): path.read_bytes() for path in found}


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("scontrol", "requeue"), id="killed_outright"),
        pytest.param(("scancel", "--signal=USR2"), id="told_to_go"),  # as shortly before its time limit
    ],
)
def test_array__a_job_that_is_killed_and_queued_again_ends_complete(
    words: tuple[str, ...], slurm: str, tmp_path: Path, tiny_encoder: Path, reviews: Path
) -> None:
    folder = tmp_path / "swept"
    folder.mkdir()
    sweep = Sweep(folder, slurm, tiny_encoder, reviews)
    process = sweep.begin()
    job = sweep.tell(process, *words)
    told, _ = process.communicate(timeout=1200)
    assert process.returncode == 0, told
    assert "Restarts=1" in sweep.slurm("scontrol", "show", "job", job)
    assert len(sweep.results()) == len(SIZES)
    assert sweep.results() == alone(sweep, tmp_path / "alone")


def alone(sweep: Sweep, folder: Path) -> dict[str, bytes]:
    """What the same cells give one after another, without Slurm."""
    folder.mkdir()
    assert call(folder, *sweep.cells).code == 0
    found = folder.glob("outputs/**/metrics.json")
    return {path.parent.relative_to(folder).as_posix(): path.read_bytes() for path in found}

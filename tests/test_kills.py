"""A run that is killed and started again ends as one that was never killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from running import call, command, environment, tiny_cell


@pytest.mark.slow
def test_killed_at_random_moments__ends_with_the_same_metrics(
    tmp_path: Path, reviews: Path, base_encoder: Path
) -> None:
    arguments = [*tiny_cell(base_encoder, reviews), "hydra.run.dir=run"]
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = call(tmp_path / "whole", *arguments)
    assert whole.code == 0, whole.err
    expected = (tmp_path / "whole" / "run" / "metrics.json").read_bytes()
    folder = tmp_path / "killed"
    moments = np.random.default_rng(0).uniform(0.3, 0.97, size=6) * whole.seconds
    for moment in sorted(moments):
        process = subprocess.Popen(
            command(*arguments),
            cwd=folder,
            env=environment(folder / "cache"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(moment)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    last = call(folder, *arguments)
    assert last.code == 0, last.err
    assert (folder / "run" / "metrics.json").read_bytes() == expected


@pytest.mark.slow
def test_eight_processes_at_once__make_each_artifact_once_and_agree(
    tmp_path: Path, reviews: Path, base_encoder: Path
) -> None:
    cache = tmp_path / "cache"
    started = []
    for index in range(8):
        folder = tmp_path / f"process{index}"
        folder.mkdir()
        started.append(
            subprocess.Popen(
                command(*tiny_cell(base_encoder, reviews), "hydra.run.dir=run"),
                cwd=folder,
                env=environment(cache),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    outputs = [process.communicate(timeout=400)[0] for process in started]
    assert [process.returncode for process in started] == [0] * 8, outputs
    results = {(tmp_path / f"process{index}" / "run" / "metrics.json").read_bytes() for index in range(8)}
    assert len(results) == 1
    # fine-tuning says once how it went: the other seven processes took what the first one made
    assert sum("fine-tuned" in output for output in outputs) == 1
    assert not list(cache.rglob("*.partial"))

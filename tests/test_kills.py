"""A run that is killed and started again ends as one that was never killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from running import call, command, environment, tiny_cell

SMALL_PARTS = {
    "clvq_exp.activations.layer_pass:PART": 30,
    "clvq_exp.explanations.word_attributions:PART": 10,
    "clvq_exp.activations.tables:TABLE_CHUNK": 50,
}
EXTRACTION = "clvq_exp.activations.layer_pass:_run_batch"
ATTRIBUTION = "clvq_exp.explanations.word_attributions:_make_part"
TRAINING = "clvq_exp.concepts.module:ClvqVaeModule.training_step"
INTERVENTION = "clvq_exp.evaluation.live:intervene"
COUNTED = (EXTRACTION, ATTRIBUTION, TRAINING, INTERVENTION)


class Pulled(NamedTuple):
    """A process that ended, by itself or not."""

    code: int
    err: str
    counts: dict[str, int]


def run_until(folder: Path, arguments: list[str], kill: tuple[str, int] | None) -> Pulled:
    """Run the cell with its plug pulled at a call of a function; count what it did until then."""
    counts = folder / "counts.json"
    spec = {"kill": kill, "set": SMALL_PARTS, "count": COUNTED, "counts": str(counts)}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("plug.py")), json.dumps(spec), *arguments],
        cwd=folder,
        env=environment(folder / "cache"),
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(counts.read_text())
    return Pulled(done.returncode, done.stderr, {name: found.get(name, 0) for name in COUNTED})


STEPS: list[tuple[str, int]] = [
    ("transformers.trainer:Trainer.training_step", 3),
    ("clvq_exp.artifacts:write_manifest", 1),  # the fine-tuned model is whole, and not sealed yet
    ("clvq_exp.activations.tables:_add_sentence", 70),
    (EXTRACTION, 8),
    (ATTRIBUTION, 3),
    ("clvq_exp.concepts.kmeans:_lloyd_pass", 2),
    (TRAINING, 3),  # in the last of three epochs, of one step each
    ("clvq_exp.concepts.clvq_vae:measure_bypass", 1),  # trained, nothing saved
    ("clvq_exp.evaluation.faithfulness:train_probe", 2),
    (INTERVENTION, 3),
    ("clvq_exp.cell:write_report", 1),
    ("clvq_exp.publishing:_retire", 1),
    ("clvq_exp.publishing:write_manifest", 1),  # all files in their places, and no word of it
]


@pytest.mark.slow
def test_killed_in_every_step__ends_with_the_same_metrics_and_does_nothing_twice(
    tmp_path: Path, reviews: Path, base_encoder: Path
) -> None:
    arguments = [*tiny_cell(base_encoder, reviews), "activations.batch_tokens=200", "hydra.run.dir=run"]
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = run_until(tmp_path / "whole", arguments, None)
    assert whole.code == 0, whole.err[-3000:]
    expected = (tmp_path / "whole" / "run" / "metrics.json").read_bytes()
    folder = tmp_path / "killed"
    made = dict.fromkeys(COUNTED, 0)
    for step in STEPS:
        pulled = run_until(folder, arguments, step)
        assert pulled.code == -signal.SIGKILL, (step, pulled.err[-3000:])
        assert not (folder / "run" / "manifest.json").exists(), step
        made = {name: made[name] + pulled.counts[name] for name in COUNTED}
    last = run_until(folder, arguments, None)
    assert last.code == 0, last.err[-3000:]
    assert (folder / "run" / "metrics.json").read_bytes() == expected
    made = {name: made[name] + last.counts[name] for name in COUNTED}
    again = {name: made[name] - whole.counts[name] for name in COUNTED}
    # a part of the extraction holds several batches; those of the open part are run again, and no others
    assert 0 <= again[EXTRACTION] < 7, (made, whole.counts)
    assert again[ATTRIBUTION] == 0, "a part is counted when it begins: the killed one never did"
    assert again[TRAINING] == 0, "the two finished epochs are not trained again"
    assert again[INTERVENTION] == 0


@pytest.mark.slow
@pytest.mark.parametrize("share", range(2))
def test_killed_at_random_moments__ends_with_the_same_metrics(
    tmp_path: Path, reviews: Path, base_encoder: Path, share: int
) -> None:
    arguments = [*tiny_cell(base_encoder, reviews), "hydra.run.dir=run"]
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = call(tmp_path / "whole", *arguments)
    assert whole.code == 0, whole.err
    expected = (tmp_path / "whole" / "run" / "metrics.json").read_bytes()
    folder = tmp_path / "killed"
    moments = np.random.default_rng(share).uniform(0.3, 0.97, size=5) * whole.seconds
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

"""A sweep whose processes are killed ends as one that was left alone; so do many processes on one cell."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from plug import AGAIN, BEGUN, MADE, MAKES, SWEEP, VISITED, contained, kill, marking, marks, workers
from running import command, environment, tiny_cell
from tiny import write_reviews

from clvq_exp.artifacts import MANIFEST, ArtifactCache, verify, write_json
from clvq_exp.commands import main
from clvq_exp.parts import Ledger
from clvq_exp.publishing import publishing

N_CELLS = 24
N_KILLS = 20
GRID = ["quantizer.codebook_size=8,10,12,16", "quantizer.commitment_weight=0.1,0.3", "quantizer.top_k=1,2,5"]
SMALL = [
    "beside=none",
    "trainer.max_epochs=2",
    "trainer.sentences.refit=16",
    "attribution.steps=4",
    "activations.batch_tokens=200",
    "probe.max_epochs=3",
    "evaluation.bootstrap_samples=100",
    "evaluation.permutations=100",
    "evaluation.example_sentences=2",
    "specificity.shuffles=5",
    "specificity.sentences=20",
]
EXTRACTION = "clvq_exp.activations.layer_pass:_run_batch"
ATTRIBUTION = "clvq_exp.explanations.word_attributions:_make_part"
INTERVENTION = "clvq_exp.evaluation.live:intervene"
PASSES = (EXTRACTION, ATTRIBUTION, INTERVENTION)
STEPS = (
    "clvq_exp.evaluation.faithfulness:train_probe",
    "clvq_exp.cell:write_report",
    "clvq_exp.publishing:_retire",
)
"""Further moments of a cell at which a process may be killed."""
SHORT_TUNING = ("trainer.sentences.fine_tuning=32",)
SHARED = ("words", "activations", "attributions")
"""Kinds of artifacts that hang on nothing that the sweep varies."""
WORK = {BEGUN, AGAIN, MAKES, *PASSES, *STEPS}


class Place(NamedTuple):
    """Where a sweep or a cell runs, with a cache and a file of marks of its own."""

    folder: Path
    cell: list[str]
    """Overrides of the cell."""

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def marks(self) -> Path:
        return self.folder / "marks"

    @property
    def finished(self) -> dict[Path, tuple[int, int]]:
        """Run folders that are sealed, below this one; inode and time of the seal tell it from a later one."""
        found: dict[Path, tuple[int, int]] = {}
        for folder, _, files in os.walk(self.folder / "outputs"):  # passes over what is moved away meanwhile
            if MANIFEST in files:
                with contextlib.suppress(FileNotFoundError):
                    seal = (Path(folder) / MANIFEST).stat()
                    found[Path(folder).relative_to(self.folder)] = (seal.st_ino, seal.st_mtime_ns)
        return found

    def done(self) -> Counter[str]:
        """Marks by what was done."""
        return Counter(mark.what for mark in marks(self.marks))

    def made(self) -> Counter[str]:
        """How often the making of each artifact began or went on."""
        return Counter(mark.on for mark in marks(self.marks) if mark.what == MAKES)

    def start(self, *overrides: str) -> subprocess.Popen[str]:
        """Start a run or a sweep as the leader of a session of its own."""
        paths = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
        with (self.folder / "said").open("a") as said:
            return subprocess.Popen(
                command(*overrides, *self.cell, *marking(self.marks, (*PASSES, *STEPS))),
                cwd=self.folder,
                env=environment(self.cache, PYTHONPATH=paths),
                stdout=said,
                stderr=said,
                text=True,
                start_new_session=True,
            )

    def sweep(self) -> subprocess.Popen[str]:
        """Start the sweep; the same command every time."""
        return self.start("--multirun", *GRID, "launcher=joblib")

    @property
    def said(self) -> str:
        """The end of what the processes said."""
        return (self.folder / "said").read_text(errors="replace")[-5000:]


def places(folder: Path, encoder: Path, *names: str) -> list[Place]:
    """Folders for runs of the same cell on the same 88 made-up reviews."""
    data = write_reviews(folder / "data", train=64, dev=24)
    varied = [each.partition("=")[0] for each in (*GRID, *SMALL)]
    cell = [each for each in tiny_cell(encoder, data) if each.partition("=")[0] not in varied] + SMALL
    found = [Place(folder / name, cell) for name in names]
    for place in found:
        place.folder.mkdir()
    return found


def to_the_end(place: Place, process: subprocess.Popen[str]) -> None:
    """Let a run or a sweep come to its end."""
    with contained(process):
        assert process.wait(timeout=1800) == 0, place.said


class Moment(NamedTuple):
    """When a process of a sweep is killed, and which of them."""

    what: frozenset[str]
    """The marks that count."""
    after: int
    """So many of them since the sweep was started."""
    worker: int | None
    """One that runs cells; None is the sweep's own. The one that keeps their books does nothing and is spared."""


def moments(seed: int) -> list[Moment]:
    """First within the extraction; then, mixed, as a sweep begins, while it looks at cells, and within cells."""
    noise = np.random.default_rng(seed)
    ranges = [({SWEEP}, 1)] * 5 + [({VISITED}, 6)] * 6 + [(WORK, 30)] * (N_KILLS - 12)
    found = [Moment(frozenset({EXTRACTION}), 3, None)]
    for index in noise.permutation(len(ranges)):
        what, most = ranges[index]
        nobody_else = what == {SWEEP}
        victim = None if nobody_else or noise.random() < 1 / 3 else int(noise.integers(2))
        found.append(Moment(frozenset(what), int(noise.integers(1, most + 1)), victim))
    return found


class Killed(NamedTuple):
    """What is there after a kill."""

    finished: dict[Path, tuple[int, int]]
    """See `Place.finished`."""
    half_made: frozenset[str]
    """Artifacts with a working folder, `kind/fingerprint`."""


def run_until(place: Place, moment: Moment, most_cells: int) -> Killed:
    """Start the sweep, kill one of its processes at a moment, and see the sweep end.

    Args:
        place: of the sweep.
        moment: when, and which process.
        most_cells: with so many cells finished the moment has come, whatever it is: the sweep shall not finish.
    """

    def done() -> int:
        return sum(mark.what in moment.what for mark in marks(place.marks))

    before = done()
    process = place.sweep()
    with contained(process):
        while done() - before < moment.after and len(place.finished) < most_cells:
            assert process.poll() is None, place.said
            time.sleep(0.02)
        running = workers(process.pid)
        kill(process.pid if moment.worker is None or not running else running[moment.worker % len(running)])
        while process.poll() is None:
            if len(place.finished) > most_cells:  # it does not miss a process that was about to end by itself
                kill(process.pid)
            time.sleep(0.02)
        assert process.returncode != 0, place.said
    half = frozenset(f"{path.parent.name}/{path.stem}" for path in place.cache.glob("*/*.partial"))
    return Killed(place.finished, half)


def tables(place: Place, form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What `clvq report outputs` prints there."""
    monkeypatch.chdir(place.folder)
    assert main(["report", "outputs", "--format", form]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    return shown.out


def sealed(cache: Path) -> dict[str, bytes]:
    """The manifest of every artifact: what it was made of, and size and checksum of each of its files."""
    return {path.parent.relative_to(cache).as_posix(): path.read_bytes() for path in cache.glob(f"*/*/{MANIFEST}")}


def remade_after_it_was_whole(place: Place) -> list[str]:
    whole: set[str] = set()
    found: list[str] = []
    for mark in marks(place.marks):
        if mark.what in (MAKES, MADE) and mark.on in whole:
            found.append(mark.on)
        if mark.what == MADE:
            whole.add(mark.on)
    return found


def metrics(place: Place) -> dict[Path, bytes]:
    """The figures of each finished cell, whose every file is what was written."""
    for folder in place.finished:
        verify(place.folder / folder)
    return {folder: (place.folder / folder / "metrics.json").read_bytes() for folder in place.finished}


def no_artifact_is_damaged(
    place: Place, n: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLVQ_EXP_CACHE", str(place.cache))
    assert main(["cache", "verify"]) == 0
    assert f"{n} artifacts looked at, 0 damaged" in capsys.readouterr().out
    for artifact in sealed(place.cache):
        verify(place.cache / artifact)
    assert not list(place.cache.rglob("*.partial"))
    assert not [path for kind in SHARED for path in (place.cache / kind).rglob("*.tmp")]


@pytest.mark.slow
def test_sweep_of_24_cells__killed_20_times_ends_as_one_that_was_left_alone(
    tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alone, whole, killed = places(tmp_path, tiny_encoder, "alone", "whole", "killed")
    to_the_end(alone, alone.start("quantizer.codebook_size=8", "quantizer.top_k=1"))
    to_the_end(whole, whole.sweep())
    one, all_of_them = alone.done(), whole.done()
    assert all_of_them[BEGUN] == len(whole.finished) == N_CELLS
    # one extraction and one attribution, in as many passes as a cell alone; the controls' intervention is shared
    assert one[EXTRACTION] > 1
    assert [all_of_them[each] for each in (EXTRACTION, ATTRIBUTION)] == [one[EXTRACTION], one[ATTRIBUTION]]
    assert all_of_them[INTERVENTION] == N_CELLS * (one[INTERVENTION] - 1) + 1
    assert set(whole.made().values()) == {1}

    pulled = [
        run_until(killed, moment, most_cells=1 + (N_CELLS - 3) * number // N_KILLS)
        for number, moment in enumerate(moments(0), start=1)
    ]
    to_the_end(killed, killed.sweep())

    for form in ("csv", "markdown"):
        assert tables(killed, form, monkeypatch, capsys) == tables(whole, form, monkeypatch, capsys)
    assert metrics(killed) == metrics(whole)
    assert len(killed.finished) == N_CELLS
    no_artifact_is_damaged(killed, len(whole.made()), monkeypatch, capsys)
    assert sealed(killed.cache) == sealed(whole.cache)
    # a cell that was finished was left as it was
    assert killed.done()[AGAIN] == 0
    for each in pulled:
        assert each.finished.items() <= killed.finished.items()
    # an artifact is made again only where a kill found it unfinished, by each of the two processes once at most
    assert remade_after_it_was_whole(killed) == []
    found_open = Counter(artifact for each in pulled for artifact in each.half_made)
    made = killed.made()
    assert made.keys() == whole.made().keys()
    assert {artifact: n for artifact, n in made.items() if n > 2 * (1 + found_open[artifact])} == {}
    counts = killed.done()
    extractions = max(n for artifact, n in made.items() if artifact.startswith("activations/"))
    attributions = sum(n for artifact, n in made.items() if artifact.startswith("attributions/"))
    assert one[EXTRACTION] <= counts[EXTRACTION] <= one[EXTRACTION] * extractions
    assert one[ATTRIBUTION] <= counts[ATTRIBUTION] <= attributions, "each has one part"


@pytest.mark.slow
def test_eight_processes_at_once_on_one_cell__one_makes_each_artifact_and_all_agree(
    tmp_path: Path, base_encoder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four share a run folder, four have their own; fine-tuning is a part of the cell."""
    (place,) = places(tmp_path, base_encoder, "cell")
    names = ["shared"] * 4 + [f"own{number}" for number in range(4)]
    with contextlib.ExitStack() as until:
        started = [
            place.start("quantizer.codebook_size=8", f"hydra.run.dir=outputs/{name}", *SHORT_TUNING)
            for name in names
        ]
        for process in started:
            until.enter_context(contained(process))
        assert [process.wait(timeout=1800) for process in started] == [0] * 8, place.said
    assert len(place.finished) == 5
    assert len(set(metrics(place).values())) == 1
    made = place.made()
    assert {artifact.partition("/")[0] for artifact in made} == {
        *("language_models", "words", "activations", "attributions"),
        *("initial_codebooks", "concept_models", "interventions"),
    }
    assert set(made.values()) == {1}
    no_artifact_is_damaged(place, len(made), monkeypatch, capsys)
    begun = Counter(Path(mark.on).name for mark in marks(place.marks) if mark.what == BEGUN)
    assert begun == dict.fromkeys(names, 1), "of those that share a folder one runs the cell"
    assert place.done()[AGAIN] == 0


def test_maker_that_goes_on__does_not_seal_what_a_killed_one_was_about_to_write(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path)

    def stopped(out: Path) -> None:
        Ledger(out).enter("first", "its checksum")
        (out / ".parts.json.77.tmp").write_text("{")
        raise KeyboardInterrupt

    def whole(out: Path) -> None:
        ledger = Ledger(out)
        assert ledger.holds("first")
        ledger.close()
        (out / "content").write_text("all of it")

    with pytest.raises(KeyboardInterrupt):
        cache.get_or_make("things", 1, stopped, resumable=True)
    made = cache.get_or_make("things", 1, whole, resumable=True)
    assert list(verify(made)["files"]) == ["content"]
    assert {path.name for path in made.iterdir()} == {"content", MANIFEST}


def test_run_folder__keeps_nothing_that_a_killed_process_was_about_to_write(tmp_path: Path) -> None:
    (tmp_path / ".manifest.json.77.tmp").write_text("{")
    with publishing(tmp_path, "of the cell") as working:
        write_json(working / "metrics.json", {})
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.json", MANIFEST}

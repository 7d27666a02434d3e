"""A byte that changes on the disk is found, in whatever file it lies; what it spoils is made again, never used."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from running import Call, call, tiny_cell

from clvq_exp.artifacts import CACHE_FORMAT, MANIFEST, ArtifactCache, read_sealed, verify
from clvq_exp.inventory import CELLS
from clvq_exp.publishing import finished_metrics


class Finished(NamedTuple):
    """A finished cell."""

    home: Path
    arguments: list[str]
    fingerprint: str

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def cache(self) -> Path:
        return self.home / "cache"

    def run_files(self) -> list[Path]:
        """What the run wrote, but for what Hydra and loggers write anew at each start."""
        return [self.run / MANIFEST, *(self.run / name for name in read_sealed(self.run / MANIFEST)["files"])]

    def artifacts(self) -> list[Path]:
        return sorted(path.parent for path in self.cache.glob(f"*/*/{MANIFEST}"))

    def start(self) -> Call:
        return call(self.home, *self.arguments)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, reviews: Path, base_encoder: Path) -> Finished:
    home = tmp_path_factory.mktemp("damage")
    arguments = [*tiny_cell(base_encoder, reviews), "hydra.run.dir=run"]
    done = call(home, *arguments)
    assert done.code == 0, done.err[-3000:]
    return Finished(home, arguments, read_sealed(home / "run" / MANIFEST)["inputs"]["cell"])


def flip(path: Path, place: float) -> bytes:
    """Change one bit of the byte at a place (a share of the file); returns the content as it was."""
    before = path.read_bytes()
    changed = bytearray(before)
    changed[round(place * (len(before) - 1))] ^= 1
    path.write_bytes(changed)
    return before


def each_damage(paths: list[Path]) -> Iterator[Path]:
    """Every file with one byte changed at its start, in the middle and at its end; one after the other."""
    for path in paths:
        for place in (0.0, 0.37, 1.0):
            before = flip(path, place)
            yield path
            path.write_bytes(before)


def test_run_folder__every_byte_of_every_file_counts(finished: Finished, caplog: pytest.LogCaptureFixture) -> None:
    assert finished_metrics(finished.run, finished.fingerprint) is not None
    files = finished.run_files()
    names = {path.name for path in files}
    assert {"metrics.json", "report.html", "config.yaml", "model.safetensors", "sentences.parquet"} <= names
    on_disk = {path for path in finished.run.rglob("*") if path.is_file()}
    ignored = {path.relative_to(finished.run).parts[0] for path in on_disk - set(files)}
    assert ignored <= {".hydra", ".lock", "clvq_exp.log"}
    for path in each_damage(files):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert finished_metrics(finished.run, finished.fingerprint) is None, path
        (message,) = caplog.messages
        assert message.startswith(str(path))
        assert message.endswith("; the result is made again")
    assert finished_metrics(finished.run, finished.fingerprint) is not None


def test_run_folder__of_another_cell_is_not_taken(finished: Finished, caplog: pytest.LogCaptureFixture) -> None:
    assert finished_metrics(finished.run, "0" * 16) is None
    assert finished_metrics(finished.home, finished.fingerprint) is None
    assert caplog.messages == []


def test_cache__every_byte_of_every_file_counts(finished: Finished, caplog: pytest.LogCaptureFixture) -> None:
    artifacts = finished.artifacts()
    kinds = {folder.parent.name for folder in artifacts}
    assert {"language_models", "words", "activations", "attributions"} <= kinds
    assert {"initial_codebooks", "concept_models", "interventions"} <= kinds
    on_disk = {path for path in finished.cache.rglob("*") if path.is_file() and path.suffix != ".lock"}
    (entry,) = (finished.cache / CELLS).iterdir()  # tests/test_inventory.py damages it
    assert on_disk - {path for folder in artifacts for path in folder.rglob("*")} == {
        finished.cache / CACHE_FORMAT,
        entry,
    }
    for folder in artifacts:
        inputs = read_sealed(folder / MANIFEST)["inputs"]
        kind = folder.parent.name
        assert ArtifactCache(finished.cache).get(kind, inputs) == folder
        for path in each_damage([path for path in folder.rglob("*") if path.is_file()]):
            caplog.clear()
            with caplog.at_level(logging.WARNING):
                assert ArtifactCache(finished.cache).get(kind, inputs) is None, path
            (message,) = caplog.messages
            assert message.startswith(str(path))
            assert message.endswith("; it is made again when it is needed")


def test_cache_format__is_written_again_when_a_byte_of_it_changed(
    finished: Finished, caplog: pytest.LogCaptureFixture
) -> None:
    path = finished.cache / CACHE_FORMAT
    before = path.read_bytes()
    for damaged in each_damage([path]):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            ArtifactCache(finished.cache)
        assert damaged.read_bytes() == before
        (message,) = caplog.messages
        assert message.endswith("; it is written again")


@pytest.mark.slow
def test_one_byte_of_every_file_at_once__and_the_same_metrics_are_made_again(finished: Finished) -> None:
    expected = (finished.run / "metrics.json").read_bytes()
    artifacts = finished.artifacts()
    for path in finished.run_files():
        flip(path, 0.5)
    for folder in artifacts:
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            flip(path, 0.5)
    again = finished.start()
    assert again.code == 0, again.err[-3000:]
    said = again.out + again.err
    assert "; the result is made again" in said
    for folder in artifacts:
        assert f"{folder}/" in said, "each artifact is warned of"
    assert (finished.run / "metrics.json").read_bytes() == expected
    for folder in [*finished.artifacts(), finished.run]:
        verify(folder)
    assert finished.artifacts() == artifacts
    assert "finished before; nothing is run" in finished.start().out

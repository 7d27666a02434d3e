"""A pass that is interrupted goes on behind its last finished part, and ends as one that was not."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from clvq_exp.activations import layer_pass
from clvq_exp.activations.extraction import extract
from clvq_exp.activations.layer_files import LayerFiles
from clvq_exp.activations.store import ActivationStore
from clvq_exp.artifacts import MANIFEST, ArtifactCache
from clvq_exp.language_models.encoder import EncoderModel
from clvq_exp.parts import LEDGER, Ledger
from clvq_exp.records import Sentence
from clvq_exp.settings import ActivationSettings, Split
from clvq_exp.storage import StorageError

SETTINGS = ActivationSettings(batch_tokens=64)
Splits = Mapping[Split, Sequence[Sentence]]


class Power(BaseException):
    """The plug is pulled: nobody catches this."""


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArtifactCache:
    monkeypatch.setattr(layer_pass, "PART", 8)
    return ArtifactCache(tmp_path / "cache")


@pytest.fixture
def runs(model: EncoderModel, monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], list[int]]:
    """Count the sentences of each pass of the model; the pass after `most` does not come to its end."""

    def counted(most: int | None = None) -> list[int]:
        sizes: list[int] = []
        own = EncoderModel.states

        def states(self: EncoderModel, batch: Any, layers: Any) -> Any:
            if most is not None and len(sizes) == most:
                raise Power
            sizes.append(len(batch.input_ids))
            return own(self, batch, layers)

        monkeypatch.setattr(EncoderModel, "states", states)
        return sizes

    return counted


def files(store: ActivationStore) -> dict[str, bytes]:
    return {
        f"{layer}/{path.name}": path.read_bytes()
        for layer, folder in store.layer_folders.items()
        for path in folder.iterdir()
    }


def test_interrupted_pass__goes_on_behind_its_last_part(
    fresh: ArtifactCache,
    tmp_path: Path,
    model: EncoderModel,
    splits: Splits,
    runs: Callable[[int | None], list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context():
        whole = runs(None)
        expected = extract(ArtifactCache(tmp_path / "whole"), model, splits, [1, 3], SETTINGS, model.max_length)
    assert len(whole) > 8, "a pass of many batches, or nothing is shown"
    monkeypatch.undo()
    monkeypatch.setattr(layer_pass, "PART", 8)
    before = runs(6)
    with pytest.raises(Power):
        extract(fresh, model, splits, [1, 3], SETTINGS, model.max_length)
    assert before == whole[:6]
    assert not list(fresh.root.glob(f"activations/*/{MANIFEST}"))
    kept = done_after(whole, 6)
    assert kept >= 2
    monkeypatch.undo()
    monkeypatch.setattr(layer_pass, "PART", 8)
    after = runs(None)
    store = extract(fresh, model, splits, [1, 3], SETTINGS, model.max_length)
    assert after == whole[kept:]
    assert files(store) == files(expected)
    assert not list(fresh.root.rglob(LEDGER))


def done_after(sizes: Sequence[int], n: int) -> int:
    """Batches that lie in finished parts of at least 8 sentences, after `n` batches."""
    kept, open_part = 0, 0
    for index, size in enumerate(sizes[:n]):
        open_part += size
        if open_part >= 8:
            kept, open_part = index + 1, 0
    return kept


def test_finished_part_that_changed__is_made_again_with_a_warning(
    fresh: ArtifactCache,
    tmp_path: Path,
    model: EncoderModel,
    splits: Splits,
    runs: Callable[[int | None], list[int]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = extract(ArtifactCache(tmp_path / "whole"), model, splits, [2], SETTINGS, model.max_length)
    runs(6)
    with pytest.raises(Power):
        extract(fresh, model, splits, [2], SETTINGS, model.max_length)
    (partial,) = fresh.root.glob("activations/*.partial")
    words = bytearray((partial / "words.bin").read_bytes())
    longest = max(range(expected.n_sentences), key=lambda row: expected.sentences.n_tokens[row])
    place = int(expected.sentences.first_word[longest]) * model.width * 4 + 1  # in the first batch
    words[place] ^= 1
    (partial / "words.bin").write_bytes(words)
    monkeypatch.undo()
    monkeypatch.setattr(layer_pass, "PART", 8)
    store = extract(fresh, model, splits, [2], SETTINGS, model.max_length)
    assert [message for message in caplog.messages if "made again" in message] == [
        f"{partial / LEDGER}: part 000000 is not what was written: its checksum differs; it is made again"
    ]
    assert files(store) == files(expected)


def test_part_that_one_layer_lacks__is_made_for_all(
    fresh: ArtifactCache,
    model: EncoderModel,
    splits: Splits,
    runs: Callable[[int | None], list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs(6)
    with pytest.raises(Power):
        extract(fresh, model, splits, [1], SETTINGS, model.max_length)
    monkeypatch.undo()
    monkeypatch.setattr(layer_pass, "PART", 8)
    both = extract(fresh, model, splits, [1, 3], SETTINGS, model.max_length)
    alone = extract(ArtifactCache(fresh.root.with_name("other")), model, splits, [3], SETTINGS, model.max_length)
    assert torch.equal(both.words(3), alone.words(3))


def test_disk_that_runs_full__is_told_and_no_part_is_entered_after_it(
    fresh: ArtifactCache,
    model: EncoderModel,
    splits: Splits,
    runs: Callable[[int | None], list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = runs(None)
    extract(ArtifactCache(fresh.root.with_name("other")), model, splits, [2], SETTINGS, model.max_length)
    total = len(sizes)
    own = LayerFiles.write
    written: list[int] = []

    def write(self: LayerFiles, rows: Any, output: Any) -> None:
        if len(written) == 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(len(rows))
        own(self, rows, output)

    monkeypatch.setattr(LayerFiles, "write", write)
    with pytest.raises(StorageError, match="the disk is full"):
        extract(fresh, model, splits, [2], SETTINGS, model.max_length)
    (partial,) = fresh.root.glob("activations/*.partial")
    finished = sum(done_after(written, n) == n for n in range(1, len(written) + 1))
    assert len(Ledger(partial)) == finished >= 1
    monkeypatch.setattr(LayerFiles, "write", own)
    sizes.clear()
    extract(fresh, model, splits, [2], SETTINGS, model.max_length)
    assert len(sizes) == total - done_after(written, len(written)), "all that no finished part holds, and no more"

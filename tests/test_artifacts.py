"""Artifacts are made once, are finished or not there, and are what was written."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clvq_exp import artifacts
from clvq_exp.artifacts import MANIFEST, ArtifactCache, fingerprint, plain, read_json, verify, write_json
from clvq_exp.settings import AlphaMode, EncoderSettings, Split
from clvq_exp.storage import StorageError

INPUTS = {"dataset": "reviews", "layer": 3}

MAKER = """
import os, pathlib, sys, time
from clvq_exp.artifacts import ArtifactCache

root, told, action = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]

def make(folder):
    with open(told / "calls", "a") as stream:
        stream.write(f"{os.getpid()}\\n")
    (folder / "a.bin").write_bytes(b"half")
    if action == "hang":
        time.sleep(120)
    time.sleep(0.2)
    (folder / "a.bin").write_bytes(b"whole")

cache = ArtifactCache(root)
(told / f"ready-{os.getpid()}").touch()
while not (told / "go").exists():
    time.sleep(0.01)
print((cache.get_or_make("kind", {"dataset": "reviews", "layer": 3}, make) / "a.bin").read_text())
"""


@pytest.fixture
def cache(tmp_path: Path) -> ArtifactCache:
    return ArtifactCache(tmp_path / "cache")


class Maker:
    def __init__(self, content: bytes = b"content") -> None:
        self.calls = 0
        self.content = content

    def __call__(self, folder: Path) -> None:
        self.calls += 1
        assert list(folder.iterdir()) == []
        (folder / "sub").mkdir()
        (folder / "sub" / "a.bin").write_bytes(self.content)
        (folder / "b.json").write_text("{}")


def never(folder: Path) -> None:
    raise AssertionError(f"{folder} was made again")


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.01)


def start(root: Path, told: Path, action: str) -> subprocess.Popen[str]:
    told.mkdir(exist_ok=True)
    command = [sys.executable, "-c", MAKER, str(root), str(told), action]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def start_together(root: Path, told: Path, n: int) -> list[tuple[str, str, int]]:
    processes = [start(root, told, "make") for _ in range(n)]
    wait_for(lambda: len(list(told.glob("ready-*"))) == n)
    (told / "go").touch()
    return [(*process.communicate(timeout=60), process.returncode) for process in processes]


class TestMaking:
    def test_artifact__is_made_once_and_found_by_later_caches(self, cache):
        maker = Maker()
        first = cache.get_or_make("kind", INPUTS, maker)
        assert cache.get_or_make("kind", dict(reversed(INPUTS.items())), never) == first
        assert ArtifactCache(cache.root).get_or_make("kind", INPUTS, never) == first
        assert ArtifactCache(cache.root).get("kind", INPUTS) == first == cache.path("kind", INPUTS)
        assert maker.calls == 1
        assert (first / "sub" / "a.bin").read_bytes() == b"content"
        assert [path for path in first.parent.iterdir() if path.is_dir()] == [first]  # no working folder

    def test_other_inputs_and_other_kinds__are_other_artifacts(self, cache):
        folders = {
            cache.get_or_make(kind, inputs, Maker())
            for kind in ("kind", "other")
            for inputs in (INPUTS, INPUTS | {"layer": 4})
        }
        assert len(folders) == 4

    def test_manifest__holds_inputs_sizes_and_checksums(self, cache):
        folder = cache.get_or_make("kind", INPUTS, Maker())
        manifest = read_json(folder / MANIFEST)
        assert manifest["inputs"] == INPUTS
        checksum = artifacts.file_checksum(folder / "sub" / "a.bin")
        assert manifest["files"]["sub/a.bin"] == {"bytes": 7, "sha256": checksum}
        assert set(manifest["files"]) == {"sub/a.bin", "b.json"}

    @pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
    def test_failed_maker__leaves_nothing_that_looks_finished(self, cache, failure):
        def fail(folder: Path) -> None:
            (folder / "half").write_text("h")
            raise failure("stopped")

        with pytest.raises(failure, match="stopped"):
            cache.get_or_make("kind", INPUTS, fail)
        assert cache.get("kind", INPUTS) is None
        assert not cache.path("kind", INPUTS).exists()
        assert (cache.get_or_make("kind", INPUTS, Maker()) / "b.json").is_file()  # gets an empty folder

    @pytest.mark.parametrize("resumable", [False, True])
    def test_resumable_maker__gets_its_half_work_back(self, cache, resumable):
        def fail(folder: Path) -> None:
            (folder / "half").write_text("h")
            raise RuntimeError

        seen: list[bool] = []
        with pytest.raises(RuntimeError):
            cache.get_or_make("kind", INPUTS, fail, resumable=resumable)
        cache.get_or_make(
            "kind", INPUTS, lambda folder: seen.append((folder / "half").exists()), resumable=resumable
        )
        assert seen == [resumable]

    def test_folder_without_manifest__is_not_read(self, cache):
        folder = cache.path("kind", INPUTS)
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "old").write_text("unfinished")
        assert cache.get("kind", INPUTS) is None
        made = cache.get_or_make("kind", INPUTS, Maker())
        assert not (made / "sub" / "old").exists()


class TestMany:
    def test_missing_ones__are_made_together_in_one_call(self, cache):
        inputs = [{"layer": layer} for layer in range(4)]
        there = cache.get_or_make("kind", inputs[2], Maker(b"before"))
        calls: list[list[int]] = []

        def make(folders: dict[int, Path]) -> None:
            calls.append(sorted(folders))
            for index, folder in folders.items():
                (folder / "a").write_text(str(index))

        found = cache.get_or_make_many("kind", inputs, make)
        assert calls == [[0, 1, 3]]
        assert found[2] == there
        assert [(found[index] / "a").read_text() for index in (0, 1, 3)] == ["0", "1", "3"]
        assert cache.get_or_make_many("kind", inputs, make) == found
        assert cache.get_or_make_many("kind", [], make) == []
        assert len(calls) == 1

    def test_failure__finishes_none_of_them(self, cache):
        def fail(folders: dict[int, Path]) -> None:
            (folders[0] / "a").write_text("done")
            raise RuntimeError

        with pytest.raises(RuntimeError):
            cache.get_or_make_many("kind", [{"a": 1}, {"a": 2}], fail)
        assert cache.get("kind", {"a": 1}) is None
        assert cache.get("kind", {"a": 2}) is None

    def test_equal_inputs__are_made_once_and_do_not_wait_for_themselves(self, tmp_path):
        script = (
            "import pathlib, sys\n"
            "from clvq_exp.artifacts import ArtifactCache\n"
            "def make(folders):\n"
            "    print(sorted(folders))\n"
            "    [(folder / 'a').touch() for folder in folders.values()]\n"
            "cache = ArtifactCache(pathlib.Path(sys.argv[1]))\n"
            "print(len(set(cache.get_or_make_many('kind', [{'a': 1}, {'a': 2}, {'a': 1}], make))))\n"
        )
        run = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=20
        )
        assert (run.stdout, run.returncode) == ("[0, 1]\n2\n", 0), run.stderr


class TestDamage:
    @pytest.mark.parametrize("harm", ["byte", "cut", "gone", "manifest"])
    def test_damaged_artifact__is_warned_of_and_made_again(self, cache, caplog, harm):
        folder = cache.get_or_make("kind", INPUTS, Maker())
        path = folder / "sub" / "a.bin"
        match harm:
            case "byte":
                path.write_bytes(b"cOntent")
                expected = f"{path} is not what was written: its checksum differs"
            case "cut":
                path.write_bytes(b"cont")
                expected = f"{path} has 4 bytes where its manifest says 7"
            case "gone":
                path.unlink()
                expected = f"{path} is missing"
            case _:
                (folder / MANIFEST).write_text("{")
                expected = f"{folder / MANIFEST} cannot be read"
        with pytest.raises(artifacts.DamagedArtifactError) as caught:
            verify(folder)
        assert str(caught.value).startswith(expected)
        maker = Maker()
        with caplog.at_level(logging.WARNING):
            again = ArtifactCache(cache.root).get_or_make("kind", INPUTS, maker)
        assert maker.calls == 1
        assert expected in caplog.text
        assert path.read_bytes() == b"content"
        verify(again)


class TestProcesses:
    @pytest.mark.slow
    def test_eight_processes_at_once__make_it_exactly_once(self, tmp_path):
        results = start_together(tmp_path / "cache", tmp_path / "told", 8)
        assert [(out, code) for out, _, code in results] == [("whole\n", 0)] * 8, results
        assert len((tmp_path / "told" / "calls").read_text().split()) == 1

    @pytest.mark.slow
    def test_processes_that_meet_a_damaged_artifact__remake_it_once(self, tmp_path):
        cache = ArtifactCache(tmp_path / "cache")
        folder = cache.get_or_make("kind", INPUTS, lambda f: [(f / f"{i}").touch() for i in range(300)])
        (folder / "299").write_text("damage")
        results = start_together(cache.root, tmp_path / "told", 6)
        assert [(out, code) for out, _, code in results] == [("whole\n", 0)] * 6, results
        assert len((tmp_path / "told" / "calls").read_text().split()) == 1

    @pytest.mark.slow
    def test_killed_maker__leaves_nothing_finished_and_no_lock(self, tmp_path):
        told = tmp_path / "told"
        process = start(tmp_path / "cache", told, "hang")
        (told / "go").touch()
        wait_for(lambda: (told / "calls").exists())
        cache = ArtifactCache(tmp_path / "cache")
        assert cache.get("kind", INPUTS) is None
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert cache.get("kind", INPUTS) is None
        maker = Maker()  # asserts that its folder is empty
        cache.get_or_make("kind", INPUTS, maker)
        assert maker.calls == 1

    def test_lock_file_of_a_dead_process__does_not_block(self, cache):
        lock = cache.path("kind", INPUTS).with_suffix(".lock")
        lock.parent.mkdir(parents=True)
        lock.write_text("999999")
        assert cache.get_or_make("kind", INPUTS, Maker()).is_dir()

    def test_waiting__is_said(self, tmp_path, caplog):
        inside, go_on = Event(), Event()

        def slowly(folder: Path) -> None:
            inside.set()
            assert go_on.wait(20)

        first = Thread(target=ArtifactCache(tmp_path).get_or_make, args=("kind", INPUTS, slowly))
        second = Thread(target=ArtifactCache(tmp_path).get_or_make, args=("kind", INPUTS, never))
        with caplog.at_level(logging.INFO):
            first.start()
            assert inside.wait(20)
            second.start()
            wait_for(lambda: "another process makes" in caplog.text)
            go_on.set()
            first.join(20)
            second.join(20)
        assert not first.is_alive()
        assert not second.is_alive()
        assert f"another process makes {fingerprint(INPUTS)}; waiting for it" in caplog.text


class TestFingerprint:
    LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4)
    VALUES = st.recursive(
        LEAVES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=8,
    )

    @given(st.dictionaries(st.text(max_size=4), VALUES, max_size=6))
    def test_order_of_keys__does_not_matter(self, values):
        name = fingerprint(values)
        assert name == fingerprint(dict(reversed(values.items())))
        assert len(name) == 16
        assert set(name) <= set("0123456789abcdef")

    @given(VALUES, VALUES)
    def test_other_values__have_other_names(self, one, other):
        same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
        assert (fingerprint(one) == fingerprint(other)) == same

    def test_any_field_of_settings__changes_it(self):
        before = EncoderSettings()
        for changed in ({"alpha": 0.2}, {"alpha_start": 0.3}, {"alpha_mode": AlphaMode.fixed}):
            assert fingerprint(dataclasses.replace(before, **changed)) != fingerprint(before)

    def test_format_version__changes_it(self, monkeypatch):
        before = fingerprint(INPUTS)
        monkeypatch.setattr(artifacts, "FORMAT_VERSION", artifacts.FORMAT_VERSION + 1)
        assert fingerprint(INPUTS) != before

    def test_fingerprint__stays_what_it_was(self):
        """Caches of users depend on it: a change needs a new FORMAT_VERSION."""
        assert artifacts.FORMAT_VERSION == 1
        assert fingerprint({"a": [1, 0.5, None], "ü": Split.dev}) == STABLE


STABLE = "fdebc5a249a6371a"


class TestPlain:
    def test_dataclass_enum_and_tuple__become_json(self):
        encoder = {"alpha_mode": "adaptive", "alpha": 0.1, "alpha_start": 0.2, "linear_start": "default"}
        value = {1: (EncoderSettings(), Split.dev, [None, True, 2, 0.5, "x"])}
        assert plain(value) == {"1": [encoder, "dev", [None, True, 2, 0.5, "x"]]}

    @pytest.mark.parametrize("value", [Path("x"), {1, 2}, b"x", EncoderSettings, object])
    def test_anything_else__is_refused_by_name(self, value):
        with pytest.raises(TypeError, match=f"no plain form for .* of type {type(value).__name__} in a"):
            plain({"a": [value]})


class TestFiles:
    def test_json__comes_back_and_is_sorted_with_floats_in_full(self, tmp_path):
        write_json(tmp_path / "a.json", {"b": 0.1 + 0.2, "a": ("ü", Split.dev)})
        assert (tmp_path / "a.json").read_text(encoding="utf-8") == (
            '{\n  "a": [\n    "ü",\n    "dev"\n  ],\n  "b": 0.30000000000000004\n}\n'
        )
        assert read_json(tmp_path / "a.json") == {"a": ["ü", "dev"], "b": 0.1 + 0.2}

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_nan_and_infinity__are_refused_and_the_old_file_stays(self, tmp_path, value):
        write_json(tmp_path / "a.json", {"a": 1})
        with pytest.raises(ValueError, match="Out of range float"):
            write_json(tmp_path / "a.json", {"a": value})
        assert read_json(tmp_path / "a.json") == {"a": 1}
        assert [path.name for path in tmp_path.iterdir()] == ["a.json"]

    def test_write_that_fails_midway__leaves_the_old_file(self, tmp_path, monkeypatch):
        write_json(tmp_path / "a.json", {"a": 1})

        def full(descriptor: int) -> None:
            raise OSError("no space left")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space left"):
            write_json(tmp_path / "a.json", {"a": 2})
        assert read_json(tmp_path / "a.json") == {"a": 1}

    def test_folder_checksum__sees_names_contents_and_not_the_place(self, tmp_path):
        def folder(name: str, files: dict[str, str]) -> str:
            for file, content in files.items():
                (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name / file).write_text(content)
            return artifacts.folder_checksum(tmp_path / name, ignore=["notes"])

        same = folder("one", {"a": "1", "s/b": "2"})
        assert folder("two", {"s/b": "2", "a": "1", "notes": "x"}) == same
        assert folder("three", {"a": "1", "s/c": "2"}) != same
        assert folder("four", {"a": "1", "s/b": "3"}) != same


class TestRoot:
    def test_root__is_the_variable_then_the_user_s_cache(self, monkeypatch, tmp_path):
        monkeypatch.setenv(artifacts.CACHE_VARIABLE, str(tmp_path / "mine"))
        assert artifacts.cache_root() == ArtifactCache().root == tmp_path / "mine"
        monkeypatch.delenv(artifacts.CACHE_VARIABLE)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert artifacts.cache_root() == tmp_path / "clvq_exp"
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert artifacts.cache_root() == tmp_path / ".cache" / "clvq_exp"

    def test_root_that_cannot_be_made__names_the_variable(self, tmp_path):
        (tmp_path / "file").touch()
        root = tmp_path / "file" / "cache"
        with pytest.raises(StorageError) as caught:
            ArtifactCache(root)
        assert str(caught.value) == (
            f"the cache folder {root} cannot be written: a part of the path is a file; "
            "free space there, or set CLVQ_EXP_CACHE to a folder that can be written"
        )

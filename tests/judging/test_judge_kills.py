"""`clvq judge`, killed: nothing is lost, and nothing is asked again."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from judging.asking_panels import call, command, environment, judge, speak, write_panel
from judging.judged_runs import make_run, sentences
from judging.scripted_server import Reply, Request, Scripted, serving


@pytest.fixture
def run(tmp_path: Path) -> Path:
    beside = {"clvq_vae_spherical_kmeans": [1, 0] * 8, "clvq_vae_random": [3, 0] * 8}
    return make_run(tmp_path / "run", rows=sentences(4), codes=[0, 1] * 8, beside=beside)


def kept(cache: Path) -> int:
    path = cache / "judge_answers" / "answers.sqlite"
    if not path.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as file:
            return file.execute("SELECT count(*) FROM answers").fetchone()[0]
    except sqlite3.OperationalError:  # not laid out yet
        return 0


def wait_until_kept(cache: Path, n: int, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while kept(cache) < n:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "the answers are not kept"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_killed__goes_on_without_asking_anything_again(run: Path, tmp_path: Path, how: signal.Signals) -> None:
    half = 11

    def stalls(request: Request, before: int) -> Reply:
        n = sum(state.answered.values())
        return Reply(hang=600, status=503) if n >= half else speak(request, before)

    with serving(stalls) as state:
        panel = write_panel(
            tmp_path / "panel.yaml", [judge(name, state.url) for name in "abc"], concurrency=1, timeout=600
        )
        arguments = (run, "--panel", panel, "--instances", 8, "--out", tmp_path / "out")
        cache = tmp_path / "cache"
        process = subprocess.Popen(
            command(*arguments),
            env=environment(cache),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored below a shell's `&`
        )
        wait_until_kept(cache, half, process)
        process.send_signal(how)
        state.released.set()
        _, error = process.communicate(timeout=60)
        assert process.returncode != 0
        assert not (tmp_path / "out").exists()
        if how is signal.SIGINT:
            assert process.returncode == 130
            assert error.strip().splitlines()[-1].startswith("stopped; every answer so far is kept")
        answered = Counter(state.answered)
        state.script = speak
        done = call(cache, *arguments)
        assert done.code == 0, done.err
        assert all(state.answered[body] == n for body, n in answered.items()), "no answer was asked for again"
        assert sum(state.answered.values()) == 24
        n = len(state.requests)
        again = call(cache, *arguments[:-1], tmp_path / "again")
        assert again.code == 0
        assert len(state.requests) == n
    for name in ("ratings.csv", "figures.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    spent = json.loads((tmp_path / "out" / "judging.json").read_text(encoding="utf-8"))["spent"]
    assert spent["answered"] == 24
    assert spent["prompt_tokens"] == 24_000


@pytest.mark.slow
def test_killed_again_and_again__comes_to_what_one_run_comes_to(run: Path, tmp_path: Path) -> None:
    def slowly(request: Request, before: int) -> Reply:
        return speak(request, before)._replace(hang=0.05)

    with serving(slowly) as state:
        panel = write_panel(tmp_path / "panel.yaml", [judge(name, state.url) for name in "abc"], concurrency=4)
        arguments = (run, "--panel", panel, "--instances", 16)
        cache = tmp_path / "cache"
        for n in (5, 15, 30):
            process = subprocess.Popen(
                command(*arguments, "--out", tmp_path / "out"),
                env=environment(cache),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            wait_until_kept(cache, n, process)
            process.kill()
            process.communicate()
        assert call(cache, *arguments, "--out", tmp_path / "out").code == 0
        assert call(tmp_path / "fresh", *arguments, "--out", tmp_path / "one").code == 0
        most_lost = 3 * 4
        assert sum(state.answered.values()) <= 2 * 48 + most_lost
    for name in ("ratings.csv", "figures.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    spent = json.loads((tmp_path / "out" / "judging.json").read_text(encoding="utf-8"))["spent"]
    assert spent["answered"] == 48
    assert spent["prompt_tokens"] == 48_000
    assert spent["unknown"] <= most_lost


@pytest.mark.slow
def test_two_processes__one_asks_and_the_other_is_told(run: Path, tmp_path: Path) -> None:
    with serving(lambda _request, _before: Reply(hang=600, status=503)) as state:
        panel = write_panel(tmp_path / "panel.yaml", [judge("a", state.url)], concurrency=1, timeout=600)
        arguments = (run, "--panel", panel, "--instances", 8, "--out", tmp_path / "out")
        first = subprocess.Popen(
            command(*arguments),
            env=environment(tmp_path / "cache"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for_request(state, first)
        second = call(tmp_path / "cache", *arguments)
        assert second.code == 1
        assert "another process asks exactly these questions" in second.err
        assert len(state.requests) == 1
        first.kill()
        first.communicate()


def wait_for_request(state: Scripted, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not state.requests:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)

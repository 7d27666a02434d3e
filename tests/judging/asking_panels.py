"""Panels and calls of the command for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from judging.scripted_server import Reply, Request

from clvq_exp.judging.settings import Judge, Panel


def judge(name: str, url: str, **changed: Any) -> dict[str, Any]:
    """A judge of a panel file; a dollar a thousand tokens, either way."""
    given = {"name": name, "base_url": url, "model": f"model-{name}", "input_price": 1000, "output_price": 1000}
    return {**given, "max_tokens": 100, **changed}


def panel(url: str, names: str = "abc", **changed: Any) -> Panel:
    """Judges at one address; retries without long waits."""
    given: dict[str, Any] = {"first_wait": 0.01, "timeout": 5.0, "retries": 3, "concurrency": 4, **changed}
    return Panel("test", tuple(Judge(**judge(name, url)) for name in names), **given)


def write_panel(path: Path, judges: list[dict[str, Any]], **changed: Any) -> Path:
    content = {"name": "test", "judges": judges, "first_wait": 0.01, "timeout": 20, "retries": 3, **changed}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


class Call(NamedTuple):
    """A finished `clvq judge`."""

    code: int
    out: str
    err: str


def environment(cache: Path, **variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    return {**kept, "CLVQ_EXP_CACHE": str(cache), "OMP_NUM_THREADS": "1", "COLUMNS": "200", **variables}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "clvq_exp.commands", "judge", *map(str, arguments)]


def call(cache: Path, *arguments: object, **variables: str) -> Call:
    """`clvq judge` as a process of its own."""
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        env=environment(cache, **variables),
        cwd=cache.parent,
        check=False,
    )
    return Call(done.returncode, done.stdout, done.stderr)


def opinions(request: Request) -> Any:
    """Judges that differ: a likes good words, b too but for long lists, c does not."""
    liked = {"model-a": 3, "model-b": 3, "model-c": 1}[request.body["model"]]
    return lambda _name, text: liked if "charming" in text else 2 if "praise" in text else 4 - liked


def speak(request: Request, before: int) -> Reply:
    rate = opinions(request)
    return Reply(
        json.dumps({name: {"rating": rate(name, text), "reason": "so"} for name, text in request.shown.items()})
    )

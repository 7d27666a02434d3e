"""`python -m clvq_exp` with a hand on the plug: `python plug.py SPEC ARGUMENT...`.

SPEC is JSON: `kill` names a function and the call of it at which the process is killed (by SIGKILL),
`set` gives constants other values, `count` names functions whose calls are counted, into the file `counts`.
Functions and constants are written `module:name` or `module:Class.name`.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any


def place(name: str) -> tuple[Any, str]:
    """What holds a named thing, and its name there."""
    module, _, path = name.partition(":")
    *owners, last = path.split(".")
    return functools.reduce(getattr, owners, importlib.import_module(module)), last


def watch(name: str, counts: dict[str, int], kill_at: int | None, file: Path) -> None:
    """Count the calls of a function, and end the process at one of them."""
    owner, attribute = place(name)
    own = getattr(owner, attribute)

    @functools.wraps(own)
    def watched(*args: Any, **kwargs: Any) -> Any:
        if counts.get(name, 0) + 1 == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        counts[name] = counts.get(name, 0) + 1
        file.write_text(json.dumps(counts))
        return own(*args, **kwargs)

    setattr(owner, attribute, watched)


def main() -> None:
    """Entry point."""
    spec = json.loads(sys.argv[1])
    counts: dict[str, int] = {}
    file = Path(spec["counts"])
    file.write_text("{}")
    for name, value in spec["set"].items():
        owner, attribute = place(name)
        setattr(owner, attribute, value)
    killed, call = spec["kill"] or (None, None)
    for name in {*spec["count"], killed} - {None}:
        watch(name, counts, call if name == killed else None, file)
    sys.argv = ["clvq_exp", *sys.argv[2:]]
    runpy.run_module("clvq_exp", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

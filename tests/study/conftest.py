"""A study that is served inside the test's own process, so that its clock and its pace can be chosen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from study.made_studies import Made, make

from clvq_exp.study.pace import Pace
from clvq_exp.study.server import StudyServer
from clvq_exp.study.serving import listen

Serve = Callable[..., tuple[Made, httpx.Client]]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Makes a study and serves it; gives it with a client that follows nothing."""
    ends: list[Callable[[], None]] = []

    def begin(pace: Pace | None = None, **wishes: object) -> tuple[Made, httpx.Client]:
        made = make(tmp_path / f"served_{len(ends)}", **wishes)
        opened = listen("127.0.0.1", 0)
        config = uvicorn.Config(
            StudyServer(made.study, pace or Pace(burst=1e9)).app, access_log=False, log_level="critical"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
        thread.start()
        client = httpx.Client(base_url=f"http://127.0.0.1:{opened.getsockname()[1]}", timeout=30)

        def end() -> None:
            client.close()
            server.should_exit = True
            thread.join()

        ends.append(end)
        return made, client

    yield begin
    for end in ends:
        end()

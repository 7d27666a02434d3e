"""An OpenAI-compatible server on loopback whose answers are written by a test, and that can fail in every way."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

Rate = Callable[[str, str], int]
"""(neutral name, what was shown) -> rating."""


class Request(NamedTuple):
    """One call, as the server got it."""

    body: dict[str, Any]
    key: str
    """Of the Authorization header."""

    @property
    def prompt(self) -> str:
        return self.body["messages"][0]["content"]

    @property
    def sentence(self) -> str:
        found = re.search(r'^- Sentence: "(.*)"$', self.prompt, re.MULTILINE)
        assert found is not None
        return found[1]

    @property
    def shown(self) -> dict[str, str]:
        """Neutral name -> representation, in the order of the prompt."""
        part = self.prompt.split("**Concept Representations to Evaluate:**")[1].split("**Output Instructions:**")[
            0
        ]
        found: dict[str, str] = {}
        for block in part.split("Concept from Configuration: ")[1:]:
            head, _, rest = block.partition("\n")
            found[head.strip().strip('"')] = rest.strip()
        return found


class Reply(NamedTuple):
    """What the server does."""

    text: str | None = None
    """Of the answer; None for one that fits."""
    status: int = 200
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed
    hang: float = 0.0
    """Seconds of silence first."""
    raw: bytes | None = None
    """The whole body instead of an answer."""
    cut: bool = False
    """Break off in the middle of the body."""
    usage: bool = True


class Scripted:
    """What came in, and what goes out."""

    def __init__(self, script: Callable[[Request, int], Reply], rate: Rate) -> None:
        self.script = script
        """(request, how often this very body came in before) -> reply."""
        self.rate = rate
        self.requests: list[Request] = []
        self.answered: Counter[str] = Counter()
        """Bodies that got a whole answer."""
        self.lock = threading.Lock()
        self.released = threading.Event()
        """Ends every hang."""
        self.at_once = 0
        self.most_at_once = 0
        self.url = ""

    @property
    def seen(self) -> Counter[str]:
        with self.lock:
            return Counter(json.dumps(each.body, sort_keys=True) for each in self.requests)


def fitting(request: Request, rate: Rate) -> str:
    """An answer as the prompt asks for it."""
    return json.dumps(
        {name: {"rating": rate(name, text), "reason": "because"} for name, text in request.shown.items()}
    )


@contextmanager
def serving(
    script: Callable[[Request, int], Reply] = lambda _request, _before: Reply(),
    rate: Rate = lambda _name, _text: 2,
) -> Iterator[Scripted]:
    """A server on a port of its own."""
    state = Scripted(script, rate)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            request = Request(body, self.headers.get("Authorization", "").removeprefix("Bearer "))
            name = json.dumps(body, sort_keys=True)
            with state.lock:
                before = sum(json.dumps(each.body, sort_keys=True) == name for each in state.requests)
                state.requests.append(request)
                state.at_once += 1
                state.most_at_once = max(state.most_at_once, state.at_once)
            try:
                self._reply(request, name, state.script(request, before))
            finally:
                with state.lock:
                    state.at_once -= 1

        def _reply(self, request: Request, name: str, reply: Reply) -> None:
            if reply.hang:
                state.released.wait(reply.hang)
            if reply.status != 200:
                content = json.dumps({"error": {"message": reply.text or "the server says no"}}).encode()
            else:
                text = fitting(request, state.rate) if reply.text is None else reply.text
                found: dict[str, Any] = {
                    "id": "1",
                    "object": "chat.completion",
                    "created": int(time.time()),
                    "model": "scripted-1",
                    "choices": [
                        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
                    ],
                }
                if reply.usage:
                    found["usage"] = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
                content = json.dumps(found).encode()
            content = content if reply.raw is None else reply.raw
            try:
                self.send_response(reply.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                for key, value in reply.headers.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if reply.cut else content)
                self.wfile.flush()
                if reply.cut:
                    self.close_connection = True
                    self.connection.close()
                elif reply.status == 200 and reply.raw is None:
                    with state.lock:
                        state.answered[name] += 1
            except OSError:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.released.set()
        server.shutdown()
        server.server_close()
        thread.join()

"""Serving a study: a socket, and one process behind it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from contextlib import suppress

from clvq_exp.study.design import StudyError
from clvq_exp.study.folder import OpenedStudy

HOST, PORT = "127.0.0.1", 8765
_MOST_CONNECTIONS = 2000
_IDLE_SECONDS = 20


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A socket that waits for annotators.

    Args:
        host: a name or an address of this machine.
        port: 0 for any that is free.

    Raises:
        StudyError: it cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        opened = socket.socket(family, kind, protocol)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind(address)
            opened.listen(_MOST_CONNECTIONS)
        except OSError:
            opened.close()
            raise
    except OSError as error:
        raise StudyError(
            f"{host}, port {port}: {error.strerror or error}; choose others by --host and --port"
        ) from error
    return opened


def serve(study: OpenedStudy, opened: socket.socket, on_ready: Callable[[], None]) -> None:
    """Serve a study until the process is told to end. No line of any log holds an annotator's link.

    Args:
        study: the study.
        opened: the socket.
        on_ready: called when the study is loaded.
    """
    import uvicorn

    from clvq_exp.study.server import StudyServer

    config = uvicorn.Config(
        StudyServer(study).app,
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,  # no address is looked at
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=10,
        ws="none",
    )
    on_ready()
    with suppress(KeyboardInterrupt):  # Ctrl-C, which the server has followed by then
        uvicorn.Server(config).run(sockets=[opened])

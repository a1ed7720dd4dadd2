"""`sessions-server worker`: one of the processes of `serve --workers`, which starts it; not for interactive use.

It receives its settings over a socket from the parent, reports its addresses there, and stops when the parent closes
its end or exits.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from contextlib import suppress
from typing import Annotated, Final

import typer

from sessions_server.commands.running import run
from sessions_server.serving import Addresses
from sessions_server.settings import from_json

KILL_SECONDS: Final = 10.0
"""How much longer than the grace a stop may take. A hanging worker outlives its parent by no more than that."""


def worker(
    *,
    number: Annotated[int, typer.Option(help="Its number, from 1, by which logs and metrics name it.")],
    parent: Annotated[int, typer.Option(help="Descriptor of the socket to the parent, inherited from it.")],
) -> None:
    """Serves as one of several workers."""
    from sessions_server.app import serve

    connection = socket.socket(fileno=parent)
    settings = from_json(_line(connection))
    grace = settings.drain_grace.total_seconds()
    threading.Thread(target=_stop_with_the_parent, args=(connection, grace), daemon=True).start()

    def ready(addresses: Addresses) -> None:
        with suppress(OSError):  # the parent has exited, so this process stops too
            connection.sendall(json.dumps(addresses._asdict()).encode() + b"\n")

    run(serve(settings, ready=ready, worker=number))


def _line(connection: socket.socket) -> bytes:
    """The line from the parent. Exits if the parent is gone."""
    line = b""
    while not line.endswith(b"\n"):
        if not (part := connection.recv(65_536)):
            raise typer.Exit(1)
        line += part
    return line


def _stop_with_the_parent(connection: socket.socket, grace_seconds: float) -> None:
    """Makes this process drain once the parent closes its end, and kills it if it does not exit in time."""
    with suppress(OSError):  # unread data at the time of a kill makes the parent's end an error
        while connection.recv(1):
            continue
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_seconds + KILL_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)

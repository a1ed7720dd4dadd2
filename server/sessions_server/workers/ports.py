"""The ports shared by several workers: whether the settings allow that, and holding each port while they run."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Final

from sessions_server.domain.errors import SetupError
from sessions_server.rpc.sockets import UNIX
from sessions_server.settings import Settings

_ONE: Final = "or leave SESSIONS_WORKERS at 1."


def check_workers(settings: Settings) -> None:
    """Raises SetupError if several workers cannot serve with these settings."""
    if settings.workers == 1:
        return
    if settings.database_url.startswith("sqlite"):
        raise SetupError(
            "A SQLite file serves one process; give several workers a PostgreSQL in SESSIONS_DATABASE_URL, "
            + _ONE
        )
    if settings.listen.startswith(UNIX):
        raise SetupError(
            "Several workers cannot share a Unix socket; give SESSIONS_LISTEN a host and a port, such as "
            "127.0.0.1:50051, " + _ONE
        )
    if sys.platform != "linux":
        raise SetupError(
            "Several workers share a port on Linux only; start a server on each of several ports instead, "
            + _ONE
        )


@contextmanager
def shared_ports(settings: Settings) -> Iterator[Settings]:
    """Holds the ports of gRPC and HTTP. Yields the settings with which every worker listens on them.

    Only this user's processes can listen there meanwhile, whether workers are running or not. Raises SetupError if
    another process uses one of the ports.
    """
    with ExitStack() as stack:
        listen = stack.enter_context(_held("SESSIONS_LISTEN", settings.listen))
        http_listen = settings.http_listen
        if http_listen:
            http_listen = stack.enter_context(_held("SESSIONS_HTTP_LISTEN", http_listen))
        yield replace(settings, listen=listen, http_listen=http_listen)


@contextmanager
def _held(setting: str, address: str) -> Iterator[str]:
    """The address, with the port that was actually bound."""
    host, _, port = address.rpartition(":")
    try:
        holder = _hold(host.strip("[]"), int(port))
    except OSError as error:
        raise SetupError(
            f"The server cannot listen on {address} ({error.strerror}); give {setting} a free address and port."
        ) from error
    with holder:
        yield f"{host}:{holder.getsockname()[1]}"


def _hold(host: str, port: int) -> socket.socket:
    """A socket that does not listen. It is bound exclusively at first, so that a port in use is refused; after that
    only sockets with SO_REUSEPORT can be bound to it, which Linux allows to processes of the same user."""
    [(family, kind, _, _, place), *_] = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    holder = socket.socket(family, kind)
    try:
        # Connections of a server that exited just before must not block the port.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(place)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError:
        holder.close()
        raise
    return holder

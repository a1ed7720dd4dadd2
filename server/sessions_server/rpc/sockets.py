"""Unix sockets: how their addresses are written, and how a socket is made that only this user can open."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sessions_server.domain.errors import SetupError

UNIX: Final = "unix:"
"""The prefix of a Unix socket's address."""


@contextmanager
def private_socket(address: str) -> Iterator[None]:
    """Binds a Unix socket so that only this user can open it. Raises SetupError if another process listens there, since
    gRPC would silently take it over. Does nothing for other addresses."""
    if not address.startswith(UNIX):
        yield
        return
    path = address.removeprefix(UNIX)
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(path) == 0:
            raise SetupError(f"Another process listens on {address}; stop it, or give another path.")
    with private_files():
        yield


@contextmanager
def private_files() -> Iterator[None]:
    """Files and sockets made in the context can be opened by this user only."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)

"""`sessions-server share`: serves one database file to all programs on a machine that open it.

Clients start it, not users. It exits a moment after the last client: each client holds a shared lock on the lease,
which the kernel releases however a program ends. A starting or exiting process holds the gate, so that no client finds
a server that is about to exit.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sessions_server.commands.running import run

if TYPE_CHECKING:
    from sessions_server.serving import Addresses
    from sessions_server.settings import Settings

LOOK_SECONDS = 0.5
"""How often it checks for remaining clients."""


def share(
    database: Path,
    *,
    socket: Annotated[Path, typer.Option(help="Socket for gRPC.")],
    local: Annotated[Path, typer.Option(help="Socket for unary calls.")],
    lease: Annotated[Path, typer.Option()],
    gate: Annotated[
        int, typer.Option(help="Descriptor of the locked gate, inherited from the program that starts this.")
    ],
    about: Annotated[Path, typer.Option(help="File that tells clients which version serves.")],
) -> None:
    """Serves one database file over Unix sockets, for as long as a client holds the lease."""
    from sessions_server.settings import read_settings

    settings = read_settings(
        listen=f"unix:{socket}", database_url=f"sqlite+aiosqlite:///{database.resolve()}"
    )
    run(_share(settings, local=local, lease=lease, gate=gate, about=about))


async def _share(settings: Settings, *, local: Path, lease: Path, gate: int, about: Path) -> None:
    from sessions_server.app import serve_until
    from sessions_server.observability import configure_logging

    configure_logging(settings)
    stop = asyncio.Event()
    leaving: list[asyncio.Task[None]] = []

    def ready(addresses: Addresses) -> None:
        about.write_text(json.dumps({"version": version("sessions"), "process": os.getpid()}))
        sys.stdout.write(f"listening on {addresses.rpc}\n")
        sys.stdout.flush()
        fcntl.flock(gate, fcntl.LOCK_UN)
        leaving.append(asyncio.ensure_future(_leave_with_the_last(stop, lease=lease, gate=gate)))

    await serve_until(stop, settings, ready=ready, local=local)


async def _leave_with_the_last(stop: asyncio.Event, *, lease: Path, gate: int) -> None:
    """Sets `stop` once nobody holds the lease, and keeps the gate locked until this process exits."""
    held = os.open(lease, os.O_RDWR | os.O_CREAT, 0o600)
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if _locked(gate):
            if _locked(held):
                stop.set()
                return
            fcntl.flock(gate, fcntl.LOCK_UN)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

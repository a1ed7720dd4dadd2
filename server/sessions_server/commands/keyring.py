"""`sessions-server keyring`: makes, rotates and lists keyrings, and rewraps a database with the current key."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sessions_server.commands.flags import DATABASE, with_settings
from sessions_server.commands.running import progress, require_database, run
from sessions_server.domain.errors import SetupError
from sessions_server.settings import Settings

if TYPE_CHECKING:
    from sessions_server.service.rewrap import Rewrapper

STEP = 256
"""How many data keys to rewrap per batch."""

keyring = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Manages the keyring of encrypted sessions."
)


@keyring.command("new")
def new(file: Path) -> None:
    """Makes a keyring FILE with one key.

    Keep a copy of it apart from the database: without the keyring, the content of encrypted sessions is lost.
    """
    from sessions_server.security.keyring import create_keyring

    create_keyring(file, now=datetime.now(UTC))
    typer.echo(
        f"made {file}; start the server with SESSIONS_KEYRING={file}, and keep a copy of the file elsewhere"
    )


@keyring.command("rotate")
def rotate(file: Path) -> None:
    """Adds a new current key to FILE.

    The older keys stay, since existing data is wrapped with them. Running servers that use FILE switch to the new key
    by themselves.
    """
    from sessions_server.security.keyring import rotate_keyring

    current = rotate_keyring(file, now=datetime.now(UTC)).current
    typer.echo(
        f"key {current} is now current; running servers rewrap older sessions with it, "
        "as does `sessions-server keyring rewrap`"
    )


@keyring.command("list")
def show(file: Path) -> None:
    """Lists the keys of FILE without their secrets."""
    from sessions_server.security.keyring import load_keyring

    for info in load_keyring(file).infos():
        typer.echo(f"{info.id}\t{info.created.isoformat()}\t{'current' if info.current else ''}".rstrip())


@keyring.command("rewrap")
@with_settings(*DATABASE)
def rewrap(*, settings: Settings) -> None:
    """Rewraps the data keys of all sessions with the current key.

    Afterwards the older keys are no longer needed. Only wrapped keys are written, no content. On PostgreSQL, servers
    may keep running. A running server does the same by itself; a SQLite database that a server has open is left to it.
    """
    from sessions_server.storage.errors import StoreInUse

    if settings.keyring is None:
        raise SetupError("There is no keyring to rewrap with; set --keyring or SESSIONS_KEYRING.")
    require_database(settings)
    try:
        rewrapper = run(_rewrap(settings))
    except StoreInUse:
        raise SetupError(
            "A running server has the database open, and rewraps its sessions by itself; "
            "its log says when it is done. To do it here, stop the server first."
        ) from None
    if rewrapper.failed:
        raise SetupError(
            f"{rewrapper.changed} sessions were rewrapped, and {rewrapper.failed} cannot be: {rewrapper.failure}"
        )
    typer.echo(f"{rewrapper.changed} sessions were rewrapped; all are wrapped by the current key")


async def _rewrap(settings: Settings) -> Rewrapper:
    from sessions_server.app import running_core
    from sessions_server.service.rewrap import Rewrapper

    async with running_core(settings) as core:
        rewrapper = Rewrapper(cells=core.cells, store=core.store)
        while not rewrapper.is_done:
            total, behind = (await core.store.counts()).encrypted, 0
            with progress("rewrapping", total) as show:
                while looked_at := await rewrapper.step(STEP):
                    behind += looked_at
                    show(behind)
        return rewrapper

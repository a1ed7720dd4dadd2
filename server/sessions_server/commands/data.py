"""`sessions-server export` and `import`: all sessions of a database to a file, and back into any database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sessions_server.commands.flags import DATABASE, with_settings
from sessions_server.commands.running import progress, require_database, run
from sessions_server.settings import Settings

if TYPE_CHECKING:
    from sessions_server.dump.transfer import Imported


@with_settings(*DATABASE)
def export(file: Path, *, settings: Settings) -> None:
    """Writes all sessions of the database to FILE.

    FILE can be imported into any other database, of either kind. When the export was cut off, run it again on the same
    database: it goes on where it stopped. FILE holds the content of encrypted sessions encrypted, all else in clear. On
    SQLite stop the server first; on PostgreSQL what changes meanwhile may be missed.
    """
    require_database(settings)
    count = run(_export(settings, file))
    typer.echo(f"{file} holds {count} sessions")


@with_settings(*DATABASE)
def import_(file: Path, *, settings: Settings) -> None:
    """Brings all sessions of FILE into the database.

    FILE was written by export; nothing is imported from one that is not whole or was altered since. Sessions keep their
    tenants, ids, messages and times. When the import was cut off, run it again: it goes on where it stopped. For
    encrypted sessions give the keyring that they were exported with.
    """
    added, there, over = run(_import(settings, file))
    typer.echo(f"{added} sessions were imported, {there} were there already, {over} have expired for good")


async def _export(settings: Settings, file: Path) -> int:
    from sessions_server.app import running_core
    from sessions_server.dump.file import open_to_write
    from sessions_server.dump.transfer import export_all

    async with running_core(settings) as core:
        total = (await core.store.counts()).sessions
        with open_to_write(file, core.cells) as writer, progress("exporting sessions", total) as show:
            return await export_all(core.store, core.transfers, writer, progress=show)


async def _import(settings: Settings, file: Path) -> Imported:
    from sessions_server.app import running_core
    from sessions_server.dump.file import open_to_read
    from sessions_server.dump.transfer import import_all

    async with running_core(settings) as core:
        with open_to_read(file, core.cells) as reader, progress("importing bytes", reader.size) as show:
            return await import_all(core.store, core.transfers, reader, progress=show)

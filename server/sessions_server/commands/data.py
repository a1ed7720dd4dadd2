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


MEBI = 1024 * 1024


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


@with_settings("database_url")
def vacuum(*, settings: Settings) -> None:
    """Gives the unused room of the SQLite file back to the disk.

    Stop the server first. The file is written anew beside itself, so that the disk needs room for both. A file that was
    made by an earlier release shrinks by itself from then on, as new ones do while a server runs.
    """
    from sessions_server.storage.databases import opening

    backend = require_database(settings)
    with opening(backend):
        before, after = backend.vacuum()
    typer.echo(f"the database took {before / MEBI:.1f} MiB, and takes {after / MEBI:.1f} MiB now")


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

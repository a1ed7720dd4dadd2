"""`sessions-server export`, `import` and `vacuum`: commands that work on a whole database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sessions_server.commands.flags import DATABASE, with_settings
from sessions_server.commands.running import progress, require_database, run
from sessions_server.settings import Settings

if TYPE_CHECKING:
    from sessions_server.dump.transfer import Exported, Imported


MEBI = 1024 * 1024


@with_settings(*DATABASE)
def export(file: Path, *, settings: Settings) -> None:
    """Writes all sessions of the database to FILE.

    FILE can be imported into any other database, of either kind. If the export was interrupted, run it again on the
    same database: it resumes where it stopped. In FILE, the content of encrypted sessions is encrypted and everything
    else is not. On SQLite stop the server first; on PostgreSQL, concurrent changes may be missed. A session whose
    stored data is damaged is named and left out, and the exit code is then 1.
    """
    require_database(settings)
    count, damaged = run(_export(settings, file))
    typer.echo(f"{file} holds {count} sessions")
    for tenant, session_id in damaged:
        typer.echo(
            f"Session {session_id} of tenant {tenant} is damaged and not in the file; restore it from a backup.",
            err=True,
        )
    if damaged:
        raise typer.Exit(1)


@with_settings(*DATABASE)
def import_(file: Path, *, settings: Settings) -> None:
    """Imports all sessions of FILE into the database.

    FILE was written by export; nothing is imported from an incomplete or altered file. Sessions keep their tenants,
    ids, messages and times. If the import was interrupted, run it again: it resumes where it stopped. Encrypted
    sessions need the keyring that they were exported with.
    """
    added, there, over = run(_import(settings, file))
    typer.echo(f"Sessions imported: {added}, already there: {there}, expired for good: {over}")


@with_settings("database_url")
def vacuum(*, settings: Settings) -> None:
    """Returns the unused space of the SQLite file to the disk.

    Stop the server first. SQLite writes a second copy of the file, so the disk needs room for both. A file made by an
    earlier release then shrinks by itself while a server runs, as new ones do.
    """
    from sessions_server.storage.databases import opening

    backend = require_database(settings)
    with opening(backend):
        before, after = backend.vacuum()
    typer.echo(f"the database took {before / MEBI:.1f} MiB and now takes {after / MEBI:.1f} MiB")


async def _export(settings: Settings, file: Path) -> Exported:
    from sessions_server.app import running_core
    from sessions_server.dump.transfer import export_all
    from sessions_server.dump.writer import open_to_write

    async with running_core(settings) as core:
        total = (await core.store.counts()).sessions
        with open_to_write(file, core.cells) as writer, progress("exporting sessions", total) as show:
            return await export_all(core.store, core.transfers, writer, progress=show)


async def _import(settings: Settings, file: Path) -> Imported:
    from sessions_server.app import running_core
    from sessions_server.dump.reader import open_to_read
    from sessions_server.dump.transfer import import_all

    async with running_core(settings) as core:
        with open_to_read(file, core.cells) as reader, progress("importing bytes", reader.size) as show:
            return await import_all(core.store, core.transfers, reader, progress=show)

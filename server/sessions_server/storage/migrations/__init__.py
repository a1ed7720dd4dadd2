"""Creates or migrates a database's tables when the server starts. The steps are in `versions`, one file each.

An empty database gets the tables of `schema.py` at once, without the cost of importing alembic and running every step.
To add a step: change `schema.py`, and write the next file by hand; a test compares the two ways.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from sessions_server.storage.errors import StoreRefused
from sessions_server.storage.migrations import prerelease
from sessions_server.storage.schema import draft_packets, metadata, writes

if TYPE_CHECKING:
    from collections.abc import Callable, Set as AbstractSet

    from sqlalchemy.engine import Connection

HEAD: Final = max(path.name[:4] for path in Path(__file__).with_name("versions").glob("[0-9]*.py"))
"""The last migration. A database at this version is left alone, without the cost of importing alembic."""

VERSION_TABLE: Final = "sessions_version"
"""Not alembic's default: the database may have tables of another program that uses alembic as well."""


def migrate(connection: Connection, *, alone: Callable[[Connection], None] | None = None) -> None:
    """Runs in the connection's transaction. `alone` waits until no other server is migrating, if there may be others:
    of several that start at once, one migrates and the others find it done. Raises StoreRefused if the database is
    newer than this server, or has tables of another program."""
    if _is_at_head(connection):
        return
    if alone is not None:
        alone(connection)
    tables = _columns(connection).keys()
    if VERSION_TABLE not in tables and not metadata.tables.keys() & tables:
        create(connection)
        return
    _check_owner(connection, tables)
    upgrade(connection)


def create(connection: Connection) -> None:
    """Creates the tables in a database that has none of them: the same as `upgrade` would, and faster."""
    metadata.create_all(connection, checkfirst=False)
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text(f"ALTER TABLE {draft_packets.name} SET UNLOGGED"))
    connection.execute(writes.insert().values(id=1, tx=0))
    version = sa.Table(
        VERSION_TABLE,
        sa.MetaData(),
        sa.Column("version_num", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
    )
    version.create(connection, checkfirst=False)
    connection.execute(version.insert().values(version_num=HEAD))


def _is_at_head(connection: Connection) -> bool:
    columns = _columns(connection)
    if VERSION_TABLE not in columns or _version(connection) != HEAD:
        return False
    _check_whole("tables", metadata.tables.keys() - columns.keys())
    made = {(table.name, column.name) for table in metadata.tables.values() for column in table.c}
    found = {(table, column) for table, names in columns.items() for column in names}
    _check_whole("columns", {f"{table}.{column}" for table, column in made - found})
    return True


def _check_whole(what: str, missing: AbstractSet[str]) -> None:
    if missing:
        raise StoreRefused(
            f"The database lacks {what} that were made in it: {', '.join(sorted(missing))}; restore it from a "
            "backup, or give this server another database in SESSIONS_DATABASE_URL."
        )


def _check_owner(connection: Connection, tables: AbstractSet[str]) -> None:
    """Refuses tables of other programs, which are those without our version table."""
    taken = metadata.tables.keys() & tables
    if taken and VERSION_TABLE in tables and _version(connection) is None:
        raise StoreRefused(
            f"The table {VERSION_TABLE} is empty, so the release of the others is unknown; restore the database "
            "from a backup, or give this server another one in SESSIONS_DATABASE_URL."
        )
    if VERSION_TABLE in tables or prerelease.adopt(connection, tables):
        return
    raise StoreRefused(
        f"The database has tables of another program: {', '.join(sorted(taken))}; give this server a database of its "
        "own in SESSIONS_DATABASE_URL."
    )


def _columns(connection: Connection) -> dict[str, set[str]]:
    """Column names by table name."""
    found = sa.inspect(connection).get_multi_columns()
    return {table: {column["name"] for column in columns} for (_, table), columns in found.items()}


def _version(connection: Connection) -> str | None:
    version: str | None = connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608  # a constant
    return version


def upgrade(connection: Connection) -> None:
    """Runs the steps that the database has not had yet, all of them if it is empty."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StoreRefused(
            "The database was made by a newer release of this server; upgrade the server, or give it another database."
        ) from error

"""Brings a database's tables up to date when the server starts. The steps stand in `versions`, one file each.

To add one: change `schema.py`, write the next file by hand, and set HEAD; a test compares all three.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from sessions_server.storage.errors import StoreRefused
from sessions_server.storage.schema import metadata

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

HEAD: Final = "0001"
"""The last step. A database that stands at it is not touched, and alembic, which is slow to import, is not needed."""

VERSION_TABLE: Final = "sessions_version"
"""Not alembic's own name for it: a database may hold the tables of another program that uses alembic as well."""

_EARLY_VERSION_TABLE: Final = "alembic_version"
"""What it was called before the first release."""

_ADVISORY_LOCK: Final = 7_353_118_022_617_342


def migrate(connection: Connection) -> None:
    """Runs in the connection's transaction. Of several servers that start at once, one migrates and the others wait.
    Raises StoreRefused when the database is newer than this server, or holds tables of another program."""
    if _stands_at_head(connection):
        return
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SET LOCAL lock_timeout = 0"))
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
    _take_over(connection)
    _upgrade(connection)


def _stands_at_head(connection: Connection) -> bool:
    tables = _tables(connection)
    if VERSION_TABLE not in tables or _version(connection, VERSION_TABLE) != HEAD:
        return False
    missing = metadata.tables.keys() - tables
    if missing:
        raise StoreRefused(
            f"The database lacks tables that were made in it: {', '.join(sorted(missing))}; restore it from a "
            "backup, or give this server another database in SESSIONS_DATABASE_URL."
        )
    return True


def _take_over(connection: Connection) -> None:
    """Where there is no version yet: renames the table of it that was made before the first release, and refuses tables
    that are not this server's."""
    tables = _tables(connection)
    taken = metadata.tables.keys() & tables
    if VERSION_TABLE in tables or not taken:
        return
    is_early = _EARLY_VERSION_TABLE in tables and _version(connection, _EARLY_VERSION_TABLE) == "0001"
    if not is_early or taken != metadata.tables.keys():
        raise StoreRefused(
            f"The database holds tables of another program: {', '.join(sorted(taken))}; give this server a database "
            "of its own in SESSIONS_DATABASE_URL."
        )
    connection.execute(sa.text(f"ALTER TABLE {_EARLY_VERSION_TABLE} RENAME TO {VERSION_TABLE}"))


def _tables(connection: Connection) -> set[str]:
    return set(sa.inspect(connection).get_table_names())


def _version(connection: Connection, table: str) -> str | None:
    version: str | None = connection.execute(sa.text(f"SELECT version_num FROM {table}")).scalar()  # noqa: S608
    return version


def _upgrade(connection: Connection) -> None:
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

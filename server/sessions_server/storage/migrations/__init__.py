"""Brings a database's tables up to date when the server starts. The steps stand in `versions`, one file each.

To add one: change `schema.py`, write the next file by hand, and set HEAD; a test compares all three.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from sessions_server.storage.errors import StoreRefused

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

HEAD: Final = "0001"
"""The last step. A database that stands at it is not touched, and alembic, which is slow to import, is not needed."""

_VERSION_TABLE: Final = "alembic_version"
_ADVISORY_LOCK: Final = 7_353_118_022_617_342


def migrate(connection: Connection) -> None:
    """Runs in the connection's transaction. Of several servers that start at once, one migrates and the others wait.
    Raises StoreRefused when the database is newer than this server."""
    if _version(connection) == HEAD:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SET LOCAL lock_timeout = 0"))
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
    _upgrade(connection)


def _version(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table(_VERSION_TABLE):
        return None
    version: str | None = connection.execute(sa.text(f"SELECT version_num FROM {_VERSION_TABLE}")).scalar()  # noqa: S608
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

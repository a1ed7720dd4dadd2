"""Databases from before the first release, whose version table had alembic's own name.

Everything about them is here, so that this file and its one call can go when nobody has such a database any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from sqlalchemy.engine import Connection

_VERSION_TABLE: Final = "alembic_version"
_VERSION: Final = "0001"
_TABLES: Final = {"sessions", "contexts", "log", "requests", "tombstones", "metadata_terms"}


def adopt(connection: Connection, tables: AbstractSet[str]) -> bool:
    """Renames the version table if all is as it was then. Returns whether it was."""
    if not tables >= {_VERSION_TABLE, *_TABLES}:
        return False
    if connection.execute(sa.text(f"SELECT version_num FROM {_VERSION_TABLE}")).scalar() != _VERSION:  # noqa: S608
        return False
    connection.execute(sa.text(f"ALTER TABLE {_VERSION_TABLE} RENAME TO sessions_version"))
    return True

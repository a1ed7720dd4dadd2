"""Databases from before the first release, whose version table had alembic's default name.

Everything about them is here, so that this file and its one call can be removed when no such databases are left.
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
    """Renames the version table if the tables match that release. Returns whether they did."""
    if not tables >= {_VERSION_TABLE, *_TABLES}:
        return False
    if connection.execute(sa.text(f"SELECT version_num FROM {_VERSION_TABLE}")).scalar() != _VERSION:  # noqa: S608  # a constant
        return False
    connection.execute(sa.text(f"ALTER TABLE {_VERSION_TABLE} RENAME TO sessions_version"))
    return True

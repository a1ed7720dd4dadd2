"""Checks at the start that the role may do what the server needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from sessions_server.storage.errors import StoreRefused
from sessions_server.storage.schema import metadata

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_RIGHTS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")


def check_rights(connection: Connection) -> None:
    """Raises StoreRefused for a role that cannot write."""
    rights = [
        sa.and_(*(sa.func.has_table_privilege(table, right) for right in _RIGHTS))
        for table in metadata.tables
    ]
    role, *allowed = connection.execute(sa.select(sa.func.current_user(), *rights)).one()
    lacking = [table for table, is_allowed in zip(metadata.tables, allowed, strict=True) if not is_allowed]
    if lacking:
        raise StoreRefused(
            f"The role {role} may not write to {', '.join(sorted(lacking))}; grant it what docs/postgresql.md says "
            "under Roles, or name another role in SESSIONS_DATABASE_URL."
        )

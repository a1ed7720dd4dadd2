"""Compares the sessions that a store keeps in memory with its rows."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import sqlalchemy as sa

from sessions_server.storage.recent_sessions import StoredSession
from sessions_server.storage.rows import SESSION_COLUMNS, session_from_row, upkeep
from sessions_server.storage.sqlite.connection import recent_sessions, unchanging

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.models import SessionKey
    from sessions_server.storage.store import Store


async def checked_recent(store: Store) -> list[SessionKey]:
    """The kept sessions, least recently used first; empty on PostgreSQL. Each must equal its row."""

    def compare(connection: Connection) -> list[SessionKey]:
        if (recent := recent_sessions(connection)) is None:
            return []
        rows = [tuple(row) for row in connection.execute(sa.select(*SESSION_COLUMNS))]
        stored = {row[:2]: StoredSession(session_from_row(row), upkeep(row)) for row in rows}
        for key, kept in recent._kept.items():
            assert kept == stored[key]
        return list(recent._kept)

    return await store._runner.write(partial(unchanging, compare))

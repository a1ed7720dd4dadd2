"""Sets the counters of a new session whose messages the store has written itself, for a fork or an import in slices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from sessions_server.storage.schema import sessions
from sessions_server.storage.statements import Prepared

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.models import Session

_SET_COUNTERS: Final = Prepared(
    sessions.update()
    .values(
        message_count=sa.bindparam("count"),
        last_sequence=sa.bindparam("last"),
        history_head=sa.bindparam("last"),
    )
    .where(sessions.c.tenant == sa.bindparam("tenant"), sessions.c.session_id == sa.bindparam("session_id"))
)


def set_counters(connection: Connection, session: Session) -> None:
    """Stores the session's counters; a message is the last event of its log."""
    if session.message_count:
        _SET_COUNTERS.run(
            connection,
            **session.key._asdict(),
            count=session.message_count,
            last=session.last_sequence,
        )

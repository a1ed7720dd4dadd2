"""Where the logs and histories of sessions begin and end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import sqlalchemy as sa

from sessions_server.domain.models import Micros, Sequence, SessionKey
from sessions_server.storage.kinds import Kinds
from sessions_server.storage.schema import ERASED, json_text, sessions
from sessions_server.storage.spans import decode
from sessions_server.storage.statements import READ_NOW, Prepared, as_list, is_listed, listed

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.storage.spans import Spans

_keys = listed("keys")

IS_ERASED: Final = (
    sa.case(
        (sessions.c.last_due_time <= READ_NOW, sessions.c.last_due_state),
        (sessions.c.due_time <= READ_NOW, sessions.c.due_state),
        else_=sessions.c.state,
    )
    == ERASED
)

_KINDS: Final = Kinds(
    sessions.c[name]
    for name in (
        *("data_key", "last_sequence", "log_start", "history_start"),
        *("context_window", "replay_start", "log_id", "create_time"),
    )
)

_FLEETING: Final = sa.or_(sessions.c.due_state == ERASED, sessions.c.last_due_state == ERASED)

_POSITIONS: Final = Prepared(
    sa.select(
        sessions.c.tenant,
        sessions.c.session_id,
        sessions.c.data_key,
        IS_ERASED,
        sessions.c.last_sequence,
        sessions.c.log_start,
        sessions.c.history_start,
        sessions.c.context_window,
        sessions.c.replay_start,
        sessions.c.log_id,
        sessions.c.create_time,
        _FLEETING,
        json_text(sessions.c.hidden),
    )
    .select_from(_keys)
    .join(sessions, is_listed(_keys, sessions.c.tenant, sessions.c.session_id))
)


class Position(NamedTuple):
    """Where a session's log and history begin and end, and what is needed to read them."""

    tenant: str
    session_id: str
    data_key: bytes | None
    erased: bool
    last_sequence: Sequence
    log_start: Sequence
    history_start: Sequence
    context_window: int
    replay_start: Sequence | None
    """The first position whose state can be read; None for the head."""
    log_id: str
    create_time: Micros
    fleeting: bool | None
    """Whether a timer will erase the session; None if no timer will change it."""
    stored_hidden: str | bytes | None

    def check(self) -> None:
        """Raises TypeError if a value has a type that no write produces."""
        _KINDS.check((self.data_key, *self[4:11]))

    @property
    def hidden(self) -> Spans:
        """Where messages left the history but are still stored. Raises DataCorrupted."""
        return decode(self.stored_hidden, self[:2])


def find_positions(
    connection: Connection, keys: set[SessionKey], now: Micros | None
) -> dict[SessionKey, Position]:
    rows = _POSITIONS.rows(connection, keys=as_list(keys), now=now)
    return {SessionKey(row[0], row[1]): Position(*row) for row in rows}

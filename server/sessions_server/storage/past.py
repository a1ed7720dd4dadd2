"""Reads a past state of a session: from a base, or from its first event, and the later changes in the log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from sessions_server.domain.errors import CursorAhead, EventsCompacted, PathConflict
from sessions_server.domain.models import Event, EventType, Sequence, Session
from sessions_server.domain.replay import NOTHING, Snapshot, replay
from sessions_server.domain.sizes import fitting
from sessions_server.storage.bases import FIND_BASE
from sessions_server.storage.damage import UNREADABLE, damaged
from sessions_server.storage.lane import check_time
from sessions_server.storage.schema import log
from sessions_server.storage.statements import Prepared

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.storage.content import Content

_AT_ONCE: Final = 1_000
_BYTES_AT_ONCE: Final = 4 * 1024 * 1024
"""How much of the log is read at a time: each change may contain a whole context."""

_SHOWN: Final = sa.case((log.c.type != EventType.MESSAGE.value, log.c.payload))
"""Replaying ignores the content of messages."""

_WANTED: Final = (
    log.c.tenant == sa.bindparam("tenant"),
    log.c.session_id == sa.bindparam("session_id"),
    log.c.sequence > sa.bindparam("after"),
    log.c.sequence <= sa.bindparam("through"),
)

_SIZES: Final = Prepared(
    sa.select(log.c.sequence, sa.func.coalesce(sa.func.length(log.c.change), 0))
    .where(*_WANTED)
    .order_by(log.c.sequence)
    .limit(sa.bindparam("most"))
)

_EVENTS: Final = Prepared(
    sa.select(
        log.c.sequence,
        log.c.type,
        log.c.message_id,
        log.c.request_id,
        log.c.time,
        log.c.message_time,
        _SHOWN,
        log.c.change,
    )
    .where(*_WANTED)
    .order_by(log.c.sequence)
)


def check_position(at: Sequence, head: Sequence, replay_start: Sequence | None) -> None:
    """Raises CursorAhead, EventsCompacted if the state at a position cannot be read."""
    if at > head:
        raise CursorAhead(
            "at_sequence is after the session's last event; leave it out, or take one up to last_sequence.",
            last_sequence=str(head),
        )
    first = head if replay_start is None else replay_start
    if at < first:
        raise EventsCompacted(
            "The state as of this position is no longer kept; take a later at_sequence, or leave it out.",
            oldest_sequence=str(first),
        )


def snapshot_at(connection: Connection, content: Content, at: Sequence, now: Session) -> Snapshot:
    """The state right after a position that is kept; `now` is the stored session. Raises KeyNotAvailable,
    DataCorrupted."""
    base, after = _base(connection, content, at, now)
    try:
        past = replay(base, _events(connection, content, after, at))
    except (PathConflict, *UNREADABLE) as error:  # a stored change does not fit its state
        raise damaged(content.key, error) from error
    session = past.session
    if session is None:
        return past
    return past._replace(
        session=session._replace(
            data_key=now.data_key,
            log_id=now.log_id,
            log_start=now.log_start,
            history_start=now.history_start,
        )
    )


def _base(connection: Connection, content: Content, at: Sequence, now: Session) -> tuple[Snapshot, int]:
    """The last base up to a position, and its position."""
    tenant, session_id = content.key
    row = FIND_BASE.first(connection, key_tenant=tenant, key_session_id=session_id, at=at)
    if row is None:  # anything before the log's start belongs to a deleted session
        return NOTHING, now.log_start - 1
    sequence, session, revision, update_time, data = row
    context = None if data is None else content.context(revision, update_time, data)
    return Snapshot(content.session_of_base(session), context), sequence


def _events(connection: Connection, content: Content, after: int, through: int) -> Iterator[Event]:
    key = content.key._asdict()
    while after < through:
        check_time(connection)
        sizes = _SIZES.rows(connection, **key, after=after, through=through, most=_AT_ONCE)
        if not sizes:
            return
        last = sizes[fitting((size for _, size in sizes), _BYTES_AT_ONCE) - 1][0]
        yield from map(content.event, _EVENTS.rows(connection, **key, after=after, through=last))
        after = last

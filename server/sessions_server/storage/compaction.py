"""Removes the first events of logs. The state at the new start is kept as the base of the remaining events.

A log is cut after the last event that is past the retention, by the server's clock, and not a message of the history.
Messages of the history stay, even before the log's start: they are content of the session, though no longer events that
a watcher can request.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from sessions_server.domain.errors import DomainError
from sessions_server.domain.models import Micros, Sequence, Session
from sessions_server.storage.bases import DROP_BASES, PUT_BASES
from sessions_server.storage.content import Content
from sessions_server.storage.damage import UNREADABLE
from sessions_server.storage.past import snapshot_at
from sessions_server.storage.rows import SESSION_COLUMNS, session_from_row, upkeep
from sessions_server.storage.schema import log, sessions
from sessions_server.storage.statements import Prepared, Row, read_clock

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.storage.rules import Rules

logger = logging.getLogger(__name__)

_EVENTS_AT_ONCE: Final = 10_000
"""How many events to remove at once; the rest follows at the next time."""

# Skips sessions that another server is compacting or writing; they get their turn later.
_COMPACTABLE: Final = Prepared(
    sa.select(*SESSION_COLUMNS)
    .where(sessions.c.compact_time <= sa.bindparam("until"))
    .order_by(sessions.c.compact_time)
    .limit(sa.bindparam("count"))
    .with_for_update(skip_locked=True)
)
_IS_LOG: Final = (
    log.c.tenant == sa.bindparam("key_tenant"),
    log.c.session_id == sa.bindparam("key_session_id"),
)
_TIME: Final = Prepared(sa.select(log.c.time).where(*_IS_LOG, log.c.sequence == sa.bindparam("position")))
_LAST_TO_GO: Final = Prepared(
    sa.select(log.c.sequence)
    .where(
        *_IS_LOG,
        log.c.sequence >= sa.bindparam("first"),
        log.c.sequence < sa.bindparam("end"),
        log.c.message_id.is_(None),
    )
    .order_by(log.c.sequence.desc())
    .limit(1)
)
_LET_GO: Final = Prepared(
    log.delete().where(
        *_IS_LOG,
        log.c.sequence >= sa.bindparam("first"),
        log.c.sequence < sa.bindparam("start"),
        log.c.message_id.is_(None),
    )
)
_IS_SESSION: Final = (
    sessions.c.tenant == sa.bindparam("key_tenant"),
    sessions.c.session_id == sa.bindparam("key_session_id"),
)
_SET_LOG_START: Final = Prepared(
    sessions.update()
    .values(
        log_start=sa.bindparam("new_log_start"),
        compact_time=sa.bindparam("new_compact_time"),
        replay_start=sa.bindparam("new_replay_start"),
    )
    .where(*_IS_SESSION)
)
_PUT_OFF: Final = Prepared(
    sessions.update().values(compact_time=sa.bindparam("new_compact_time")).where(*_IS_SESSION)
)


def compact(connection: Connection, limit: int, *, rules: Rules, now: Micros | None) -> int:
    """Removes events past the retention from at most this many logs. Returns how many logs it examined."""
    until = Micros(read_clock(connection, now) - rules.limits.events_kept)
    found = _COMPACTABLE.rows(connection, until=until, count=limit)
    left = _EVENTS_AT_ONCE
    for looked_at, row in enumerate(found, 1):
        try:
            left -= _compact_log(connection, row, until, left, rules=rules)
        except (DomainError, *UNREADABLE) as error:
            _put_off(connection, row, Micros(until + rules.limits.events_kept), error)
        if left <= 0:
            return looked_at
    return len(found)


def _compact_log(connection: Connection, row: Row, until: Micros, most: int, *, rules: Rules) -> int:
    """Moves the log's start first, so that a reader never finds a log that begins later than its start. Returns by how
    much. Raises KeyNotAvailable, DataCorrupted before changing anything."""
    session, stored = session_from_row(row), upkeep(row)
    tenant, session_id = session.key
    key = {"key_tenant": tenant, "key_session_id": session_id}
    end, due = _first_young(connection, session, until)
    last = _LAST_TO_GO.first(connection, **key, first=session.log_start, end=end)
    start = session.log_start if last is None else last[0] + 1
    if start > session.log_start + most:
        start, due = session.log_start + most, until
    replay_start = stored.replay_start
    if replay_start is not None and session.log_start < start and replay_start < start:
        _keep_base(connection, session, Sequence(start - 1), rules)
        replay_start = Sequence(start - 1)
    _SET_LOG_START.run(
        connection, **key, new_log_start=start, new_compact_time=due, new_replay_start=replay_start
    )
    first = session.log_start if stored.hidden else 0  # there may be many, which are erased in steps
    _LET_GO.run(connection, **key, first=first, start=start)
    return max(start - session.log_start, 1)


def _put_off(connection: Connection, row: Row, due: Micros, why: Exception) -> None:
    """Postpones a log that cannot be compacted."""
    tenant, session_id = row[:2]
    logger.warning("the log of session %s of tenant %s cannot be compacted: %s", session_id, tenant, why)
    _PUT_OFF.run(connection, key_tenant=tenant, key_session_id=session_id, new_compact_time=due)


def _first_young(connection: Connection, session: Session, until: Micros) -> tuple[int, Micros | None]:
    """The first event younger than that, and its time; the position after the log's end if there is none. A binary
    search, since a log may be long and times increase along it."""
    tenant, session_id = session.key
    first, end, due = int(session.log_start), int(session.last_sequence) + 1, None
    while first < end:
        middle = (first + end) // 2
        [[time]] = _TIME.rows(connection, key_tenant=tenant, key_session_id=session_id, position=middle)
        if time > until:
            end, due = middle, time
        else:
            first = middle + 1
    return end, due


def _keep_base(connection: Connection, session: Session, at: Sequence, rules: Rules) -> None:
    content = Content(rules.cells, session.key, session.data_key)
    past, context = snapshot_at(connection, content, at, session)
    if past is None:
        return
    values: tuple[object, ...] = (None, None, None)
    if context is not None:
        values = (context.revision, context.update_time, content.context_cell(context))
    PUT_BASES.many(connection, [(*session.key, at, content.base_session(past), *values)])
    DROP_BASES.many(connection, [(*session.key, at)])

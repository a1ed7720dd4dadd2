"""Reads records by name, and pages of them: without locks, or locked if their ttls are to be restarted.

A deleted session, or one erased by its ttl, has no records, whether or not they are still stored.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from sessions_server.domain.errors import DataCorrupted
from sessions_server.domain.models import Micros, SessionKey
from sessions_server.domain.record_reads import RecordPage, RecordQuery
from sessions_server.domain.records import Record, RecordName, Scope
from sessions_server.storage import record_lists
from sessions_server.storage.content import Content
from sessions_server.storage.damage import report
from sessions_server.storage.record_rows import (
    KEY_COLUMNS,
    RECORD_COLUMNS,
    RECORD_WIDTH,
    StoredKey,
    has_passed,
    record_from_row,
    stored_key,
)
from sessions_server.storage.records import lock_records, lock_rows, refresh_records
from sessions_server.storage.schema import ERASED, records, sessions, shared_keys
from sessions_server.storage.shared_keys import shared_content
from sessions_server.storage.statements import Prepared, Row, as_list, is_listed, listed, read_clock

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection
    from sqlalchemy.sql.expression import ColumnElement

    from sessions_server.storage.rules import Rules

_NOW: Final = sa.bindparam("now", type_=sa.BigInteger)

IS_ERASED: Final = sa.or_(
    sa.and_(sessions.c.due_time <= _NOW, sessions.c.due_state == ERASED),
    sa.and_(sessions.c.last_due_time <= _NOW, sessions.c.last_due_state == ERASED),
)
"""Whether a timer has erased a session by the time `now`."""

IS_HIDDEN: Final = sa.case(
    (sessions.c.records_start > 0, records.c.position < sessions.c.records_start), else_=sa.false()
)
"""Whether a record is hidden because an import has replaced its session. The record's position, which is stored after
the value, is read only in that case."""

_keys = listed("keys")
_of_session = sa.and_(
    sessions.c.tenant == records.c.tenant,
    sessions.c.session_id == records.c.session_id,
)
_is_shared = records.c.session_id == sa.literal_column("''")
_of_owner = sa.and_(
    _is_shared, shared_keys.c.tenant == records.c.tenant, shared_keys.c.user_id == records.c.user_id
)


def _fetch(value: ColumnElement[Any]) -> Prepared:
    return Prepared(
        sa.select(
            *RECORD_COLUMNS,
            sa.or_(
                sa.func.coalesce(IS_ERASED, sa.false()),
                sa.and_(sa.not_(_is_shared), sessions.c.session_id.is_(None)),
                sa.func.coalesce(IS_HIDDEN, sa.false()),
            ),
            sa.func.coalesce(sessions.c.data_key, shared_keys.c.data_key),
            value,
        ).select_from(
            _keys.join(records, is_listed(_keys, *KEY_COLUMNS))
            .outerjoin(sessions, _of_session)
            .outerjoin(shared_keys, _of_owner)
        )
    )


_FETCH: Final = _fetch(records.c.value)
_FETCH_WITHOUT_VALUE: Final = _fetch(sa.null())

_NEXT_USER: Final = Prepared(
    sa.select(records.c.user_id)
    .where(
        records.c.tenant == sa.bindparam("tenant"), _is_shared, records.c.user_id > sa.bindparam("user_id")
    )
    .order_by(records.c.user_id)
    .limit(1)
)
_OF_TENANT: Final = Prepared(
    sa.select(records.c.user_id)
    .where(records.c.tenant == sa.bindparam("tenant"), _is_shared)
    .order_by(records.c.user_id)
    .limit(1)
)
_NEXT_TENANT: Final = Prepared(
    sa.select(records.c.tenant)
    .where(records.c.tenant > sa.bindparam("tenant"))
    .order_by(records.c.tenant)
    .limit(1)
)

_LOCK_SESSIONS: Final = Prepared(
    sa.select(sessions.c.session_id)
    .select_from(_keys.join(sessions, is_listed(_keys, sessions.c.tenant, sessions.c.session_id)))
    .order_by(sessions.c.tenant, sessions.c.session_id)
    .with_for_update(of=sessions, read=True, key_share=True)
)


class Lapsing(Exception):
    """A record is stored but has expired, or its session has. A write decided before may be pending, which would have
    prevented that: the question must be asked again with a lock."""


def read_record(
    connection: Connection, name: RecordName, *, rules: Rules, now: Micros | None
) -> Record | None:
    """Raises Lapsing, KeyNotAvailable, DataCorrupted."""
    instant = read_clock(connection, now)
    for row in _FETCH.rows(connection, keys=as_list([stored_key(name)]), now=instant):
        if _is_gone(row, instant):
            raise Lapsing
        return _record(row, rules)
    return None


def read_records(
    connection: Connection, names: Collection[RecordName], *, rules: Rules, now: Micros
) -> dict[RecordName, Record]:
    """The records that exist. Raises KeyNotAvailable, DataCorrupted."""
    found = _fetched(connection, map(stored_key, names), rules=rules, now=now)
    return {record.name: record for record in found.values()}


def find_page(
    connection: Connection, query: RecordQuery, *, rules: Rules, now: Micros | None
) -> record_lists.Page:
    """The names on a page. Must run on one snapshot. Raises InvalidRequest for an unsupported filter."""
    return record_lists.find_page(connection, query, rules=rules, now=read_clock(connection, now))


def read_page(connection: Connection, query: RecordQuery, *, rules: Rules, now: Micros | None) -> RecordPage:
    """Must run on one snapshot. Raises InvalidRequest for an unsupported filter, KeyNotAvailable, DataCorrupted."""
    instant = read_clock(connection, now)
    page = find_page(connection, query, rules=rules, now=instant)
    found = _fetched(connection, page.keys, rules=rules, now=instant, query=query)
    return RecordPage(tuple(found[key] for key in page.keys if key in found), page.next)


def shared_scopes(connection: Connection, after: Scope | None, limit: int) -> list[Scope]:
    """The next scopes with shared records, in order; empty at the end. Takes a few index steps for each."""
    found: list[Scope] = []
    place = after or Scope("")
    while len(found) < limit:
        row = _NEXT_USER.first(connection, tenant=place.tenant, user_id=place.user_id)
        while row is None:
            tenant = _NEXT_TENANT.first(connection, tenant=place.tenant)
            if tenant is None:
                return found
            place = Scope(tenant[0])
            row = _OF_TENANT.first(connection, tenant=place.tenant)
        place = Scope(place.tenant, user_id=row[0])
        found.append(place)
    return found


def refresh_record(
    connection: Connection, name: RecordName, *, refresh_ttl: bool, rules: Rules, now: Micros | None
) -> Record | None:
    """The record after all pending writes to it, with its ttl restarted if requested. In a write transaction. Raises
    KeyNotAvailable, DataCorrupted, SessionLocked."""
    instant = _lock(connection, [name], rules, now)
    found = read_records(connection, [name], rules=rules, now=instant)
    refreshed = _refreshed(connection, found.values(), now=instant) if refresh_ttl else list(found.values())
    return refreshed[0] if refreshed else None


def refresh_page(
    connection: Connection, query: RecordQuery, *, rules: Rules, now: Micros | None
) -> RecordPage:
    """A page whose ttls are restarted. In a write transaction. Raises the errors of `read_page`, and SessionLocked."""
    page = find_page(connection, query, rules=rules, now=now)
    return refresh_found(connection, page, query, rules=rules, now=now)


def refresh_found(
    connection: Connection, page: record_lists.Page, query: RecordQuery, *, rules: Rules, now: Micros | None
) -> RecordPage:
    """The records of a page found earlier, with their ttls restarted; those gone by now are left out. In a write
    transaction. Raises SessionLocked, KeyNotAvailable, DataCorrupted."""
    names = query._replace(keys_only=True)
    heads = _fetched(connection, page.keys, rules=rules, now=read_clock(connection, now), query=names)
    instant = _lock(connection, [record.name for record in heads.values()], rules, now)
    found = _fetched(connection, page.keys, rules=rules, now=instant, query=query)
    kept = [found[key] for key in page.keys if key in found]
    return RecordPage(tuple(_refreshed(connection, kept, now=instant)), page.next)


def _lock(connection: Connection, names: Collection[RecordName], rules: Rules, now: Micros | None) -> Micros:
    """Locks sessions, shared names and rows, in the same order as every transaction. Returns the time afterwards."""
    locks = rules.backend.locks
    if locks is not None:
        keys = {key for name in names if (key := name.scope.session) is not None}
        if keys:
            locks.wait_long.rows(connection)
            _LOCK_SESSIONS.rows(connection, keys=as_list(sorted(keys)))
        lock_records(connection, names, (), locks=locks, now=now)
        lock_rows(connection, names)
    return read_clock(connection, now)


def _refreshed(connection: Connection, found: Iterable[Record], *, now: Micros) -> list[Record]:
    after = [
        record if record.ttl is None else record._replace(expire_time=Micros(now + record.ttl))
        for record in found
    ]
    refresh_records(connection, [record for record in after if record.ttl is not None])
    return after


def _fetched(
    connection: Connection,
    keys: Iterable[StoredKey],
    *,
    rules: Rules,
    now: Micros,
    query: RecordQuery | None = None,
) -> dict[StoredKey, Record]:
    """A list over all sessions omits damaged records, which must only affect their own session."""
    statement = _FETCH_WITHOUT_VALUE if query is not None and query.keys_only else _FETCH
    found: dict[StoredKey, Record] = {}
    for row in statement.rows(connection, keys=as_list(keys), now=now):
        if _is_gone(row, now):
            continue
        try:
            found[StoredKey(*row[:5])] = _record(row, rules)
        except DataCorrupted as error:
            if query is None or not query.all_sessions:
                raise
            report(Scope(*row[:3]).cell_key, error)
    return found


def _is_gone(row: Row, now: Micros) -> bool:
    """Whether the record has expired, or its session was erased."""
    expire_time, is_erased = row[RECORD_WIDTH - 2], row[RECORD_WIDTH]
    return is_erased or has_passed(expire_time, now)


def _record(row: Row, rules: Rules) -> Record:
    _, data_key, value = row[RECORD_WIDTH:]
    tenant, session_id, user_id = row[:3]
    content = (
        Content(rules.cells, SessionKey(tenant, session_id), data_key)
        if session_id
        else shared_content(Scope(tenant, user_id=user_id), data_key, rules)
    )
    return record_from_row(row, value, content)

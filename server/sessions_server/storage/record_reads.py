"""Reads records by name, and pages of them: without locks, or locked if their ttls are to be restarted.

A deleted session, or one erased by its ttl, has no records, whether or not they are still stored.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence as Seq
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from sessions_server.domain.errors import DataCorrupted
from sessions_server.domain.models import Micros
from sessions_server.domain.record_reads import RecordPage, RecordQuery
from sessions_server.domain.records import Record, RecordName, Scope
from sessions_server.storage import record_lists
from sessions_server.storage.damage import report
from sessions_server.storage.recent_records import read_small
from sessions_server.storage.record_owners import FOUND_COLUMNS, FOUND_WIDTH, IS_GONE, by_name
from sessions_server.storage.record_rows import (
    KEY_WIDTH,
    NAME_COLUMNS,
    RECORD_WIDTH,
    StoredName,
    has_passed,
    name_in,
    record_from_row,
    stored_name,
)
from sessions_server.storage.records import lock_records, lock_rows, refresh_records
from sessions_server.storage.schema import records, sessions
from sessions_server.storage.statements import Prepared, Row, as_list, is_listed, item, listed, read_clock

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection
    from sqlalchemy.sql.expression import ColumnElement

    from sessions_server.storage.rules import Rules

_keys = listed("keys")
_IS_SHARED: Final = records.c.session_id == sa.literal_column("''")


def _fetch(value: ColumnElement[Any]) -> Prepared:
    name = [item(_keys, index) for index in range(len(NAME_COLUMNS))]
    return Prepared(sa.select(*FOUND_COLUMNS, value, IS_GONE).select_from(by_name(_keys, name)))


_FETCH: Final = _fetch(records.c.value)
_FETCH_WITHOUT_VALUE: Final = _fetch(sa.null())

_NEXT_USER: Final = Prepared(
    sa.select(records.c.user_id)
    .where(
        records.c.tenant == sa.bindparam("tenant"), _IS_SHARED, records.c.user_id > sa.bindparam("user_id")
    )
    .order_by(records.c.user_id)
    .limit(1)
)
_OF_TENANT: Final = Prepared(
    sa.select(records.c.user_id)
    .where(records.c.tenant == sa.bindparam("tenant"), _IS_SHARED)
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
    for row in _FETCH.rows(connection, keys=as_list([stored_name(name)]), now=instant):
        if _is_gone(row, instant):
            raise Lapsing
        return _record(row, rules)
    return None


def read_records(
    connection: Connection, names: Collection[RecordName], *, rules: Rules, now: Micros
) -> dict[RecordName, Record]:
    """The records that exist. Raises KeyNotAvailable, DataCorrupted."""
    found = _fetched(connection, map(stored_name, names), rules=rules, now=now)
    return {record.name: record for record in found.values()}


def find_page(
    connection: Connection, query: RecordQuery, *, rules: Rules, now: Micros | None
) -> record_lists.Page[StoredName]:
    """The names on a page. Must run on one snapshot. Raises InvalidRequest for an unsupported filter."""
    instant = read_clock(connection, now)
    page = record_lists.find_page(connection, query, rules=rules, now=instant)
    return record_lists.Page([name_in(row) for row in page.found], page.next)


def read_page(connection: Connection, query: RecordQuery, *, rules: Rules, now: Micros | None) -> RecordPage:
    """Must run on one snapshot. Raises InvalidRequest for an unsupported filter, KeyNotAvailable, DataCorrupted."""
    instant = read_clock(connection, now)
    page = record_lists.find_page(connection, query, rules=rules, now=instant)
    if query.values_only:
        values = _values(connection, page.found, rules=rules, now=instant, query=query)
        return RecordPage((), page.next, values)
    small = [read_small(row, rules) or row for row in page.found]
    waiting = [each for each in small if not isinstance(each, Record)]
    read = _read(connection, waiting, rules=rules, now=instant, query=query) if waiting else {}
    found = (each if isinstance(each, Record) else read.get(name_in(each)) for each in small)
    return RecordPage(tuple(each for each in found if each is not None), page.next)


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
    connection: Connection,
    page: record_lists.Page[StoredName],
    query: RecordQuery,
    *,
    rules: Rules,
    now: Micros | None,
) -> RecordPage:
    """The records of a page found earlier, with their ttls restarted; those gone by now are left out. In a write
    transaction. Raises SessionLocked, KeyNotAvailable, DataCorrupted."""
    names = query._replace(keys_only=True)
    heads = _fetched(connection, page.found, rules=rules, now=read_clock(connection, now), query=names)
    instant = _lock(connection, [record.name for record in heads.values()], rules, now)
    found = _fetched(connection, page.found, rules=rules, now=instant, query=query)
    kept = [found[name] for name in page.found if name in found]
    after = _refreshed(connection, kept, now=instant)
    if query.values_only:
        return RecordPage((), page.next, tuple(record.value for record in after))
    return RecordPage(tuple(after), page.next)


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
    names: Iterable[StoredName],
    *,
    rules: Rules,
    now: Micros,
    query: RecordQuery | None = None,
) -> dict[StoredName, Record]:
    """The records that exist, of a list if `query` is given."""
    statement = _FETCH_WITHOUT_VALUE if query is not None and query.keys_only else _FETCH
    rows = statement.rows(connection, keys=as_list(names), now=now)
    found = _sound((row for row in rows if not _is_gone(row, now)), rules=rules, query=query)
    return {stored_name(record.name): record for record in found}


def _read(
    connection: Connection, rows: Iterable[Row], *, rules: Rules, now: Micros, query: RecordQuery
) -> dict[StoredName, Record]:
    """The records in rows of a page, whose large values have not been read yet."""
    complete: list[Row] = []
    large: list[Row] = []
    for row in rows:
        (complete if query.keys_only or row[FOUND_WIDTH - 1] is not None else large).append(row)
    found = {stored_name(each.name): each for each in _sound(complete, rules=rules, query=query)}
    return (
        found | _fetched(connection, map(name_in, large), rules=rules, now=now, query=query)
        if large
        else found
    )


def _values(
    connection: Connection, rows: Seq[Row], *, rules: Rules, now: Micros, query: RecordQuery
) -> tuple[bytes, ...]:
    """The values in rows of a page of values, of which large and encrypted ones have not been read yet."""
    found = [row[KEY_WIDTH] for row in rows]
    waiting = {
        place: name_in(rows[place]) for place, value in enumerate(found) if not isinstance(value, bytes)
    }
    read = _fetched(connection, waiting.values(), rules=rules, now=now, query=query) if waiting else {}
    for place, name in waiting.items():
        found[place] = read[name].value if name in read else None
    return tuple(value for value in found if value is not None)


def _sound(rows: Iterable[Row], *, rules: Rules, query: RecordQuery | None) -> Iterator[Record]:
    """The records in rows. A list over all sessions omits damaged ones, which must only affect their own session."""
    for row in rows:
        try:
            yield _record(row, rules)
        except DataCorrupted as error:
            if query is None or not query.all_sessions:
                raise
            report(Scope(*row[:3]).cell_key, error)


def _is_gone(row: Row, now: Micros) -> bool:
    """Whether the record has expired, or its session is gone."""
    return row[FOUND_WIDTH] or has_passed(row[RECORD_WIDTH - 2], now)


def _record(row: Row, rules: Rules) -> Record:
    data_key, value = row[RECORD_WIDTH:FOUND_WIDTH]
    return record_from_row(row, value, rules.cells, data_key)

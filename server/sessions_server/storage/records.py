"""Loads and saves the records named by the commits of one transaction.

Session records are protected by the lock on their session's row, which the transaction already has. Shared ones are
protected by locks on their names, which also cover names without a row and are always taken in the same order, so that
transactions never deadlock. The rows are locked too, against the sweeper, which takes no other lock and never waits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

import sqlalchemy as sa

from sessions_server.domain.errors import DataCorrupted
from sessions_server.domain.models import Micros, SessionKey
from sessions_server.domain.records import Record, RecordHead, RecordName, Records
from sessions_server.storage.record_names import beginning_with, name_hash
from sessions_server.storage.record_owners import by_name, current_start
from sessions_server.storage.record_rows import (
    HEAD_COLUMNS,
    KEY_COLUMNS,
    KEY_WIDTH,
    NAME_COLUMNS,
    StoredKey,
    head_from_row,
    is_expired,
    name_from_row,
    row_of,
    stored_key,
    stored_name,
    term_rows,
)
from sessions_server.storage.schema import TEXT, record_terms, records
from sessions_server.storage.shared_keys import contents_for_writing, lock_number
from sessions_server.storage.statements import (
    Lookup,
    Prepared,
    Upsert,
    as_list,
    item,
    listed,
    read_clock,
)
from sessions_server.storage.terms import Term, terms

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.limits import Limits
    from sessions_server.storage.backend import Locks
    from sessions_server.storage.content import Content
    from sessions_server.storage.rules import Rules
    from sessions_server.storage.statements import Row

_LOCKS_OF_TENANT: Final = 256
"""How many locks the names of a tenant's shared records map to: PostgreSQL has room for a few thousand in total."""

Starts: TypeAlias = "Mapping[SessionKey, int]"
"""The `records_start` of sessions; without an entry, 0."""

_keys = listed("keys")
_FIND: Final = Lookup(
    sa.select(*HEAD_COLUMNS).order_by(*KEY_COLUMNS).with_for_update(of=records), records, KEY_COLUMNS
)
_LOCK: Final = Prepared(
    sa.select(sa.literal_column("1"))
    .select_from(by_name(_keys, [item(_keys, index) for index in range(len(NAME_COLUMNS))]))
    .order_by(*KEY_COLUMNS)
    .with_for_update(of=records)
)
_FIND_BELOW: Final = Prepared(
    sa.select(*HEAD_COLUMNS)
    .where(
        *(column == sa.bindparam(column.name) for column in KEY_COLUMNS[:-1]),
        records.c.key >= sa.bindparam("low"),
        records.c.key < sa.bindparam("high"),
    )
    .order_by(*KEY_COLUMNS)
    .limit(sa.bindparam("count"))
    .with_for_update()
)

_PUT: Final = Upsert(records)
_DELETE: Final = Prepared(
    records.delete().where(*(column == sa.bindparam(f"old_{column.name}") for column in KEY_COLUMNS))
)
_ADD_TERMS: Final = Prepared(record_terms.insert())
_DROP_TERMS: Final = Prepared(
    record_terms.delete().where(
        *(column == sa.bindparam(f"old_{column.name}") for column in record_terms.primary_key)
    )
)
_DROP_ALL_TERMS: Final = Prepared(
    record_terms.delete().where(
        *(
            record_terms.c[name] == sa.bindparam(f"old_{name}")
            for name in ("tenant", "session_id", "user_id", "records_start", "name_hash")
        )
    )
)
# The records first: locking a record's row also protects its terms against the sweeper.
_ERASE: Final = tuple(
    Prepared(
        table.delete().where(
            table.c.tenant == sa.bindparam("old_tenant"), table.c.session_id == sa.bindparam("old_session_id")
        )
    )
    for table in (records, record_terms)
)

_EXPIRED: Final = Prepared(
    sa.select(*HEAD_COLUMNS)
    .where(records.c.expire_time <= sa.bindparam("until"))
    .order_by(records.c.expire_time)
    .limit(sa.bindparam("count"))
    .with_for_update(skip_locked=True)
)
_SET_EXPIRE_TIME: Final = Prepared(
    records.update()
    .values(expire_time=sa.bindparam("new_expire_time"))
    .where(
        *(column == sa.bindparam(f"of_{column.name}") for column in NAME_COLUMNS),
        records.c.records_start
        == current_start(sa.bindparam("in_tenant", type_=TEXT), sa.bindparam("in_session", type_=TEXT)),
    )
)


def lock_records(
    connection: Connection,
    names: Collection[RecordName],
    prefixes: Collection[RecordName],
    *,
    locks: Locks | None,
    now: Micros | None,
) -> Micros | None:
    """Waits until no other transaction writes to these shared records. Returns the database's time afterwards, or the
    given one; None if there was nothing to lock. The transaction locks its sessions before, and none afterwards."""
    pairs = sorted(_lock_pairs(names, prefixes)) if locks is not None else []
    if locks is None or not pairs:
        return now
    locks.wait_long.rows(connection)
    rows = locks.numbers.rows(connection, pairs=as_list(pairs), now=now)
    return Micros(max(row[-1] for row in rows))


def _lock_pairs(names: Iterable[RecordName], prefixes: Iterable[RecordName]) -> set[tuple[int, int]]:
    """A prefix locks every name of its tenant."""
    tenants = {prefix.scope.tenant for prefix in prefixes if prefix.scope.session is None}
    return {
        *(_lock_pair(name) for name in names if name.scope.session is None),
        *((lock_number(tenant), place) for tenant in tenants for place in range(_LOCKS_OF_TENANT)),
    }


def _lock_pair(name: RecordName) -> tuple[int, int]:
    place = lock_number(name.scope.user_id, *name.collection, name.key) % _LOCKS_OF_TENANT
    return lock_number(name.scope.tenant), place


def load_records(
    connection: Connection,
    names: Collection[RecordName],
    prefixes: Collection[RecordName],
    *,
    rules: Rules,
    now: Micros,
    starts: Starts,
) -> Records:
    """Loads the records with these names, and those in each prefix's collection whose keys match; if there are too
    many, one more than may be deleted. Deletes expired ones. Call it after `lock_records`."""
    by_key = {_key_in(name, starts): name for name in names}
    found = {by_key[StoredKey(*row[:KEY_WIDTH])]: row for row in _FIND.rows(connection, by_key)}
    for prefix in prefixes:
        found |= {
            name_from_row(row): row for row in _rows_below(connection, _key_in(prefix, starts), rules.limits)
        }
    expired = {name: head_from_row(row) for name, row in found.items() if is_expired(row, now)}
    _delete(connection, {_key_in(name, starts): head for name, head in expired.items()})
    return Records({name: head_from_row(row) for name, row in found.items() if name not in expired})


def lock_rows(connection: Connection, names: Iterable[RecordName]) -> None:
    """Waits until no other transaction writes to the stored records with these names."""
    _LOCK.rows(connection, keys=as_list(map(stored_name, names)))


def _key_in(name: RecordName, starts: Starts) -> StoredKey:
    session = name.scope.session
    return stored_key(name, 0 if session is None else starts.get(session, 0))


def _rows_below(connection: Connection, prefix: StoredKey, limits: Limits) -> Iterable[Row]:
    *_, key = prefix
    low, high = beginning_with(key)
    of_collection = {column.name: value for column, value in zip(KEY_COLUMNS, prefix[:-1], strict=False)}
    return _FIND_BELOW.rows(
        connection, **of_collection, low=low, high=high, count=limits.records_per_delete + 1
    )


def save_records(
    connection: Connection,
    before: Records,
    after: Records,
    *,
    content_of: Callable[[SessionKey], Content],
    starts: Starts,
    erased: Collection[SessionKey],
    rules: Rules,
) -> bool:
    """Writes what has changed since the records were loaded, ordered by name. Of the sessions whose records are gone,
    it deletes those of `erased`; the rest are hidden. Returns whether content was erased."""
    _erase_sessions(connection, erased)
    heads = {name: head for name, head in before.heads.items() if name.scope.session not in after.erased}
    gone = {
        _key_in(name, starts): heads[name]
        for name, record in after.writes.items()
        if record is None and name in heads
    }
    put = [record for _, record in sorted(after.writes.items()) if record is not None]
    shared = {record.name.scope for record in put if record.name.scope.session is None}
    contents = contents_for_writing(connection, shared, rules) if shared else {}
    _delete(connection, gone)
    _PUT.many(
        connection,
        [
            row_of(record, content_of(key), starts.get(key, 0))
            if (key := record.name.scope.session)
            else row_of(record, contents[record.name.scope], 0)
            for record in put
        ],
    )
    changed = [
        (_key_in(record.name, starts), _terms_of(heads.get(record.name)), terms(record.labels))
        for record in put
    ]
    _drop_terms(connection, ((key, was - is_now) for key, was, is_now in changed))
    _ADD_TERMS.many(connection, [row for key, was, is_now in changed for row in term_rows(key, is_now - was)])
    return bool(gone or erased)


def _terms_of(head: RecordHead | None) -> set[Term]:
    return terms(head.labels) if head is not None else set()


def _delete(connection: Connection, gone: Mapping[StoredKey, RecordHead]) -> None:
    keys = sorted(gone)
    _DELETE.many(connection, [tuple(key) for key in keys])
    _drop_terms(connection, ((key, terms(gone[key].labels)) for key in keys))


def _drop_terms(connection: Connection, some: Iterable[tuple[StoredKey, set[Term]]]) -> None:
    width = len(record_terms.primary_key)
    _DROP_TERMS.many(connection, [row[:width] for key, dropped in some for row in term_rows(key, dropped)])


def _erase_sessions(connection: Connection, keys: Iterable[SessionKey]) -> None:
    for statement in _ERASE:
        statement.many(connection, [tuple(key) for key in sorted(keys)])


def sweep_records(connection: Connection, limit: int, *, now: Micros | None) -> int:
    """Deletes at most this many expired records. Returns how many. Those locked by a writer are left for the next
    time."""
    rows = _EXPIRED.rows(connection, until=read_clock(connection, now), count=limit)
    _delete_rows(connection, rows)
    return len(rows)


def _delete_rows(connection: Connection, rows: Iterable[Row]) -> None:
    """Deletes records, given as rows of HEAD_COLUMNS."""
    gone: dict[StoredKey, RecordHead] = {}
    for row in map(tuple, rows):
        key = StoredKey(*row[:KEY_WIDTH])
        try:
            gone[key] = head_from_row(row)
        except DataCorrupted:
            _delete_damaged(connection, key)
    _delete(connection, gone)


def _delete_damaged(connection: Connection, key: StoredKey) -> None:
    """Deletes a record whose labels cannot be read, and so its terms are unknown."""
    _DELETE.many(connection, [tuple(key)])
    _DROP_ALL_TERMS.many(connection, [(*key.owner, name_hash(key.collection, key.key))])


def refresh_records(connection: Connection, refreshed: Iterable[Record]) -> None:
    """Writes the new expiry times of the records, which are locked."""
    rows = [(record.expire_time, *stored_name(record.name), *record.name.scope[:2]) for record in refreshed]
    _SET_EXPIRE_TIME.many(connection, rows)

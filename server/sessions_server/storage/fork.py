"""Forks a session in one transaction, which reads one snapshot of the source without locking it.

Unencrypted data takes one statement per table, whatever the number of rows. Encrypted data is encrypted again with the
new session's key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from sessions_server.domain.errors import SessionNotFound
from sessions_server.domain.expiry import view
from sessions_server.domain.fork import Fork, Origin, commit_of, stub_of
from sessions_server.domain.models import EventType, Micros, Sequence, Session
from sessions_server.domain.workspace import Published
from sessions_server.storage.content import Content
from sessions_server.storage.counters import set_counters
from sessions_server.storage.message_ids import IS_ORDINARY
from sessions_server.storage.past import check_position, snapshot_at
from sessions_server.storage.record_rows import KEY_COLUMNS, KEY_WIDTH, name_from_row
from sessions_server.storage.rows import SESSION_COLUMNS, session_from_row, upkeep
from sessions_server.storage.schema import contexts, json_text, log, record_terms, records, sessions
from sessions_server.storage.spans import between, decode
from sessions_server.storage.statements import Prepared

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection

    from sessions_server.domain.commit import Committed
    from sessions_server.domain.history import Span
    from sessions_server.storage.rules import Rules
    from sessions_server.storage.transaction import StoreTransaction

_MESSAGES_AT_ONCE: Final = 500
_RECORDS_AT_ONCE: Final = 16
"""Each is at most 3 MiB."""

_NEW_ID: Final = sa.bindparam("new_session_id", type_=sa.Text)
_NOW: Final = sa.bindparam("now", type_=sa.BigInteger)


def _of_source(table: sa.FromClause) -> tuple[sa.ColumnElement[bool], ...]:
    return table.c.tenant == sa.bindparam("tenant"), table.c.session_id == sa.bindparam("session_id")


_SESSION: Final = Prepared(sa.select(*SESSION_COLUMNS).where(*_of_source(sessions)))
_CONTEXT: Final = Prepared(
    sa.select(contexts.c.revision, contexts.c.update_time, contexts.c.data).where(*_of_source(contexts))
)
_MESSAGES: Final = (
    log.c.sequence >= sa.bindparam("first"),
    log.c.sequence <= sa.bindparam("last"),
    log.c.message_id.is_not(None),
)
_COUNT_MESSAGES: Final = Prepared(
    sa.select(sa.func.count()).select_from(log).where(*_of_source(log), *_MESSAGES)
)

_CREATED: Final = sa.bindparam("created", type_=sa.BigInteger)


def _copy(table: sa.Table, *conditions: sa.ColumnElement[bool], **changed: Any) -> Prepared:
    """Inserts the rows of the source as those of the new session, with other values in some columns."""
    changed["session_id"] = _NEW_ID
    columns: list[Any] = [changed.get(column.name, column) for column in table.c]
    rows: sa.Select[Any] = sa.select(*columns).where(*_of_source(table), *conditions)
    return Prepared(table.insert().from_select([column.name for column in table.c], rows))


def _copy_messages(sequence: sa.ColumnElement[Any]) -> Prepared:
    return _copy(
        log,
        *_MESSAGES,
        sequence=sequence,
        request_id=sa.bindparam("request_id", type_=sa.Text),
        time=_NOW,
        change=sa.cast(sa.null(), sa.LargeBinary),
        message_time=sa.func.coalesce(log.c.message_time, log.c.time),
        import_start=sa.literal_column("0"),
    )


_COPY_MESSAGES: Final = _copy_messages(_CREATED + sa.func.row_number().over(order_by=log.c.sequence))
# Numbering them costs a quarter of the statement, and is not needed for messages without other events in between.
_SHIFT_MESSAGES: Final = _copy_messages(log.c.sequence + sa.bindparam("shift", type_=sa.BigInteger))


def _end(function: Callable[..., sa.ColumnElement[Any]]) -> sa.ColumnElement[Any]:
    return sa.select(function(log.c.sequence)).where(*_of_source(log), *_MESSAGES).scalar_subquery()


_FIND_ENDS: Final = Prepared(sa.select(_end(sa.func.min), _end(sa.func.max)))
_NEXT_MESSAGES: Final = Prepared(
    sa.select(
        log.c.sequence, log.c.message_id, log.c.payload, sa.func.coalesce(log.c.message_time, log.c.time)
    )
    .where(*_of_source(log), *_MESSAGES)
    .order_by(log.c.sequence)
    .limit(_MESSAGES_AT_ONCE)
)
_ADD_MESSAGES: Final = Prepared(log.insert())

_HIDDEN: Final = Prepared(sa.select(json_text(sessions.c.hidden)).where(*_of_source(sessions)))
_copied = log.alias("copied")
_FREE_MESSAGE_IDS: Final = Prepared(
    log.update()
    .values(message_id=sa.null(), payload=sa.null())
    .where(
        log.c.tenant == sa.bindparam("tenant"),
        log.c.session_id == _NEW_ID,
        log.c.sequence >= sa.bindparam("dead_first"),
        log.c.sequence <= sa.bindparam("dead_last"),
        IS_ORDINARY,
        log.c.message_id.in_(
            sa.select(_copied.c.message_id).where(
                *_of_source(_copied),
                _copied.c.sequence >= sa.bindparam("first"),
                _copied.c.sequence <= sa.bindparam("last"),
                _copied.c.message_id.is_not(None),
            )
        ),
    )
)


def _current(table: sa.Table) -> tuple[sa.ColumnElement[bool], ...]:
    start = sa.bindparam("records_start", type_=sa.BigInteger)
    return table.c.user_id == sa.literal_column("''"), table.c.records_start == start


_LIVE: Final = sa.and_(
    *_current(records), sa.or_(records.c.expire_time.is_(None), records.c.expire_time > _NOW)
)
_COPY_RECORDS: Final = _copy(records, _LIVE, records_start=sa.literal_column("0"))
_NEXT_RECORDS: Final = Prepared(
    sa.select(*(sa.cast(each, sa.Text) if each is records.c.labels else each for each in records.c))
    .where(
        *_of_source(records),
        _LIVE,
        sa.tuple_(records.c.collection, records.c.key)
        > sa.tuple_(
            sa.bindparam("after_collection", type_=sa.Text), sa.bindparam("after_key", type_=sa.Text)
        ),
    )
    .order_by(records.c.collection, records.c.key)
    .limit(_RECORDS_AT_ONCE)
)
_ADD_RECORDS: Final = Prepared(records.insert())
_COPY_TERMS: Final = _copy(
    record_terms,
    *_current(record_terms),
    sa.select(sa.literal_column("1"))
    .where(*(column == record_terms.c[column.name] for column in KEY_COLUMNS), _LIVE)
    .exists(),
    records_start=sa.literal_column("0"),
)


def fork_session(
    connection: Connection, transaction: StoreTransaction, fork: Fork, *, rules: Rules
) -> tuple[Committed, list[Published]]:
    """Must run in a bulk transaction. Raises SessionNotFound for a missing source, CursorAhead, EventsCompacted,
    SessionExists, EncryptionNotConfigured, RequestIdReused."""
    stub = stub_of(fork)
    workspace = transaction.load([stub])
    slot = workspace.slots[fork.key]
    if fork.request is not None and fork.request.id in slot.requests:
        return workspace.apply(stub), []
    source = _source(connection, fork, rules, workspace.now)
    committed = workspace.apply(commit_of(fork, source.origin))
    published = transaction.save(workspace)
    created = committed.session_after()
    before = Content(rules.cells, fork.source, source.data_key)
    after = Content(rules.cells, fork.key, created.data_key)
    _Copy(connection, fork, source, before, after, workspace.now).make(created)
    return committed, [each._replace(events=[], head=created.last_sequence) for each in published]


class _Source(NamedTuple):
    origin: Origin
    data_key: bytes | None
    parts: list[Span]
    """Where its messages are; everything in between has left its history."""
    records_start: Sequence
    """Records before this position are hidden."""


def _source(connection: Connection, fork: Fork, rules: Rules, now: Micros) -> _Source:
    key = fork.source._asdict()
    row = _SESSION.first(connection, **key)
    session = None if row is None else view(stored := session_from_row(row), now)
    if row is None or session is None:
        raise SessionNotFound
    content, head = Content(rules.cells, fork.source, stored.data_key), stored.last_sequence
    at = head if fork.at is None else fork.at
    parts = list(between(upkeep(row).hidden, stored.history_start, at))
    if at == head:
        found = _CONTEXT.first(connection, **key)
        context, count = None if found is None else content.context(*found), stored.message_count
    else:
        check_position(at, head, upkeep(row).replay_start)
        past, context = snapshot_at(connection, content, at, stored)
        if past is None:
            raise SessionNotFound
        session = past
        count = sum(_COUNT_MESSAGES.rows(connection, **key, **part._asdict())[0][0] for part in parts)
    origin = Origin(session, context, at, count, at == head)
    return _Source(origin, stored.data_key, parts, upkeep(row).records_start)


class _Copy:
    """Copies messages and records into the new session."""

    def __init__(
        self,
        connection: Connection,
        fork: Fork,
        source: _Source,
        before: Content,
        after: Content,
        now: Micros,
    ) -> None:
        self._connection = connection
        self._fork = fork
        self._origin = source.origin
        self._parts = source.parts
        self._before = before
        self._after = after
        self._now = now
        self._key: dict[str, Any] = {**fork.source._asdict(), "now": now}
        self._live: dict[str, Any] = {**self._key, "records_start": source.records_start}

    def make(self, created: Session) -> None:
        count = self._origin.message_count
        first = Sequence(created.last_sequence - count)
        new_id, request = self._fork.key.session_id, self._fork.request
        if count:
            self._copy_messages(first, "" if request is None else request.id)
            set_counters(self._connection, created)
        if self._origin.is_head:
            if self._before.data_key is None:
                _COPY_RECORDS.run(self._connection, **self._live, new_session_id=new_id)
            else:
                self._seal_records()
            _COPY_TERMS.run(self._connection, **self._live, new_session_id=new_id)

    def _copy_messages(self, created: Sequence, request_id: str) -> None:
        self._free_message_ids()
        copy = self._insert_messages if self._before.data_key is None else self._seal_messages
        for part in self._parts:
            created = Sequence(created + copy(part, created, request_id))

    def _free_message_ids(self) -> None:
        """Frees message ids of a deleted session with the new one's id, whose messages may have the same ids."""
        [[hidden]] = _HIDDEN.rows(self._connection, **self._fork.key._asdict())
        for dead in decode(hidden, self._fork.key):
            for part in self._parts:
                _FREE_MESSAGE_IDS.run(
                    self._connection,
                    **self._key,
                    **part._asdict(),
                    new_session_id=self._fork.key.session_id,
                    dead_first=dead.first,
                    dead_last=dead.last,
                )

    def _insert_messages(self, part: Span, created: Sequence, request_id: str) -> int:
        """Returns how many, like all functions that copy messages."""
        source = {**self._key, **part._asdict()}
        copies = {**source, "new_session_id": self._fork.key.session_id, "request_id": request_id}
        if len(self._parts) == 1:
            [[first, last]] = _FIND_ENDS.rows(self._connection, **source)
            if last - first + 1 == self._origin.message_count:
                return _SHIFT_MESSAGES.run(self._connection, **copies, shift=created + 1 - first)
        return _COPY_MESSAGES.run(self._connection, **copies, created=created)

    def _seal_messages(self, part: Span, created: Sequence, request_id: str) -> int:
        first, place = part.first, created
        while rows := _NEXT_MESSAGES.rows(self._connection, **self._key, first=first, last=part.last):
            values = []
            for sequence, message_id, payload, message_time in rows:
                place = Sequence(place + 1)
                cell = self._before.moved_payload(sequence, payload, self._after, place)
                values.append(
                    (
                        *(*self._fork.key, place, EventType.MESSAGE.value, message_id, request_id, self._now),
                        *(cell, None, message_time, 0),
                    )
                )
            _ADD_MESSAGES.many(self._connection, values)
            first = Sequence(rows[-1][0] + 1)
        return place - created

    def _seal_records(self) -> None:
        columns = [column.name for column in records.c]
        after = {"after_collection": "", "after_key": ""}
        while rows := _NEXT_RECORDS.rows(self._connection, **self._live, **after):
            values = []
            for row in rows:
                stored = dict(zip(columns, row, strict=True))
                name = name_from_row((*row[:KEY_WIDTH], stored["full_collection"]))
                moved = name._replace(scope=name.scope._replace(session_id=self._fork.key.session_id))
                plain = self._before.record_value(name, bytes(stored["value"]))
                changed = {
                    "session_id": self._fork.key.session_id,
                    "records_start": 0,
                    "value": self._after.record_cell(moved, plain),
                }
                values.append(tuple((stored | changed).values()))
            _ADD_RECORDS.many(self._connection, values)
            *_, collection, key = rows[-1][:KEY_WIDTH]
            after = {"after_collection": collection, "after_key": key}

"""Erases in bounded steps what callers have already erased: it is hidden from them, and only its rows are left.

A write erases a few rows itself. If there are more, it only marks them as hidden in the session's row and adds the work
to a list, in the same transaction. So its cost does not depend on the number, and the work is found again if a server
is killed in between. A step locks one session, or its id if there is none, then one item of the list, in the same order
as writers.
"""

from __future__ import annotations

import random
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import sqlalchemy as sa

from sessions_server.domain.errors import DataCorrupted
from sessions_server.domain.models import EventType, SessionKey
from sessions_server.domain.sizes import fitting
from sessions_server.storage import spans
from sessions_server.storage.content import Keeping
from sessions_server.storage.record_erasure import ALL_STARTS, StartRange, erase_records
from sessions_server.storage.schema import bases, erasures, json_text, log, requests, sessions
from sessions_server.storage.statements import (
    READ_NOW,
    Prepared,
    Row,
    Upsert,
    as_list,
    is_listed,
    listed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence as Seq

    from sqlalchemy.engine import Connection

    from sessions_server.domain.models import Micros
    from sessions_server.storage.backend import Locks
    from sessions_server.storage.spans import Spans

# Not the module's own state: with `:memory:`, the store runs in its user's process.
_random: random.Random = random.SystemRandom()

FEW: Final = 256
"""How many rows in total a write erases itself. More are left to later steps."""

_STEP_BYTES: Final = 4 * 1024 * 1024
"""How much content a step erases at most, or a single row."""

_ITEMS_AT_ONCE: Final = 32

PUT_ERASURES: Final = Upsert(erasures)


class What(StrEnum):
    """What is to be erased of a session."""

    MESSAGES = "messages"
    """The messages in the hidden spans of its row."""
    CHANGES = "changes"
    """The context's past values in events up to a position."""
    LOG = "log"
    """All rows of the log up to a position, of a deleted session."""
    RECORDS = "records"
    """All records of a deleted session, or those that an import has replaced."""
    ANSWERS = "answers"
    """The stored responses of a deleted session's request ids."""
    IMPORT = "import"
    """The rows of an import in progress, between two positions, or of an abandoned one. See staging.py."""


BEFORE_CREATION: Final = frozenset({What.RECORDS, What.ANSWERS, What.IMPORT})
"""What must be erased before a session with the id is created again, because these rows cannot be told from new
ones."""


class Erasure(NamedTuple):
    """An item of the list."""

    tenant: str
    session_id: str
    what: str
    through: int = 0
    position: int = 0
    lease: int | None = None
    """Until when to leave the rows alone; None to erase them now."""

    @property
    def session(self) -> dict[str, str]:
        return {"key_tenant": self.tenant, "key_session_id": self.session_id}

    def joined(self, listed: Erasure | None) -> Erasure:
        """An item that does the work of both, one of which is on the list."""
        if listed is None:
            return self
        return self._replace(
            through=max(self.through, listed.through), position=min(self.position, listed.position)
        )


def of_session(table: sa.Table) -> tuple[sa.ColumnElement[bool], ...]:
    """The condition on the key; its parameters have other names than the columns, for statements about many rows."""
    return (
        table.c.tenant == sa.bindparam("key_tenant"),
        table.c.session_id == sa.bindparam("key_session_id"),
    )


# As a literal, since every parameter of a statement for many rows is sent with each row.
_KEEPING_ERASED: sa.ColumnElement[int] = sa.literal_column(str(Keeping.ERASED.value))

HAS_ANSWER: Final = requests.c.sealed < _KEEPING_ERASED
"""Whether the response to a request is still stored with its id."""

_IS_ITEM: Final = (*of_session(erasures), erasures.c.what == sa.bindparam("what"))

_keys = listed("keys")
_FIND: Final = Prepared(
    sa.select(*erasures.c)
    .select_from(_keys)
    .join(erasures, is_listed(_keys, erasures.c.tenant, erasures.c.session_id))
)

_ITEMS: Final = Prepared(
    sa.select(*erasures.c, READ_NOW)
    .where(sa.or_(erasures.c.lease.is_(None), erasures.c.lease <= READ_NOW))
    .order_by(*erasures.primary_key.columns)
    .limit(_ITEMS_AT_ONCE)
)
_CLAIM: Final = Prepared(sa.select(*erasures.c).where(*_IS_ITEM).with_for_update())
_DONE: Final = Prepared(erasures.delete().where(*_IS_ITEM))

_LOCK_SESSION: Final = Prepared(
    sa.select(sessions.c.log_start, json_text(sessions.c.hidden), sessions.c.records_start)
    .where(*of_session(sessions))
    .with_for_update()
)
_SET_HIDDEN: Final = Prepared(
    sessions.update()
    .values(hidden=sa.bindparam("new_hidden", type_=sessions.c.hidden.type))
    .where(*of_session(sessions))
)

_WITH_CONTEXT: Final = (EventType.CREATED, EventType.CONTEXT_CHANGE, EventType.IMPORTED)
"""The events that contain values of the context; the first is that of a fork."""

IN_SPAN: Final = (
    *of_session(log),
    log.c.sequence >= sa.bindparam("first"),
    log.c.sequence <= sa.bindparam("last"),
)
_BYTES: Final = sa.func.coalesce(sa.func.length(log.c.payload), 0) + sa.func.coalesce(
    sa.func.length(log.c.change), 0
)


def _next_rows(*conditions: sa.ColumnElement[bool]) -> Prepared:
    return Prepared(
        sa.select(log.c.sequence, _BYTES)
        .where(*IN_SPAN, *conditions)
        .order_by(log.c.sequence)
        .limit(sa.bindparam("count"))
    )


_NEXT_ROWS: Final = _next_rows()
_NEXT_OUTSIDE_HISTORY: Final = _next_rows(log.c.message_id.is_(None))
CLEARED: Final = log.update().values(message_id=sa.null(), payload=sa.null())
CLEAR_MESSAGES: Final = Prepared(CLEARED.where(*IN_SPAN, log.c.message_id.is_not(None)))
FORGET_CHANGES: Final = Prepared(
    log.update()
    .values(change=sa.null())
    .where(
        *IN_SPAN,
        log.c.change.is_not(None),
        log.c.type.in_([sa.literal_column(f"'{kind}'") for kind in _WITH_CONTEXT]),
    )
)
_DELETE_ROWS: Final = Prepared(log.delete().where(*IN_SPAN))
_DELETE_BASES: Final = Prepared(
    bases.delete().where(*of_session(bases), bases.c.sequence >= sa.bindparam("first"))
)
_END_IMPORT: Final = Prepared(sessions.update().values(import_start=sa.null()).where(*of_session(sessions)))

_ANSWERED: Final = (*of_session(requests), HAS_ANSWER)
_NEXT_ANSWERS: Final = Prepared(
    sa.select(requests.c.request_id, sa.func.length(requests.c.answer))
    .where(*_ANSWERED)
    .limit(sa.bindparam("count"))
)
_ERASED: Final = requests.update().values(
    answer=sa.bindparam("new_answer", type_=requests.c.answer.type), sealed=_KEEPING_ERASED
)
ERASE_ANSWERS: Final = Prepared(_ERASED.where(*_ANSWERED))
_ERASE_ANSWER: Final = Prepared(
    _ERASED.where(requests.c.request_id == sa.bindparam("of_request"), *of_session(requests))
)


def find_erasures(connection: Connection, keys: Iterable[SessionKey]) -> list[Erasure]:
    """The pending erasures of these ids."""
    return [Erasure(*row) for row in _FIND.rows(connection, keys=as_list(keys))]


def erase(connection: Connection, limit: int, *, locks: Locks | None, now: Micros | None) -> int:
    """Erases at most this many rows of one item. Returns how many it examined; 0 if nothing is left. Raises
    SessionLocked."""
    items = _ITEMS.rows(connection, now=now)
    if not items:
        return 0
    *chosen, instant = _random.choice(items)  # a random one, so that several servers rarely collide
    found = Erasure(*chosen)
    row = _lock(connection, found, locks, now)
    claimed = _CLAIM.first(connection, **found.session, what=found.what)
    if claimed is None:
        return 1  # another server has done it
    item = Erasure(*claimed)
    if item.lease is not None and item.lease > instant:
        return 1  # the import continued
    session = None if row is None else _session(item, *row)
    count, left = _STEPS[What(item.what)](connection, item, session, limit)
    if left is None:
        _DONE.run(connection, **item.session, what=item.what)
    elif left != item:
        PUT_ERASURES.many(connection, [tuple(left)])
    return max(count, 1)


def _lock(connection: Connection, item: Erasure, locks: Locks | None, now: Micros | None) -> Row | None:
    """The locked session of an item. If there is none, none can be created before the transaction ends."""
    row = _LOCK_SESSION.first(connection, **item.session)
    if row is not None or locks is None:
        return row
    locks.absent.rows(connection, keys=as_list([SessionKey(item.tenant, item.session_id)]), now=now)
    return _LOCK_SESSION.first(connection, **item.session)  # created before its lock was released


def _session(item: Erasure, log_start: int, hidden: str | bytes | None, records_start: object) -> _Locked:
    """The session of an item. If its hidden spans are damaged, nobody knows what to erase, so there are none."""
    try:
        found = spans.decode(hidden, (item.tenant, item.session_id))
    except DataCorrupted:
        found = ()
    return _Locked(log_start, found, records_start if isinstance(records_start, int) else 0)


class _Locked(NamedTuple):
    """The locked session of an item."""

    log_start: int
    hidden: Spans
    records_start: int


class _Progress(NamedTuple):
    rows: int
    """How many were examined."""
    left: Erasure | None
    """None if nothing is left."""


def _messages(connection: Connection, item: Erasure, session: _Locked | None, limit: int) -> _Progress:
    if session is None or not session.hidden:
        return _Progress(0, None)
    span = session.hidden[0]
    count, last = _reach(_NEXT_ROWS.rows(connection, **_in(item, *span), count=limit), limit, span.last)
    if span.first < session.log_start:
        _DELETE_ROWS.run(connection, **_in(item, span.first, min(last, session.log_start - 1)))
    if last >= session.log_start:
        CLEAR_MESSAGES.run(connection, **_in(item, max(span.first, session.log_start), last))
    hidden = spans.after(session.hidden, last)
    _SET_HIDDEN.run(connection, **item.session, new_hidden=spans.encode(hidden))
    return _Progress(count, item if hidden else None)


def _changes(connection: Connection, item: Erasure, _: _Locked | None, limit: int) -> _Progress:
    wanted = _in(item, item.position, item.through)
    count, last = _reach(_NEXT_OUTSIDE_HISTORY.rows(connection, **wanted, count=limit), limit, item.through)
    FORGET_CHANGES.run(connection, **_in(item, item.position, last))
    return _Progress(count, item._replace(position=last + 1) if last < item.through else None)


def _log(connection: Connection, item: Erasure, session: _Locked | None, limit: int) -> _Progress:
    progress = _rows(connection, item, limit)
    if progress.left is None and session is not None and session.hidden:  # not of a session created since
        hidden = spans.after(session.hidden, item.through)
        _SET_HIDDEN.run(connection, **item.session, new_hidden=spans.encode(hidden))
    return progress


def _rows(connection: Connection, item: Erasure, limit: int) -> _Progress:
    """Deletes the next rows of the log from the item's position."""
    first, through = item.position, item.through
    rows = _NEXT_ROWS.rows(connection, **_in(item, first, through), count=limit)
    count, last = _reach(rows, limit, through)
    _DELETE_ROWS.run(connection, **_in(item, first, last))
    return _Progress(count, item if last < through else None)


def _records(connection: Connection, item: Erasure, session: _Locked | None, limit: int) -> _Progress:
    starts = ALL_STARTS if session is None else StartRange(0, session.records_start - 1)
    count = erase_records(connection, item.session, starts, limit, _STEP_BYTES)
    return _Progress(count, item if count else None)


def _answers(connection: Connection, item: Erasure, _: _Locked | None, limit: int) -> _Progress:
    rows = _NEXT_ANSWERS.rows(connection, **item.session, count=limit)
    some = rows[: fitting((size for _, size in rows), _STEP_BYTES)]
    _ERASE_ANSWER.many(connection, [(b"", id_, *item.session.values()) for id_, _ in some])
    return _Progress(len(some), item if some else None)


def _import(connection: Connection, item: Erasure, session: _Locked | None, limit: int) -> _Progress:
    """The first step ends the lease, so that a delayed import cannot continue. The records of an import that was to
    replace a session are told from the session's by where the import starts."""
    given_up = item._replace(lease=None)
    starts = ALL_STARTS if session is None else StartRange(item.position, item.position)
    if count := erase_records(connection, item.session, starts, limit, _STEP_BYTES):
        return _Progress(count, given_up)
    _DELETE_BASES.run(connection, **item.session, first=item.position)
    progress = _rows(connection, given_up, limit)
    if progress.left is None:
        _END_IMPORT.run(connection, **item.session)
    return progress


_Step: TypeAlias = "Callable[[Connection, Erasure, _Locked | None, int], _Progress]"

_STEPS: Final[dict[What, _Step]] = {
    What.MESSAGES: _messages,
    What.CHANGES: _changes,
    What.LOG: _log,
    What.RECORDS: _records,
    What.ANSWERS: _answers,
    What.IMPORT: _import,
}


def _in(item: Erasure, first: int, last: int) -> dict[str, Any]:
    return {**item.session, "first": first, "last": last}


def _reach(rows: Seq[Row], limit: int, last: int) -> tuple[int, int]:
    """How many of the next rows a step takes, and the position that it reaches."""
    count = fitting((size for _, size in rows), _STEP_BYTES)
    return count, rows[count - 1][0] if count < len(rows) or len(rows) == limit else last

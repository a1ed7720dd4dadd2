"""Reads sessions, contexts, histories and logs, each for many callers at once.

Every function answers one value or one error per question, in the order of the questions. It judges all of them by one
instant; where it needs more than one statement, it must run on one snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence as Seq
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

import sqlalchemy as sa

from sessions_server.domain.errors import DomainError, SessionNotFound
from sessions_server.domain.models import Context, Event, Micros, Sequence, Session, SessionKey
from sessions_server.domain.ports import HistoryPage, HistoryQuery, LogPage
from sessions_server.domain.sizes import body_bytes, fitting
from sessions_server.storage.content import Content
from sessions_server.storage.rows import SESSION_COLUMNS, SESSION_WIDTH, is_lapsing, session_view
from sessions_server.storage.schema import ERASED, contexts, log, sessions, tombstones
from sessions_server.storage.statements import (
    READ_NOW,
    Prepared,
    Row,
    as_list,
    is_listed,
    item,
    listed,
    read_clock,
)

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.storage.transaction import Rules

T = TypeVar("T")
Outcome: TypeAlias = "T | Exception"


class Lapsing(Exception):
    """An expiry is due that nobody has recorded yet. A write that was decided before it may be on its way, after which
    there was none: the question is to be asked again once the session's writes have settled."""


_keys = listed("keys")
_is_key = is_listed(_keys, sessions.c.tenant, sessions.c.session_id)

_SESSIONS: Final = Prepared(sa.select(*SESSION_COLUMNS, READ_NOW).select_from(_keys).join(sessions, _is_key))

_ERASED: Final = (
    sa.case(
        (sessions.c.last_due_time <= READ_NOW, sessions.c.last_due_state),
        (sessions.c.due_time <= READ_NOW, sessions.c.due_state),
        else_=sessions.c.state,
    )
    == ERASED
)

_FLEETING: Final = sa.or_(sessions.c.due_state == ERASED, sessions.c.last_due_state == ERASED)

_CONTEXTS: Final = Prepared(
    sa.select(
        sessions.c.tenant,
        sessions.c.session_id,
        sessions.c.data_key,
        _ERASED,
        sessions.c.create_time,
        contexts.c.revision,
        contexts.c.update_time,
        contexts.c.data,
    )
    .select_from(_keys)
    .join(sessions, _is_key)
    .outerjoin(
        contexts,
        sa.and_(contexts.c.tenant == sessions.c.tenant, contexts.c.session_id == sessions.c.session_id),
    )
)

_POSITIONS: Final = Prepared(
    sa.select(
        sessions.c.tenant,
        sessions.c.session_id,
        sessions.c.data_key,
        _ERASED,
        sessions.c.last_sequence,
        sessions.c.log_start,
        sessions.c.history_start,
        sessions.c.context_window,
        _FLEETING,
    )
    .select_from(_keys)
    .join(sessions, _is_key)
)

_TOMBSTONES: Final = Prepared(
    sa.select(*tombstones.c)
    .select_from(_keys)
    .join(tombstones, is_listed(_keys, tombstones.c.tenant, tombstones.c.session_id))
)

_HEADS: Final = Prepared(
    sa.union_all(
        sa.select(sessions.c.tenant, sessions.c.session_id, sessions.c.last_sequence)
        .select_from(_keys)
        .join(sessions, _is_key),
        sa.select(tombstones.c.tenant, tombstones.c.session_id, tombstones.c.last_sequence)
        .select_from(_keys)
        .join(tombstones, is_listed(_keys, tombstones.c.tenant, tombstones.c.session_id)),
    )
)

_DUE: Final = Prepared(
    sa.select(sessions.c.tenant, sessions.c.session_id)
    .where(sessions.c.due_time <= sa.bindparam("until"))
    .order_by(sessions.c.due_time)
    .limit(sa.bindparam("count"))
)

_MESSAGE: Final = (log.c.sequence, log.c.message_id, log.c.time, log.c.payload)
_EVENT: Final = (log.c.sequence, log.c.type, log.c.message_id, log.c.request_id, log.c.time, log.c.payload)


def _range(columns: Iterable[sa.ColumnElement[Any]], place: Callable[[int, str], Any]) -> sa.Select[Any]:
    """Rows of one session's log between two positions, both excluded; the place says where a value comes from."""
    return (
        sa.select(*columns)
        .where(
            log.c.tenant == place(0, "tenant"),
            log.c.session_id == place(1, "session_id"),
            log.c.sequence > place(2, "after"),
            log.c.sequence < place(3, "before"),
        )
        .limit(place(4, "most"))
    )


class _Lookup:
    """One range of log rows for each of many sessions, at most so many rows of each: in one statement where the
    database can, otherwise in one small statement per session."""

    def __init__(
        self, columns: Seq[sa.ColumnElement[Any]], *, of_history: bool = False, newest: bool = False
    ) -> None:
        def narrowed(rows: sa.Select[Any]) -> sa.Select[Any]:
            if of_history:
                rows = rows.where(log.c.message_id.is_not(None))
            return rows.order_by(log.c.sequence.desc() if newest else log.c.sequence)

        self._one = Prepared(narrowed(_range(columns, lambda _, name: sa.bindparam(name))))
        wanted = listed("ranges")
        rows = narrowed(
            _range(columns, lambda index, _: item(wanted, index, None if index < 2 else sa.BigInteger()))
        )
        found = rows.correlate(wanted).lateral("found")
        number, position = item(wanted, 5, sa.Integer()), found.c.sequence
        self._all = Prepared(
            sa.select(number, *found.c)
            .select_from(wanted)
            .join(found, sa.true())
            .order_by(number, position.desc() if newest else position)
        )

    def rows(self, connection: Connection, ranges: Seq[_Range], *, laterally: bool) -> list[list[Any]]:
        if laterally:
            found: list[list[Any]] = [[] for _ in ranges]
            asked = as_list((*wanted, number) for number, wanted in enumerate(ranges))
            for number, *row in self._all.rows(connection, ranges=asked) if ranges else ():
                found[number].append(row)
            return found
        return [list(self._one.rows(connection, **wanted._asdict())) for wanted in ranges]


class _Pages:
    """Of each range as many rows as fit into a page, and one more if there is one."""

    def __init__(self, columns: Seq[sa.ColumnElement[Any]], **order: bool) -> None:
        self._rows = _Lookup(columns, **order)
        self._sizes = _Lookup((log.c.sequence, sa.func.length(log.c.payload)), **order)

    def rows(self, connection: Connection, ranges: Seq[_Range], *, rules: Rules) -> list[list[Any]]:
        laterally = rules.backend.joins_laterally
        wanted = list(ranges)
        # A page of large messages may be a thousandth of what was asked for, and nobody reads that much to answer it.
        many = [number for number, each in enumerate(ranges) if each.most > _FEW]
        sizes = self._sizes.rows(connection, [ranges[number] for number in many], laterally=laterally)
        for number, found in zip(many, sizes, strict=True):
            fit = fitting((size or 0 for _, size in found), rules.limits.page_bytes)
            wanted[number] = ranges[number]._replace(most=min(ranges[number].most, fit + 1))
        return self._rows.rows(connection, wanted, laterally=laterally)


class _Range(NamedTuple):
    tenant: str
    session_id: str
    after: int
    before: int
    most: int


_BEYOND: Final = 2**62
"""A position after every position."""

_FEW: Final = 32
"""So many rows are read whatever their size."""

_EVENTS: Final = _Pages(_EVENT)
_OLDEST: Final = _Pages(_MESSAGE, of_history=True)
_NEWEST: Final = _Pages(_MESSAGE, of_history=True, newest=True)


OfSession: TypeAlias = "tuple[SessionKey, bool]"
OfHistory: TypeAlias = "tuple[SessionKey, HistoryQuery, bool]"
OfLog: TypeAlias = "tuple[SessionKey, Sequence, int, bool]"
"""What is asked, and last whether the session's writes have settled since an expiry was found that is due."""


def read_sessions(
    connection: Connection, questions: Seq[OfSession], *, now: Micros | None
) -> list[Outcome[Session]]:
    keys = {key for key, _ in questions}
    rows = {(row[0], row[1]): row for row in _SESSIONS.rows(connection, keys=as_list(keys), now=now)}
    return [_outcome(_session, rows.get(key), settled) for key, settled in questions]


def _session(row: Row | None, settled: bool) -> Session:
    if row is None:
        raise SessionNotFound
    instant = row[SESSION_WIDTH]
    if not settled and is_lapsing(row, instant):
        raise Lapsing
    session = session_view(row, instant)
    if session is None:
        raise SessionNotFound
    return session


def read_contexts(
    connection: Connection, questions: Seq[OfSession], *, rules: Rules, now: Micros | None
) -> list[Outcome[Context]]:
    keys = {key for key, _ in questions}
    rows = {(row[0], row[1]): row for row in _CONTEXTS.rows(connection, keys=as_list(keys), now=now)}
    return [_outcome(_context, rules, key, rows.get(key), settled) for key, settled in questions]


def _context(rules: Rules, key: SessionKey, row: Row | None, settled: bool) -> Context:
    if row is None or row[3]:
        raise Lapsing if row is not None and not settled else SessionNotFound
    if row[7] is None:
        return Context({}, Sequence(0), row[4])
    return Content(rules.cells, key, row[2]).context(row[5], row[6], row[7])


def read_histories(
    connection: Connection, questions: Seq[OfHistory], *, rules: Rules, now: Micros | None
) -> list[Outcome[HistoryPage]]:
    positions = _positions(connection, {key for key, _, _ in questions}, now)
    pages: list[Outcome[HistoryPage]] = [
        Lapsing() if key in positions and not settled else SessionNotFound() for key, _, settled in questions
    ]
    for lookup, forward in ((_NEWEST, False), (_OLDEST, True)):
        asked = [
            (number, _history_range(rules, position, query))
            for number, (key, query, _) in enumerate(questions)
            if (position := positions.get(key)) is not None
            and not position.erased
            and (query.after is not None) is forward
        ]
        found = lookup.rows(connection, [wanted for _, wanted in asked], rules=rules)
        for (number, wanted), rows in zip(asked, found, strict=True):
            key = questions[number][0]
            pages[number] = _outcome(_page, rules, key, positions[key], rows, wanted.most - 1, forward)
    return pages


def _history_range(rules: Rules, position: _Position, query: HistoryQuery) -> _Range:
    limit = query.limit or position.context_window or rules.limits.default_window
    limit = min(limit, rules.limits.page_size)
    after = max(position.history_start - 1, query.after or 0)
    before = query.before if query.before is not None else _BEYOND
    return _Range(
        position.tenant, position.session_id, after, before, limit + 1
    )  # one more tells whether there is more


def _page(
    rules: Rules, key: SessionKey, position: _Position, rows: list[Any], limit: int, forward: bool
) -> HistoryPage:
    content = Content(rules.cells, key, position.data_key)
    stored = rows[: _fitting(rows[:limit], rules.limits.page_bytes)]
    found = [content.message(*row) for row in stored]
    messages = found[: fitting((body_bytes(each.body) for each in found), rules.limits.page_bytes)]
    return HistoryPage(tuple(messages if forward else messages[::-1]), len(rows) > len(messages))


def _fitting(rows: list[Any], page_bytes: int) -> int:
    """How many rows are not too large together, as they are stored."""
    return fitting((len(payload or b"") for *_, payload in rows), page_bytes)


def read_logs(
    connection: Connection,
    questions: Seq[OfLog],
    *,
    rules: Rules,
    now: Micros | None,
) -> list[Outcome[LogPage]]:
    keys = {key for key, *_ in questions}
    positions = _positions(connection, keys, now)
    absent = keys - positions.keys()
    erased = _erased_heads(connection, absent)
    asked = [
        (number, _Range(*key, after, _BEYOND, limit))
        for number, (key, after, limit, _) in enumerate(questions)
        if key in positions and not positions[key].erased
    ]
    found = _EVENTS.rows(connection, [wanted for _, wanted in asked], rules=rules)
    rows_of = {number: rows for (number, _), rows in zip(asked, found, strict=True)}
    return [
        Lapsing()
        if key in positions and positions[key].erased and not settled
        else _outcome(
            _log_page, rules, key, after, positions.get(key), erased.get(key), rows_of.get(number, [])
        )
        for number, (key, after, _, settled) in enumerate(questions)
    ]


def _log_page(
    rules: Rules,
    key: SessionKey,
    after: Sequence,
    position: _Position | None,
    erased: LogPage | None,
    rows: list[Any],
) -> LogPage:
    if position is None:
        if erased is None:
            raise SessionNotFound
        return erased
    if position.erased:
        if after > position.last_sequence:
            raise SessionNotFound  # nobody has come so far: this is no one who missed its end
        return LogPage((), after, position.log_start, None, fleeting=True)
    content = Content(rules.cells, key, position.data_key)
    count = _fitting(rows, rules.limits.page_bytes)
    events: tuple[Event, ...] = tuple(content.event(row) for row in rows[:count])
    return LogPage(events, position.last_sequence, position.log_start, None, bool(position.fleeting))


def read_heads(connection: Connection, keys: Seq[SessionKey]) -> dict[SessionKey, Sequence]:
    rows = _HEADS.rows(connection, keys=as_list(set(keys)))
    return {SessionKey(tenant, session_id): Sequence(last) for tenant, session_id, last in rows}


def read_due(connection: Connection, limit: int, *, now: Micros | None) -> list[SessionKey]:
    until = read_clock(connection, now)
    return [SessionKey(*row) for row in _DUE.rows(connection, until=until, count=limit)]


class _Position(NamedTuple):
    """Where a session's log and history begin and end, and what is needed to read them."""

    tenant: str
    session_id: str
    data_key: bytes | None
    erased: bool
    last_sequence: Sequence
    log_start: Sequence
    history_start: Sequence
    context_window: int
    fleeting: bool | None
    """Whether the clock will erase the session; None where it will do nothing to it."""


def _positions(
    connection: Connection, keys: set[SessionKey], now: Micros | None
) -> dict[SessionKey, _Position]:
    rows = _POSITIONS.rows(connection, keys=as_list(keys), now=now)
    return {SessionKey(row[0], row[1]): _Position(*row) for row in rows}


def _erased_heads(connection: Connection, keys: set[SessionKey]) -> dict[SessionKey, LogPage]:
    if not keys:
        return {}
    return {
        SessionKey(tenant, session_id): LogPage((), Sequence(last), Sequence(last + 1), Micros(delete_time))
        for tenant, session_id, last, delete_time in _TOMBSTONES.rows(connection, keys=as_list(keys))
    }


def _outcome(make: Callable[..., T], *facts: Any) -> Outcome[T]:
    """One question's answer, or why there is none: it concerns nobody else's question."""
    try:
        return make(*facts)
    except (DomainError, Lapsing) as error:
        return error

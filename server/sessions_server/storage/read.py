"""Reads sessions, contexts and histories, each for many callers at once.

Every function returns one value or one error per question, in the same order. All are evaluated at one time; if several
statements are needed, they must run on one snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence as Seq
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from sessions_server.domain.errors import SessionNotFound
from sessions_server.domain.models import (
    Context,
    Message,
    Micros,
    Sequence,
    Session,
    SessionKey,
)
from sessions_server.domain.ports import Due, HistoryPage, HistoryQuery
from sessions_server.domain.replay import Snapshot
from sessions_server.domain.sizes import GROWTH, body_bytes, fitting
from sessions_server.domain.turns import beginning
from sessions_server.storage.content import Content
from sessions_server.storage.lookup import Range
from sessions_server.storage.pages import Pages, fitting_rows
from sessions_server.storage.past import check_position, snapshot_at
from sessions_server.storage.positions import IS_ERASED, Position, find_positions
from sessions_server.storage.questions import Lapsing, Outcome, outcome
from sessions_server.storage.recent_messages import read_messages
from sessions_server.storage.rows import (
    SESSION_COLUMNS,
    SESSION_WIDTH,
    is_lapsing,
    session_from_row,
    session_view,
    upkeep,
)
from sessions_server.storage.schema import contexts, log, sessions, tombstones
from sessions_server.storage.spans import contain
from sessions_server.storage.statements import (
    READ_NOW,
    Prepared,
    Row,
    as_list,
    is_listed,
    listed,
    read_clock,
)

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.storage.rules import Rules

_keys = listed("keys")
_is_key = is_listed(_keys, sessions.c.tenant, sessions.c.session_id)

_SESSIONS: Final = Prepared(sa.select(*SESSION_COLUMNS, READ_NOW).select_from(_keys).join(sessions, _is_key))

_CONTEXTS: Final = Prepared(
    sa.select(
        sessions.c.tenant,
        sessions.c.session_id,
        sessions.c.data_key,
        IS_ERASED,
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

_DUE_ORDER: Final = (sessions.c.due_time, sessions.c.tenant, sessions.c.session_id)
_AFTER: Final = sa.bindparam("after", type_=sa.BigInteger)
_DUE: Final = Prepared(
    sa.select(*_DUE_ORDER)
    .where(
        sessions.c.due_time <= sa.bindparam("until"),
        sessions.c.due_time >= _AFTER,
        sa.tuple_(*_DUE_ORDER)
        > sa.tuple_(
            _AFTER,
            sa.bindparam("after_tenant", type_=sa.Text),
            sa.bindparam("after_session_id", type_=sa.Text),
        ),
    )
    .order_by(*_DUE_ORDER)
    .limit(sa.bindparam("count"))
)
_FIRST_DUE: Final = Due(Micros(-(2**62)), SessionKey("", ""))

_MESSAGE: Final = (log.c.sequence, log.c.message_id, log.c.time, log.c.message_time, log.c.payload)
_FIND_MESSAGES: Final = Prepared(
    sa.select(log.c.tenant, log.c.session_id, *_MESSAGE)
    .select_from(_keys)
    .join(log, is_listed(_keys, log.c.tenant, log.c.session_id, log.c.message_id))
)


_OLDEST: Final = Pages(_MESSAGE, of_history=True)
_NEWEST: Final = Pages(_MESSAGE, of_history=True, newest=True)


class OfSession(NamedTuple):
    """A question about a session or its context."""

    key: SessionKey
    at: Sequence | None
    """The position to read as of; None means now."""
    settled: bool
    """Whether the session's writes have settled since a due expiry was found."""


class OfHistory(NamedTuple):
    key: SessionKey
    query: HistoryQuery
    settled: bool


def read_sessions(
    connection: Connection, questions: Seq[OfSession], *, rules: Rules, now: Micros | None
) -> list[Outcome[Session]]:
    keys = {question.key for question in questions}
    rows = {(row[0], row[1]): row for row in _SESSIONS.rows(connection, keys=as_list(keys), now=now)}
    return [outcome(each.key, _session_of, connection, rules, each, rows.get(each.key)) for each in questions]


def _session_of(connection: Connection, rules: Rules, question: OfSession, row: Row | None) -> Session:
    session = _session(row, question.settled)
    if question.at is None or row is None:
        return session
    past = _past(connection, rules, question.at, row)
    return session_from_row(row) if past is None or past.session is None else past.session


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


def _past(connection: Connection, rules: Rules, at: Sequence, row: Row) -> Snapshot | None:
    """The state as of a position; None for the present one. Raises CursorAhead, EventsCompacted."""
    stored = session_from_row(row)
    check_position(at, stored.last_sequence, upkeep(row).replay_start)
    if at == stored.last_sequence:
        return None
    return snapshot_at(connection, Content(rules.cells, stored.key, stored.data_key), at, stored)


def read_contexts(
    connection: Connection, questions: Seq[OfSession], *, rules: Rules, now: Micros | None
) -> list[Outcome[Context]]:
    keys = {question.key for question in questions}
    rows = {(row[0], row[1]): row for row in _CONTEXTS.rows(connection, keys=as_list(keys), now=now)}
    past = {question.key for question in questions if question.at is not None}
    found = _SESSIONS.rows(connection, keys=as_list(past), now=now) if past else ()
    stored = {(row[0], row[1]): row for row in found}
    return [
        outcome(each.key, _context_of, connection, rules, each, rows.get(each.key), stored.get(each.key))
        for each in questions
    ]


def _context_of(
    connection: Connection, rules: Rules, question: OfSession, row: Row | None, stored: Row | None
) -> Context:
    if row is None or row[3]:
        raise Lapsing if row is not None and not question.settled else SessionNotFound
    past = None if question.at is None or stored is None else _past(connection, rules, question.at, stored)
    if past is not None:
        return past.context or Context({}, Sequence(0), row[4])
    if row[7] is None:
        return Context({}, Sequence(0), row[4])
    return Content(rules.cells, question.key, row[2]).context(row[5], row[6], row[7])


def read_histories(
    connection: Connection, questions: Seq[OfHistory], *, rules: Rules, now: Micros | None
) -> list[Outcome[HistoryPage]]:
    positions = find_positions(connection, {question.key for question in questions}, now)
    pages: list[Outcome[HistoryPage]] = [_missing(question, positions) for question in questions]
    for lookup, forward in ((_NEWEST, False), (_OLDEST, True)):
        asked = [
            (number, wanted)
            for number, (key, query, _) in enumerate(questions)
            if (position := positions.get(key)) is not None
            and not position.erased
            and (query.after is not None) is forward
            and (wanted := _ask(pages, number, rules, key, position, query)) is not None
        ]
        found = lookup.rows(connection, [wanted for _, wanted in asked], rules=rules)
        for (number, wanted), rows in zip(asked, found, strict=True):
            key, query, _ = questions[number]
            pages[number] = outcome(key, _page, rules, key, query, positions[key], rows, wanted.most - 1)
    return pages


def _missing(question: OfHistory, positions: Mapping[SessionKey, Position]) -> Exception:
    return Lapsing() if question.key in positions and not question.settled else SessionNotFound()


def _ask(
    pages: list[Outcome[HistoryPage]],
    number: int,
    rules: Rules,
    key: SessionKey,
    position: Position,
    query: HistoryQuery,
) -> Range | None:
    """What to read for a question; None if it is refused, which is then its outcome."""
    wanted = outcome(key, _history_range, rules, position, query)
    if isinstance(wanted, Exception):
        pages[number] = wanted
        return None
    return wanted


def _history_range(rules: Rules, position: Position, query: HistoryQuery) -> Range:
    position.check()
    limit = query.limit or position.context_window or rules.limits.default_window
    limit = min(limit, rules.limits.page_size)
    after = max(position.history_start - 1, query.after or 0)
    last = position.last_sequence
    if query.at is not None:
        check_position(query.at, last, position.replay_start)
        last = query.at
    before = last + 1 if query.before is None else min(query.before, last + 1)
    most = limit + 1  # one more shows whether there are more
    return Range(position.tenant, position.session_id, after, before, most, position.hidden)


def _page(
    rules: Rules, key: SessionKey, query: HistoryQuery, position: Position, rows: list[Any], limit: int
) -> HistoryPage:
    content, forward = Content(rules.cells, key, position.data_key), query.after is not None
    stored = rows[: fitting_rows(rows[:limit], rules.limits.page_bytes)]
    found = read_messages(content, stored)
    messages = found[: _fitting(found, stored, rules.limits.page_bytes)]
    has_more = len(rows) > len(messages)
    if not forward:
        messages.reverse()
    if query.whole_turns:
        cut = beginning([each.body for each in messages], is_whole=not has_more)
        messages, has_more = messages[cut:], has_more or cut > 0
    return HistoryPage(tuple(messages), has_more)


def _fitting(messages: list[Message], rows: list[Any], most: int) -> int:
    """How many messages fit on a page. Measuring their wire size takes longer than reading them, and most pages are
    small enough by their stored size."""
    if GROWTH * sum(len(row[-1]) for row in rows) <= most:
        return len(messages)
    return fitting((body_bytes(each.body) for each in messages), most)


def read_heads(connection: Connection, keys: Seq[SessionKey]) -> dict[SessionKey, Sequence]:
    rows = _HEADS.rows(connection, keys=as_list(set(keys)))
    return {SessionKey(tenant, session_id): Sequence(last) for tenant, session_id, last in rows}


def read_due(connection: Connection, limit: int, after: Due | None, *, now: Micros | None) -> list[Due]:
    time, (tenant, session_id) = after or _FIRST_DUE
    place = {"after": time, "after_tenant": tenant, "after_session_id": session_id}
    rows = _DUE.rows(connection, until=read_clock(connection, now), count=limit, **place)
    return [Due(time, SessionKey(*key)) for time, *key in rows]


def find_messages(
    connection: Connection, names: Iterable[tuple[SessionKey, str]], *, rules: Rules, now: Micros | None
) -> dict[tuple[SessionKey, str], Message]:
    """The messages of histories with these ids, if they exist."""
    asked = {(*key, id_) for key, id_ in names}
    if not asked:
        return {}
    positions = find_positions(connection, {SessionKey(tenant, id_) for tenant, id_, _ in asked}, now)
    found: dict[tuple[SessionKey, str], Message] = {}
    for tenant, session_id, *row in _FIND_MESSAGES.rows(connection, keys=as_list(asked)):
        key = SessionKey(tenant, session_id)
        position = positions.get(key)
        if position is not None and not position.erased and _is_shown(position, row[0]):
            message = Content(rules.cells, key, position.data_key).message(*row)
            found[key, message.id] = message
    return found


def _is_shown(position: Position, sequence: int) -> bool:
    """Whether a stored message is in the history: it was not removed and does not belong to an import under way."""
    return sequence <= position.last_sequence and not contain(position.hidden, sequence)

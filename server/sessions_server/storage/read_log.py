"""Reads logs, each for many callers at once."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from sessions_server.domain.errors import SessionNotFound
from sessions_server.domain.models import Event, EventType, Micros, Sequence, SessionKey
from sessions_server.domain.ports import LogPage
from sessions_server.storage.content import Content
from sessions_server.storage.lookup import Range
from sessions_server.storage.pages import Pages, fitting_rows
from sessions_server.storage.positions import Position, find_positions
from sessions_server.storage.questions import Lapsing, Outcome, outcome
from sessions_server.storage.schema import log, tombstones
from sessions_server.storage.spans import contain
from sessions_server.storage.statements import Prepared, as_list, is_listed, listed

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.storage.rules import Rules

_keys = listed("keys")

_TOMBSTONES: Final = Prepared(
    sa.select(*tombstones.c)
    .select_from(_keys)
    .join(tombstones, is_listed(_keys, tombstones.c.tenant, tombstones.c.session_id))
)

_LARGEST_CHANGE: Final = 64 * 1024 + 64
"""The maximum size of a change passed to readers of the log, when encrypted."""

_CHANGE: Final = sa.case(
    (
        sa.and_(
            log.c.type == EventType.CONTEXT_CHANGE.value, sa.func.length(log.c.change) <= _LARGEST_CHANGE
        ),
        log.c.change,
    )
).label("change")
_EVENT: Final = (
    *(log.c.sequence, log.c.type, log.c.message_id, log.c.request_id, log.c.time, log.c.message_time),
    log.c.payload,
)
_NO_CHANGE: Final = sa.cast(sa.null(), sa.LargeBinary).label("change")

_EVENTS: Final = Pages((*_EVENT, _NO_CHANGE))
_CHANGES: Final = Pages((*_EVENT, _CHANGE))


class OfLog(NamedTuple):
    key: SessionKey
    after: Sequence
    limit: int
    changes: bool
    settled: bool


def read_logs(
    connection: Connection,
    questions: Seq[OfLog],
    *,
    rules: Rules,
    now: Micros | None,
) -> list[Outcome[LogPage]]:
    keys = {question.key for question in questions}
    positions = find_positions(connection, keys, now)
    erased = _erased_heads(connection, keys - positions.keys())
    rows_of: dict[int, list[Any]] = {}
    ranges = {
        number: outcome(question.key, _range, question, position)
        for number, question in enumerate(questions)
        if (position := positions.get(question.key)) is not None and not position.erased
    }
    for pages, changes in ((_EVENTS, False), (_CHANGES, True)):
        asked = [
            (number, wanted)
            for number, wanted in ranges.items()
            if questions[number].changes is changes and isinstance(wanted, Range)
        ]
        found = pages.rows(connection, [wanted for _, wanted in asked], rules=rules)
        rows_of.update((number, rows) for (number, _), rows in zip(asked, found, strict=True))
    return [
        Lapsing()
        if key in positions and positions[key].erased and not settled
        else refused
        if isinstance(refused := ranges.get(number), Exception)
        else outcome(
            key, _log_page, rules, key, after, positions.get(key), erased.get(key), rows_of.get(number, [])
        )
        for number, (key, after, _, _, settled) in enumerate(questions)
    ]


def _range(question: OfLog, position: Position) -> Range:
    position.check()
    after, end = max(question.after, position.log_start - 1), position.last_sequence + 1
    return Range(*question.key, after, end, question.limit)


def _log_page(
    rules: Rules,
    key: SessionKey,
    after: Sequence,
    position: Position | None,
    erased: Outcome[LogPage] | None,
    rows: list[Any],
) -> LogPage:
    if position is None:
        if erased is None:
            raise SessionNotFound
        if isinstance(erased, Exception):
            raise erased
        return erased
    page = LogPage(
        (),
        position.last_sequence,
        position.log_start,
        None,
        position.log_id,
        position.create_time,
        fleeting=bool(position.fleeting),
    )
    if position.erased:
        if after > position.last_sequence:
            raise SessionNotFound  # nobody can have reached this position, so nobody missed the end
        return page._replace(head=after, fleeting=True)
    content = Content(rules.cells, key, position.data_key)
    count = fitting_rows(rows, rules.limits.page_bytes)
    events: tuple[Event, ...] = tuple(content.event(_visible(row, position)) for row in rows[:count])
    return page._replace(events=events)


def _visible(row: Any, position: Position) -> Any:
    """The row without content that was erased but is still stored."""
    sequence, kind, *_, payload, change = row
    if change is None and not position.hidden:
        return row
    if kind == EventType.MESSAGE and contain(position.hidden, sequence):
        payload = None
    if position.replay_start is not None and sequence <= position.replay_start:
        change = None
    return (*row[:-2], payload, change)


def _erased_heads(connection: Connection, keys: set[SessionKey]) -> dict[SessionKey, Outcome[LogPage]]:
    if not keys:
        return {}
    rows = _TOMBSTONES.rows(connection, keys=as_list(keys))
    return {key: outcome(key, _erased_page, *row[2:]) for row in rows for key in [SessionKey(*row[:2])]}


def _erased_page(last: int, delete_time: int) -> LogPage:
    return LogPage((), Sequence(last), Sequence(last + 1), Micros(delete_time))

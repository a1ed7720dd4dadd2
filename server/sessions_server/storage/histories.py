"""Loads as much of both ends of histories as commits need to shorten them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from sessions_server.domain.models import Message, Overflow, Sequence, SessionKey
from sessions_server.domain.operations import Part
from sessions_server.domain.turns import REACH
from sessions_server.storage.content import Content
from sessions_server.storage.lookup import Lookup, Range
from sessions_server.storage.schema import log
from sessions_server.storage.spans import Spans, between
from sessions_server.storage.statements import Prepared

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.models import Session
    from sessions_server.domain.needs import Needs
    from sessions_server.domain.ports import Cells
    from sessions_server.domain.workspace import Slot

_MESSAGE: Final = (log.c.sequence, log.c.message_id, log.c.time, log.c.message_time, log.c.payload)

_OLDEST: Final = Lookup((log.c.sequence,), of_history=True)
_NEWEST: Final = Lookup((log.c.sequence,), of_history=True, newest=True)
_OLDEST_CONTENT: Final = Lookup(_MESSAGE, of_history=True)
_NEWEST_CONTENT: Final = Lookup(_MESSAGE, of_history=True, newest=True)


def _counting(condition: sa.ColumnElement[bool]) -> Prepared:
    return Prepared(
        sa.select(sa.func.count()).where(
            log.c.tenant == sa.bindparam("tenant"),
            log.c.session_id == sa.bindparam("session_id"),
            log.c.sequence >= sa.bindparam("first"),
            log.c.sequence <= sa.bindparam("last"),
            condition,
        )
    )


_COUNT: Final = _counting(log.c.message_id.is_not(None))
_COUNT_OUTSIDE: Final = _counting(log.c.message_id.is_(None))


class _Ends(NamedTuple):
    """How many messages at each end of a history must be known, and whether with content."""

    oldest: int
    newest: int
    content: bool


def load_histories(
    connection: Connection, slots: Mapping[SessionKey, Slot], needs: Mapping[SessionKey, Needs], *,
    hidden: Callable[[SessionKey], Spans], joins: bool, cells: Cells
) -> None:  # fmt: skip
    """Adds them to the slots' facts. `joins`: whether the database can look up ranges of many sessions in one
    statement."""
    plain: dict[SessionKey, _Ends] = {}
    with_content: dict[SessionKey, _Ends] = {}
    for key, each in needs.items():
        session = slots[key].facts.session
        if session is None or not (each.history or each.max_messages or session.config.max_messages):
            continue
        if (ends := _ends(connection, session, each, hidden(key))) is not None:
            (with_content if ends.content else plain)[key] = ends
    for wanted, lookups in ((plain, (_OLDEST, _NEWEST)), (with_content, (_OLDEST_CONTENT, _NEWEST_CONTENT))):
        if wanted:
            _load(connection, slots, wanted, lookups, hidden=hidden, joins=joins, cells=cells)


def _ends(connection: Connection, session: Session, needs: Needs, hidden: Spans) -> _Ends | None:
    """None if nothing must be known. Needed are either the messages that may be removed or those that remain, whichever
    is less."""
    count = session.message_count
    if not count:
        return None
    limits = [most for most in (session.config.max_messages, *needs.max_messages) if most]
    overflow = max(count + needs.appended - min(limits), 0) if limits and needs.appended else 0
    from_start, from_end = _removed_counts(connection, session, needs, hidden)
    if not overflow and not needs.history:
        return None
    by_turns = bool(overflow) and (needs.turns or session.config.overflow is Overflow.TRUNCATE_TURNS)
    margin = needs.erased + 1
    oldest = overflow + REACH * by_turns + sum(from_start)
    oldest += margin if from_start else needs.erased if overflow else 0
    newest = sum(from_end) + margin if needs.history else 0
    choices = [(oldest, newest)]
    if not needs.content:  # returned messages must be known themselves
        stays = max([count - min(from_start)] if from_start else [0])
        choices.append((0, sum(from_end) + margin + max(stays, max(limits) if overflow else 0)))
        if from_end:
            choices.append((oldest + count - min(from_end) + needs.appended + margin, margin))
    oldest, newest = min(choices, key=sum)
    if oldest + newest >= count:
        oldest, newest = 0, count
    return _Ends(oldest, newest, content=needs.content or by_turns)


def _removed_counts(
    connection: Connection, session: Session, needs: Needs, hidden: Spans
) -> tuple[list[int], list[int]]:
    """How many of the oldest, and of the newest, messages each truncation would remove if applied first."""
    from_start: list[int] = []
    from_end: list[int] = []
    for truncation in needs.truncations:
        part, amount = truncation.part, truncation.amount
        if part in (Part.NEWEST, Part.OLDEST):
            removed = min(amount, session.message_count)
        elif part is Part.AFTER:
            removed = _count(connection, session, hidden, amount + 1, session.last_sequence)
        else:
            removed = _count(connection, session, hidden, 0, amount)
        (from_end if part in (Part.NEWEST, Part.AFTER) else from_start).append(removed)
    return from_start, from_end


def _count(connection: Connection, session: Session, hidden: Spans, first: int, last: int) -> int:
    """How many messages of the history have these positions. From the log's start on there is an event at every
    position, and those that are not messages of the history are counted, since they are fewer."""
    key, start = session.key._asdict(), session.log_start
    first, last = max(first, session.history_start), min(last, session.last_sequence)
    count = 0
    for span in between(hidden, first, last):
        if span.first < start:
            [[found]] = _COUNT.rows(connection, **key, first=span.first, last=min(span.last, start - 1))
            count += found
        if span.last >= start:
            dense = max(span.first, start)
            [[outside]] = _COUNT_OUTSIDE.rows(connection, **key, first=dense, last=span.last)
            count += span.last - dense + 1 - outside
    return count


def _load(
    connection: Connection,
    slots: Mapping[SessionKey, Slot],
    wanted: Mapping[SessionKey, _Ends],
    lookups: tuple[Lookup, Lookup],
    *,
    hidden: Callable[[SessionKey], Spans],
    joins: bool,
    cells: Cells,
) -> None:
    oldest, newest = lookups
    from_start = {key: ends.oldest for key, ends in wanted.items() if ends.oldest}
    from_end = {key: ends.newest for key, ends in wanted.items() if ends.newest}
    starts = _rows(connection, oldest, slots, from_start, hidden=hidden, joins=joins)
    ends = _rows(connection, newest, slots, from_end, hidden=hidden, joins=joins)
    for key in wanted:
        slot = slots[key]
        first, last = starts.get(key, []), ends.get(key, [])[::-1]
        session = slot.facts.session
        content = Content(cells, key, None if session is None else session.data_key)
        history = slot.facts.history
        slot.facts = slot.facts._replace(
            history=history._replace(
                oldest=tuple(Sequence(row[0]) for row in first),
                unknown=history.unknown - len(first) - len(last),
                newest=tuple(Sequence(row[0]) for row in last),
                by_position={message.sequence: message for message in _messages(content, [*first, *last])},
            )
        )


def _rows(
    connection: Connection,
    lookup: Lookup,
    slots: Mapping[SessionKey, Slot],
    wanted: Mapping[SessionKey, int],
    *,
    hidden: Callable[[SessionKey], Spans],
    joins: bool,
) -> dict[SessionKey, list[Any]]:
    ranges = [
        Range(*key, _start(slots[key]) - 1, slots[key].facts.last_sequence + 1, most, hidden(key))
        for key, most in wanted.items()
    ]
    return dict(zip(wanted, lookup.rows(connection, ranges, laterally=joins), strict=True))


def _start(slot: Slot) -> int:
    session = slot.facts.session
    return 0 if session is None else session.history_start


def _messages(content: Content, rows: list[Any]) -> list[Message]:
    """From rows with content."""
    return [content.message(*row) for row in rows if len(row) > 1]

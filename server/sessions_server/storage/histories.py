"""Loads as much of the ends of histories as commits need to shorten them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from sessions_server.domain.models import Message, Overflow, Sequence, SessionKey
from sessions_server.domain.turns import REACH
from sessions_server.storage.content import Content
from sessions_server.storage.lookup import BEYOND, Lookup, Range
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

_COUNT: Final = Prepared(
    sa.select(sa.func.count()).where(
        log.c.tenant == sa.bindparam("tenant"),
        log.c.session_id == sa.bindparam("session_id"),
        log.c.sequence >= sa.bindparam("first"),
        log.c.sequence <= sa.bindparam("last"),
        log.c.message_id.is_not(None),
    )
)


class _Ends(NamedTuple):
    """How many messages of either end of one history have to be known, and whether with their content."""

    oldest: int
    newest: int
    content: bool


def load_histories(
    connection: Connection, slots: Mapping[SessionKey, Slot], needs: Mapping[SessionKey, Needs], *,
    hidden: Callable[[SessionKey], Spans], joins: bool, cells: Cells
) -> None:  # fmt: skip
    """Puts them into the slots' facts. `joins`: the database can look up ranges of many sessions in one statement."""
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
    """None: nothing has to be known."""
    count = session.message_count
    if not count:
        return None
    limits = [most for most in (session.config.max_messages, *needs.max_messages) if most]
    overflow = max(count + needs.appended - min(limits), 0) if limits and needs.appended else 0
    oldest, newest, by_turns = overflow, 0, False
    if overflow and (needs.turns or session.config.overflow is Overflow.TRUNCATE_TURNS):
        oldest, by_turns = oldest + REACH, True
    if needs.history:
        oldest += needs.oldest + needs.erased if needs.oldest or overflow else 0
        newest += needs.newest + needs.erased + 1
    if needs.through is not None:
        oldest += needs.erased + _count(connection, session, hidden, 0, needs.through)
    if needs.after is not None:
        newest += _count(connection, session, hidden, needs.after + 1, BEYOND)
    if not oldest and not newest:
        return None
    if oldest + newest >= count:
        oldest, newest = 0, count
    return _Ends(oldest, newest, content=needs.content or by_turns)


def _count(connection: Connection, session: Session, hidden: Spans, first: int, last: int) -> int:
    """How many messages of the history have these positions."""
    spans = between(hidden, max(first, session.history_start), last)
    return sum(
        _COUNT.rows(connection, **session.key._asdict(), first=first, last=last)[0][0]
        for first, last in spans
    )


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
    ranges = [Range(*key, _start(slots[key]) - 1, BEYOND, most, hidden(key)) for key, most in wanted.items()]
    return dict(zip(wanted, lookup.rows(connection, ranges, laterally=joins), strict=True))


def _start(slot: Slot) -> int:
    session = slot.facts.session
    return 0 if session is None else session.history_start


def _messages(content: Content, rows: list[Any]) -> list[Message]:
    """Of rows with content."""
    return [content.message(*row) for row in rows if len(row) > 1]

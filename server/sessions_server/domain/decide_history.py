"""Decides what leaves the history: truncation, clearing, erasure of single messages, overflow. Pure."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from sessions_server.domain import lifecycle
from sessions_server.domain.errors import HistoryFull, LimitExceeded
from sessions_server.domain.facts import Decision, Facts, event_of, require_session
from sessions_server.domain.history import History
from sessions_server.domain.models import (
    EventType,
    HistoryCleared,
    HistoryTruncated,
    Message,
    MessageErased,
    Overflow,
    Sequence,
)
from sessions_server.domain.operations import Part, Removed
from sessions_server.domain.sizes import body_bytes
from sessions_server.domain.turns import first_to_keep

if TYPE_CHECKING:
    from sessions_server.domain.models import Session
    from sessions_server.domain.operations import ClearHistory, EraseMessage, Truncate


def truncate(facts: Facts, operation: Truncate) -> Decision:
    session = require_session(facts)
    lifecycle.require_content_writable(session)
    history = facts.history
    gone = _part(history, operation)
    if not gone:
        return Decision(results=(Removed(0),))
    removed = Removed(len(gone), _returned(facts, gone) if operation.return_removed else ())
    if operation.part in (Part.NEWEST, Part.AFTER):
        left = history.without_newest(len(gone))
    else:
        left = history.without_oldest(len(gone), session.history_start)
    return _removal(facts, left, len(gone))._replace(results=(removed,))


def _part(history: History, operation: Truncate) -> tuple[Sequence, ...]:
    """The positions of the messages that it removes."""
    amount = operation.amount
    match operation.part:
        case Part.NEWEST:
            return history.last(amount)
        case Part.OLDEST:
            return history.first(amount)
        case Part.AFTER:
            known = history.last(history.length)
            return known[bisect_right(known, amount) :]
        case Part.THROUGH:
            known = history.first(history.length)
            return known[: bisect_right(known, amount)]


def _returned(facts: Facts, gone: tuple[Sequence, ...]) -> tuple[Message, ...]:
    messages = tuple(facts.history.content_at(position) for position in gone)
    if sum(body_bytes(message.body) for message in messages) > facts.limits.wire_bytes:
        raise LimitExceeded(
            "The removed messages do not fit into one response; remove fewer at a time, or do not ask for them.",
            field="return_removed",
        )
    return messages


def _removal(facts: Facts, left: History, count: int) -> Decision:
    """The decision that so many messages leave the history, so that this is left."""
    newest = left.last(1)
    data = HistoryTruncated(count, newest[0] if newest else Sequence(0))
    return Decision((event_of(facts, EventType.HISTORY_TRUNCATED, data),), history=left)


def clear(facts: Facts, _: ClearHistory) -> Decision:
    session = require_session(facts)
    lifecycle.require_content_writable(session)
    count = session.message_count
    if count == 0:
        return Decision(results=(Removed(0),))
    event = event_of(facts, EventType.HISTORY_CLEARED, HistoryCleared(count))
    return Decision((event,), (Removed(count),), facts.history.cleared(facts.last_sequence))


def erase(facts: Facts, operation: EraseMessage) -> Decision:
    lifecycle.require_content_writable(require_session(facts))
    message = facts.history.by_id.get(operation.message_id)
    if message is None:
        return Decision(results=(Removed(0),))
    left = facts.history.without(message.sequence)
    newest = left.last(1)
    data = MessageErased(message.id, message.sequence, newest[0] if newest else Sequence(0))
    event = event_of(facts, EventType.MESSAGE_ERASED, data)
    return Decision((event,), (Removed(1),), left)


def refuse_overflow(session: Session, added: int) -> None:
    """Raises HistoryFull for more messages than a history that rejects them holds."""
    most = session.config.max_messages
    if most and session.config.overflow is Overflow.REJECT and session.message_count + added > most:
        error = HistoryFull(
            "The history holds max_messages and rejects more; clear it, or raise config.max_messages.",
            max_messages=str(most),
        )
        error.offset = max(most - session.message_count, 0)
        raise error


def shortened(session: Session, history: History) -> History:
    """What is left of a history that may hold too many messages now, by `Overflow.TRUNCATE_OLDEST`."""
    most = session.config.max_messages
    if not most or session.config.overflow is not Overflow.TRUNCATE_OLDEST or history.length <= most:
        return history
    return history.without_oldest(history.length - most, session.history_start)


def shorten_by_turns(facts: Facts) -> Decision | None:
    """Removes whole turns from a history that holds too many messages now, by `Overflow.TRUNCATE_TURNS`."""
    session, history = require_session(facts), facts.history
    most = session.config.max_messages
    if not most or session.config.overflow is not Overflow.TRUNCATE_TURNS or history.length <= most:
        return None
    count = history.length - most
    known = history.first(history.length)[count:]
    found = [history.message_at(position) for position in known]
    count += first_to_keep([None if message is None else message.body for message in found])
    return _removal(facts, history.without_oldest(count, session.history_start), count)

"""Decides what leaves the history: truncation, clearing, erasure of single messages, overflow. Pure."""

from __future__ import annotations

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
    count = _count(history, operation)
    if not count:
        return Decision(results=(Removed(0),))
    from_end = operation.part in (Part.NEWEST, Part.AFTER)
    messages: tuple[Message, ...] = ()
    if operation.return_removed:
        messages = _returned(facts, history.last(count) if from_end else history.first(count))
    without = history.without_newest if from_end else history.without_oldest
    left = without(count, session.history_start)
    return _removal(facts, left, count)._replace(results=(Removed(count, messages),))


def _count(history: History, operation: Truncate) -> int:
    """How many messages the truncation removes."""
    match operation.part:
        case Part.NEWEST | Part.OLDEST:
            return min(operation.amount, history.length)
        case Part.AFTER:
            return history.count_after(operation.amount)
        case Part.THROUGH:
            return history.length - history.count_after(operation.amount)


def _returned(facts: Facts, gone: tuple[Sequence, ...]) -> tuple[Message, ...]:
    messages = tuple(facts.history.content_at(position) for position in gone)
    if sum(body_bytes(message.body) for message in messages) > facts.limits.wire_bytes:
        raise LimitExceeded(
            "The removed messages do not fit into one response; remove fewer at a time, or do not ask for them.",
            field="return_removed",
        )
    return messages


def _removal(facts: Facts, left: History, count: int) -> Decision:
    """The decision to remove `count` messages, leaving `left`."""
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
    """Raises HistoryFull if the added messages would exceed the limit of a history that rejects overflow."""
    most = session.config.max_messages
    if most and session.config.overflow is Overflow.REJECT and session.message_count + added > most:
        error = HistoryFull(
            "The history holds max_messages and rejects more; clear it, or raise config.max_messages.",
            max_messages=str(most),
        )
        error.offset = max(most - session.message_count, 0)
        raise error


def shortened(session: Session, history: History) -> History:
    """The history cut to `max_messages` with `Overflow.TRUNCATE_OLDEST`."""
    most = session.config.max_messages
    if not most or session.config.overflow is not Overflow.TRUNCATE_OLDEST or history.length <= most:
        return history
    return history.without_oldest(history.length - most, session.history_start)


def shorten_by_turns(facts: Facts) -> Decision | None:
    """Removes whole turns from a history that exceeds `max_messages` with `Overflow.TRUNCATE_TURNS`."""
    session, history = require_session(facts), facts.history
    most = session.config.max_messages
    if not most or session.config.overflow is not Overflow.TRUNCATE_TURNS or history.length <= most:
        return None
    count = history.length - most
    found = [history.message_at(position) for position in history.rest(count)]
    count += first_to_keep([None if message is None else message.body for message in found])
    return _removal(facts, history.without_oldest(count, session.history_start), count)

"""Decides what commands do to a session's content: its context, its messages, and both at once by an import. Pure."""

from __future__ import annotations

from collections.abc import Callable

from sessions_server.domain import commands as c, lifecycle
from sessions_server.domain.codec import body_json
from sessions_server.domain.context import Change, Merge, apply, format_path
from sessions_server.domain.decision import (
    Decision,
    Facts,
    event_of,
    match_etag,
    require_data_key,
    require_session,
    unchanged,
)
from sessions_server.domain.errors import HistoryFull, InvalidState, MessageExists, SessionExists
from sessions_server.domain.expiry import lapse
from sessions_server.domain.jsonbytes import canonical
from sessions_server.domain.models import (
    Context,
    ContextChange,
    Event,
    EventType,
    HistoryCleared,
    Imported,
    JsonObject,
    Message,
    MessageBody,
    Overflow,
    Sequence,
    Session,
    State,
)
from sessions_server.domain.sizes import check_context, check_metadata


def set_context(facts: Facts, command: c.SetContext) -> Decision:
    return _write_context(facts, command, lambda _: command.data, ("",))


def update_context(facts: Facts, command: c.UpdateContext) -> Decision:
    paths = tuple(path for change in command.changes for path in _changed_paths(change))
    return _write_context(facts, command, lambda data: apply(data, command.changes), paths)


def _write_context(
    facts: Facts,
    command: c.SetContext | c.UpdateContext,
    write: Callable[[JsonObject], JsonObject],
    paths: tuple[str, ...],
) -> Decision:
    session = require_session(facts)
    lifecycle.require_content_writable(session)
    before = facts.context or Context({}, Sequence(0), session.create_time)
    match_etag(command, before.revision)
    data = write(before.data)
    check_context(data, facts.limits, field="context" if isinstance(command, c.SetContext) else "changes")
    event = event_of(facts, command, EventType.CONTEXT_CHANGE, ContextChange(paths))
    context = Context(data, event.sequence, facts.now)
    after = _touched(facts, session, event, message_count=session.message_count)
    return Decision(after, event.sequence, (event,), context=context, answer=context)


def _changed_paths(change: Change) -> tuple[str, ...]:
    """The paths that a change touches: of a merge, those of its keys."""
    if isinstance(change.operation, Merge):
        return tuple(format_path((*change.path, key)) for key in change.operation.values)
    return (change.text,)


def _touched(facts: Facts, session: Session, last: Event, *, message_count: int) -> Session:
    """The session after a write of content: its idle timer starts anew, its etag stays."""
    return session._replace(
        message_count=message_count,
        last_sequence=last.sequence,
        update_time=facts.now,
        active_time=facts.now,
    )


def add_messages(facts: Facts, command: c.AddMessages) -> Decision:
    session = require_session(facts)
    lifecycle.require_content_writable(session)
    events: list[Event] = []
    answer: list[Message] = []
    known = dict(facts.messages) if any(draft.chosen for draft in command.drafts) else {}
    for draft in command.drafts:
        message = known.get(draft.id)
        if message is None:
            sequence = Sequence(facts.last_sequence + len(events) + 1)
            message = Message(draft.id, sequence, facts.now, draft.body)
            events.append(event_of(facts, command, EventType.MESSAGE, message, sequence))
            known[draft.id] = message
        elif _content(message.body) != _content(draft.body):
            raise MessageExists(
                "A message with this id and other content exists; give the new message another id."
            )
        answer.append(message)
    if not events:
        return unchanged(session, tuple(answer))
    drops = _overflow(session, len(events))
    count = session.message_count + len(events) - drops
    after = _touched(facts, session, events[-1], message_count=count)
    return Decision(after, after.last_sequence, tuple(events), drops_oldest=drops, answer=tuple(answer))


def _content(body: MessageBody) -> bytes:
    """Equal of two messages that say the same: typed, since true is not 1, and with times as exact as clients keep
    them."""
    claimed = body.timestamp
    exact = None if claimed is None else claimed._replace(nanos=claimed.nanos // 1_000 * 1_000)
    return canonical(body_json(body._replace(metadata=body.metadata or None, timestamp=exact)))


def _overflow(session: Session, added: int) -> int:
    """How many messages must leave the history so that it holds `added` more. Raises HistoryFull."""
    limit = session.config.max_messages
    drops = session.message_count + added - limit if limit else 0
    if drops > 0 and session.config.overflow is Overflow.REJECT:
        raise HistoryFull(
            "The history holds max_messages and rejects more; clear it, or raise config.max_messages.",
            max_messages=str(limit),
        )
    return max(drops, 0)


def clear_history(facts: Facts, command: c.ClearHistory) -> Decision:
    session = require_session(facts)
    lifecycle.require_content_writable(session)
    if session.message_count == 0:
        return unchanged(session, 0)
    event = event_of(facts, command, EventType.HISTORY_CLEARED, HistoryCleared(session.message_count))
    after = _touched(facts, session, event, message_count=0)
    return Decision(after, event.sequence, (event,), clears_history=True, answer=session.message_count)


def import_(facts: Facts, command: c.Import) -> Decision:
    existing = facts.session
    if existing is not None and command.fail_if_exists:
        raise SessionExists(
            "A session with this id exists; choose another session_id or set if_exists to REPLACE."
        )
    check_metadata(command.exported.metadata, facts.limits)
    check_context(command.context, facts.limits)
    exported, now = command.exported, facts.now
    head = max(facts.last_sequence, exported.last_sequence) if command.moved else facts.last_sequence
    at = Sequence(head + 1)
    if existing is None:
        require_data_key(exported.storage, command.data_key)
        base = exported._replace(key=command.key, history_start=at, log_start=at, data_key=command.data_key)
    else:
        lifecycle.require_content_writable(existing)
        base = existing._replace(metadata=exported.metadata, config=exported.config, update_time=now)
    active_time = exported.active_time if command.moved else now
    session = base._replace(message_count=0, last_sequence=at, revision=at, active_time=active_time)
    event = event_of(facts, command, EventType.IMPORTED, Imported(command.message_count), at)
    lapsed = lapse(session, now)
    if lapsed.session is None:
        raise InvalidState(
            "The exported session's ttl is over, and all its data with it; create a new session instead.",
            state=State.EXPIRED.upper(),
        )
    last = Sequence(lapsed.last_sequence + command.message_count)
    return Decision(
        lapsed.session,
        lapsed.last_sequence,
        (event, *lapsed.events),
        Context(command.context, at, now),
        clears_history=True,
        # As it will be when all its messages have come, which happens in the same transaction or not at all.
        answer=lapsed.session._replace(message_count=command.message_count, last_sequence=last),
    )


def import_messages(facts: Facts, command: c.ImportMessages) -> Decision:
    session = require_session(facts)
    first, last = facts.last_sequence + 1, Sequence(facts.last_sequence + len(command.messages))
    events = tuple(
        Event(
            command.key,
            at,
            EventType.MESSAGE,
            message.create_time,
            command.request_id,
            message._replace(sequence=at),
        )
        for at, message in zip(
            map(Sequence, range(first, first + len(command.messages))), command.messages, strict=True
        )
    )
    after = session._replace(
        message_count=session.message_count + len(events),
        last_sequence=last,
    )
    return Decision(after, last, events, answer=after)

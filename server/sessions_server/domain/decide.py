"""Decides what a command does to a session: the session after it, and the events it caused. Pure.

`decide` reads the facts and answers a `Decision`, or raises a DomainError and nothing happens. A decision never depends
on anything but its arguments, so a batch of commands can be decided one after another before any of it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sessions_server.domain import commands as c, lifecycle
from sessions_server.domain.context import Change, Merge, apply, format_path
from sessions_server.domain.errors import (
    EtagMismatch,
    HistoryFull,
    InvalidRequest,
    InvalidState,
    MessageExists,
    RequestIdReused,
    SessionExists,
    SessionNotFound,
    Violation,
)
from sessions_server.domain.expiry import lapse
from sessions_server.domain.models import (
    Answer,
    Context,
    ContextChange,
    Created,
    Deleted,
    Event,
    EventData,
    EventType,
    HistoryCleared,
    Imported,
    JsonObject,
    Message,
    Micros,
    Overflow,
    Persistence,
    Sequence,
    Session,
    State,
    StateChange,
    StateReason,
    StorageOptions,
    Updated,
)
from sessions_server.domain.sizes import check_context, check_metadata

if TYPE_CHECKING:
    from sessions_server.domain.limits import Limits


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known when a command is decided. The session has no expiry due."""

    now: Micros
    limits: Limits
    session: Session | None
    last_sequence: Sequence
    """The log's head, also of an id whose session was erased."""
    context: Context | None
    """The stored context; None when it was never written, or the command does not need it."""
    messages: Mapping[str, Message]
    """The stored messages that bear an id which a caller chose."""


@dataclass(frozen=True, slots=True)
class Decision:
    session: Session | None
    """The session after the command; None: it is erased, with all that belongs to it."""
    last_sequence: Sequence
    events: tuple[Event, ...] = ()
    context: Context | None = None
    """The context to store; None: as it was."""
    clears_history: bool = False
    """Every message before this command's events leaves the history."""
    drops_oldest: int = 0
    """How many of the oldest messages leave the history, the new ones counted."""
    answer: Answer = None


def decide(facts: Facts, command: c.Command) -> Decision:
    """What `command` does. Raises the DomainError that refuses it."""
    return _DECIDERS[type(command)](facts, command)


def needs_context(command: c.Command) -> bool:
    """Whether the decision looks at the stored context."""
    return isinstance(command, (c.SetContext, c.UpdateContext))


def _create(facts: Facts, command: c.Create) -> Decision:
    existing = facts.session
    if existing is not None:
        if command.id_is_derived:
            raise RequestIdReused(
                "This request_id created a session more than a day ago; send a fresh request_id."
            )
        if not command.return_existing:
            raise SessionExists(
                "A session with this id exists; choose another session_id or set if_exists to RETURN."
            )
        return _unchanged(existing, existing)
    sequence, now = _next(facts), facts.now
    session = Session(
        key=command.key,
        user_id=command.user_id,
        state=State.CREATED,
        metadata=command.metadata,
        config=command.config,
        storage=command.storage,
        message_count=0,
        last_sequence=sequence,
        revision=sequence,
        history_start=sequence,
        log_start=sequence,
        create_time=now,
        update_time=now,
        active_time=now,
        data_key=command.data_key,
    )
    event = _event(facts, command, EventType.CREATED, Created(command.user_id, State.CREATED))
    return Decision(session, sequence, (event,), answer=session)


def _update(facts: Facts, command: c.Update) -> Decision:
    session = _require(facts)
    lifecycle.require_settings_writable(session)
    _match_etag(command, session.revision)
    metadata, config, storage = session.metadata, session.config, session.storage
    for path in command.paths:
        top, _, rest = path.partition(".")
        if top == "metadata":
            metadata = _metadata_after(metadata, command.metadata, rest)
        elif top == "config":
            config = replace(config, **{rest: getattr(command.config, rest)}) if rest else command.config
        else:
            storage = _storage_after(storage, command.storage, rest)
    check_metadata(metadata, facts.limits)
    changed = replace(session, metadata=metadata, config=config, storage=storage, update_time=facts.now)
    return _session_event(facts, command, changed, EventType.UPDATED, Updated(command.paths))


def _metadata_after(metadata: JsonObject, given: JsonObject, key: str) -> JsonObject:
    if not key:
        return given
    rest = {name: value for name, value in metadata.items() if name != key}
    return {**rest, key: given[key]} if key in given else rest


def _storage_after(storage: StorageOptions, given: StorageOptions, field: str) -> StorageOptions:
    if storage.persistence is Persistence.TEMPORARY and (field == "expiry_action" or given.ttl is None):
        sentence = (
            "A temporary session always has a ttl and is always deleted at its end; change only its ttl."
        )
        raise InvalidRequest([Violation(f"session.storage_options.{field}", sentence)])
    return replace(storage, **{field: getattr(given, field)})


def _move(facts: Facts, command: c.Move) -> Decision:
    session = _require(facts)
    moved = lifecycle.move(session, command.verb, facts.now)
    _match_etag(command, session.revision)
    change = StateChange(moved.state, session.state, StateReason.CALLER)
    decision = _session_event(facts, command, moved, EventType.STATE_CHANGE, change)
    if moved.state is State.ENDED and moved.storage.persistence is Persistence.TEMPORARY:
        last = Sequence(decision.last_sequence + 1)
        gone = Event(command.key, last, EventType.DELETED, facts.now, "", Deleted())
        return replace(decision, session=None, last_sequence=last, events=(*decision.events, gone))
    return decision


def _delete(facts: Facts, command: c.Delete) -> Decision:
    session = _require(facts)
    _match_etag(command, session.revision)
    event = _event(facts, command, EventType.DELETED, Deleted())
    return Decision(None, event.sequence, (event,))


def _set_context(facts: Facts, command: c.SetContext) -> Decision:
    return _write_context(facts, command, lambda _: command.data, ("",))


def _update_context(facts: Facts, command: c.UpdateContext) -> Decision:
    paths = tuple(path for change in command.changes for path in _changed_paths(change))
    return _write_context(facts, command, lambda data: apply(data, command.changes), paths)


def _write_context(
    facts: Facts,
    command: c.SetContext | c.UpdateContext,
    write: Callable[[JsonObject], JsonObject],
    paths: tuple[str, ...],
) -> Decision:
    session = _require(facts)
    lifecycle.require_content_writable(session)
    before = facts.context or Context({}, Sequence(0), session.create_time)
    _match_etag(command, before.revision)
    data = write(before.data)
    check_context(data, facts.limits)
    event = _event(facts, command, EventType.CONTEXT_CHANGE, ContextChange(paths))
    context = Context(data, event.sequence, facts.now)
    after = _touched(facts, session, event, message_count=session.message_count)
    return Decision(after, event.sequence, (event,), context=context, answer=context)


def _changed_paths(change: Change) -> tuple[str, ...]:
    """The paths that a change touches: of a merge, those of its keys."""
    if isinstance(change.operation, Merge):
        return tuple(format_path((*change.path, key)) for key in change.operation.values)
    return (change.text,)


def _add_messages(facts: Facts, command: c.AddMessages) -> Decision:
    session = _require(facts)
    lifecycle.require_content_writable(session)
    events: list[Event] = []
    answer: list[Message] = []
    known = dict(facts.messages) if any(draft.chosen for draft in command.drafts) else {}
    for draft in command.drafts:
        message = known.get(draft.id)
        if message is None:
            sequence = Sequence(facts.last_sequence + len(events) + 1)
            message = Message(draft.id, sequence, facts.now, draft.body)
            events.append(_event(facts, command, EventType.MESSAGE, message, sequence))
            known[draft.id] = message
        elif message.body != draft.body:
            raise MessageExists(
                "A message with this id and other content exists; give the new message another id."
            )
        answer.append(message)
    if not events:
        return _unchanged(session, tuple(answer))
    drops = _overflow(session, len(events))
    count = session.message_count + len(events) - drops
    after = _touched(facts, session, events[-1], message_count=count)
    return Decision(after, after.last_sequence, tuple(events), drops_oldest=drops, answer=tuple(answer))


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


def _clear_history(facts: Facts, command: c.ClearHistory) -> Decision:
    session = _require(facts)
    lifecycle.require_content_writable(session)
    if session.message_count == 0:
        return _unchanged(session, 0)
    event = _event(facts, command, EventType.HISTORY_CLEARED, HistoryCleared(session.message_count))
    after = _touched(facts, session, event, message_count=0)
    return Decision(after, event.sequence, (event,), clears_history=True, answer=session.message_count)


def _import(facts: Facts, command: c.Import) -> Decision:
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
        base = replace(exported, key=command.key, history_start=at, log_start=at, data_key=command.data_key)
    else:
        lifecycle.require_content_writable(existing)
        base = replace(existing, metadata=exported.metadata, config=exported.config, update_time=now)
    active_time = exported.active_time if command.moved else now
    session = replace(base, message_count=0, last_sequence=at, revision=at, active_time=active_time)
    event = _event(facts, command, EventType.IMPORTED, Imported(command.message_count), at)
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
        answer=replace(lapsed.session, message_count=command.message_count, last_sequence=last),
    )


def _import_messages(facts: Facts, command: c.ImportMessages) -> Decision:
    session = _require(facts)
    first, last = facts.last_sequence + 1, Sequence(facts.last_sequence + len(command.messages))
    events = tuple(
        Event(command.key, at, EventType.MESSAGE, message.create_time, "", replace(message, sequence=at))
        for at, message in zip(
            map(Sequence, range(first, first + len(command.messages))), command.messages, strict=True
        )
    )
    after = replace(
        session,
        message_count=session.message_count + len(events),
        last_sequence=last,
    )
    return Decision(after, last, events, answer=after)


def _expire(facts: Facts, _: c.Expire) -> Decision:
    return Decision(facts.session, facts.last_sequence)


def _require(facts: Facts) -> Session:
    if facts.session is None:
        raise SessionNotFound
    return facts.session


def _match_etag(command: c.Base, revision: Sequence) -> None:
    if command.etag and command.etag != str(revision):
        raise EtagMismatch(str(revision))


def _next(facts: Facts) -> Sequence:
    return Sequence(facts.last_sequence + 1)


def _event(
    facts: Facts, command: c.Base, kind: EventType, data: EventData, sequence: Sequence | None = None
) -> Event:
    request_id = command.request.id if command.request else ""
    return Event(command.key, sequence or _next(facts), kind, facts.now, request_id, data)


def _touched(facts: Facts, session: Session, last: Event, *, message_count: int) -> Session:
    """The session after a write of content: its idle timer starts anew, its etag stays."""
    return replace(
        session,
        message_count=message_count,
        last_sequence=last.sequence,
        update_time=facts.now,
        active_time=facts.now,
    )


def _session_event(
    facts: Facts, command: c.Base, session: Session, kind: EventType, data: EventData
) -> Decision:
    """The decision that changes the session itself, and so its etag, with one event."""
    event = _event(facts, command, kind, data)
    after = replace(session, last_sequence=event.sequence, revision=event.sequence)
    return Decision(after, event.sequence, (event,), answer=after)


def _unchanged(session: Session, answer: Answer) -> Decision:
    return Decision(session, session.last_sequence, answer=answer)


_DECIDERS: dict[type[c.Command], Callable[[Facts, Any], Decision]] = {
    c.Create: _create,
    c.Update: _update,
    c.Move: _move,
    c.Delete: _delete,
    c.SetContext: _set_context,
    c.UpdateContext: _update_context,
    c.AddMessages: _add_messages,
    c.ClearHistory: _clear_history,
    c.Import: _import,
    c.ImportMessages: _import_messages,
    c.Expire: _expire,
}

"""Decides what a command does to a session: the session after it, and the events it caused. Pure.

`decide` reads the facts and answers a `Decision`, or raises a DomainError and nothing happens. A decision never depends
on anything but its arguments, so a batch of commands can be decided one after another before any of it is written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sessions_server.domain import commands as c, decide_content as content, lifecycle
from sessions_server.domain.decision import (
    Decision,
    Facts,
    event_of,
    match_etag,
    next_sequence,
    require_data_key,
    require_session,
    session_event,
    unchanged,
)
from sessions_server.domain.errors import (
    InvalidRequest,
    RequestIdReused,
    SessionExists,
    Violation,
)
from sessions_server.domain.expiry import lapse
from sessions_server.domain.models import (
    Created,
    Deleted,
    EventType,
    ExpiryAction,
    JsonObject,
    Persistence,
    Sequence,
    Session,
    State,
    StateChange,
    StateReason,
    StorageOptions,
    Updated,
)
from sessions_server.domain.sizes import check_metadata


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
        return unchanged(existing, existing)
    require_data_key(command.storage, command.data_key)
    sequence, now = next_sequence(facts), facts.now
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
    event = event_of(facts, command, EventType.CREATED, Created(command.user_id, State.CREATED))
    return Decision(session, sequence, (event,), answer=session)


def _update(facts: Facts, command: c.Update) -> Decision:
    session = require_session(facts)
    lifecycle.require_settings_writable(session, facts.now)
    match_etag(command, session.revision)
    metadata, config, storage = session.metadata, session.config, session.storage
    for path in command.paths:
        top, _, rest = path.partition(".")
        if top == "metadata":
            metadata = _metadata_after(metadata, command.metadata, rest)
        elif top == "config":
            config = config._replace(**{rest: getattr(command.config, rest)}) if rest else command.config
        else:
            storage = _storage_after(storage, command.storage, rest)
    check_metadata(metadata, facts.limits)
    event = event_of(facts, command, EventType.UPDATED, Updated(command.paths))
    after = session._replace(
        metadata=metadata,
        config=config,
        storage=storage,
        last_sequence=event.sequence,
        revision=event.sequence,
        update_time=facts.now,
    )
    left = lapse(after, facts.now)  # the session's end may now lie at a time that is over
    return Decision(left.session, left.last_sequence, (event, *left.events), answer=left.session or after)


def _metadata_after(metadata: JsonObject, given: JsonObject, key: str) -> JsonObject:
    if not key:
        return given
    rest = {name: value for name, value in metadata.items() if name != key}
    return {**rest, key: given[key]} if key in given else rest


def _storage_after(storage: StorageOptions, given: StorageOptions, field: str) -> StorageOptions:
    after = storage._replace(**{field: getattr(given, field)})
    kept = after.ttl is not None and after.expiry_action is ExpiryAction.DELETE
    if storage.persistence is Persistence.TEMPORARY and not kept:
        sentence = (
            "A temporary session always has a ttl and is always deleted at its end; change only its ttl."
        )
        raise InvalidRequest([Violation(f"session.storage_options.{field}", sentence)])
    return after


def _move(facts: Facts, command: c.Move) -> Decision:
    session = require_session(facts)
    moved = lifecycle.move(session, command.verb, facts.now)
    match_etag(command, session.revision)
    change = StateChange(moved.state, session.state, StateReason.CALLER)
    decision = session_event(facts, command, moved, EventType.STATE_CHANGE, change)
    if moved.state is State.ENDED and moved.storage.persistence is Persistence.TEMPORARY:
        last = Sequence(decision.last_sequence + 1)
        gone = event_of(facts, command, EventType.DELETED, Deleted(), last)
        return decision._replace(session=None, last_sequence=last, events=(*decision.events, gone))
    return decision


def _delete(facts: Facts, command: c.Delete) -> Decision:
    session = require_session(facts)
    match_etag(command, session.revision)
    event = event_of(facts, command, EventType.DELETED, Deleted())
    return Decision(None, event.sequence, (event,))


def _expire(facts: Facts, _: c.Expire) -> Decision:
    return Decision(facts.session, facts.last_sequence)


_DECIDERS: dict[type[c.Command], Callable[[Facts, Any], Decision]] = {
    c.Create: _create,
    c.Update: _update,
    c.Move: _move,
    c.Delete: _delete,
    c.SetContext: content.set_context,
    c.UpdateContext: content.update_context,
    c.AddMessages: content.add_messages,
    c.ClearHistory: content.clear_history,
    c.Import: content.import_,
    c.ImportMessages: content.import_messages,
    c.Expire: _expire,
}

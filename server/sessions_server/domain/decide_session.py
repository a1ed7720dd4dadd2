"""Decides operations on a session itself: creating, updating, state changes, deleting, expiring. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sessions_server.domain import lifecycle
from sessions_server.domain.errors import InvalidRequest, RequestIdReused, SessionExists, Violation
from sessions_server.domain.expiry import lapse
from sessions_server.domain.facts import Decision, Facts, event_of, require_data_key, require_session
from sessions_server.domain.models import (
    Created,
    Deleted,
    EventType,
    ExpiryAction,
    Persistence,
    Sequence,
    Session,
    SessionSettings,
    State,
    StateChange,
    StateReason,
    Updated,
)
from sessions_server.domain.operations import Done
from sessions_server.domain.replay import updated_settings
from sessions_server.domain.sizes import check_metadata

if TYPE_CHECKING:
    from sessions_server.domain.commit import ForkedContent, NewSession
    from sessions_server.domain.models import StorageOptions
    from sessions_server.domain.operations import DeleteSession, Expire, MergeMetadata, Move, Update

_DONE = (Done(),)


def create(facts: Facts, new: NewSession) -> Decision:
    if facts.session is not None:
        if new.id_is_derived:
            raise RequestIdReused(
                "This request_id created a session more than a day ago; send a fresh request_id."
            )
        if not new.return_existing:
            raise SessionExists(
                "A session with this id exists; choose another new_session_id."
                if new.forked is not None
                else "A session with this id exists; choose another session_id or set if_exists to RETURN."
            )
        return Decision()
    require_data_key(new.storage, new.data_key)
    sequence, now = Sequence(facts.last_sequence + 1), facts.now
    session = Session(
        key=facts.key,
        user_id=new.user_id,
        state=State.CREATED,
        metadata=new.metadata,
        config=new.config,
        storage=new.storage,
        message_count=0,
        last_sequence=sequence,
        revision=sequence,
        history_start=sequence,
        log_start=sequence,
        create_time=now,
        update_time=now,
        active_time=now,
        data_key=new.data_key,
        log_id=new.log_id,
        forked_from=None if new.forked is None else new.forked.origin,
    )
    return _created(facts, session, new.forked)


def _created(facts: Facts, session: Session, forked: ForkedContent | None) -> Decision:
    if forked is None:
        created = Created(session.user_id, State.CREATED, None, session)
        return Decision((event_of(facts, EventType.CREATED, created),))
    created = Created(session.user_id, State.CREATED, forked.origin, session, forked.context)
    # The counts after the store has copied the messages, which happens in the same transaction or not at all.
    count, last = forked.message_count, Sequence(session.last_sequence + forked.message_count)
    shown = session._replace(
        message_count=count, last_sequence=last, history_head=last if count else Sequence(0)
    )
    return Decision((event_of(facts, EventType.CREATED, created),), shown=shown)


def update(facts: Facts, operation: Update) -> Decision:
    values = SessionSettings(operation.metadata, operation.config, operation.storage)
    return _write_settings(facts, operation.paths, values)


def merge_metadata(facts: Facts, operation: MergeMetadata) -> Decision:
    paths = tuple(f"metadata.{key}" for key in operation.values)
    values = require_session(facts).settings._replace(metadata=operation.values)
    return _write_settings(facts, paths, values)


def _write_settings(facts: Facts, paths: tuple[str, ...], values: SessionSettings) -> Decision:
    session = require_session(facts)
    lifecycle.require_settings_writable(session, facts.now)
    after = updated_settings(session.settings, paths, values)
    for path in paths:
        _check_storage(session, after.storage, path)
    check_metadata(after.metadata, facts.limits)
    event = event_of(facts, EventType.UPDATED, Updated(paths, values))
    changed = facts.after(Decision((event,)))
    left = lapse(require_session(changed), facts.now)  # the new end of the session may already have passed
    return Decision((event, *left.events), _DONE)


def _check_storage(session: Session, after: StorageOptions, path: str) -> None:
    kept = after.ttl is not None and after.expiry_action is ExpiryAction.DELETE
    if session.storage.persistence is Persistence.TEMPORARY and path.startswith("storage") and not kept:
        sentence = (
            "A temporary session always has a ttl and is always deleted at its end; change only its ttl."
        )
        raise InvalidRequest([Violation(f"session.{path}", sentence)])


def move(facts: Facts, operation: Move) -> Decision:
    session = require_session(facts)
    moved = lifecycle.move(session, operation.verb, facts.now)
    change = StateChange(moved.state, session.state, StateReason.CALLER)
    event = event_of(facts, EventType.STATE_CHANGE, change)
    if moved.state is State.ENDED and moved.storage.persistence is Persistence.TEMPORARY:
        ended = facts.after(Decision((event,))).session
        gone = event_of(facts, EventType.DELETED, Deleted(), offset=2)
        return Decision((event, gone), _DONE, shown=ended)
    return Decision((event,), _DONE)


def delete(facts: Facts, _: DeleteSession) -> Decision:
    require_session(facts)
    return Decision((event_of(facts, EventType.DELETED, Deleted()),), _DONE)


def expire(_facts: Facts, _: Expire) -> Decision:
    """Does nothing: a due expiry is recorded before any operation is decided."""
    return Decision((), _DONE)

"""Decides an import, which arrives in parts: first the session with its context, then its messages. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sessions_server.domain import lifecycle
from sessions_server.domain.errors import InvalidState, SessionExists
from sessions_server.domain.expiry import lapse
from sessions_server.domain.facts import Decision, Facts, require_data_key, require_session
from sessions_server.domain.models import Event, EventType, Imported, Message, Sequence, State
from sessions_server.domain.operations import Done
from sessions_server.domain.sizes import check_context, check_metadata

if TYPE_CHECKING:
    from sessions_server.domain.operations import ImportMessages, ImportRecords, ImportSession


def import_session(facts: Facts, operation: ImportSession) -> Decision:
    existing, exported, now = facts.session, operation.exported, facts.now
    if existing is not None and operation.fail_if_exists:
        raise SessionExists(
            "A session with this id exists; choose another session_id or set if_exists to REPLACE."
        )
    check_metadata(exported.metadata, facts.limits)
    check_context(operation.context, facts.limits)
    head = max(facts.last_sequence, exported.last_sequence) if operation.moved else facts.last_sequence
    at = Sequence(head + 1)
    if existing is None:
        require_data_key(exported.storage, operation.data_key)
        base = exported._replace(key=facts.key, log_start=at, data_key=operation.data_key, forked_from=None)
    else:
        lifecycle.require_content_writable(existing)
        base = existing._replace(metadata=exported.metadata, config=exported.config, update_time=now)
    session = base._replace(
        message_count=0,
        last_sequence=at,
        history_start=at,
        revision=at,
        history_head=Sequence(0),
        active_time=exported.active_time if operation.moved else now,
        # In an existing session the log continues with an `imported` event, so existing positions stay valid.
        log_id=operation.log_id if existing is None else existing.log_id,
    )
    imported = Imported(operation.message_count, session, operation.context)
    event = Event(facts.key, at, EventType.IMPORTED, now, facts.request_id, imported)
    lapsed = lapse(session, now)
    if lapsed.session is None:
        raise InvalidState(
            "The exported session's ttl is over, and all its data with it; create a new session instead.",
            state=State.EXPIRED.upper(),
        )
    cleared, count = facts.history.cleared(facts.last_sequence), operation.message_count
    # The sequence after all messages, which become visible together with the session or not at all.
    last = Sequence(lapsed.last_sequence + count)
    shown = lapsed.session._replace(
        message_count=count, last_sequence=last, history_head=last if count else Sequence(0)
    )
    records = None if existing is None else facts.records.without_session(facts.key)
    return Decision((event, *lapsed.events), (Done(),), cleared, records, shown=shown)


def import_messages(facts: Facts, operation: ImportMessages) -> Decision:
    require_session(facts)
    key, now, request_id = facts.key, facts.now, operation.request_id
    messages = [
        Message(each.id, Sequence(sequence), each.create_time, each.body)
        for sequence, each in enumerate(operation.messages, facts.last_sequence + 1)
    ]
    events = tuple(
        [
            Event(key, each.sequence, EventType.MESSAGE, now, request_id, each, imported=True)
            for each in messages
        ]
    )
    return Decision(events, (Done(),), facts.history.added({each.id: each for each in messages}))


def import_records(facts: Facts, operation: ImportRecords) -> Decision:
    """Skips records that have expired since the export; existing records stay."""
    records = facts.records
    for record in operation.records:
        lives = record.expire_time is None or record.expire_time > facts.now
        if lives and record.name not in records.heads:
            records = records.restored(record)
    return Decision((), (Done(),), records=records)

"""Events and checkpoints as bytes of a subscription. Each event is encoded once for all readers."""

from __future__ import annotations

from typing import Final

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.domain.models import (
    ContextChange,
    Created,
    Deleted,
    Event,
    EventData,
    HistoryCleared,
    HistoryTruncated,
    Imported,
    Message,
    MessageErased,
    RecordsChange,
    Sequence,
    StateChange,
    Updated,
)
from sessions_server.rpc.convert.context import put_change
from sessions_server.rpc.convert.encoded import EncodedOnce
from sessions_server.rpc.convert.records import put_name
from sessions_server.rpc.convert.responses import put_forked_from, put_message, put_session
from sessions_server.rpc.convert.scalars import EVENT_TYPES, STATE_REASONS, STATES, put_time

_ENCODED: Final = EncodedOnce[Event]()

_CHANGES_BYTES: Final = 64 * 1024
"""The maximum size of the changes in an event."""


def encode_event(event: Event) -> bytes:
    encoded = _ENCODED.find(event)
    if encoded is None:
        response = pb.SubscribeResponse()
        _put_event(response.event, event)
        encoded = _ENCODED.keep(event, response.SerializeToString())
    return encoded


def find_encoded(event: Event) -> bytes | None:
    """What `encode_event` has made of the event already."""
    return _ENCODED.find(event)


def encode_event_with_changes(event: Event) -> bytes:
    """The same, including what was changed if that is small enough, for subscriptions that ask for it."""
    data = event.data
    if not isinstance(data, (ContextChange, Updated)):
        return encode_event(event)
    response = pb.SubscribeResponse()
    _put_event(response.event, event)
    if isinstance(data, ContextChange):
        _put_changes(response.event.context_change, data)
    else:
        _put_updated_session(response.event.updated, data)
    return response.SerializeToString()


def encode_checkpoint(position: Sequence, log_id: str) -> bytes:
    checkpoint = pb.Checkpoint(sequence=position, log_id=log_id)
    return pb.SubscribeResponse(checkpoint=checkpoint).SerializeToString()


def _put_changes(target: pb.ContextChangeEvent, data: ContextChange) -> None:
    for change in data.changes or ():
        put_change(target.changes.add(), change)
    size = sum(change.ByteSize() for change in target.changes)
    if data.changes is None or size > _CHANGES_BYTES:
        del target.changes[:]
        target.changes_omitted = True


def _put_updated_session(target: pb.UpdatedEvent, data: Updated) -> None:
    if data.session is not None:
        put_session(target.session, data.session)
        if target.session.ByteSize() > _CHANGES_BYTES:
            target.ClearField("session")


def _put_event(target: pb.Event, event: Event) -> None:
    target.session_id = event.key.session_id
    target.sequence = event.sequence
    target.type = EVENT_TYPES[event.type]
    put_time(target.time, event.time)
    target.request_id = event.request_id
    target.erased = event.erased
    if event.data is not None:
        _put_data(target, event.data, event.sequence)


def _put_data(target: pb.Event, data: EventData, sequence: Sequence) -> None:
    match data:
        case Message():
            put_message(target.message, data)
        case Created(user_id, state, forked_from):
            target.created.user_id, target.created.state = user_id, STATES[state]
            if forked_from is not None:
                put_forked_from(target.created.forked_from, forked_from)
        case StateChange(state, previous, reason):
            change = target.state_change
            change.state, change.previous_state = STATES[state], STATES[previous]
            change.reason = STATE_REASONS[reason]
        case ContextChange(paths):
            target.context_change.paths.extend(paths)
            target.context_change.etag = str(sequence)  # a context's etag is the sequence of its last change
        case Updated(paths):
            target.updated.paths.extend(paths)
        case HistoryCleared(cleared_count):
            target.history_cleared.cleared_count = cleared_count
        case HistoryTruncated(removed_count, head_sequence):
            target.history_truncated.SetInParent()
            truncated = target.history_truncated
            truncated.removed_count, truncated.head_sequence = removed_count, head_sequence
        case MessageErased(message_id, message_sequence):
            erased = target.message_erased
            erased.message_id, erased.sequence = message_id, message_sequence
        case RecordsChange(changes):
            for each in changes:
                record = target.records_change.changes.add(etag=each.etag, deleted=each.deleted)
                put_name(record.name, each.name)
        case Imported(message_count):
            target.imported.SetInParent()
            target.imported.message_count = message_count
        case Deleted():
            target.deleted.SetInParent()

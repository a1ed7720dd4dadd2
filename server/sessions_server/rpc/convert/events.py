"""Events and checkpoints as bytes of a subscription. One event is encoded once, however many read it."""

from __future__ import annotations

from typing import Final
from weakref import WeakKeyDictionary

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.domain.models import (
    ContextChange,
    Created,
    Deleted,
    Event,
    EventData,
    HistoryCleared,
    Imported,
    Message,
    Sequence,
    StateChange,
    Updated,
)
from sessions_server.rpc.convert.responses import put_message
from sessions_server.rpc.convert.scalars import EVENT_TYPES, STATE_REASONS, STATES, put_time

_ENCODED: Final[WeakKeyDictionary[Event, bytes]] = WeakKeyDictionary()
"""Beside each event, for as long as anyone holds it; events are compared by identity."""


def encode_event(event: Event) -> bytes:
    encoded = _ENCODED.get(event)
    if encoded is None:
        response = pb.SubscribeResponse()
        _put_event(response.event, event)
        encoded = _ENCODED[event] = response.SerializeToString()
    return encoded


def encode_checkpoint(position: Sequence) -> bytes:
    return pb.SubscribeResponse(checkpoint=pb.Checkpoint(sequence=position)).SerializeToString()


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
        case Created(user_id, state):
            target.created.user_id, target.created.state = user_id, STATES[state]
        case StateChange(state, previous, reason):
            change = target.state_change
            change.state, change.previous_state = STATES[state], STATES[previous]
            change.reason = STATE_REASONS[reason]
        case ContextChange(paths):
            target.context_change.paths.extend(paths)
            target.context_change.etag = str(sequence)  # of a context the sequence of its last change
        case Updated(paths):
            target.updated.paths.extend(paths)
        case HistoryCleared(cleared_count):
            target.history_cleared.cleared_count = cleared_count
        case Imported(message_count):
            target.imported.SetInParent()
            target.imported.message_count = message_count
        case Deleted():
            target.deleted.SetInParent()

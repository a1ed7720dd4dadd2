"""How values are written down: JSON, as bytes. What this module wrote, every later version of it reads."""

from __future__ import annotations

from typing import Any, cast

from sessions_server.domain.jsonbytes import dumps, loads
from sessions_server.domain.models import (
    Answer,
    ClaimedTime,
    Context,
    ContextChange,
    Created,
    Deleted,
    EventData,
    EventType,
    ExpiryAction,
    HistoryCleared,
    Imported,
    JsonObject,
    Message,
    MessageBody,
    Micros,
    Overflow,
    Persistence,
    Sequence,
    Session,
    SessionConfig,
    SessionKey,
    State,
    StateChange,
    StateReason,
    StorageOptions,
    Updated,
)


def body_json(body: MessageBody) -> JsonObject:
    """A message's body, without what is empty."""
    out: JsonObject = {}
    if body.role:
        out["role"] = body.role
    if body.content:
        out["content"] = body.content
    if body.name:
        out["name"] = body.name
    if body.tool_call_id:
        out["tool_call_id"] = body.tool_call_id
    if body.data is not None:
        out["data"] = body.data
    if body.metadata is not None:
        out["metadata"] = body.metadata
    if body.timestamp is not None:
        out["timestamp"] = list(body.timestamp)
    return out


def body_from_json(raw: dict[str, Any]) -> MessageBody:
    timestamp = raw.pop("timestamp", None)
    return MessageBody(**raw, timestamp=None if timestamp is None else ClaimedTime(*timestamp))


def encode_data(data: EventData) -> bytes:
    """An event's data; of a message only its body, since a message is its log row."""
    match data:
        case Message(body=body):
            return dumps(body_json(body))
        case Created(user_id, state):
            return dumps({"user_id": user_id, "state": state})
        case StateChange(state, previous, reason):
            return dumps({"state": state, "previous_state": previous, "reason": reason})
        case ContextChange(paths) | Updated(paths):
            return dumps({"paths": list(paths)})
        case HistoryCleared(cleared_count):
            return dumps({"cleared_count": cleared_count})
        case Imported(message_count):
            return dumps({"message_count": message_count})
        case Deleted():
            return b"{}"


def decode_message(payload: bytes, *, message_id: str, sequence: int, time: int) -> Message:
    return Message(message_id, Sequence(sequence), Micros(time), body_from_json(loads(payload)))


def decode_data(kind: EventType, payload: bytes) -> EventData:
    """The data of any event but a message."""
    raw = loads(payload)
    match kind:
        case EventType.CREATED:
            return Created(raw["user_id"], State(raw["state"]))
        case EventType.STATE_CHANGE:
            return StateChange(State(raw["state"]), State(raw["previous_state"]), StateReason(raw["reason"]))
        case EventType.CONTEXT_CHANGE:
            return ContextChange(tuple(raw["paths"]))
        case EventType.UPDATED:
            return Updated(tuple(raw["paths"]))
        case EventType.HISTORY_CLEARED:
            return HistoryCleared(raw["cleared_count"])
        case EventType.IMPORTED:
            return Imported(raw["message_count"])
        case EventType.DELETED:
            return Deleted()
        case EventType.MESSAGE:
            raise ValueError("a message is read by decode_message")


def session_json(session: Session) -> JsonObject:
    """Everything that a caller may see of a session."""
    config, storage = session.config, session.storage
    return {
        "tenant": session.key.tenant,
        "id": session.key.session_id,
        "user_id": session.user_id,
        "state": session.state,
        "metadata": session.metadata,
        "config": [config.timeout, config.max_messages, config.context_window, config.overflow],
        "storage": [storage.persistence, storage.encryption, storage.ttl, storage.expiry_action],
        "counters": [
            session.message_count,
            session.last_sequence,
            session.revision,
            session.history_start,
            session.log_start,
        ],
        "times": [
            session.create_time,
            session.update_time,
            session.active_time,
            session.start_time,
            session.end_time,
            session.archive_time,
        ],
        "expiry_reason": session.expiry_reason,
    }


def session_from_json(raw: dict[str, Any]) -> Session:
    timeout, max_messages, context_window, overflow = raw["config"]
    persistence, encryption, ttl, expiry_action = raw["storage"]
    count, last, revision, history_start, log_start = raw["counters"]
    create, update, active, start, end, archive = raw["times"]
    return Session(
        key=SessionKey(raw["tenant"], raw["id"]),
        user_id=raw["user_id"],
        state=State(raw["state"]),
        metadata=raw["metadata"],
        config=SessionConfig(timeout, max_messages, context_window, Overflow(overflow)),
        storage=StorageOptions(Persistence(persistence), encryption, ttl, ExpiryAction(expiry_action)),
        message_count=count,
        last_sequence=last,
        revision=revision,
        history_start=history_start,
        log_start=log_start,
        create_time=create,
        update_time=update,
        active_time=active,
        start_time=start,
        end_time=end,
        archive_time=archive,
        expiry_reason=None if raw["expiry_reason"] is None else StateReason(raw["expiry_reason"]),
    )


def encode_answer(answer: Answer) -> bytes:
    """The first answer to a request id. Of messages only what the server added: the retry brings their content again,
    so that nothing which was cleared since can be read from here."""
    match answer:
        case None:
            return dumps({})
        case int(count):
            return dumps({"count": count})
        case Session():
            return dumps({"session": session_json(answer)})
        case Context(data, revision, update_time):
            return dumps({"context": [data, revision, update_time]})
        case _:
            return dumps({"messages": [[m.id, m.sequence, m.create_time] for m in answer]})


def decode_answer(payload: bytes, bodies: tuple[MessageBody, ...] = ()) -> Answer:
    """What `encode_answer` wrote; `bodies` are those of the request that is repeated."""
    raw = cast("dict[str, Any]", loads(payload))
    if "count" in raw:
        return int(raw["count"])
    if "session" in raw:
        return session_from_json(raw["session"])
    if "context" in raw:
        data, revision, update_time = raw["context"]
        return Context(data, revision, update_time)
    if "messages" in raw:
        rows = zip(raw["messages"], bodies, strict=True)
        return tuple(Message(id_, sequence, time, body) for (id_, sequence, time), body in rows)
    return None

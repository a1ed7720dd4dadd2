"""The stored form of values: JSON, as bytes. Every later version of this module must read what earlier ones wrote."""

from __future__ import annotations

from typing import Any, Final

from sessions_server.domain.context import Append, Change, Increment, Merge, Remove, Set, parse_path
from sessions_server.domain.jsonbytes import dumps, loads
from sessions_server.domain.models import (
    ClaimedTime,
    ContextChange,
    Created,
    Deleted,
    EventData,
    EventType,
    ForkedFrom,
    HistoryCleared,
    HistoryTruncated,
    Imported,
    JsonObject,
    Message,
    MessageBody,
    MessageErased,
    Micros,
    RecordsChange,
    Sequence,
    Session,
    SessionSettings,
    State,
    StateChange,
    StateReason,
    Updated,
)
from sessions_server.domain.plain import from_plain, to_plain
from sessions_server.domain.records import change_from_json, change_json

_PAYLOAD: Final = b"\0"
"""Separates a message's JSON, which never contains this byte, from its payload."""


def body_json(body: MessageBody) -> JsonObject:
    """A message's body, without empty fields."""
    out = to_plain(body)
    if body.timestamp is not None:
        out["timestamp"] = list(body.timestamp)
    return out


def body_from_json(raw: dict[str, Any]) -> MessageBody:
    timestamp = raw.pop("timestamp", None)
    body = from_plain(MessageBody, raw)
    return body if timestamp is None else body._replace(timestamp=ClaimedTime(*timestamp))


def message_json(message: Message) -> list[Any]:
    return [message.id, message.sequence, message.create_time, body_json(message.body)]


def message_from_json(raw: list[Any]) -> Message:
    id_, sequence, time, body = raw
    return Message(id_, sequence, time, body_from_json(body))


def encode_body(body: MessageBody) -> bytes:
    """The stored form of a message's body."""
    if not body.payload:
        return dumps(body_json(body))
    return dumps(body_json(body._replace(payload=b""))) + _PAYLOAD + body.payload


def decode_body(stored: bytes) -> MessageBody:
    text, _, payload = bytes(stored).partition(_PAYLOAD)
    body = body_from_json(loads(text))
    return body._replace(payload=payload) if payload else body


def encode_data(data: EventData) -> bytes:
    """The part of an event that everyone may see. For a message it is the body, since messages are stored as log
    rows."""
    match data:
        case Message(body=body):
            return encode_body(body)
        case Created(user_id, state, forked_from):
            shown: JsonObject = {"user_id": user_id, "state": state}
            return dumps(shown if forked_from is None else {**shown, "forked_from": to_plain(forked_from)})
        case StateChange(state, previous, reason):
            return dumps({"state": state, "previous_state": previous, "reason": reason})
        case ContextChange(paths) | Updated(paths):
            return dumps({"paths": list(paths)})
        case HistoryCleared(cleared_count):
            return dumps({"cleared_count": cleared_count})
        case HistoryTruncated(removed_count, head_sequence):
            return dumps({"removed_count": removed_count, "head_sequence": head_sequence})
        case MessageErased(message_id, sequence, head_sequence):
            return dumps({"message_id": message_id, "sequence": sequence, "head_sequence": head_sequence})
        case RecordsChange(changes):
            return dumps({"changes": [change_json(change) for change in changes]})
        case Imported(message_count):
            return dumps({"message_count": message_count})
        case Deleted():
            return b"{}"


def encode_change(data: EventData) -> bytes | None:
    """What is needed besides the visible part of an event to compute the state after it; None if nothing is."""
    match data:
        case Created(session=Session() as session, context=context):
            more: JsonObject = {"session": session_json(session)}
            return dumps(more if context is None else {**more, "context": context})
        case ContextChange(changes=tuple() as changes):
            return dumps({"changes": [_change_json(change) for change in changes]})
        case Updated(values=SessionSettings() as values):
            return dumps({"values": to_plain(values)})
        case Imported(session=Session() as session, context=context):
            return dumps({"session": session_json(session), "context": context})
        case _:
            return None


def decode_message(payload: bytes, *, message_id: str, sequence: int, time: int) -> Message:
    return Message(message_id, Sequence(sequence), Micros(time), decode_body(payload))


def decode_data(kind: EventType, payload: bytes, change: bytes | None, *, tenant: str) -> EventData:
    """The data of any event except messages. Without its change it has only the visible part."""
    raw = loads(payload)
    more: dict[str, Any] = {} if change is None else loads(change)
    match kind:
        case EventType.CREATED:
            forked_from = raw.get("forked_from")
            origin = None if forked_from is None else from_plain(ForkedFrom, forked_from)
            return Created(
                raw["user_id"], State(raw["state"]), origin, _session_of(more), more.get("context")
            )
        case EventType.STATE_CHANGE:
            return StateChange(State(raw["state"]), State(raw["previous_state"]), StateReason(raw["reason"]))
        case EventType.CONTEXT_CHANGE:
            changes = None if change is None else tuple(map(_change_from_json, more["changes"]))
            return ContextChange(tuple(raw["paths"]), changes)
        case EventType.UPDATED:
            values = None if change is None else from_plain(SessionSettings, more["values"])
            return Updated(tuple(raw["paths"]), values)
        case EventType.IMPORTED:
            return Imported(raw["message_count"], _session_of(more), more.get("context"))
        case _:
            return _decode_small(kind, raw, tenant)


def _decode_small(kind: EventType, raw: dict[str, Any], tenant: str) -> EventData:
    match kind:
        case EventType.HISTORY_CLEARED:
            return HistoryCleared(raw["cleared_count"])
        case EventType.HISTORY_TRUNCATED:
            return HistoryTruncated(raw["removed_count"], raw["head_sequence"])
        case EventType.MESSAGE_ERASED:
            return MessageErased(raw["message_id"], raw["sequence"], raw["head_sequence"])
        case EventType.RECORDS_CHANGE:
            return RecordsChange(tuple(change_from_json(tenant, each) for each in raw["changes"]))
        case EventType.DELETED:
            return Deleted()
        case _:
            raise ValueError("a message is read by decode_message")


_OPERATIONS: Final[dict[type, str]] = {
    Set: "set",
    Remove: "remove",
    Increment: "increment",
    Append: "append",
    Merge: "merge",
}


def _change_json(change: Change) -> list[Any]:
    match change.operation:
        case Set(value) | Append(value) | Increment(value) | Merge(value):
            return [change.text, _OPERATIONS[type(change.operation)], value]
        case Remove():
            return [change.text, "remove"]


def _change_from_json(raw: list[Any]) -> Change:
    text, kind, *value = raw
    path = parse_path(text)
    match kind:
        case "set":
            return Change(text, path, Set(*value))
        case "append":
            return Change(text, path, Append(*value))
        case "increment":
            return Change(text, path, Increment(*value))
        case "merge":
            return Change(text, path, Merge(*value))
        case _:
            return Change(text, path, Remove())


def session_json(session: Session) -> JsonObject:
    """Every field of a session except its data key."""
    out = to_plain(session)
    out.pop("data_key", None)
    return out


def session_from_json(raw: dict[str, Any]) -> Session:
    return from_plain(Session, raw)


def _session_of(change: dict[str, Any]) -> Session | None:
    return session_from_json(change["session"]) if "session" in change else None

"""The parts of a commit: operations, conditions, reads, and the session to create.

    from sessions_client import ops

    client.sessions.commit(
        session_id,
        ops.append(role="user", content="Hello"),
        ops.change_context(Increment("visits")),
        conditions=[ops.if_history_head(12)],
    )

Each function checks what it is given, as the single calls do, and raises `InvalidArgument`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Unpack

from sessions_client._changes import Change
from sessions_client._convert import (
    _context as context_convert,
    _messages as messages_convert,
    _records as records_convert,
    _scalars as scalars,
    _sessions as sessions_convert,
)
from sessions_client._convert._json import fill_struct
from sessions_client._errors import refused
from sessions_client._models import (
    ConfigInput,
    HistoryWindow,
    IfExists,
    MessageDict,
    MessageInput,
    Span,
    StorageInput,
)
from sessions_client._records import CollectionInput, RecordName, Scope
from sessions_proto.v1 import commits_pb2 as pb

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "Condition",
    "NewSession",
    "Operation",
    "Read",
    "append",
    "change_context",
    "delete",
    "delete_session",
    "erase_message",
    "if_context_etag",
    "if_history_head",
    "if_last_sequence",
    "if_record",
    "if_session_etag",
    "list_records",
    "merge_metadata",
    "move",
    "new_session",
    "put",
    "read_context",
    "read_history",
    "read_message",
    "read_record",
    "read_session",
    "set_context",
    "truncate",
]


class _Part:
    __slots__ = ("_wire",)

    def __init__(self, wire: Any) -> None:
        self._wire = wire

    def __repr__(self) -> str:
        """Shows the kinds of parts without their content."""
        kinds = [wire.WhichOneof(oneof.name) for wire in (self._wire,) for oneof in wire.DESCRIPTOR.oneofs]
        return f"{type(self).__name__}({', '.join(kinds)})"


class Operation(_Part):
    """One change of a commit."""

    __slots__ = ()


class Condition(_Part):
    """A condition of a commit; unless it holds, `Aborted` is raised with the condition's index in `metadata`."""

    __slots__ = ()


class Read(_Part):
    """One thing to read."""

    __slots__ = ()


class NewSession(_Part):
    """The session that a commit creates."""

    __slots__ = ()


def new_session(
    user_id: str,
    *,
    metadata: Mapping[str, Any] | None = None,
    config: ConfigInput | None = None,
    storage_options: StorageInput | None = None,
    if_exists: IfExists | Literal["fail", "return"] | None = None,
) -> NewSession:
    """Creates the commit's session first, as `client.sessions.create` does.

    If the session already exists, the commit fails with `AlreadyExists`; with `if_exists="return"` it is applied to
    that session."""
    wire = pb.NewSession()
    sessions_convert.fill_new_session(
        wire,
        user_id,
        metadata=metadata,
        config=config,
        storage_options=storage_options,
        if_exists=if_exists,
    )
    return NewSession(wire)


def append(message: MessageInput | None = None, **parts: Unpack[MessageDict]) -> Operation:
    """Adds a message to the end of the history; takes it whole, or the keys of a `MessageDict` as arguments."""
    wire = pb.Operation()
    messages_convert.fill_message(
        wire.append, messages_convert.one_message(message, dict(parts)), field="message"
    )
    return Operation(wire)


def truncate(
    *,
    newest: int | None = None,
    oldest: int | None = None,
    after_sequence: int | None = None,
    through_sequence: int | None = None,
    return_removed: bool = False,
) -> Operation:
    """Removes messages from one end of the history permanently: this many of the `newest` or `oldest`, those
    `after_sequence`, or those up to and including `through_sequence`. Give exactly one of these."""
    parts = {
        "newest": newest,
        "oldest": oldest,
        "after_sequence": after_sequence,
        "through_sequence": through_sequence,
    }
    given = {key: value for key, value in parts.items() if value is not None}
    if len(given) != 1:
        raise refused("truncate", f"must have exactly one of {', '.join(parts)}.")
    wire = pb.Operation()
    wire.truncate.return_removed = return_removed
    for key, value in given.items():
        bits = 64 if key.endswith("sequence") else 32
        setattr(wire.truncate, key, scalars.integer(value, field=key, bits=bits))
    return Operation(wire)


def erase_message(message_id: str) -> Operation:
    """Removes one message from the history and erases its content permanently. A missing message is not an error."""
    return Operation(pb.Operation(erase_message=scalars.text(message_id, field="message_id")))


def set_context(context: Mapping[str, Any]) -> Operation:
    """Replaces the whole context."""
    wire = pb.Operation()
    fill_struct(wire.context_data, context, field="context")
    return Operation(wire)


def change_context(change: Change) -> Operation:
    """Changes part of the context: `Set`, `Remove`, `Increment`, `Append`, `Merge`, or a dict."""
    wire = pb.Operation()
    context_convert.fill_change(wire.context, change, field="change")
    return Operation(wire)


def merge_metadata(metadata: Mapping[str, Any]) -> Operation:
    """Sets these keys of the session's metadata; other keys stay."""
    wire = pb.Operation()
    fill_struct(wire.metadata, metadata, field="metadata")
    return Operation(wire)


_MOVES = {
    verb: pb.Move.Value(f"MOVE_{verb.upper()}") for verb in ("start", "pause", "resume", "end", "archive")
}


def move(verb: Literal["start", "pause", "resume", "end", "archive"]) -> Operation:
    """Moves the session to another state, as the client's method of that name does."""
    if verb not in _MOVES:
        raise refused("verb", f"must be one of {', '.join(_MOVES)}.")
    return Operation(pb.Operation(move=_MOVES[verb]))


def delete_session() -> Operation:
    """Erases the session; only as the last operation."""
    return Operation(pb.Operation(delete_session=True))


def put(
    name: RecordName,
    value: bytes,
    *,
    value_type: str | None = None,
    labels: Mapping[str, Any] | None = None,
    time: datetime | str | None = None,
    ttl: Span | None = None,
    new_etag: str | None = None,
    if_absent: bool = False,
) -> Operation:
    """Writes a record, replacing one of the same name. With `if_absent` an existing record is left unchanged.

    Lists filter by `labels` and order by `time`; `ttl` is the lifetime since the last write, and `new_etag` sets
    the etag instead of a generated one."""
    wire = pb.Operation()
    wire.put.if_absent = if_absent
    records_convert.fill_record(
        wire.put.record,
        name,
        value,
        value_type=value_type,
        labels=labels,
        time=time,
        ttl=ttl,
        new_etag=new_etag,
    )
    return Operation(wire)


def delete(name: RecordName, *, prefix: bool = False) -> Operation:
    """Deletes a record, or with `prefix` every record of the collection whose key begins with the name's key. A
    missing record is not an error."""
    wire = pb.Operation()
    wire.delete.prefix = prefix
    records_convert.fill_name(wire.delete.name, name, field="name")
    return Operation(wire)


def if_session_etag(etag: str) -> Condition:
    """The session has this etag."""
    return Condition(pb.Condition(session_etag=scalars.text(etag, field="etag")))


def if_context_etag(etag: str) -> Condition:
    """The context has this etag."""
    return Condition(pb.Condition(context_etag=scalars.text(etag, field="etag")))


def if_history_head(sequence: int) -> Condition:
    """The newest message of the history has this sequence; 0 if the history is empty."""
    return Condition(pb.Condition(history_head=scalars.integer(sequence, field="sequence", bits=64)))


def if_last_sequence(sequence: int) -> Condition:
    """The session's last event has this sequence."""
    return Condition(pb.Condition(last_sequence=scalars.integer(sequence, field="sequence", bits=64)))


def if_record(
    name: RecordName, *, etag: str | None = None, absent: bool = False, present: bool = False
) -> Condition:
    """The record has this `etag`, is `absent` or is `present`. Give exactly one of these."""
    if (etag is not None) + absent + present != 1:
        raise refused("if_record", "must have exactly one of etag=, absent=True, present=True.")
    wire = pb.Condition()
    records_convert.fill_name(wire.record.name, name, field="name")
    if etag is not None:
        wire.record.etag = scalars.text(etag, field="etag")
    elif absent:
        wire.record.absent = True
    else:
        wire.record.present = True
    return Condition(wire)


def read_session(session_id: str, *, at_sequence: int | None = None) -> Read:
    """Reads a session: a `Session`."""
    request = sessions_convert.get_request(session_id, at_sequence=at_sequence)
    return Read(pb.ReadOperation(session=request))


def read_context(session_id: str, *, path: str | None = None, at_sequence: int | None = None) -> Read:
    """Reads a context, or the value at one path: a `Context`."""
    request = context_convert.get_request(session_id, path=path, at_sequence=at_sequence)
    return Read(pb.ReadOperation(context=request))


def read_history(
    session_id: str,
    *,
    limit: int | None = None,
    before_sequence: int | None = None,
    after_sequence: int | None = None,
    at_sequence: int | None = None,
    window: HistoryWindow | Literal["exact", "whole_turns"] | None = None,
) -> Read:
    """Reads messages of a history: a `History` of at most 1,000 messages and about 1 MiB."""
    request = messages_convert.history_request(
        session_id,
        limit=limit,
        before_sequence=before_sequence,
        after_sequence=after_sequence,
        at_sequence=at_sequence,
        window=window,
    )
    return Read(pb.ReadOperation(history=request))


def read_message(session_id: str, message_id: str) -> Read:
    """Reads one message of a history: a `Message`."""
    name = pb.MessageName(
        session_id=scalars.text(session_id, field="session_id"),
        message_id=scalars.text(message_id, field="message_id"),
    )
    return Read(pb.ReadOperation(message=name))


def read_record(name: RecordName, *, refresh_ttl: bool = False) -> Read:
    """Reads a record: a `Record`. `refresh_ttl` restarts its ttl."""
    wire = pb.ReadOperation(refresh_ttl=refresh_ttl)
    records_convert.fill_name(wire.record, name, field="name")
    return Read(wire)


def list_records(
    scope: Scope,
    collection: CollectionInput = (),
    *,
    subtree: bool = False,
    key_prefix: str | None = None,
    after_key: str | None = None,
    before_key: str | None = None,
    filter: Mapping[str, Any] | None = None,
    order_by: str | None = None,
    keys_only: bool = False,
    values_only: bool = False,
    refresh_ttl: bool = False,
    page_size: int | None = None,
    page_token: str | None = None,
) -> Read:
    """Reads one page of records: a `RecordList`. The arguments are those of `client.records.list`."""
    request = records_convert.list_request(
        scope,
        collection,
        subtree=subtree,
        key_prefix=key_prefix,
        after_key=after_key,
        before_key=before_key,
        filter=filter,
        order_by=order_by,
        keys_only=keys_only,
        values_only=values_only,
        refresh_ttl=refresh_ttl,
        page_size=page_size,
        page_token=page_token,
    )
    return Read(pb.ReadOperation(records=request))

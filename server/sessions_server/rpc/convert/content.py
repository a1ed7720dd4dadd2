"""Requests about a session's content, read into commands and queries: its context, its messages, its events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sessions_server.domain import commands as c
from sessions_server.domain.context import Append, Change, Increment, Merge, Operation, Path, Remove, Set
from sessions_server.domain.models import EventType, MessageBody, MessageDraft, Sequence, SessionKey
from sessions_server.domain.ports import HistoryQuery
from sessions_server.rpc.convert.check import NAME_CHARACTERS, ROLE_CHARACTERS, Check
from sessions_server.rpc.convert.common import read_key, read_stamp
from sessions_server.rpc.convert.scalars import EVENT_TYPE_NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence as Seq

    from sessions_proto.v1 import sessions_pb2 as pb
    from sessions_server.domain.limits import Limits

_ADDED_BYTES: Final = 80
"""The most that a message grows by what the server puts into it: an id, a sequence and a time."""


def read_set_context(request: pb.SetContextRequest, *, tenant: str, limits: Limits) -> c.SetContext:
    check = Check(limits)
    data = check.json_object("context", request.context)
    check.context_size("context", data)
    command = c.SetContext(
        key=read_key(check, tenant, request),
        request=read_stamp(check, request),
        etag=request.etag,
        data=data,
    )
    check.done()
    return command


def read_update_context(request: pb.UpdateContextRequest, *, tenant: str, limits: Limits) -> c.UpdateContext:
    check = Check(limits)
    if not 1 <= len(request.changes) <= limits.context_changes:
        check.wrong("changes", f"Give 1 to {limits.context_changes} changes.")
    if sum(map(_paths_bytes, request.changes)) > limits.wire_bytes:
        check.too_large(
            "changes",
            "Give shorter paths, or fewer keys in a merge; all changed paths have to fit into one event.",
        )
    command = c.UpdateContext(
        key=read_key(check, tenant, request),
        request=read_stamp(check, request),
        etag=request.etag,
        changes=tuple(
            _read_change(check, f"changes[{place}]", change)
            for place, change in enumerate(request.changes[: limits.context_changes])
        ),
    )
    check.done()
    return command


def _paths_bytes(change: pb.ContextChange) -> int:
    """At most what the paths take in the event, in which a merge has one for each key, with every `~` escaped."""
    path, keys = len(change.path.encode()), change.merge.fields
    return 2 * (len(keys) * path + sum(len(key.encode()) for key in keys) if keys else path)


def _read_change(check: Check, field: str, given: pb.ContextChange) -> Change:
    path = check.path(f"{field}.path", given.path)
    operation = _read_operation(check, field, given)
    if not given.path and not isinstance(operation, Merge):
        check.wrong(f"{field}.path", "Give a path; only `merge` may change the root.")
    return Change(given.path, path, operation)


def _read_operation(check: Check, field: str, given: pb.ContextChange) -> Operation:
    kind = given.WhichOneof("operation")
    if kind == "set":
        return Set(check.context_value(f"{field}.set", given.set))
    if kind == "append":
        return Append(check.context_value(f"{field}.append", given.append))
    if kind == "increment":
        return Increment(check.json_number(f"{field}.increment", given.increment))
    if kind == "merge":
        values = check.json_object(f"{field}.merge", given.merge)
        check.context_size(f"{field}.merge", values)
        return Merge(values)
    if kind is None:
        check.wrong(field, "Say what to do: one of set, remove, increment, append, merge.")
    elif not given.remove:
        check.wrong(
            f"{field}.remove", "Give true, the only value; to keep what is there leave the change out."
        )
    return Remove()


def read_get_context(
    request: pb.GetContextRequest, *, tenant: str, limits: Limits
) -> tuple[SessionKey, Path]:
    check = Check(limits)
    key, path = read_key(check, tenant, request), check.path("path", request.path)
    check.done()
    return key, path


def read_add_message(request: pb.AddMessageRequest, *, tenant: str, limits: Limits) -> c.AddMessages:
    check = Check(limits)
    if not request.HasField("message"):
        check.wrong("message", "Give the message to add.")
    command = c.AddMessages(
        key=read_key(check, tenant, request),
        request=read_stamp(check, request),
        drafts=(_read_draft(check, "message", request.message),),
    )
    check.done()
    return command


def read_add_messages(request: pb.AddMessagesRequest, *, tenant: str, limits: Limits) -> c.AddMessages:
    check = Check(limits)
    if not 1 <= len(request.messages) <= limits.messages_per_add:
        check.wrong("messages", f"Give 1 to {limits.messages_per_add} messages.")
    if request.ByteSize() + _ADDED_BYTES * len(request.messages) > limits.answer_bytes:
        check.too_large(
            "messages",
            "Give fewer messages at a time; with their ids and times these do not fit into one answer of "
            f"{limits.answer_bytes} bytes.",
        )
    command = c.AddMessages(
        key=read_key(check, tenant, request),
        request=read_stamp(check, request),
        drafts=tuple(
            _read_draft(check, f"messages[{place}]", message)
            for place, message in enumerate(request.messages[: limits.messages_per_add])
        ),
    )
    check.done()
    return command


def _read_draft(check: Check, field: str, given: pb.Message) -> MessageDraft:
    chosen = bool(given.id)
    if chosen:
        check.id(f"{field}.id", given.id)
    return MessageDraft(given.id, read_body(check, field, given), chosen=chosen)


def read_body(check: Check, field: str, given: pb.Message) -> MessageBody:
    """What a caller says in a message."""
    data = metadata = timestamp = None
    role, content, name, tool_call_id = given.role, given.content, given.name, given.tool_call_id
    if given.HasField("data"):
        data = check.json_object(f"{field}.data", given.data)
        check.json_size(f"{field}.data", data, check.limits.data_bytes)
    elif not content:
        check.wrong(field, "Give the message content or data.")
    if not role and data is None:
        check.wrong(f"{field}.role", f"Give a role of 1 to {ROLE_CHARACTERS} characters, such as `user`.")
    if given.HasField("metadata"):
        metadata = check.json_object(f"{field}.metadata", given.metadata)
        check.metadata_size(f"{field}.metadata", metadata)
    if given.HasField("timestamp"):
        timestamp = check.time(f"{field}.timestamp", given.timestamp)
    if len(role) > ROLE_CHARACTERS:
        check.text(f"{field}.role", role, ROLE_CHARACTERS)
    if name or tool_call_id:
        check.text(f"{field}.name", name, NAME_CHARACTERS)
        check.text(f"{field}.tool_call_id", tool_call_id, NAME_CHARACTERS)
    check.text_size(f"{field}.content", content, check.limits.content_bytes)
    return MessageBody(role, content, name, tool_call_id, data, metadata, timestamp)


def read_get_history(
    request: pb.GetHistoryRequest, *, tenant: str, limits: Limits
) -> tuple[SessionKey, HistoryQuery]:
    check = Check(limits)
    key = read_key(check, tenant, request)
    limit = min(check.not_negative("limit", request.limit), limits.page_size)
    before = after = None
    if request.HasField("before_sequence"):
        before = Sequence(check.not_negative("before_sequence", request.before_sequence))
    if request.HasField("after_sequence"):
        after = Sequence(check.not_negative("after_sequence", request.after_sequence))
    check.done()
    return key, HistoryQuery(limit, before, after)


def read_clear_history(request: pb.ClearHistoryRequest, *, tenant: str, limits: Limits) -> c.ClearHistory:
    check = Check(limits)
    command = c.ClearHistory(key=read_key(check, tenant, request), request=read_stamp(check, request))
    check.done()
    return command


def read_subscribe(
    request: pb.SubscribeRequest, *, tenant: str, limits: Limits
) -> tuple[SessionKey, frozenset[EventType], Sequence | None]:
    """The session, the kinds of events that are wanted (empty: all), and the position to start after."""
    check = Check(limits)
    key, kinds = read_key(check, tenant, request), _read_kinds(check, request.event_types)
    after = None
    if request.HasField("after_sequence"):
        after = Sequence(check.not_negative("after_sequence", request.after_sequence))
    check.done()
    return key, kinds, after


def _read_kinds(check: Check, given: Seq[int]) -> frozenset[EventType]:
    kinds = {check.known("event_types", number, EVENT_TYPE_NAMES) for number in set(given)}
    return frozenset(kind for kind in kinds if kind is not None)

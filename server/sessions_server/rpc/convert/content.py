"""Requests about a session's content: context, messages and events. A write becomes a commit with one kind of
operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sessions_server.domain import operations as o
from sessions_server.domain.commit import Commit
from sessions_server.domain.models import EventType, Sequence, SessionKey
from sessions_server.domain.reads import ReadContext, ReadHistory
from sessions_server.rpc.convert.check import LOG_ID_CHARACTERS, Check
from sessions_server.rpc.convert.common import read_key, read_stamp
from sessions_server.rpc.convert.context import paths_bytes, read_change, read_whole
from sessions_server.rpc.convert.drafts import read_interval
from sessions_server.rpc.convert.messages import read_draft, read_history_query, read_position
from sessions_server.rpc.convert.scalars import EVENT_TYPE_NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence as Seq

    from sessions_proto.v1 import sessions_pb2 as pb
    from sessions_server.domain.limits import Limits

_ADDED_BYTES: Final = 80
"""The most that the server adds to a message: an id, a sequence and a time."""


class Subscription(NamedTuple):
    key: SessionKey
    kinds: frozenset[EventType]
    """The event types to send; empty means all."""
    after: Sequence | None
    """The position to start after; None means now."""
    log_id: str
    """The log that the position belongs to; empty if not given."""
    changes: bool
    """Whether events include what they changed."""
    draft_seconds: float | None
    """The minimum interval between two pieces of a draft, in seconds; None means no drafts."""


def read_set_context(request: pb.SetContextRequest, *, tenant: str, limits: Limits) -> Commit:
    check = Check(limits)
    operation = o.SetContext(read_whole(check, "context", request.context), request.forget_past)
    return _context_commit(check, tenant, request, operation)


def read_update_context(request: pb.UpdateContextRequest, *, tenant: str, limits: Limits) -> Commit:
    check = Check(limits)
    if not 1 <= len(request.changes) <= limits.context_changes:
        check.wrong("changes", f"Must have 1 to {limits.context_changes} changes.")
    check_paths(check, "changes", request.changes)
    changes = tuple(
        read_change(check, f"changes[{place}]", change)
        for place, change in enumerate(request.changes[: limits.context_changes])
    )
    return _context_commit(check, tenant, request, o.ChangeContext(changes, request.forget_past))


def check_paths(check: Check, field: str, changes: Seq[pb.ContextChange]) -> None:
    if sum(map(paths_bytes, changes)) > check.limits.wire_bytes:
        check.too_large(
            field,
            "Must have shorter paths, or fewer keys in a merge; all changed paths have to fit into one event.",
        )


def _context_commit(
    check: Check,
    tenant: str,
    request: pb.SetContextRequest | pb.UpdateContextRequest,
    operation: o.Operation,
) -> Commit:
    commit = Commit(
        key=read_key(check, tenant, request),
        request=read_stamp(check, request),
        conditions=(o.ContextEtag(request.etag),) if request.etag else (),
        operations=(operation,),
        shows_session=False,
        shows_context=True,
    )
    check.done()
    return commit


def read_get_context(request: pb.GetContextRequest, *, tenant: str, limits: Limits) -> ReadContext:
    check = Check(limits)
    wanted = ReadContext(
        read_key(check, tenant, request),
        check.path("path", request.path),
        read_position(check, request.at_sequence),
    )
    check.done()
    return wanted


def read_add_message(request: pb.AddMessageRequest, *, tenant: str, limits: Limits) -> Commit:
    check = Check(limits)
    if not request.HasField("message"):
        check.wrong("message", "Must be set.")
    append = o.Append(read_draft(check, "message", request.message))
    return _history_commit(check, tenant, request, append)


def read_add_messages(request: pb.AddMessagesRequest, *, tenant: str, limits: Limits) -> Commit:
    check = Check(limits)
    if not 1 <= len(request.messages) <= limits.messages_per_add:
        check.wrong("messages", f"Must have 1 to {limits.messages_per_add:,} messages.")
    if request.ByteSize() + _ADDED_BYTES * len(request.messages) > limits.answer_bytes:
        check.too_large(
            "messages",
            "Must have fewer messages; with their ids and times these do not fit into one response of "
            f"{limits.answer_bytes} bytes.",
        )
    appends = (
        o.Append(read_draft(check, f"messages[{place}]", message))
        for place, message in enumerate(request.messages[: limits.messages_per_add])
    )
    return _history_commit(check, tenant, request, *appends)


def read_clear_history(request: pb.ClearHistoryRequest, *, tenant: str, limits: Limits) -> Commit:
    return _history_commit(Check(limits), tenant, request, o.ClearHistory())


def _history_commit(
    check: Check,
    tenant: str,
    request: pb.AddMessageRequest | pb.AddMessagesRequest | pb.ClearHistoryRequest,
    *operations: o.Operation,
) -> Commit:
    commit = Commit(
        key=read_key(check, tenant, request),
        request=read_stamp(check, request),
        operations=operations,
        shows_session=False,
    )
    check.done()
    return commit


def read_get_history(request: pb.GetHistoryRequest, *, tenant: str, limits: Limits) -> ReadHistory:
    check = Check(limits)
    wanted = ReadHistory(read_key(check, tenant, request), read_history_query(check, request))
    check.done()
    return wanted


def read_subscribe(request: pb.SubscribeRequest, *, tenant: str, limits: Limits) -> Subscription:
    check = Check(limits)
    after = None
    if request.HasField("after_sequence"):
        after = Sequence(check.not_negative("after_sequence", request.after_sequence))
    subscription = Subscription(
        read_key(check, tenant, request),
        _read_kinds(check, request.event_types),
        after,
        check.text("log_id", request.log_id, LOG_ID_CHARACTERS),
        request.include_changes,
        read_interval(check, request),
    )
    check.done()
    return subscription


def _read_kinds(check: Check, given: Seq[int]) -> frozenset[EventType]:
    kinds = {check.known("event_types", number, EVENT_TYPE_NAMES) for number in set(given)}
    return frozenset(kind for kind in kinds if kind is not None)

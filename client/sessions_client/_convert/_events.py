"""Subscriptions: the request, and the events in its responses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from sessions_client import _events as events
from sessions_client._convert import _scalars as scalars
from sessions_client._convert._context import read_change
from sessions_client._convert._drafts import read_draft
from sessions_client._convert._messages import read_message
from sessions_client._convert._records import read_name
from sessions_client._convert._sessions import read_forked_from, read_session
from sessions_client._drafts import DraftTexts, DraftUpdate
from sessions_client._models import Span
from sessions_proto.v1 import sessions_pb2 as pb


def subscribe_request(
    session_id: str,
    *,
    event_types: Iterable[str],
    after_sequence: int | None,
    include_changes: bool = False,
    log_id: str | None = None,
    include_drafts: bool = False,
    draft_interval: Span | None = None,
) -> pb.SubscribeRequest:
    request = pb.SubscribeRequest(
        session_id=scalars.text(session_id, field="session_id"),
        event_types=[scalars.EVENT_TYPES.to_wire(one, field="event_types") for one in event_types],
        include_changes=include_changes,
        log_id=scalars.text(log_id, field="log_id"),
        include_drafts=include_drafts,
    )
    if draft_interval is not None:
        request.draft_interval.CopyFrom(scalars.duration(draft_interval, field="draft_interval"))
    if after_sequence is not None:
        request.after_sequence = scalars.integer(after_sequence, field="after_sequence", bits=64)
    return request


class Checkpoint(NamedTuple):
    """Everything up to this position was delivered or filtered out."""

    sequence: int
    log_id: str = ""
    """The identity of the log that the position belongs to."""


def read_response(
    wire: pb.SubscribeResponse, session_id: str, texts: DraftTexts
) -> events.Event | Checkpoint | DraftUpdate | None:
    """One response of a subscription, with a piece of a draft joined to the earlier ones; None for a kind added by a
    later version, which only shows that the stream is alive."""
    match wire.WhichOneof("response"):
        case "event":
            return read_event(wire.event)
        case "draft":
            return read_draft(session_id, wire.draft, texts)
        case "checkpoint":
            return Checkpoint(wire.checkpoint.sequence, wire.checkpoint.log_id)
        case _:
            return None


def read_event(wire: pb.Event) -> events.Event:
    """An event from the wire."""
    kind = scalars.EVENT_TYPES.from_wire(wire.type)
    read = _READERS.get(kind)
    return events.Event(
        session_id=wire.session_id,
        sequence=wire.sequence,
        type=kind,
        time=scalars.read_timestamp(wire.time) if wire.HasField("time") else None,
        request_id=wire.request_id,
        erased=wire.erased,
        data=None if read is None else read(wire),
    )


def _read_created(wire: pb.Event) -> events.CreatedData:
    created = wire.created
    return events.CreatedData(
        user_id=created.user_id,
        state=scalars.STATES.from_wire(created.state),
        forked_from=read_forked_from(created.forked_from) if created.HasField("forked_from") else None,
    )


def _read_state_change(wire: pb.Event) -> events.StateChangeData:
    return events.StateChangeData(
        state=scalars.STATES.from_wire(wire.state_change.state),
        previous_state=scalars.STATES.from_wire(wire.state_change.previous_state),
        reason=scalars.REASONS.from_wire(wire.state_change.reason),
    )


def _read_context_change(wire: pb.Event) -> events.ContextChangeData:
    changes = [read_change(change) for change in wire.context_change.changes]
    return events.ContextChangeData(
        paths=tuple(wire.context_change.paths),
        etag=wire.context_change.etag,
        changes=tuple(change for change in changes if change is not None),
        changes_omitted=wire.context_change.changes_omitted,
    )


def _read_updated(wire: pb.Event) -> events.UpdatedData:
    return events.UpdatedData(
        paths=tuple(wire.updated.paths),
        session=read_session(wire.updated.session) if wire.updated.HasField("session") else None,
    )


def _read_records_change(wire: pb.Event) -> events.RecordsChangeData:
    return events.RecordsChangeData(
        changes=tuple(
            events.RecordChange(name=read_name(change.name), etag=change.etag, deleted=change.deleted)
            for change in wire.records_change.changes
        )
    )


_READERS: dict[str, Callable[[pb.Event], Any]] = {
    "created": _read_created,
    "message": lambda wire: read_message(wire.message),
    "state_change": _read_state_change,
    "context_change": _read_context_change,
    "updated": _read_updated,
    "history_cleared": lambda wire: events.HistoryClearedData(
        cleared_count=wire.history_cleared.cleared_count
    ),
    "imported": lambda wire: events.ImportedData(message_count=wire.imported.message_count),
    "deleted": lambda wire: events.DeletedData(),
    "history_truncated": lambda wire: events.HistoryTruncatedData(
        removed_count=wire.history_truncated.removed_count, head_sequence=wire.history_truncated.head_sequence
    ),
    "records_change": _read_records_change,
    "message_erased": lambda wire: events.MessageErasedData(
        message_id=wire.message_erased.message_id, sequence=wire.message_erased.sequence
    ),
}

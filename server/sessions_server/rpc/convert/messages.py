"""Conversion of messages and history queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.domain.models import BODY_BYTES, BODY_TEXTS, MessageBody, MessageDraft, Sequence
from sessions_server.domain.ports import HistoryQuery
from sessions_server.domain.soundness import body_excess, body_faults
from sessions_server.service.ids import new_message_id

if TYPE_CHECKING:
    from sessions_server.rpc.convert.check import Check

_PLAIN: Final = (*BODY_TEXTS, *BODY_BYTES)
_WINDOWS: Final[dict[int, bool]] = {pb.HISTORY_WINDOW_EXACT: False, pb.HISTORY_WINDOW_WHOLE_TURNS: True}
"""Whether a window consists of whole turns."""


def read_draft(check: Check, field: str, given: pb.Message) -> MessageDraft:
    """The message to add, with a new id if the caller chose none."""
    chosen = bool(given.id)
    message_id = check.id(f"{field}.id", given.id) if chosen else new_message_id()
    return MessageDraft(message_id, read_body(check, field, given), chosen=chosen)


def read_body(check: Check, field: str, given: pb.Message) -> MessageBody:
    """The content of a message from a request."""
    body = read_fields(check, field, given)
    for name, sentence in body_faults(body):
        check.wrong(f"{field}.{name}", sentence)
    for name, sentence in body_excess(body, check.limits):
        check.too_large(f"{field}.{name}", sentence)
    return body


def read_fields(check: Check, field: str, given: pb.Message) -> MessageBody:
    """The fields of a message; the request may have more of them."""
    data = metadata = timestamp = None
    if given.HasField("data"):
        data = check.json_object(f"{field}.data", given.data)
        check.json_size(f"{field}.data", data, check.limits.data_bytes)
    if given.HasField("metadata"):
        metadata = check.json_object(f"{field}.metadata", given.metadata)
        check.metadata_size(f"{field}.metadata", metadata)
    if given.HasField("timestamp"):
        timestamp = check.time(f"{field}.timestamp", given.timestamp)
    plain = {name: getattr(given, name) for name in _PLAIN}
    return MessageBody(data=data, metadata=metadata, timestamp=timestamp, **plain)


def read_history_query(check: Check, given: pb.GetHistoryRequest, prefix: str = "") -> HistoryQuery:
    """`prefix` precedes field names where the query is part of another request."""
    before = after = None
    if given.HasField("before_sequence"):
        before = Sequence(check.not_negative(f"{prefix}before_sequence", given.before_sequence))
    if given.HasField("after_sequence"):
        after = Sequence(check.not_negative(f"{prefix}after_sequence", given.after_sequence))
    whole_turns = check.known(f"{prefix}window", given.window, _WINDOWS, default=False)
    if whole_turns and (before is not None or after is not None):
        check.wrong(
            f"{prefix}window",
            "Must be EXACT with a position; whole turns are counted from the newest message.",
        )
    return HistoryQuery(
        limit=min(check.not_negative(f"{prefix}limit", given.limit), check.limits.page_size),
        before=before,
        after=after,
        at=read_position(check, given.at_sequence, prefix),
        whole_turns=bool(whole_turns),
    )


def read_position(check: Check, at_sequence: int, prefix: str = "") -> Sequence | None:
    """The position to read as of; None means now."""
    return Sequence(check.not_negative(f"{prefix}at_sequence", at_sequence)) or None

"""Export and import: the requests, and the content of an export's records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sessions_client._convert import _scalars as scalars
from sessions_client._convert._json import read_struct
from sessions_client._convert._messages import read_message
from sessions_client._convert._sessions import read_session
from sessions_client._models import Message, Session
from sessions_proto.v1 import sessions_pb2 as pb

if TYPE_CHECKING:
    from datetime import datetime


def export_request(session_id: str) -> pb.ExportSessionRequest:
    return pb.ExportSessionRequest(session_id=scalars.text(session_id, field="session_id"))


def import_requests(
    session_id: str, *, records: Sequence[pb.ExportRecord], if_exists: str | None, request_id: str | None
) -> list[pb.ImportSessionRequest]:
    """The request stream: the records unchanged, preceded by the target in the first message."""
    requests = [pb.ImportSessionRequest(record=record) for record in records]
    first = requests[0]
    first.session_id = scalars.text(session_id, field="session_id")
    first.request_id = scalars.new_request_id(request_id)
    if if_exists is not None:
        first.if_exists = scalars.IF_EXISTS.to_wire(if_exists, field="if_exists")
    for request in requests:
        scalars.check_size(request)
    return requests


def read_header(records: Sequence[pb.ExportRecord]) -> tuple[int, Session, datetime | None]:
    """The export's version, the exported session, and the time of the export."""
    header = records[0].header
    when = scalars.read_timestamp(header.export_time) if header.HasField("export_time") else None
    return header.version, read_session(header.session), when


def read_export_context(records: Sequence[pb.ExportRecord]) -> dict[str, Any]:
    for record in records:
        if record.HasField("context"):
            return read_struct(record.context.data)
    return {}


def read_export_messages(records: Sequence[pb.ExportRecord]) -> Iterator[Message]:
    for record in records:
        yield from map(read_message, record.messages.messages)


def begins_with_header(records: Sequence[pb.ExportRecord]) -> bool:
    return bool(records) and records[0].HasField("header")

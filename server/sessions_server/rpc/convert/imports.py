"""Conversion of import requests: options of the whole import, and a stream of records."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, NamedTuple

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.domain.errors import InvalidRequest, Violation
from sessions_server.rpc.convert.check import REQUEST_ID_CHARACTERS, Check
from sessions_server.rpc.convert.common import read, read_key
from sessions_server.rpc.convert.exports import read_record

if TYPE_CHECKING:
    from sessions_server.domain.limits import Limits
    from sessions_server.domain.models import SessionKey
    from sessions_server.domain.ports import Caller
    from sessions_server.domain.transfer import ExportRecord


class ImportRequest(NamedTuple):
    key: SessionKey
    request_id: str
    fail_if_exists: bool
    records: AsyncIterator[ExportRecord]


async def read_import(
    requests: AsyncIterator[pb.ImportSessionRequest], *, caller: Caller, limits: Limits
) -> ImportRequest:
    """Waits for the first request, which names the target; the records follow as a stream."""
    first = await anext(requests, None)
    if first is None:
        raise InvalidRequest(
            [Violation("session_id", "Name the session in the first request of the stream.")]
        )
    check = Check(limits)
    key = read_key(check, caller.tenant, first)
    check.stored_text("request_id", first.request_id, REQUEST_ID_CHARACTERS)
    if first.if_exists not in (pb.IF_EXISTS_UNSPECIFIED, pb.IF_EXISTS_FAIL, pb.IF_EXISTS_REPLACE):
        check.wrong("if_exists", "Must be REPLACE or FAIL; the default is REPLACE.")
    check.done()
    records = _read_records(first, requests, caller=caller, limits=limits)
    return ImportRequest(key, first.request_id, first.if_exists == pb.IF_EXISTS_FAIL, records)


async def _read_records(
    first: pb.ImportSessionRequest,
    requests: AsyncIterator[pb.ImportSessionRequest],
    *,
    caller: Caller,
    limits: Limits,
) -> AsyncIterator[ExportRecord]:
    """The first request may have no record; every later one must."""
    if first.HasField("record"):
        yield await read(read_record, first.record, caller, limits)
    async for request in requests:
        _check_repeats(first, request, limits)
        yield await read(read_record, request.record, caller, limits)


def _check_repeats(first: pb.ImportSessionRequest, request: pb.ImportSessionRequest, limits: Limits) -> None:
    """Checks that later requests do not change the options of the import."""
    check = Check(limits)
    if request.session_id not in ("", first.session_id):
        check.wrong("session_id", "Leave it out after the first request; one stream imports one session.")
    if request.request_id not in ("", first.request_id):
        check.wrong("request_id", "Leave it out after the first request.")
    if request.if_exists not in (pb.IF_EXISTS_UNSPECIFIED, first.if_exists):
        check.wrong("if_exists", "Leave it out after the first request.")
    check.done()

"""Export records: they come back unchanged, and altered ones are refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.message import DecodeError, Message as WireMessage

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.domain.errors import InvalidRequest, LimitExceeded
from sessions_server.domain.models import Sequence, State, StateReason
from sessions_server.domain.ports import Caller
from sessions_server.domain.transfer import ContextRecord, ExportRecord, Footer, Header, MessagesRecord
from sessions_server.rpc.convert.exports import put_record, read_record
from sessions_server.rpc.convert.imports import ImportRequest, read_import
from tests.unit.rpc.build import FULL_OBJECT, LIMITS, T0, TENANT, full_message, full_session

HEADER = Header(1, full_session(), T0)
CONTEXT = ContextRecord(FULL_OBJECT)
MESSAGES = MessagesRecord((full_message("m-1", sequence=4), full_message("m-2", sequence=5)))
FOOTER = Footer(2, 3, b"\x01" * 32)
RECORDS = [HEADER, CONTEXT, MESSAGES, FOOTER]


def wire(record: ExportRecord) -> pb.ExportRecord:
    target = pb.ExportRecord()
    put_record(target, record)
    return pb.ExportRecord.FromString(target.SerializeToString())


def read(given: pb.ExportRecord) -> ExportRecord:
    return read_record(given, tenant=TENANT, limits=LIMITS)


@pytest.mark.parametrize("record", RECORDS[1:], ids=lambda record: type(record).__name__)
def test_an_exported_record_comes_back_unchanged(record: ExportRecord) -> None:
    assert read(wire(record)) == record


def test_a_header_comes_back_with_every_visible_field() -> None:
    seen = full_session()._replace(history_start=Sequence(0), log_start=Sequence(0), data_key=None)
    assert read(wire(HEADER)) == replace(HEADER, session=seen)


def test_a_session_that_expired_can_be_resumed_where_it_is_imported() -> None:
    record = read(wire(replace(HEADER, session=full_session()._replace(state=State.EXPIRED))))
    assert isinstance(record, Header)
    assert record.session.expiry_reason is StateReason.IDLE_TIMEOUT


def flipped(raw: bytes) -> Iterator[bytes]:
    """The bytes with each single bit flipped."""
    for place in range(len(raw)):
        for bit in range(8):
            yield raw[:place] + bytes([raw[place] ^ 1 << bit]) + raw[place + 1 :]


def meaning(record: ExportRecord) -> ExportRecord:
    return read(wire(record))


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_every_flipped_bit_is_refused_or_changes_the_digest(record: ExportRecord) -> None:
    whole = meaning(record)
    unnoticed = []
    for raw in flipped(wire(record).SerializeToString()):
        try:
            altered = pb.ExportRecord.FromString(raw)
            if altered != wire(record) and read(altered) == whole:
                unnoticed.append(raw)
        except (DecodeError, InvalidRequest, LimitExceeded):
            pass
    assert unnoticed == []


def clear(record: pb.ExportRecord, path: str) -> None:
    target: WireMessage = record
    *parents, name = path.split(".")
    for parent in parents:
        target = getattr(target, parent)
    target.ClearField(name)


@pytest.mark.parametrize(
    "path",
    [
        "header.session.expire_time",
        "header.session.storage_options.ttl",
        "header.session.storage_options.expiry_action",
        "header.session.etag",
        "header.session.state",
        "header.session.id",
        "header.session.metadata",
        "header.version",
        "header.session",
        "header",
    ],
)
def test_an_incomplete_header_is_refused(path: str) -> None:
    record = wire(HEADER)
    clear(record, path)
    with pytest.raises(InvalidRequest):
        read(record)


@pytest.mark.parametrize("seconds", [10**13, 10**15, 2**63 - 1, -(2**63)])
def test_an_export_without_a_time_is_refused(seconds: int) -> None:
    record = wire(HEADER)
    record.header.export_time.seconds = seconds
    with pytest.raises(InvalidRequest) as caught:
        read(record)
    assert caught.value.violations[0].field == "record.header.export_time"


@pytest.mark.parametrize("state", [pb.SESSION_STATE_ENDED, pb.SESSION_STATE_ARCHIVED])
def test_a_temporary_session_that_outlived_its_end_is_refused(state: pb.SessionState.ValueType) -> None:
    record = wire(HEADER)
    record.header.session.state = state
    options = record.header.session.storage_options
    options.persistence = pb.PERSISTENCE_TEMPORARY
    options.expiry_action = pb.EXPIRY_ACTION_DELETE
    with pytest.raises(InvalidRequest) as caught:
        read(record)
    assert [each.field for each in caught.value.violations] == ["record.header.session.state"]


@pytest.mark.parametrize("version", [-1, 0, 3])
def test_an_export_of_an_unknown_version_is_refused_for_its_version(version: int) -> None:
    record = wire(HEADER)
    record.header.version = version
    with pytest.raises(InvalidRequest) as caught:
        read(record)
    [violation] = caught.value.violations
    assert violation == ("record.header.version", "Must be one of 1, 2; a newer export needs a newer server.")


def test_a_record_with_fields_that_this_server_does_not_know_is_refused() -> None:
    raw = wire(CONTEXT).SerializeToString() + b"\xa2\x06\x03abc"
    with pytest.raises(InvalidRequest):
        read(pb.ExportRecord.FromString(raw))


def test_a_time_finer_than_a_microsecond_is_refused() -> None:
    record = wire(MESSAGES)
    record.messages.messages[0].create_time.nanos += 1
    with pytest.raises(InvalidRequest):
        read(record)


def test_an_imported_message_keeps_to_the_limits_of_an_added_one() -> None:
    record = wire(MESSAGES)
    record.messages.messages[1].content = "x" * 262_145
    with pytest.raises(LimitExceeded) as caught:
        read(record)
    assert caught.value.metadata == {"field": "record.messages.messages[1].content"}


async def stream(*requests: pb.ImportSessionRequest) -> AsyncIterator[pb.ImportSessionRequest]:
    for request in requests:
        yield request


async def read_all(*requests: pb.ImportSessionRequest) -> tuple[ImportRequest, list[ExportRecord]]:
    read = await read_import(stream(*requests), caller=Caller(TENANT), limits=LIMITS)
    return read, [record async for record in read.records]


def request(record: ExportRecord | None = None, **fields: Any) -> pb.ImportSessionRequest:
    return pb.ImportSessionRequest(record=wire(record) if record else None, **fields)


async def test_the_options_of_an_import_are_in_the_first_request() -> None:
    first = request(HEADER, session_id="s-2", request_id="r-1")
    first.if_exists = pb.IF_EXISTS_FAIL
    read, records = await read_all(first, request(CONTEXT), request(FOOTER))
    assert (read.key, read.request_id, read.fail_if_exists) == ((TENANT, "s-2"), "r-1", True)
    assert [type(record) for record in records] == [Header, ContextRecord, Footer]


async def test_the_first_request_may_come_before_the_header() -> None:
    _, records = await read_all(request(session_id="s-2"), request(HEADER), request(CONTEXT))
    assert [type(record) for record in records] == [Header, ContextRecord]


async def test_a_later_request_may_repeat_the_first_but_not_contradict_it() -> None:
    first = request(HEADER, session_id="s-2", request_id="r-1")
    await read_all(first, request(CONTEXT, session_id="s-2", request_id="r-1"))
    for other in ({"session_id": "s-3"}, {"request_id": "r-2"}):
        with pytest.raises(InvalidRequest) as caught:
            await read_all(first, request(CONTEXT, **other))
        assert [violation.field for violation in caught.value.violations] == list(other)


@pytest.mark.parametrize(
    ("requests", "fields"),
    [
        pytest.param([], ["session_id"], id="nothing at all"),
        pytest.param([request(HEADER)], ["session_id"], id="no session"),
        pytest.param(
            [request(HEADER, session_id="s", request_id="x" * 129)], ["request_id"], id="a long request id"
        ),
        pytest.param(
            [pb.ImportSessionRequest(session_id="s", if_exists=pb.IF_EXISTS_RETURN)],
            ["if_exists"],
            id="return",
        ),
        pytest.param(
            [request(HEADER, session_id="s"), pb.ImportSessionRequest()],
            ["record"],
            id="a request without a record",
        ),
    ],
)
async def test_an_import_is_refused_for(requests: list[pb.ImportSessionRequest], fields: list[str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await read_all(*requests)
    assert [violation.field for violation in caught.value.violations] == fields

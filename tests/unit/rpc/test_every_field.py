"""Every field of the wire is converted. The fields come from the descriptors, so that new ones are covered."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.struct_pb2 import Value

from sessions_proto.v1 import commits_pb2 as commits_pb, records_pb2 as records_pb, sessions_pb2 as pb
from sessions_server.domain import context, operations as o
from sessions_server.domain.commit import Commit, Committed
from sessions_server.domain.context import MISSING, Change
from sessions_server.domain.errors import EtagMismatch
from sessions_server.domain.models import (
    ContextChange,
    Created,
    Deleted,
    Event,
    EventData,
    EventType,
    ForkedFrom,
    HistoryCleared,
    HistoryTruncated,
    Imported,
    MessageBody,
    MessageDraft,
    MessageErased,
    RecordsChange,
    Sequence,
    SessionKey,
    State,
    StateChange,
    StateReason,
    Updated,
)
from sessions_server.domain.ports import HistoryPage, HistoryQuery
from sessions_server.domain.reads import (
    ContextRead,
    LeftOut,
    Read,
    ReadContext,
    ReadHistory,
    ReadMessage,
    ReadRecord,
    ReadRecords,
    ReadResult,
    ReadSession,
)
from sessions_server.domain.record_reads import RecordPage, RecordPlace, RecordQuery
from sessions_server.domain.records import (
    DeleteRecord,
    PutRecord,
    RecordChange,
    RecordsDeleted,
    RecordWritten,
    Scope,
)
from sessions_server.domain.transfer import (
    ContextRecord,
    ExportRecord,
    Footer,
    Header,
    MessagesRecord,
    RecordsPart,
)
from sessions_server.rpc.convert.commits import put_committed
from sessions_server.rpc.convert.events import encode_checkpoint, encode_event, encode_event_with_changes
from sessions_server.rpc.convert.exports import put_record
from sessions_server.rpc.convert.reads import put_read
from sessions_server.rpc.convert.records import put_stored
from sessions_server.rpc.convert.responses import put_context, put_context_part, put_message, put_session
from sessions_server.rpc.errors import put_failure
from tests.unit.rpc.build import (
    LIMITS,
    T0,
    TENANT,
    full_context,
    full_message,
    full_record,
    full_session,
)
from tests.unit.rpc.wire_fields import unset


def wire_event(kind: EventType, data: EventData | None) -> pb.Event:
    event = Event(SessionKey(TENANT, "s-1"), Sequence(4), kind, T0, "r-1", data)
    return pb.SubscribeResponse.FromString(encode_event_with_changes(event)).event


CHANGES = (
    Change("a", ("a",), context.Set({"b": 1})),
    Change("b", ("b",), context.Append(1)),
    Change("c", ("c",), context.Increment(2)),
    Change("", (), context.Merge({"d": None})),
    Change("e", ("e",), context.Remove()),
)
EVENTS: dict[EventType, EventData] = {
    EventType.CREATED: Created("u-1", State.CREATED, ForkedFrom("s-0", Sequence(3))),
    EventType.MESSAGE: full_message(),
    EventType.STATE_CHANGE: StateChange(State.EXPIRED, State.ACTIVE, StateReason.IDLE_TIMEOUT),
    EventType.CONTEXT_CHANGE: ContextChange(("a", "b"), CHANGES),
    EventType.UPDATED: Updated(("metadata",), session=full_session()),
    EventType.HISTORY_CLEARED: HistoryCleared(3),
    EventType.HISTORY_TRUNCATED: HistoryTruncated(3, Sequence(2)),
    EventType.MESSAGE_ERASED: MessageErased("m-1", Sequence(3), Sequence(2)),
    EventType.RECORDS_CHANGE: RecordsChange((RecordChange(full_record().name, "e-1", deleted=True),)),
    EventType.IMPORTED: Imported(2),
    EventType.DELETED: Deleted(),
}
NOT_SET = {
    # The root's path is empty, and an event has either the changes or the mark that they were omitted.
    EventType.CONTEXT_CHANGE: ["context_change.changes.path", "context_change.changes_omitted", "erased"],
}

RECORDS: list[ExportRecord] = [
    Header(1, full_session(), T0),
    ContextRecord({"a": 1}),
    MessagesRecord((full_message(),)),
    RecordsPart((full_record(),)),
    Footer(1, 3, b"\x01" * 32),
]


def test_every_field_of_a_session_is_filled() -> None:
    target = pb.Session()
    put_session(target, full_session())
    assert list(unset(target)) == []


def test_every_field_of_a_context_is_filled_except_an_unrequested_value() -> None:
    target = pb.Context()
    put_context(target, full_context())
    assert list(unset(target)) == ["value"]


def test_a_part_of_a_context_is_returned_without_the_whole() -> None:
    target = pb.Context()
    put_context_part(target, full_context(), None)
    assert list(unset(target)) == ["data"]
    assert target.value == Value(null_value=0)  # type: ignore[arg-type]  # the stub wants the enum's own type


def test_a_missing_context_value_is_absent_and_not_null() -> None:
    target = pb.Context()
    put_context_part(target, full_context(), MISSING)
    assert not target.HasField("value")


def test_every_field_of_a_message_is_filled() -> None:
    target = pb.Message()
    put_message(target, full_message())
    assert list(unset(target)) == []


@pytest.mark.parametrize("kind", EventType)
def test_every_field_of_an_event_is_filled_except_erased(kind: EventType) -> None:
    event = wire_event(kind, EVENTS[kind])
    assert sorted(unset(event)) == NOT_SET.get(kind, ["erased"])
    assert event.WhichOneof("data") == kind.value


def test_every_kind_of_change_is_included() -> None:
    encoded = wire_event(EventType.CONTEXT_CHANGE, EVENTS[EventType.CONTEXT_CHANGE]).context_change.changes
    assert [change.WhichOneof("operation") for change in encoded] == [
        "set",
        "append",
        "increment",
        "merge",
        "remove",
    ]


@pytest.mark.parametrize(
    "changes", [None, (Change("a", ("a",), context.Set("x" * 65_536)),)], ids=["erased", "large"]
)
def test_erased_or_large_changes_are_omitted_and_marked(
    changes: tuple[Change, ...] | None,
) -> None:
    encoded = wire_event(EventType.CONTEXT_CHANGE, ContextChange(("a",), changes)).context_change
    assert not encoded.changes
    assert encoded.changes_omitted


def test_a_session_that_is_too_large_is_left_out_of_its_event() -> None:
    session = full_session()._replace(metadata={"a": "x" * 65_536})
    assert not wire_event(EventType.UPDATED, Updated(("metadata",), session=session)).updated.HasField(
        "session"
    )


def test_changes_are_sent_only_on_request() -> None:
    event = Event(
        SessionKey(TENANT, "s-1"),
        Sequence(4),
        EventType.CONTEXT_CHANGE,
        T0,
        "",
        ContextChange(("a",), CHANGES),
    )
    encoded = pb.SubscribeResponse.FromString(encode_event(event)).event.context_change
    assert (list(encoded.paths), encoded.changes_omitted, len(encoded.changes)) == (["a"], False, 0)


def test_a_checkpoint_names_its_log() -> None:
    response = pb.SubscribeResponse.FromString(encode_checkpoint(Sequence(4), "log-1"))
    assert list(unset(response)) == []


def test_an_erased_event_keeps_its_type_and_has_no_data() -> None:
    event = wire_event(EventType.MESSAGE, None)
    assert event.erased
    assert event.type == pb.EVENT_TYPE_MESSAGE
    assert event.WhichOneof("data") is None


def test_an_event_is_encoded_once_for_all_its_readers() -> None:
    event = Event(SessionKey(TENANT, "s-1"), Sequence(4), EventType.MESSAGE, T0, "", full_message())
    assert encode_event(event) is encode_event(event)


def test_every_field_of_an_export_is_filled() -> None:
    kinds = set()
    for record in RECORDS:
        target = pb.ExportRecord()
        put_record(target, record)
        assert list(unset(target)) == []
        kinds.add(target.WhichOneof("record"))
    assert kinds == set(pb.ExportRecord.DESCRIPTOR.fields_by_name)


KEY = SessionKey(TENANT, "s-1")
NAME = full_record().name
OPERATIONS: list[tuple[o.Operation, Any]] = [
    (o.Append(MessageDraft("m-1", full_message().body)), full_message()),
    (o.Truncate(o.Part.NEWEST, 1, True), o.Removed(1, (full_message(),))),
    (o.EraseMessage("m-1"), o.Removed(1)),
    (o.SetContext({}), o.ContextWritten(Sequence(7))),
    (PutRecord(NAME, b"", {}, "e-1"), RecordWritten("e-1", kept=True)),
    (DeleteRecord(NAME), RecordsDeleted(2)),
    (o.Move(o.Verb.START), o.Done()),
]
QUERY = RecordQuery(Scope(TENANT))
READS: list[tuple[Read, ReadResult]] = [
    (ReadSession(KEY), full_session()),
    (ReadContext(KEY), ContextRead(full_context(), MISSING)),
    (ReadHistory(KEY, HistoryQuery()), HistoryPage((full_message(),), has_more=True)),
    (ReadMessage(KEY, "m-1"), full_message()),
    (ReadRecord(NAME), full_record()),
    (ReadRecords(QUERY), RecordPage((full_record(),), RecordPlace(T0, "c", "k", ""))),
    (ReadSession(KEY), LeftOut()),
]


def committed() -> commits_pb.CommitResponse:
    commit = Commit(
        key=KEY,
        operations=tuple(operation for operation, _ in OPERATIONS),
        reads=tuple(wanted for wanted, _ in READS),
    )
    done = Committed(
        results=tuple(result for _, result in OPERATIONS),
        session=full_session(),
        reads=tuple(found for _, found in READS),
    )
    response = commits_pb.CommitResponse()
    put_committed(response, commit, done, LIMITS)
    return response


def test_every_field_of_a_record_is_filled() -> None:
    target = records_pb.Record()
    put_stored(target, full_record())
    assert list(unset(target)) == []


def test_every_kind_of_result_of_an_operation_is_filled() -> None:
    results = committed().results
    kinds = [result.WhichOneof("result") for result in results]
    assert set(kinds) - {None} == set(commits_pb.OperationResult.DESCRIPTOR.fields_by_name)
    assert kinds[-1] is None, "a move has no result"
    # Of an appended message only the server-generated fields are sent.
    made = {"appended.id", "appended.sequence", "appended.create_time"}
    assert {f"appended.{field.name}" for field, _ in results[0].appended.ListFields()} == made
    for result in results[1:-1]:
        assert list(unset(result)) == []


def test_every_kind_of_result_of_a_read_is_filled() -> None:
    results = committed().reads
    kinds = [result.WhichOneof("result") for result in results]
    assert set(kinds) == set(commits_pb.ReadResult.DESCRIPTOR.fields_by_name)
    for result in results:
        assert list(unset(result)) == (["context.value"] if result.HasField("context") else [])


def test_a_part_of_a_context_is_read_without_the_whole() -> None:
    target = commits_pb.ReadResult()
    put_read(target, ReadContext(KEY, ("a",)), ContextRead(full_context(), 1))
    assert list(unset(target)) == ["context.data"]


def test_a_missing_object_is_an_empty_result() -> None:
    target = commits_pb.ReadResult()
    put_read(target, ReadSession(KEY), None)
    assert target.WhichOneof("result") is None


def test_reads_that_do_not_fit_are_omitted_and_marked() -> None:
    large = full_message()._replace(body=MessageBody("user", "x" * 3_000_000))
    small = full_message()
    commit = Commit(key=KEY, reads=(ReadMessage(KEY, "a"), ReadMessage(KEY, "b"), ReadMessage(KEY, "c")))
    response = commits_pb.CommitResponse()
    put_committed(response, commit, Committed(reads=(large, large, small)), LIMITS)
    assert [result.WhichOneof("result") for result in response.reads] == ["message", "left_out", "message"]
    assert response.ByteSize() < LIMITS.answer_bytes


def test_every_field_of_a_failure_is_filled() -> None:
    target = commits_pb.CommitFailure()
    put_failure(target, EtagMismatch("7"))
    assert {field.name for field, _ in target.ListFields()} == set(target.DESCRIPTOR.fields_by_name)
    assert (target.code, target.reason, dict(target.metadata)) == (10, "ETAG_MISMATCH", {"current_etag": "7"})

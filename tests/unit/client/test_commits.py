"""Requests of commits, reads and records, and conversion of their responses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sessions_client import (
    LEFT_OUT,
    Aborted,
    Append,
    CommitResult,
    Context,
    History,
    InvalidArgument,
    Message,
    Record,
    RecordList,
    RecordName,
    RecordResult,
    Removed,
    Scope,
    Session,
    ops,
)
from sessions_client._convert import _commits as convert, _records as records
from sessions_client._convert._messages import HistoryPages, history_request
from sessions_proto.v1 import commits_pb2 as commits_pb, records_pb2 as records_pb, sessions_pb2 as pb

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
NAME = RecordName(Scope(user_id="u"), ["prefs", "ui"], "theme")
WIRE_NAME = records_pb.RecordName(
    scope=records_pb.Scope(user_id="u"), collection=["prefs", "ui"], key="theme"
)

OPERATIONS = {
    "append": ops.append(role="user", payload=b"{}", payload_type="application/json"),
    "truncate": ops.truncate(newest=1, return_removed=True),
    "context": ops.change_context(Append("a", 1)),
    "put": ops.put(NAME, b"dark"),
    "delete": ops.delete(NAME, prefix=True),
    "metadata": ops.merge_metadata({"a": 1}),
    "delete_session": ops.delete_session(),
    "context_data": ops.set_context({"a": 1}),
    "move": ops.move("archive"),
    "erase_message": ops.erase_message("m"),
}
CONDITIONS = {
    "session_etag": ops.if_session_etag("1"),
    "context_etag": ops.if_context_etag("2"),
    "history_head": ops.if_history_head(0),
    "last_sequence": ops.if_last_sequence(3),
    "record": ops.if_record(NAME, absent=True),
}
READS = {
    "session": ops.read_session("s", at_sequence=3),
    "context": ops.read_context("s", path="a", at_sequence=3),
    "history": ops.read_history("s", limit=2, window="whole_turns", at_sequence=3),
    "message": ops.read_message("s", "m"),
    "record": ops.read_record(NAME, refresh_ttl=True),
    "records": ops.list_records(Scope(all_sessions=True), "prefs", filter={"a": 1}),
}


@pytest.mark.parametrize(
    ("wire", "parts"),
    [
        (commits_pb.Operation, OPERATIONS),
        (commits_pb.Condition, CONDITIONS),
        (commits_pb.ReadOperation, READS),
    ],
    ids=["operations", "conditions", "reads"],
)
def test_every_kind_of_part_can_be_created(wire: Any, parts: dict[str, Any]) -> None:
    (choice,) = wire.DESCRIPTOR.oneofs
    assert set(parts) == {field.name for field in choice.fields}
    for kind, part in parts.items():
        assert part._wire.WhichOneof(choice.name) == kind
        assert repr(part) == f"{type(part).__name__}({kind})"


def test_a_commit_has_its_parts_in_order() -> None:
    create = ops.new_session("u", metadata={"a": 1}, config={"max_messages": 3}, if_exists="return")
    request = convert.commit_request(
        "s",
        OPERATIONS.values(),
        conditions=CONDITIONS.values(),
        create=create,
        reads=READS.values(),
        request_id="r",
    )
    assert [part.WhichOneof("operation") for part in request.operations] == list(OPERATIONS)
    assert [part.WhichOneof("condition") for part in request.conditions] == list(CONDITIONS)
    assert [part.WhichOneof("read") for part in request.reads] == list(READS)
    assert (request.session_id, request.request_id) == ("s", "r")
    assert request.create.if_exists == pb.IF_EXISTS_RETURN
    assert request.create.config.max_messages == 3


def test_a_commit_without_a_request_id_gets_one() -> None:
    assert convert.commit_request(None, []).request_id


def test_a_part_of_the_wrong_kind_is_refused_by_position() -> None:
    with pytest.raises(InvalidArgument) as refusal:
        convert.commit_request("s", [OPERATIONS["append"], CONDITIONS["record"]])  # type: ignore[list-item]  # that is the test
    assert [violation.field for violation in refusal.value.violations] == ["operations[1]"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: ops.truncate(),
        lambda: ops.truncate(newest=1, oldest=1),
        lambda: ops.if_record(NAME),
        lambda: ops.if_record(NAME, absent=True, present=True),
        lambda: ops.move("fly"),  # type: ignore[arg-type]  # that is the test
        lambda: ops.put(NAME, "text"),  # type: ignore[arg-type]  # that is the test
        lambda: ops.put("name", b""),  # type: ignore[arg-type]  # that is the test
        lambda: ops.append(role="user", payload="text"),  # type: ignore[arg-type]  # that is the test
        lambda: ops.read_session("s", at_sequence=0),
        lambda: Scope(),
        lambda: Scope(session_id="s", tenant=True),
    ],
    ids=map(str, range(11)),
)
def test_bad_parts_are_refused_when_created(make: Any) -> None:
    with pytest.raises(InvalidArgument):
        make()


def test_each_operation_has_its_result() -> None:
    stored = pb.Message(id="m", sequence=4)
    stored.create_time.FromDatetime(NOON)
    results = {
        "append": commits_pb.OperationResult(appended=stored),
        "truncate": commits_pb.OperationResult(
            removed=commits_pb.Removed(count=1, messages=[pb.Message(id="old")])
        ),
        "context": commits_pb.OperationResult(context_etag="7"),
        "put": commits_pb.OperationResult(put=commits_pb.RecordResult(etag="9", kept=True)),
        "delete": commits_pb.OperationResult(deleted_count=2),
        "move": commits_pb.OperationResult(),
    }
    request = convert.commit_request("s", [OPERATIONS[kind] for kind in results])
    response = commits_pb.CommitResponse(
        session=pb.Session(id="s"),
        results=results.values(),
        reads=[commits_pb.ReadResult(left_out=True)],
    )
    result = convert.read_commit(request, response)
    appended = Message(
        id="m",
        sequence=4,
        role="user",
        payload=b"{}",
        payload_type="application/json",
        create_time=NOON,
    )
    assert isinstance(result, CommitResult)
    assert result.session is not None
    assert result.session.id == "s"
    assert result.results == [
        appended,
        Removed(count=1, messages=(Message(id="old"),)),
        "7",
        RecordResult(etag="9", kept=True),
        2,
        None,
    ]
    assert result.reads == [LEFT_OUT]
    assert convert.read_commit(request, response) == result


def test_each_read_has_its_result() -> None:
    results = {
        "session": (commits_pb.ReadResult(session=pb.Session(id="s")), Session),
        "context": (commits_pb.ReadResult(context=pb.Context(etag="1")), Context),
        "history": (commits_pb.ReadResult(history=pb.GetHistoryResponse(has_more=True)), History),
        "message": (commits_pb.ReadResult(message=pb.Message(id="m")), Message),
        "record": (commits_pb.ReadResult(record=records_pb.Record(name=WIRE_NAME)), Record),
        "records": (
            commits_pb.ReadResult(records=records_pb.ListRecordsResponse(next_page_token="t")),
            RecordList,
        ),
        "left_out": (commits_pb.ReadResult(left_out=True), type(LEFT_OUT)),
    }
    assert set(results) == set(commits_pb.ReadResult.DESCRIPTOR.fields_by_name)
    for wire, kind in results.values():
        (result,) = convert.read_results([wire])
        assert type(result) is kind
    assert convert.read_results([commits_pb.ReadResult()]) == [None]


def test_a_refused_commit_of_a_stream_is_the_error_of_the_single_call() -> None:
    failure = commits_pb.CommitFailure(
        code=10, reason="ETAG_MISMATCH", message="It has changed.", metadata={"condition": "0"}
    )
    error = convert.failure_of(failure)
    assert isinstance(error, Aborted)
    assert (str(error), error.reason, error.metadata) == (
        "It has changed.",
        "ETAG_MISMATCH",
        {"condition": "0"},
    )


def test_every_field_of_a_record_arrives() -> None:
    wire = records_pb.Record(name=WIRE_NAME, value=b"v", value_type="t", etag="e")
    wire.labels.fields["k"].string_value = "v"
    for time in (wire.time, wire.create_time, wire.update_time, wire.expire_time):
        time.FromDatetime(NOON)
    wire.ttl.FromSeconds(60)
    assert {field.name for field, _ in wire.ListFields()} == set(records_pb.Record.DESCRIPTOR.fields_by_name)
    assert records.read_record(wire) == Record(
        name=NAME,
        value=b"v",
        value_type="t",
        labels={"k": "v"},
        time=NOON,
        ttl=timedelta(minutes=1),
        etag="e",
        create_time=NOON,
        update_time=NOON,
        expire_time=NOON,
    )


def test_every_field_of_a_put_and_of_a_list_is_sent() -> None:
    put = ops.put(
        NAME, b"v", value_type="t", labels={"k": 1}, time=NOON, ttl=60, new_etag="e", if_absent=True
    )._wire.put
    made = {"create_time", "update_time", "expire_time"}
    assert {field.name for field, _ in put.record.ListFields()} == set(
        records_pb.Record.DESCRIPTOR.fields_by_name
    ) - made
    assert put.if_absent
    request = records.list_request(
        Scope(tenant=True),
        "c",
        subtree=True,
        key_prefix="a",
        after_key="b",
        before_key="c",
        filter={"k": 1},
        order_by="time",
        keys_only=True,
        values_only=True,
        refresh_ttl=True,
        page_size=1,
        page_token="t",
    )
    assert {field.name for field, _ in request.ListFields()} == set(request.DESCRIPTOR.fields_by_name)
    collections = records.collections_request(
        Scope(session_id=""), ["a"], max_depth=1, page_size=1, page_token="t"
    )
    assert {field.name for field, _ in collections.ListFields()} == set(collections.DESCRIPTOR.fields_by_name)


@pytest.mark.parametrize(
    "scope",
    [Scope(session_id=""), Scope(session_id="s"), Scope(user_id="u"), Scope(tenant=True)],
)
def test_a_name_comes_back_as_it_was_sent(scope: Scope) -> None:
    wire = records_pb.RecordName()
    records.fill_name(wire, RecordName(scope, "c"), field="name")
    assert records.read_name(records_pb.RecordName.FromString(wire.SerializeToString())) == RecordName(
        scope, ("c",), ""
    )


def pages(total: int, *, cap: int, **bounds: Any) -> tuple[list[int], bool, int]:
    """A history of `total` messages read from a server with pages of `cap`: sequences, has_more, calls."""
    asked = {
        "limit": None,
        "before_sequence": None,
        "after_sequence": None,
        "at_sequence": None,
        "window": None,
    }
    collected = HistoryPages(history_request("s", **(asked | bounds)))
    calls = 0
    while (request := collected.request) is not None:
        calls += 1
        low = request.after_sequence if request.HasField("after_sequence") else 0
        high = request.before_sequence if request.HasField("before_sequence") else total + 1
        found = list(range(low + 1, high))
        count = min(cap, request.limit or 100)
        page = found[:count] if request.HasField("after_sequence") else found[-count:]
        response = pb.GetHistoryResponse(has_more=len(page) < len(found))
        response.messages.extend(pb.Message(sequence=sequence) for sequence in page)
        collected.add(response)
    history = collected.history()
    return [message.sequence for message in history], history.has_more, calls


def test_a_limit_means_that_many_messages_however_small_the_pages_are() -> None:
    assert pages(30, cap=5, limit=20) == (list(range(11, 31)), True, 4)
    assert pages(30, cap=5, limit=20, before_sequence=12) == (list(range(1, 12)), False, 3)
    assert pages(30, cap=5, limit=7, after_sequence=2) == (list(range(3, 10)), True, 2)
    assert pages(30, cap=5, limit=7, after_sequence=2, before_sequence=6) == ([3, 4, 5], False, 1)


def test_without_a_limit_one_page_is_read() -> None:
    assert pages(30, cap=5) == (list(range(26, 31)), True, 1)


def test_whole_turns_are_one_page() -> None:
    assert pages(30, cap=5, limit=20, window="whole_turns") == (list(range(26, 31)), True, 1)

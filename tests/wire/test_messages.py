"""Messages and history on the wire."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from sessions_proto.v1 import sessions_pb2 as pb
from tests.support.structs import struct
from tests.wire.stubs import Caller, message, refused


@pytest.fixture
def session(caller: Caller) -> str:
    return caller.new_id()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        pytest.param({"role": ""}, ".role", id="no role"),
        pytest.param({"role": "x" * 65}, ".role", id="a long role"),
        pytest.param({"role": "", "content": ""}, ".role", id="nothing said"),
        pytest.param({"id": "a b"}, ".id", id="a bad id"),
        pytest.param({"timestamp": Timestamp(seconds=2**60)}, ".timestamp", id="a time out of range"),
    ],
)
def test_one_bad_message_refuses_its_whole_batch(
    caller: Caller, session: str, fields: dict[str, Any], field: str
) -> None:
    bad = message(**fields)
    assert refused(caller.AddMessage, session_id=session, message=bad).fields == [f"message{field}"]
    batch = [message() for _ in range(25)] + [bad] + [message() for _ in range(24)]
    refusal = refused(caller.AddMessages, session_id=session, messages=batch)
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", [f"messages[25]{field}"])
    assert caller.history(session) == []


@pytest.mark.parametrize("count", [0, 1001])
def test_a_batch_has_1_to_1000_messages(caller: Caller, session: str, count: int) -> None:
    refusal = refused(caller.AddMessages, session_id=session, messages=[message("x")] * count)
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", ["messages"])
    assert caller.history(session) == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        pytest.param({"content": "x" * 262_145}, "message.content", id="content"),
        pytest.param({"content": "\N{SNOWMAN}" * 87_382}, "message.content", id="content in bytes"),
        pytest.param({"data": struct({"a": "x" * 262_144})}, "message.data", id="data"),
        pytest.param({"metadata": struct({"a": "x" * 65_536})}, "message.metadata", id="metadata"),
    ],
)
def test_oversized_values_are_refused_for_their_size(
    caller: Caller, session: str, fields: dict[str, Any], field: str
) -> None:
    refusal = refused(caller.AddMessage, session_id=session, message=message(**fields))
    assert (refusal.code, refusal.metadata) == ("RESOURCE_EXHAUSTED", {"field": field})
    assert caller.history(session) == []


def test_a_message_comes_back_as_it_was_added(caller: Caller, session: str) -> None:
    said = message(
        "a\0b \N{SNOWMAN}",
        id="m-1",
        name="Ann",
        tool_call_id="call-1",
        data=struct({"parts": [{"type": "text"}], "nul": "\0"}),
        metadata=struct({"source": "web"}),
        timestamp=Timestamp(seconds=-1, nanos=999_999_999),
    )
    stored = caller.AddMessage(session_id=session, message=said).message
    assert stored.sequence == 2
    assert stored.HasField("create_time")
    assert caller.history(session) == [stored]
    stored.ClearField("sequence")
    stored.ClearField("create_time")
    assert stored == said


def test_server_set_fields_of_a_message_are_ignored(caller: Caller, session: str) -> None:
    forged = message(sequence=77, create_time=Timestamp(seconds=1))
    stored = caller.AddMessage(session_id=session, message=forged).message
    assert stored.sequence == 2
    assert stored.create_time.seconds > 1


def test_the_same_message_id_with_the_same_content_is_one_message(caller: Caller, session: str) -> None:
    first, again = (
        caller.AddMessage(session_id=session, message=message("one", id="m")).message for _ in range(2)
    )
    assert first == again
    assert len(caller.history(session)) == 1


def test_absent_data_is_not_empty_data(caller: Caller, session: str) -> None:
    caller.AddMessages(session_id=session, messages=[message(), message(data=struct({}))])
    assert [each.HasField("data") for each in caller.history(session)] == [False, True]


def test_a_history_pages_in_both_directions(caller: Caller, session: str) -> None:
    caller.AddMessages(session_id=session, messages=[message(f"m{n}") for n in range(10)])

    def page(**fields: Any) -> tuple[list[str], bool]:
        answer = caller.GetHistory(session_id=session, limit=3, **fields)
        return [each.content for each in answer.messages], answer.has_more

    assert page() == (["m7", "m8", "m9"], True)
    assert page(before_sequence=9) == (["m4", "m5", "m6"], True)
    assert page(before_sequence=3) == (["m0"], False)
    assert page(after_sequence=0) == (["m0", "m1", "m2"], True)
    assert page(after_sequence=9) == (["m8", "m9"], False)
    assert page(after_sequence=2, before_sequence=5) == (["m1", "m2"], False)


def test_cleared_messages_cannot_be_read_again(caller: Caller, session: str) -> None:
    caller.AddMessage(session_id=session, message=message("private", id="m"))
    assert caller.ClearHistory(session_id=session).cleared_count == 1
    events = caller.log(session)
    assert [(event.type, event.erased) for event in events] == [
        (pb.EVENT_TYPE_CREATED, False),
        (pb.EVENT_TYPE_MESSAGE, True),
        (pb.EVENT_TYPE_HISTORY_CLEARED, False),
    ]
    assert events[1].WhichOneof("data") is None
    assert all(b"private" not in record.SerializeToString() for record in caller.export(session))

"""Everything stored can be read by a client that accepts 4 MiB per response, the default of clients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.struct_pb2 import ListValue, Struct, Value

from sessions_proto.v1 import sessions_pb2 as pb
from tests.support.structs import struct
from tests.wire.stubs import Caller, message, refused

if TYPE_CHECKING:
    from tests.support.server import Server

MIB = 1024 * 1024


@pytest.fixture
def caller(server: Server) -> Iterator[Caller]:
    """A caller with gRPC's default limits."""
    with Caller(server, options=()) as caller:
        yield caller


def zeros(count: int) -> Struct:
    """Each takes 2 bytes as JSON and 11 on the wire."""
    return Struct(fields={"l": list_value(count)})


def list_value(count: int) -> Value:
    return Value(list_value=ListValue(values=[Value(number_value=0)] * count))


METADATA = {
    "a long text": struct({"text": "x" * 65_000}),
    "many numbers": zeros(32_000),
    "little": struct({"n": 1}),
}


@pytest.mark.parametrize("metadata", METADATA.values(), ids=METADATA.keys())
@pytest.mark.parametrize("search", [False, True], ids=["list", "search"])
def test_large_pages_of_sessions_are_shortened(caller: Caller, metadata: Struct, search: bool) -> None:
    user = f"large-{caller.new_id()}"
    count = min(5 * MIB // metadata.ByteSize() + 1, 70)
    made = [caller.new_id(user_id=user, metadata=metadata) for _ in range(count)]
    query: dict[str, Any] = {"user_id": user, "page_size": 1_000, "order_by": "create_time"}
    if search:
        query["metadata_filter"] = struct({next(iter(metadata.fields)): {"$exists": True}})
    found: list[str] = []
    token = ""
    while True:
        page = (caller.SearchSessions if search else caller.ListSessions)(**query, page_token=token)
        assert page.sessions
        assert page.ByteSize() < 1.5 * MIB
        found += [session.id for session in page.sessions]
        token = page.next_page_token
        if not token:
            break
    assert found == made


def test_a_context_with_too_many_numbers_to_be_read_is_refused(caller: Caller) -> None:
    session = caller.new_id()
    caller.SetContext(session_id=session, context=zeros(300_000))
    more = pb.ContextChange(path="more", set=list_value(40_000))
    refusal = refused(caller.UpdateContext, session_id=session, changes=[more])
    assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "LIMIT_EXCEEDED")
    assert refusal.metadata == {"field": "context"}
    assert caller.context(session).data == zeros(300_000)
    caller.import_(f"{session}-copy", caller.export(session))
    assert caller.context(f"{session}-copy").data == zeros(300_000)


def test_a_history_of_many_numbers_is_read_and_exported_in_parts(caller: Caller) -> None:
    session = caller.new_id()
    for _ in range(4):
        caller.AddMessage(session_id=session, message=pb.Message(role="tool", data=zeros(130_000)))
    found: list[pb.Message] = []
    has_more = True
    while has_more:
        page = caller.GetHistory(
            session_id=session, limit=1_000, after_sequence=found[-1].sequence if found else 0
        )
        found += page.messages
        has_more = page.has_more
    assert [each.sequence for each in found] == [2, 3, 4, 5]
    assert all(each.data == zeros(130_000) for each in found)
    assert [event.sequence for event in caller.log(session)] == [1, 2, 3, 4, 5]
    copy = caller.import_(f"{session}-copy", caller.export(session))
    assert copy.message_count == 4


def test_messages_are_added_only_if_the_response_can_be_read(caller: Caller) -> None:
    session = caller.new_id()
    refusal = refused(caller.AddMessages, thousand_messages(session, size=4_172_038))
    assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "LIMIT_EXCEEDED")
    assert refusal.metadata == {"field": "messages"}
    assert caller.history(session) == []
    largest = caller.AddMessages(thousand_messages(session, size=4 * MIB - 80 * 1_000))
    assert len(largest.messages) == 1_000


def thousand_messages(session: str, *, size: int) -> pb.AddMessagesRequest:
    """A request of this many bytes."""
    request = pb.AddMessagesRequest(session_id=session, messages=[message("x" * 4_000)] * 1_000)
    first = request.messages[0]
    first.content += "x" * 20_000
    first.content += "x" * (size - request.ByteSize())
    assert request.ByteSize() == size
    return request


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param([pb.ContextChange(path="a" * 4_000_000, remove=True)], id="a long path"),
        pytest.param(
            [pb.ContextChange(path="a" * 10_000, merge=struct({f"k{n}": 1 for n in range(1_000)}))],
            id="a long path for many keys",
        ),
    ],
)
def test_a_change_whose_event_could_not_be_read_is_refused(
    caller: Caller, changes: list[pb.ContextChange]
) -> None:
    session = caller.new_id()
    refusal = refused(caller.UpdateContext, session_id=session, changes=changes)
    assert (refusal.reason, refusal.metadata) == ("LIMIT_EXCEEDED", {"field": "changes"})

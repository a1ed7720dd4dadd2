"""A page of a history as bytes equals the response built field by field."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, strategies as st

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.domain.models import ClaimedTime, Message, MessageBody, Micros, Sequence
from sessions_server.domain.ports import HistoryPage
from sessions_server.rpc.convert.history import _ENCODED, encode_history, messages_to_encode
from sessions_server.rpc.convert.recent import LARGEST_BYTES
from sessions_server.rpc.convert.responses import put_history

if TYPE_CHECKING:
    from sessions_server.domain.models import JsonObject

scalars = st.none() | st.booleans() | st.text(max_size=5) | st.integers(-9, 9) | st.sampled_from([-0.0, 0.5])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)
)
objects: st.SearchStrategy[JsonObject | None] = st.none() | st.dictionaries(
    st.text(max_size=3), values, max_size=4
)
bodies = st.builds(
    MessageBody,
    *[st.text(max_size=5)] * 4,
    objects | st.just({"large": "x" * LARGEST_BYTES}),
    objects,
    st.none() | st.builds(ClaimedTime, st.integers(0, 9), st.integers(0, 9)),
    st.binary(max_size=5),
    st.text(max_size=5),
)
messages = st.builds(
    Message, st.text(max_size=5), st.integers(1, 9).map(Sequence), st.integers(0, 2**50).map(Micros), bodies
)


@given(st.lists(messages, max_size=3), st.booleans())
def test_the_bytes_of_a_page_equal_its_response(found: list[Message], has_more: bool) -> None:
    page = HistoryPage(tuple(found), has_more)
    expected = pb.GetHistoryResponse()
    put_history(expected, page)
    read = pb.GetHistoryResponse.FromString(encode_history(page))
    assert read.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)


def test_a_page_shared_by_callers_is_encoded_once_and_then_dropped() -> None:
    page = HistoryPage((Message("m", Sequence(1), Micros(1), MessageBody("user", "Hello")),), has_more=False)
    assert encode_history(page) is encode_history(page)
    count = len(_ENCODED)
    del page
    assert len(_ENCODED) == count - 1


def test_a_message_of_several_pages_is_encoded_once_unless_it_is_large() -> None:
    small = Message("m", Sequence(1), Micros(1), MessageBody("user", "Hello", data={"answer": 42}))
    large = Message("l", Sequence(2), Micros(2), MessageBody("user", "x" * LARGEST_BYTES))
    first = HistoryPage((small, large), has_more=False)
    assert list(messages_to_encode(first)) == [small, large]
    encode_history(first)
    assert list(messages_to_encode(first)) == []
    assert list(messages_to_encode(HistoryPage((large, small), has_more=True))) == [large]

"""Cached Structs of JSON: equal to newly converted ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.struct_pb2 import Struct
from hypothesis import given, strategies as st

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.rpc.convert import recent
from sessions_server.rpc.convert.recent import LARGEST_BYTES, RecentStructs
from sessions_server.rpc.convert.values import put_object

if TYPE_CHECKING:
    import pytest

    from sessions_server.domain.models import JsonObject

scalars = st.none() | st.booleans() | st.text(max_size=5) | st.integers(-9, 9) | st.sampled_from([-0.0, 0.5])
objects = st.dictionaries(st.text(max_size=3), scalars | st.lists(scalars), max_size=4)


def made(value: JsonObject) -> Struct:
    struct = Struct()
    put_object(struct, value)
    return struct


@given(st.lists(objects, min_size=1, max_size=8), st.lists(st.integers(0, 7), max_size=30))
def test_repeated_conversions_give_equal_structs(values: list[JsonObject], order: list[int]) -> None:
    structs = RecentStructs(generation_bytes=1_000)
    for index in order:
        value, message = values[index % len(values)], pb.Message()
        structs.put(message.data, value)
        assert message.HasField("data")
        assert message.data.SerializeToString(deterministic=True) == made(value).SerializeToString(
            deterministic=True
        )


def test_a_used_object_is_converted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    converted: list[JsonObject] = []

    def counted(struct: Struct, value: JsonObject) -> None:
        converted.append(value)
        put_object(struct, value)

    monkeypatch.setattr(recent, "put_object", counted)
    structs = RecentStructs(generation_bytes=10_000)
    for number in range(100):
        structs.put(Struct(), {"always": "asked for"})
        structs.put(Struct(), {"once": number})
    assert converted.count({"always": "asked for"}) == 1
    for number in range(2):
        structs.put(Struct(), {"large": "x" * LARGEST_BYTES})
        assert len(converted) == 102 + number

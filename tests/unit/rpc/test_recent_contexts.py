"""The cached Struct of a changing context equals a full conversion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.struct_pb2 import Struct

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.domain.models import SessionKey
from sessions_server.rpc.convert import recent_contexts
from sessions_server.rpc.convert.recent_contexts import FEWEST_KEYS, RecentContextStructs
from sessions_server.rpc.convert.values import put_object

if TYPE_CHECKING:
    import pytest

KEY, OTHER = SessionKey("default", "s"), SessionKey("default", "other")
WHOLE: dict[str, Any] = {f"key{number}": {"n": number} for number in range(2 * FEWEST_KEYS)}


CHANGES: list[dict[str, Any]] = [
    {"key5": 1},
    {"key5": True},
    {"key5": 1.0},
    {"key5": "text", "key6": None},
    {"key5": {"a": [1, {"b": 2}]}},
    {"key5": {"a": []}},
    {"key5": {}},
    {"new": 1},
    {"new": 2, "newer": "x"},
    {},
]


def converted(value: dict[str, Any]) -> Struct:
    struct = Struct()
    put_object(struct, value)
    return struct


def put(recent: RecentContextStructs, value: dict[str, Any], key: SessionKey = KEY) -> Struct:
    context = pb.Context()
    recent.put(key, context.data, value)
    assert context.HasField("data")
    return context.data


def test_changes_are_shown_as_they_are_made() -> None:
    recent = RecentContextStructs()
    value = WHOLE
    for change in CHANGES:
        value = {**value, **change}
        assert put(recent, value) == converted(value), change
    without = {key: item for key, item in value.items() if key != "key7"}
    assert put(recent, without) == converted(without)
    assert put(recent, {**without, "key7": 1}) == converted({**without, "key7": 1})
    assert put(recent, {"few": 1}) == converted({"few": 1})
    assert put(recent, WHOLE) == converted(WHOLE)
    assert put(recent, {**WHOLE, "key1": 7}, OTHER) == converted({**WHOLE, "key1": 7})


def test_only_what_has_changed_is_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    recent, calls = RecentContextStructs(), []

    def counted(struct: Struct, value: dict[str, Any]) -> None:
        calls.append(len(value))
        put_object(struct, value)

    monkeypatch.setattr(recent_contexts, "put_object", counted)
    value = WHOLE
    for number in range(20):
        value = {**value, "key5": number}
        put(recent, value)
    assert calls == [len(WHOLE)], "it was converted as a whole once"
    for number in range(3_000):
        value = {**value, "key5": f"a longer text {number}"}
        put(recent, value)
    assert 2 < len(calls) < 12, "and again before appended values outgrow it"


def test_the_cache_size_is_bounded() -> None:
    size = len(converted(WHOLE).SerializeToString())
    recent = RecentContextStructs(most_bytes=2 * size)
    for number in range(4):
        put(recent, WHOLE, SessionKey("default", f"s{number}"))
    assert [key.session_id for key in recent._kept] == ["s2", "s3"]
    put(recent, {"few": 1}, SessionKey("default", "s2"))
    assert recent._room == size

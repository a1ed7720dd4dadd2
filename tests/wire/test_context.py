"""The context on the wire: refused changes have no effect, accepted values come back equal."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct, Value

from sessions_proto.v1 import sessions_pb2 as pb
from tests.support.structs import nested, numbered, struct
from tests.wire.stubs import Caller, refused, set_change

BEFORE = {"name": "Ann", "items": [{"n": 1}], "object": {"a": 1}}


@pytest.fixture
def session(caller: Caller) -> str:
    made = caller.new_id()
    caller.SetContext(session_id=made, context=struct(BEFORE))
    return made


def unchanged(caller: Caller, session: str) -> bool:
    return bool(caller.context(session).data == struct(BEFORE))


@pytest.mark.parametrize(
    "context",
    [
        pytest.param(numbered(math.nan), id="nan"),
        pytest.param(numbered(math.inf), id="infinity"),
        pytest.param(numbered(9007199254740993), id="2^53 + 1"),
        pytest.param(struct(nested(33)), id="33 levels"),
        pytest.param(Struct(fields={"a": Value()}), id="a value without a kind"),
    ],
)
def test_json_that_cannot_be_stored_is_refused(caller: Caller, session: str, context: Struct) -> None:
    assert refused(caller.SetContext, session_id=session, context=context).code == "INVALID_ARGUMENT"
    merge = pb.ContextChange(path="", merge=context)
    assert refused(caller.UpdateContext, session_id=session, changes=[merge]).code == "INVALID_ARGUMENT"
    assert unchanged(caller, session)


def test_a_thousand_levels_are_refused(caller: Caller, session: str) -> None:
    inner = b""
    for _ in range(1000):
        value = b"\x2a" + size(inner) + inner
        entry = b"\x0a\x01a\x12" + size(value) + value
        inner = b"\x0a" + size(entry) + entry
    named = b"\x0a" + size(session.encode()) + session.encode()
    refusal = refused(caller.raw, "SetContext", named + b"\x12" + size(inner) + inner)
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "MALFORMED_REQUEST")
    assert unchanged(caller, session)


def size(part: bytes) -> bytes:
    number, out = len(part), bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({"a\0b": "c\0d"}, id="nul"),
        pytest.param({"n": 2**53 - 1, "m": -(2**53 - 1), "f": 0.1, "e": 1e-300}, id="numbers"),
        pytest.param({"deep": {"a": [[], {}, None, True, ""]}}, id="empty and null"),
        pytest.param(
            {"__proto__": 1, "$.a')) DROP TABLE": 2, "{1,2}": 3, "": 4, "a.b": 5, "/": 6}, id="odd keys"
        ),
        pytest.param({"text": '\N{SNOWMAN}\N{GRINNING FACE}\u2028\ufeff"\\'}, id="odd texts"),
    ],
)
def test_accepted_values_come_back_equal(caller: Caller, session: str, value: dict[str, Any]) -> None:
    caller.SetContext(session_id=session, context=struct(value))
    assert caller.context(session).data == struct(value)


def test_32_levels_are_accepted(caller: Caller, session: str) -> None:
    caller.SetContext(session_id=session, context=struct(nested(32)))
    assert caller.context(session).data == struct(nested(32))


def test_a_change_that_nests_too_deep_is_refused_by_name(caller: Caller, session: str) -> None:
    caller.SetContext(session_id=session, context=struct({"a": {"b": {}}}))
    deeper = pb.ContextChange(path="a.b.c", set=Value(struct_value=struct(nested(31))))
    refusal = refused(caller.UpdateContext, session_id=session, changes=[deeper])
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", ["changes"])


def test_a_context_is_limited_to_1_mib(caller: Caller, session: str) -> None:
    fitting = "x" * (1_048_576 - len('{"a":""}'))
    refusal = refused(caller.SetContext, session_id=session, context=struct({"a": fitting + "x"}))
    assert (refusal.code, refusal.metadata) == ("RESOURCE_EXHAUSTED", {"field": "context"})
    assert refusal.message == "context: Must be at most 1,048,576 bytes of JSON."
    assert unchanged(caller, session)
    caller.SetContext(session_id=session, context=struct({"a": fitting}))
    refusal = refused(caller.UpdateContext, session_id=session, changes=[set_change("b")])
    assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "LIMIT_EXCEEDED")
    assert caller.context(session).data == struct({"a": fitting})


def test_an_oversized_context_is_refused_for_its_size_even_without_a_session(caller: Caller) -> None:
    large = struct({"a": "x" * 1_048_577})
    assert refused(caller.SetContext, session_id="missing", context=large).code == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize("path", ["", ".", "a..b", "/a/~2", "a" + ".a" * 4999])
def test_an_invalid_path_is_refused(caller: Caller, session: str, path: str) -> None:
    refusal = refused(caller.UpdateContext, session_id=session, changes=[set_change("ok"), set_change(path)])
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", ["changes[1].path"])
    assert unchanged(caller, session)


@pytest.mark.parametrize("path", ["name.a", "items.5", "items.x", "items.0.n.a"])
def test_a_path_that_does_not_fit_is_a_conflict_and_nothing_is_applied(
    caller: Caller, session: str, path: str
) -> None:
    changes = [set_change("ok"), set_change(path), set_change("more")]
    refusal = refused(caller.UpdateContext, session_id=session, changes=changes)
    assert (refusal.code, refusal.metadata) == ("FAILED_PRECONDITION", {"change": "1"})
    assert unchanged(caller, session)
    assert refused(caller.GetContext, session_id=session, path="name.a").code == "FAILED_PRECONDITION"


@pytest.mark.parametrize("count", [0, 101])
def test_an_update_has_1_to_100_changes(caller: Caller, session: str, count: int) -> None:
    changes = [set_change(f"k{place}") for place in range(count)]
    refusal = refused(caller.UpdateContext, session_id=session, changes=changes)
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", ["changes"])
    assert unchanged(caller, session)


@pytest.mark.parametrize(
    "etag",
    ["1", "garbage", "9" * 21, "0", "x" * 5_000],
    ids=["old", "garbage", "digits", "zero", "long garbage"],
)
def test_a_stale_or_malformed_etag_reports_the_current_one(caller: Caller, session: str, etag: str) -> None:
    current = caller.context(session).etag
    for method, fields in (
        (caller.SetContext, {"context": struct({})}),
        (caller.UpdateContext, {"changes": [set_change("a")]}),
    ):
        refusal = refused(method, session_id=session, etag=etag, **fields)
        assert (refusal.code, refusal.metadata) == ("ABORTED", {"current_etag": current})
    assert unchanged(caller, session)


def test_an_etag_is_not_changed_by_messages(caller: Caller, session: str) -> None:
    etag = caller.context(session).etag
    caller.AddMessage(session_id=session, message=pb.Message(role="user", content="x"))
    assert caller.SetContext(session_id=session, etag=etag, context=struct({})).context.etag != etag


def test_a_part_is_returned_without_the_whole(caller: Caller, session: str) -> None:
    part = caller.GetContext(session_id=session, path="items.0").context
    assert part.value.struct_value == struct({"n": 1})
    assert not part.HasField("data")
    assert part.etag == caller.context(session).etag
    missing = caller.GetContext(session_id=session, path="nothing").context
    assert not missing.HasField("value")


def test_a_null_differs_from_a_missing_value(caller: Caller, session: str) -> None:
    caller.UpdateContext(
        session_id=session,
        changes=[pb.ContextChange(path="", merge=Struct(fields={"z": Value(null_value=0)}))],  # type: ignore[arg-type]  # the stub wants the enum's own type
    )
    value = caller.GetContext(session_id=session, path="z").context.value
    assert value.WhichOneof("kind") == "null_value"

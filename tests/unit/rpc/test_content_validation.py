"""Refused requests about content: every violation at once, sizes before everything else."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct, Value

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.domain.limits import MIB
from sessions_server.domain.operations import ContextEtag
from sessions_server.rpc.convert import content, sessions
from tests.support.structs import nested, numbered, struct
from tests.unit.rpc.build import LIMITS, wire_message
from tests.unit.rpc.reading import (
    BAD_PATHS,
    BAD_TIMES,
    accepted,
    add,
    body_of,
    change,
    create,
    operation_of,
    text_value,
    too_large,
    update,
    violations,
)


@pytest.mark.parametrize(
    ("fields", "at_fault"),
    [
        pytest.param({"remove": False}, ["changes[0].remove"], id="remove: false"),
        pytest.param({}, ["changes[0]"], id="no operation"),
        pytest.param({"path": "", "set": text_value("x")}, ["changes[0].path"], id="set at the root"),
        pytest.param({"path": "", "remove": True}, ["changes[0].path"], id="remove the root"),
        pytest.param({"increment": math.nan}, ["changes[0].increment"], id="increment by nan"),
        pytest.param({"increment": 2.0**60}, ["changes[0].increment"], id="increment by too much"),
        pytest.param({"set": Value()}, ["changes[0].set"], id="a value without a kind"),
        pytest.param({"set": Value(number_value=math.inf)}, ["changes[0].set"], id="infinity"),
        pytest.param({"append": Value(number_value=-math.inf)}, ["changes[0].append"], id="minus infinity"),
        pytest.param({"set": Value(struct_value=struct(nested(33)))}, ["changes[0].set"], id="a deep value"),
        pytest.param({"merge": struct(nested(33))}, ["changes[0].merge"], id="a deep merge"),
        *(
            pytest.param({"path": path, "remove": True}, ["changes[0].path"], id=name)
            for name, path in BAD_PATHS.items()
        ),
    ],
)
def test_a_change_of_a_context_is_refused_for(fields: dict[str, Any], at_fault: list[str]) -> None:
    assert violations(content.read_update_context, change(**fields)) == at_fault


@pytest.mark.parametrize("count", [0, 101])
def test_an_update_has_1_to_100_changes(count: int) -> None:
    request = pb.UpdateContextRequest(
        session_id="s-1", changes=[pb.ContextChange(path="a", remove=True)] * count
    )
    assert violations(content.read_update_context, request) == ["changes"]


def test_the_index_of_a_bad_change_is_named() -> None:
    good, bad = pb.ContextChange(path="a", remove=True), pb.ContextChange(path="a..b", remove=True)
    request = pb.UpdateContextRequest(session_id="s-1", changes=[good, good, good, bad])
    assert violations(content.read_update_context, request) == ["changes[3].path"]


@pytest.mark.parametrize("path", [pytest.param(path, id=name) for name, path in BAD_PATHS.items()])
def test_an_invalid_path_is_refused_when_reading_too(path: str) -> None:
    assert violations(content.read_get_context, pb.GetContextRequest(session_id="s-1", path=path)) == ["path"]


@pytest.mark.parametrize("key", ["__proto__", "$", "a')) DROP TABLE", "{1,2}", "a\0b"])
def test_unusual_keys_are_plain_keys_in_a_context(key: str) -> None:
    operation = operation_of(content.read_update_context, change(path=key, set=text_value("x")))
    assert operation.changes[0].path == (key,)


@pytest.mark.parametrize(
    ("fields", "at_fault"),
    [
        pytest.param({"role": ""}, ["message.role"], id="no role and no data"),
        pytest.param({"role": "x" * 65}, ["message.role"], id="a long role"),
        pytest.param(
            {"payload": b"x", "payload_type": "x" * 257}, ["message.payload_type"], id="a long type"
        ),
        pytest.param({"payload_type": "text/plain"}, ["message.payload_type"], id="a type of no payload"),
        pytest.param({"name": "x" * 257}, ["message.name"], id="a long name"),
        pytest.param({"tool_call_id": "x" * 257}, ["message.tool_call_id"], id="a long tool call"),
        pytest.param({"data": numbered(math.nan)}, ["message.data"], id="nan in data"),
        pytest.param({"metadata": struct(nested(33))}, ["message.metadata"], id="deep metadata"),
        *(
            pytest.param({"timestamp": time}, ["message.timestamp"], id=name)
            for name, time in BAD_TIMES.items()
        ),
    ],
)
def test_a_message_is_refused_for(fields: dict[str, Any], at_fault: list[str]) -> None:
    assert violations(content.read_add_message, add(**fields)) == at_fault


def test_a_request_without_a_message_is_refused() -> None:
    found = violations(content.read_add_message, pb.AddMessageRequest(session_id="s-1"))
    assert found[0] == "message"


def test_a_message_with_data_needs_no_role_and_no_content() -> None:
    assert body_of(add(role="", content="", data=struct(parts=[1]))).data == {"parts": [1]}


def test_a_message_with_a_payload_needs_no_role_and_no_content() -> None:
    body = body_of(add(role="", content="", payload=b"\x00\xff", payload_type="x"))
    assert (body.payload, body.payload_type) == (b"\x00\xff", "x")


def test_a_message_with_a_role_needs_no_content() -> None:
    assert body_of(add(role="tool", content="")).content == ""


def test_empty_data_is_data() -> None:
    assert body_of(add(content="", data=Struct())).data == {}


def test_content_and_message_metadata_may_hold_nul() -> None:
    body = body_of(add(content="a\0b", metadata=struct(k="\0")))
    assert (body.content, body.metadata) == ("a\0b", {"k": "\0"})


@pytest.mark.parametrize("count", [0, 1001])
def test_a_batch_has_1_to_1000_messages(count: int) -> None:
    request = pb.AddMessagesRequest(session_id="s-1", messages=[wire_message()] * count)
    assert violations(content.read_add_messages, request) == ["messages"]


def test_the_bad_message_among_fifty_is_named() -> None:
    messages = [wire_message() for _ in range(50)]
    messages[31].role = ""
    request = pb.AddMessagesRequest(session_id="s-1", messages=messages)
    assert violations(content.read_add_messages, request) == ["messages[31].role"]


@pytest.mark.parametrize("field", ["limit", "before_sequence", "after_sequence"])
def test_a_page_of_history_has_no_negative_bounds(field: str) -> None:
    bound: dict[str, Any] = {field: -1}
    request = pb.GetHistoryRequest(session_id="s-1", **bound)
    assert violations(content.read_get_history, request) == [field]


def test_a_page_of_history_has_1000_messages_at_most() -> None:
    request = pb.GetHistoryRequest(session_id="s-1", limit=2**31 - 1)
    assert accepted(content.read_get_history, request)[1].limit == 1000


@pytest.mark.parametrize(
    ("fields", "at_fault"),
    [
        pytest.param({"after_sequence": -1}, ["after_sequence"], id="a negative position"),
        pytest.param({"event_types": [99]}, ["event_types"], id="an unknown type"),
        pytest.param({"event_types": [0]}, ["event_types"], id="the unspecified type"),
    ],
)
def test_a_subscription_is_refused_for(fields: dict[str, Any], at_fault: list[str]) -> None:
    assert violations(content.read_subscribe, pb.SubscribeRequest(session_id="s-1", **fields)) == at_fault


def test_an_absent_position_is_not_the_position_0() -> None:
    requests = (pb.SubscribeRequest(session_id="s"), pb.SubscribeRequest(session_id="s", after_sequence=0))
    assert [accepted(content.read_subscribe, request)[2] for request in requests] == [None, 0]


@pytest.mark.parametrize(
    ("read", "request_", "field"),
    [
        pytest.param(content.read_add_message, add(content="x" * 262_145), "message.content", id="content"),
        pytest.param(
            content.read_add_message,
            add(content="\N{SNOWMAN}" * 87_382),
            "message.content",
            id="content in bytes",
        ),
        pytest.param(content.read_add_message, add(data=struct(a="x" * 262_144)), "message.data", id="data"),
        pytest.param(
            content.read_add_message, add(payload=bytes(3 * MIB + 1)), "message.payload", id="payload"
        ),
        pytest.param(
            content.read_add_message,
            add(metadata=struct(a="x" * 65_536)),
            "message.metadata",
            id="message metadata",
        ),
        pytest.param(
            content.read_add_message,
            add(metadata=struct(**{f"k{n}": n for n in range(257)})),
            "message.metadata",
            id="keys of message metadata",
        ),
        pytest.param(
            sessions.read_create, create(metadata=struct(a="x" * 65_536)), "metadata", id="metadata"
        ),
        pytest.param(
            sessions.read_create,
            create(metadata=struct(**{f"k{n}": n for n in range(257)})),
            "metadata",
            id="keys of metadata",
        ),
        pytest.param(
            sessions.read_update,
            update("metadata", metadata=struct(a="x" * 65_536)),
            "session.metadata",
            id="metadata of an update",
        ),
        pytest.param(
            content.read_set_context,
            pb.SetContextRequest(session_id="s", context=struct(a="x" * 1_048_576)),
            "context",
            id="context",
        ),
        pytest.param(
            content.read_set_context,
            pb.SetContextRequest(session_id="s", context=struct(**{f"k{n}": n for n in range(10_001)})),
            "context",
            id="keys of a context",
        ),
        pytest.param(
            content.read_update_context,
            change(set=text_value("x" * 1_048_576)),
            "changes[0].set",
            id="a value of a context",
        ),
    ],
)
def test_oversized_values_are_refused_for_their_size(
    read: Callable[..., Any], request_: Any, field: str
) -> None:
    assert too_large(read, request_) == field


def test_values_at_the_size_limit_are_accepted() -> None:
    assert accepted(content.read_add_message, add(content="x" * 262_144))
    context = struct(a="x" * (1_048_576 - len('{"a":""}')))
    assert accepted(content.read_set_context, pb.SetContextRequest(session_id="s", context=context))


def test_size_violations_are_reported_first() -> None:
    request = add(content="x" * 262_145, role="", name="x" * 257)
    request.session_id = "no id"
    assert too_large(content.read_add_message, request) == "message.content"


def test_the_limits_are_those_of_the_deployment() -> None:
    limits = replace(LIMITS, content_bytes=3, messages_per_add=1, context_changes=1)
    assert too_large(content.read_add_message, add(content="four"), limits=limits) == "message.content"
    two = pb.AddMessagesRequest(session_id="s", messages=[wire_message(content="x")] * 2)
    assert violations(content.read_add_messages, two, limits=limits) == ["messages"]


def test_messages_whose_response_would_not_fit_are_refused() -> None:
    def read(size: int) -> pb.AddMessagesRequest:
        request = pb.AddMessagesRequest(session_id="s-1", messages=[wire_message()] * 1_000)
        request.messages[0].content = "x" * (size - request.ByteSize())
        return request

    limits = replace(LIMITS, answer_bytes=300_000)
    assert len(accepted(content.read_add_messages, read(219_000), limits=limits).operations) == 1_000
    assert too_large(content.read_add_messages, read(221_000), limits=limits) == "messages"


@pytest.mark.parametrize("keys", [0, 1, 1_000])
def test_changed_paths_too_large_for_an_event_are_refused(keys: int) -> None:
    limits = replace(LIMITS, wire_bytes=100_000)
    merge = struct(**{f"k{number}": 1 for number in range(keys)})
    longest = 50_000 // max(1, keys) - 10
    accepted(content.read_update_context, change(path="a" * longest, merge=merge), limits=limits)
    request = change(path="a" * (longest + 20), merge=merge)
    assert too_large(content.read_update_context, request, limits=limits) == "changes"


def test_an_update_mask_too_large_for_an_event_is_refused() -> None:
    limits = replace(LIMITS, wire_bytes=1_000)
    accepted(sessions.read_update, update("metadata." + "a" * 900), limits=limits)
    assert too_large(sessions.read_update, update("metadata." + "a" * 1_000), limits=limits) == "update_mask"


def test_any_string_is_accepted_as_an_etag() -> None:
    request = pb.SetContextRequest(session_id="s-1", etag="x" * 5_000)
    assert accepted(content.read_set_context, request).conditions == (ContextEtag("x" * 5_000),)

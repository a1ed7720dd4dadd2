"""What is refused: every violation at once, sizes before everything else, nothing of the caller's text repeated."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from sessions.v1 import sessions_pb2 as pb
from sessions_server.domain.commands import Verb
from sessions_server.domain.errors import InvalidRequest, LimitExceeded
from sessions_server.domain.limits import Limits
from sessions_server.rpc.convert import content, lists, sessions
from sessions_server.rpc.convert.common import read_named
from tests.unit.rpc.build import LIMITS, TENANT, nested, numbered, struct, wire_message

BAD_IDS = {
    "too long": "x" * 129,
    "a path": "../../etc/passwd",
    "nul": "a\0b",
    "an emoji": "\N{GRINNING FACE}",
    "sql": "'; DROP TABLE sessions;--",
    "a space": "a b",
    "a line break": "a\n",
}
BAD_SPANS = {
    "nothing": Duration(),
    "negative": Duration(seconds=-5),
    "a nanosecond": Duration(nanos=1),
    "just too short": Duration(nanos=999_999_999),
    "10,000 years": Duration(seconds=315_360_000_000),
    "just too long": Duration(seconds=315_360_001),
    "mixed signs": Duration(seconds=5, nanos=-1),
    "nanos out of range": Duration(seconds=5, nanos=2_000_000_000),
    "seconds out of range": Duration(seconds=2**62),
}
BAD_TIMES = {
    "before the year 1": Timestamp(seconds=-62_135_596_801),
    "after the year 9999": Timestamp(seconds=253_402_300_800),
    "negative nanos": Timestamp(nanos=-1),
    "nanos out of range": Timestamp(nanos=1_000_000_000),
}
BAD_PATHS = {
    "a dot": ".",
    "an empty part": "a..b",
    "a bad escape": "/a/~2",
    "5,000 parts": "a." * 4999 + "a",
    "33 parts": "a." * 32 + "a",
}

Read = Callable[[], Any]


def violations(read: Callable[..., Any], request: Any, *, limits: Limits = LIMITS) -> list[str]:
    """The fields that are at fault."""
    with pytest.raises(InvalidRequest) as caught:
        read(request, tenant=TENANT, limits=limits)
    assert all(sentence.endswith((".", "@ -")) for _, sentence in caught.value.violations)
    return [field for field, _ in caught.value.violations]


def too_large(read: Callable[..., Any], request: Any, *, limits: Limits = LIMITS) -> str:
    with pytest.raises(LimitExceeded) as caught:
        read(request, tenant=TENANT, limits=limits)
    return caught.value.metadata["field"]


def accepted(read: Callable[..., Any], request: Any, *, limits: Limits = LIMITS) -> Any:
    return read(request, tenant=TENANT, limits=limits)


def create(**fields: Any) -> pb.CreateSessionRequest:
    return pb.CreateSessionRequest(**{"user_id": "u-1", **fields})


def change(**fields: Any) -> pb.UpdateContextRequest:
    return pb.UpdateContextRequest(session_id="s-1", changes=[pb.ContextChange(**{"path": "a", **fields})])


def add(**fields: Any) -> pb.AddMessageRequest:
    return pb.AddMessageRequest(session_id="s-1", message=wire_message(**fields))


def update(*paths: str, **session: Any) -> pb.UpdateSessionRequest:
    request = pb.UpdateSessionRequest(session_id="s-1", session=pb.Session(**session))
    request.update_mask.paths.extend(paths)
    return request


def text_value(text: str) -> Value:
    return Value(string_value=text)


@pytest.mark.parametrize(
    "text", [pytest.param(text, id=name) for name, text in {"empty": "", **BAD_IDS}.items()]
)
@pytest.mark.parametrize(
    ("request_type", "read"),
    [
        (pb.GetSessionRequest, read_named),
        (pb.DeleteSessionRequest, sessions.read_delete),
        (
            pb.StartSessionRequest,
            lambda request, **options: sessions.read_move(request, Verb.START, **options),
        ),
        (pb.GetContextRequest, content.read_get_context),
        (pb.GetHistoryRequest, content.read_get_history),
        (pb.ClearHistoryRequest, content.read_clear_history),
        (pb.SubscribeRequest, content.read_subscribe),
        (pb.SetContextRequest, content.read_set_context),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_session_id_that_is_none_is_refused(request_type: Any, read: Callable[..., Any], text: str) -> None:
    assert violations(read, request_type(session_id=text)) == ["session_id"]


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in BAD_IDS.items()])
def test_an_id_that_a_caller_chooses_has_to_be_one(text: str) -> None:
    assert violations(sessions.read_create, create(session_id=text)) == ["session_id"]
    assert violations(content.read_add_message, add(id=text)) == ["message.id"]


def test_an_id_may_have_128_characters_of_every_allowed_kind() -> None:
    text = "aZ09._~:@-" + "x" * 118
    assert accepted(sessions.read_create, create(session_id=text)).key.session_id == text


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        pytest.param(create(user_id=""), ["user_id"], id="no user"),
        pytest.param(create(user_id="x" * 257), ["user_id"], id="a long user"),
        pytest.param(create(user_id="a\x7fb"), ["user_id"], id="a control character"),
        pytest.param(create(user_id="a\x85b"), ["user_id"], id="a later control character"),
        pytest.param(create(if_exists=pb.IF_EXISTS_REPLACE), ["if_exists"], id="replace"),
        pytest.param(create(if_exists=77), ["if_exists"], id="unknown if_exists"),
        pytest.param(create(config={"max_messages": -1}), ["config.max_messages"], id="negative messages"),
        pytest.param(create(config={"context_window": -1}), ["config.context_window"], id="negative window"),
        pytest.param(create(config={"overflow": 9}), ["config.overflow"], id="unknown overflow"),
        pytest.param(
            create(storage_options={"persistence": 9}),
            ["storage_options.persistence"],
            id="unknown persistence",
        ),
        pytest.param(
            create(storage_options={"expiry_action": 9}),
            ["storage_options.expiry_action"],
            id="unknown action",
        ),
        pytest.param(
            create(
                storage_options={
                    "persistence": pb.PERSISTENCE_TEMPORARY,
                    "expiry_action": pb.EXPIRY_ACTION_RETAIN,
                }
            ),
            ["storage_options.expiry_action"],
            id="temporary and retained",
        ),
        pytest.param(create(request_id="x" * 129), ["request_id"], id="a long request id"),
        pytest.param(create(request_id="a\0b"), ["request_id"], id="nul in the request id"),
        pytest.param(create(metadata=numbered(math.nan)), ["metadata"], id="nan"),
        pytest.param(create(metadata=nested(33)), ["metadata"], id="deep metadata"),
        pytest.param(create(metadata=struct(a="x\0")), ["metadata"], id="nul in metadata"),
        pytest.param(create(metadata=struct(**{"x\0": "a"})), ["metadata"], id="nul in a key of metadata"),
    ],
)
def test_a_creation_is_refused_for(request_: pb.CreateSessionRequest, fields: list[str]) -> None:
    assert violations(sessions.read_create, request_) == fields


def test_a_creation_is_told_everything_that_is_wrong_with_it() -> None:
    request = create(
        user_id="",
        session_id="a b",
        metadata=numbered(math.inf),
        config={"max_messages": -1, "context_window": -1, "timeout": Duration()},
        storage_options={"ttl": Duration(), "persistence": 9},
    )
    assert sorted(violations(sessions.read_create, request)) == [
        "config.context_window",
        "config.max_messages",
        "config.timeout",
        "metadata",
        "session_id",
        "storage_options.persistence",
        "storage_options.ttl",
        "user_id",
    ]


@pytest.mark.parametrize("span", [pytest.param(span, id=name) for name, span in BAD_SPANS.items()])
def test_a_span_that_is_malformed_or_out_of_range_is_refused(span: Duration) -> None:
    request = create(config={"timeout": span}, storage_options={"ttl": span})
    assert violations(sessions.read_create, request) == ["config.timeout", "storage_options.ttl"]


@pytest.mark.parametrize("seconds", [1, 315_360_000])
def test_a_span_may_have_1_second_to_10_years(seconds: int) -> None:
    request = create(storage_options={"ttl": Duration(seconds=seconds)})
    assert accepted(sessions.read_create, request).storage.ttl == seconds * 1_000_000


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        pytest.param(update(), ["update_mask"], id="nothing to change"),
        pytest.param(update("state"), ["update_mask"], id="the state"),
        pytest.param(update("config.nothing"), ["update_mask"], id="an unknown field"),
        pytest.param(update("storage_options"), ["update_mask"], id="all storage options"),
        pytest.param(update("storage_options.persistence"), ["update_mask"], id="what is fixed"),
        pytest.param(update("metadata."), ["update_mask"], id="an empty key"),
        pytest.param(update("metadata.a\0"), ["update_mask"], id="nul in a key"),
        pytest.param(update("metadata", "bogus"), ["update_mask"], id="one bad path of two"),
        pytest.param(update(*(f"metadata.k{n}" for n in range(1000))), ["update_mask"], id="too many paths"),
        pytest.param(
            update("config.max_messages", config={"max_messages": -1, "context_window": -1}),
            ["session.config.max_messages"],
            id="only what the mask names",
        ),
        pytest.param(
            update("config", config={"max_messages": -1, "overflow": 7}),
            ["session.config.max_messages", "session.config.overflow"],
            id="all of config",
        ),
        pytest.param(
            update("storage_options.ttl", storage_options={"ttl": Duration()}),
            ["session.storage_options.ttl"],
            id="a bad ttl",
        ),
        pytest.param(update("metadata", metadata=struct(a="\0")), ["session.metadata"], id="nul in metadata"),
    ],
)
def test_an_update_is_refused_for(request_: pb.UpdateSessionRequest, fields: list[str]) -> None:
    assert violations(sessions.read_update, request_) == fields


def test_what_the_mask_does_not_name_is_ignored() -> None:
    request = update("metadata.a", metadata=struct(a=1, b=2), config={"max_messages": -1})
    command = accepted(sessions.read_update, request)
    assert (command.paths, command.metadata) == (("metadata.a",), {"a": 1})


def test_an_update_without_a_mask_changes_what_is_populated() -> None:
    request = update(
        metadata=struct(a=1),
        config={"timeout": Duration(seconds=5), "overflow": pb.OVERFLOW_REJECT},
        storage_options={"ttl": Duration(seconds=9), "encryption": True},
        user_id="someone else",
        state=pb.SESSION_STATE_ENDED,
    )
    assert accepted(sessions.read_update, request).paths == (
        "metadata",
        "config.timeout",
        "config.overflow",
        "storage_options.ttl",
    )


def test_a_path_that_is_named_twice_counts_once() -> None:
    assert accepted(sessions.read_update, update("config", "metadata", "config")).paths == (
        "config",
        "metadata",
    )


@pytest.mark.parametrize(
    ("fields", "at_fault"),
    [
        pytest.param({"page_size": -1}, ["page_size"], id="a negative page"),
        pytest.param({"order_by": "user_id"}, ["order_by"], id="an unknown column"),
        pytest.param({"order_by": "create_time; DROP TABLE sessions"}, ["order_by"], id="sql"),
        pytest.param({"order_by": "create_time asc"}, ["order_by"], id="asc"),
        pytest.param({"states": [99]}, ["states"], id="an unknown state"),
        pytest.param({"states": [0]}, ["states"], id="the unspecified state"),
        pytest.param({"user_id": "a\nb"}, ["user_id"], id="a control character"),
    ],
)
def test_a_list_is_refused_for(fields: dict[str, Any], at_fault: list[str]) -> None:
    assert violations(lists.read_list, pb.ListSessionsRequest(**fields)) == at_fault
    assert violations(lists.read_search, pb.SearchSessionsRequest(**fields)) == at_fault


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(struct(age={"$regex": "x"}), id="an unknown operator"),
        pytest.param(struct(**{"a..b": 1}), id="an empty part"),
        pytest.param(struct(**{"a." * 32 + "a": 1}), id="a long path"),
        pytest.param(struct(a="x\0"), id="nul"),
        pytest.param(numbered(2.0**53), id="a number that is no number"),
        pytest.param(struct(**{f"k{n}": n for n in range(33)}), id="too many conditions"),
    ],
)
def test_a_filter_that_is_none_is_refused(wanted: Struct) -> None:
    assert violations(lists.read_search, pb.SearchSessionsRequest(metadata_filter=wanted)) == [
        "metadata_filter"
    ]


def test_a_page_has_100_sessions_by_default_and_1000_at_most() -> None:
    sizes = [
        accepted(lists.read_list, pb.ListSessionsRequest(page_size=size)).limit for size in (0, 7, 2**31 - 1)
    ]
    assert sizes == [100, 7, 1000]


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
        pytest.param({"set": Value(struct_value=nested(33))}, ["changes[0].set"], id="a deep value"),
        pytest.param({"merge": nested(33)}, ["changes[0].merge"], id="a deep merge"),
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


def test_the_place_of_a_bad_change_is_named() -> None:
    good, bad = pb.ContextChange(path="a", remove=True), pb.ContextChange(path="a..b", remove=True)
    request = pb.UpdateContextRequest(session_id="s-1", changes=[good, good, good, bad])
    assert violations(content.read_update_context, request) == ["changes[3].path"]


@pytest.mark.parametrize("path", [pytest.param(path, id=name) for name, path in BAD_PATHS.items()])
def test_a_path_that_is_none_is_refused_when_reading_too(path: str) -> None:
    assert violations(content.read_get_context, pb.GetContextRequest(session_id="s-1", path=path)) == ["path"]


@pytest.mark.parametrize("key", ["__proto__", "$", "a')) DROP TABLE", "{1,2}", "a\0b"])
def test_odd_keys_are_plain_keys_in_a_context(key: str) -> None:
    command = accepted(content.read_update_context, change(path=key, set=text_value("x")))
    assert command.changes[0].path == (key,)


@pytest.mark.parametrize(
    ("fields", "at_fault"),
    [
        pytest.param({"role": ""}, ["message.role"], id="no role and no data"),
        pytest.param({"role": "x" * 65}, ["message.role"], id="a long role"),
        pytest.param({"content": ""}, ["message"], id="neither content nor data"),
        pytest.param({"name": "x" * 257}, ["message.name"], id="a long name"),
        pytest.param({"tool_call_id": "x" * 257}, ["message.tool_call_id"], id="a long tool call"),
        pytest.param({"data": numbered(math.nan)}, ["message.data"], id="nan in data"),
        pytest.param({"metadata": nested(33)}, ["message.metadata"], id="deep metadata"),
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
    command = accepted(content.read_add_message, add(role="", content="", data=struct(parts=[1])))
    assert command.drafts[0].body.data == {"parts": [1]}


def test_empty_data_is_data() -> None:
    assert accepted(content.read_add_message, add(content="", data=Struct())).drafts[0].body.data == {}


def test_content_and_message_metadata_may_hold_nul() -> None:
    body = accepted(content.read_add_message, add(content="a\0b", metadata=struct(k="\0"))).drafts[0].body
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
    request = pb.GetHistoryRequest(session_id="s-1", **{field: -1})
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
def test_what_is_too_large_is_refused_for_its_size(
    read: Callable[..., Any], request_: Any, field: str
) -> None:
    assert too_large(read, request_) == field


def test_what_is_just_not_too_large_is_accepted() -> None:
    assert accepted(content.read_add_message, add(content="x" * 262_144))
    context = struct(a="x" * (1_048_576 - len('{"a":""}')))
    assert accepted(content.read_set_context, pb.SetContextRequest(session_id="s", context=context))


def test_a_size_is_told_before_anything_else_is() -> None:
    request = add(content="x" * 262_145, role="", name="x" * 257)
    request.session_id = "no id"
    assert too_large(content.read_add_message, request) == "message.content"


def test_the_limits_are_those_of_the_deployment() -> None:
    limits = replace(LIMITS, content_bytes=3, messages_per_add=1, context_changes=1)
    assert too_large(content.read_add_message, add(content="four"), limits=limits) == "message.content"
    two = pb.AddMessagesRequest(session_id="s", messages=[wire_message(content="x")] * 2)
    assert violations(content.read_add_messages, two, limits=limits) == ["messages"]


def test_temporary_data_gets_a_ttl_of_a_day_and_is_deleted_then() -> None:
    storage = accepted(
        sessions.read_create, create(storage_options={"persistence": pb.PERSISTENCE_TEMPORARY})
    ).storage
    assert (storage.ttl, storage.expiry_action) == (86_400_000_000, "delete")


def test_a_window_above_a_page_means_a_page() -> None:
    command = accepted(sessions.read_create, create(config={"context_window": 5000}))
    assert command.config.context_window == 1000


def test_no_sentence_repeats_what_the_caller_wrote() -> None:
    mark = "MARK"
    requests: list[tuple[Callable[..., Any], Any]] = [
        (sessions.read_create, create(user_id=mark + "\n", session_id=mark + " ", request_id=mark * 99)),
        (sessions.read_update, update(mark)),
        (lists.read_list, pb.ListSessionsRequest(order_by=mark, user_id=mark + "\0")),
        (
            lists.read_search,
            pb.SearchSessionsRequest(metadata_filter=struct(**{f"..{mark}": {f"${mark}": mark}})),
        ),
        (content.read_update_context, change(path=mark + "..", set=Value())),
        (content.read_add_message, add(role=mark * 99, name=mark * 99)),
    ]
    for read, request in requests:
        with pytest.raises(InvalidRequest) as caught:
            read(request, tenant=TENANT, limits=LIMITS)
        assert mark not in caught.value.message

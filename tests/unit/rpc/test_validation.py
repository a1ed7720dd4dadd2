"""Refused requests about sessions: every violation at once, and nothing of the caller's text repeated."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct, Value

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.domain.errors import InvalidRequest
from sessions_server.domain.operations import Verb
from sessions_server.rpc.convert import content, lists, sessions
from sessions_server.rpc.convert.common import read_named
from tests.support.structs import nested, numbered, struct
from tests.unit.rpc.build import LIMITS, TENANT
from tests.unit.rpc.reading import (
    BAD_IDS,
    BAD_SPANS,
    accepted,
    add,
    change,
    create,
    operation_of,
    update,
    violations,
)


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
            lambda request, **options: sessions.read_move(request, verb=Verb.START, **options),
        ),
        (pb.GetContextRequest, content.read_get_context),
        (pb.GetHistoryRequest, content.read_get_history),
        (pb.ClearHistoryRequest, content.read_clear_history),
        (pb.SubscribeRequest, content.read_subscribe),
        (pb.SetContextRequest, content.read_set_context),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_invalid_session_id_is_refused(request_type: Any, read: Callable[..., Any], text: str) -> None:
    assert violations(read, request_type(session_id=text)) == ["session_id"]


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in BAD_IDS.items()])
def test_a_chosen_id_must_be_valid(text: str) -> None:
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
        pytest.param(create(metadata=struct(nested(33))), ["metadata"], id="deep metadata"),
        pytest.param(create(metadata=struct(a="x\0")), ["metadata"], id="nul in metadata"),
        pytest.param(create(metadata=struct(**{"x\0": "a"})), ["metadata"], id="nul in a key of metadata"),
    ],
)
def test_a_creation_is_refused_for(request_: pb.CreateSessionRequest, fields: list[str]) -> None:
    assert violations(sessions.read_create, request_) == fields


def test_a_creation_reports_every_violation() -> None:
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
def test_a_malformed_or_out_of_range_duration_is_refused(span: Duration) -> None:
    request = create(config={"timeout": span}, storage_options={"ttl": span})
    assert violations(sessions.read_create, request) == ["config.timeout", "storage_options.ttl"]


@pytest.mark.parametrize("seconds", [1, 315_360_000])
def test_a_duration_may_be_1_second_to_10_years(seconds: int) -> None:
    request = create(storage_options={"ttl": Duration(seconds=seconds)})
    assert accepted(sessions.read_create, request).create.storage.ttl == seconds * 1_000_000


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


def test_fields_outside_the_mask_are_ignored() -> None:
    request = update("metadata.a", metadata=struct(a=1, b=float("nan")), config={"max_messages": -1})
    command = operation_of(sessions.read_update, request)
    assert (command.paths, command.metadata) == (("metadata.a",), {"a": 1})


def test_an_update_without_a_mask_changes_what_is_populated() -> None:
    request = update(
        metadata=struct(a=1),
        config={"timeout": Duration(seconds=5), "overflow": pb.OVERFLOW_REJECT},
        storage_options={"ttl": Duration(seconds=9), "encryption": True},
        user_id="someone else",
        state=pb.SESSION_STATE_ENDED,
    )
    assert operation_of(sessions.read_update, request).paths == (
        "metadata",
        "config.timeout",
        "config.overflow",
        "storage_options.ttl",
    )


def test_a_repeated_path_counts_once() -> None:
    assert operation_of(sessions.read_update, update("config", "metadata", "config")).paths == (
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
        pytest.param({"page_token": "QUJD="}, ["page_token"], id="a token of garbage"),
        pytest.param(
            {"page_token": "!", "order_by": "zz", "page_size": -1},
            ["order_by", "page_token", "page_size"],
            id="everything",
        ),
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
def test_an_invalid_filter_is_refused(wanted: Struct) -> None:
    assert violations(lists.read_search, pb.SearchSessionsRequest(metadata_filter=wanted)) == [
        "metadata_filter"
    ]


def test_a_page_has_100_sessions_by_default_and_1000_at_most() -> None:
    sizes = [
        accepted(lists.read_list, pb.ListSessionsRequest(page_size=size)).limit for size in (0, 7, 2**31 - 1)
    ]
    assert sizes == [100, 7, 1000]


def test_temporary_data_gets_a_ttl_of_a_day_and_is_then_deleted() -> None:
    storage = accepted(
        sessions.read_create, create(storage_options={"persistence": pb.PERSISTENCE_TEMPORARY})
    ).create.storage
    assert (storage.ttl, storage.expiry_action) == (86_400_000_000, "delete")


def test_a_window_above_a_page_means_a_page() -> None:
    commit = accepted(sessions.read_create, create(config={"context_window": 5000}))
    assert commit.create.config.context_window == 1000


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
